//! Reports, comparisons and their gate on a tiny Stable Diffusion.
#![allow(clippy::unwrap_used)] // A fixture that cannot be read is a failed test.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

fn tiny() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/files/tiny")
}

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_pochade-quantize")).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The tiny model in int8, in `folder`.
fn converted(folder: &Path, more: &[&str]) -> (String, Output) {
    let (input, output) = (tiny(), folder.join("tiny-int8.gguf").display().to_string());
    let input = input.display().to_string();
    let arguments = [&[&input, "-o", &output, "--weights", "int8"], more].concat();
    (output.clone(), run(&arguments))
}

/// Numbers with as many digits as every machine's logarithms agree on.
fn rounded(value: &mut Value) {
    match value {
        Value::Number(number) if number.is_f64() => {
            let number = number.as_f64().unwrap();
            *value = Value::from(format!("{number:.4e}"));
        }
        Value::Array(items) => items.iter_mut().for_each(rounded),
        Value::Object(fields) => fields.values_mut().for_each(rounded),
        _ => {}
    }
}

#[test]
fn a_conversion_with_a_report_shows_what_programs_can_read_too() {
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("report").display().to_string();
    let few = ["--report", &report, "--report-pictures", "3", "--report-steps", "2"];
    let (output, done) = converted(folder.path(), &few);
    assert!(done.status.success(), "{}", text(&done.stderr));
    let read = |name: &str| fs::read_to_string(Path::new(&report).join(name)).unwrap();
    assert_eq!(text(&done.stdout), read("report.md"), "the terminal shows the summary");
    insta::assert_snapshot!("summary", read("report.md"));
    let mut json: Value = serde_json::from_str(&read("report.json")).unwrap();
    rounded(&mut json);
    let layers = json["layers"].as_array_mut().unwrap();
    assert_eq!(layers.iter().filter(|layer| layer["encoding"] == "int8").count(), 22);
    layers.retain(|layer| layer["layer"].as_str().unwrap().starts_with("middle_block.0"));
    assert_eq!(json["original"]["parameters"], json["other"]["parameters"], "padding is no number");
    insta::assert_snapshot!("json", serde_json::to_string_pretty(&json).unwrap());
    // The same is found of the file again.
    let again = folder.path().join("again").display().to_string();
    let more = ["--report", &again, "--report-pictures", "3", "--report-steps", "2"];
    let tiny = tiny().display().to_string();
    assert!(run(&[&["diff", &tiny, &output], &more[..]].concat()).status.success());
    for name in ["report.html", "report.json", "report.md"] {
        assert_eq!(fs::read(Path::new(&again).join(name)).unwrap(), read(name).into_bytes());
    }
}

/// The names of elements that are open at the end, `Err` where one is closed that is not open.
fn open_elements(page: &str) -> Result<Vec<String>, String> {
    let mut open: Vec<String> = Vec::new();
    let mut rest = page.strip_prefix("<!DOCTYPE html>").ok_or("no doctype")?;
    while let Some(start) = rest.find('<') {
        let end = start + rest[start..].find('>').ok_or("a tag without an end")?;
        let tag = &rest[start + 1..end];
        let name: String = tag.trim_start_matches('/').split([' ', '/']).next().unwrap().into();
        if let Some(closed) = tag.strip_prefix('/') {
            let last = open.pop();
            if last.as_deref() != Some(closed) {
                return Err(format!("</{closed}> behind <{last:?}>"));
            }
        } else if !tag.ends_with('/') {
            if tag.matches('"').count() % 2 == 1 {
                return Err(format!("a quote is open in <{tag}>"));
            }
            open.push(name);
        }
        rest = &rest[end + 1..];
    }
    Ok(open)
}

#[test]
fn a_page_is_well_formed_and_alone_and_no_prompt_becomes_markup() {
    let folder = tempfile::tempdir().unwrap();
    let (output, _) = converted(folder.path(), &[]);
    let prompts = folder.path().join("prompts.txt");
    fs::write(&prompts, "\n<script>alert(\"&\")</script> | it's\n a <b>red</b> sun \n").unwrap();
    let report = folder.path().join("report");
    let (tiny, prompts) = (tiny().display().to_string(), prompts.display().to_string());
    let (to, few) = (report.display().to_string(), ["--report-steps", "1"]);
    let arguments = ["diff", &tiny, &output, "--prompts", &prompts, "--report", &to];
    let done = run(&[&arguments[..], &few].concat());
    assert!(done.status.success(), "{}", text(&done.stderr));
    let page = fs::read_to_string(report.join("report.html")).unwrap();
    assert_eq!(open_elements(&page), Ok(Vec::new()));
    assert_eq!(page.matches("src=\"data:image/png;base64,").count(), 8, "two prompts, two seeds");
    assert!(page.contains("&lt;script&gt;alert(&quot;&amp;&quot;)&lt;/script&gt; | it&#39;s"));
    for forbidden in ["<script", "<b>red", "http:", "https:", "<link", "@import"] {
        assert!(!page.contains(forbidden), "{forbidden}");
    }
    assert!(text(&done.stdout).contains("</script> \\| it's |"), "a bar would end the cell");
}

#[test]
fn a_model_is_identical_to_itself() {
    let tiny = tiny().display().to_string();
    let few = ["--report-pictures", "1", "--report-steps", "2", "--min-psnr", "99"];
    let done = run(&[&["diff", &tiny, &tiny], &few[..]].concat());
    assert!(done.status.success(), "nothing differs, so no bar is missed");
    let summary = text(&done.stdout);
    assert!(summary.contains("| identical | identical | 1.0000 | 0.0 % |"), "{summary}");
    assert!(summary.contains("135 filters and matrices, 135 identical"), "{summary}");
}

#[test]
fn pictures_below_the_bar_end_with_1_and_the_figures() {
    let folder = tempfile::tempdir().unwrap();
    let gate = |least: &'static str| {
        let few = ["--report-pictures", "1", "--report-steps", "2", "--min-psnr", least];
        converted(folder.path(), &few).1
    };
    assert_eq!(gate("20").status.code(), Some(0));
    let failed = gate("99.5");
    assert_eq!(failed.status.code(), Some(1));
    let error = text(&failed.stderr);
    assert!(error.contains("error: the mean PSNR of 1 pictures is "), "{error}");
    assert!(error.ends_with(" dB, and --min-psnr asks for 99.5 dB\n"), "{error}");
    let blind = converted(folder.path(), &["--min-psnr", "30", "--report-pictures", "0"]).1;
    assert_eq!(blind.status.code(), Some(2));
    assert!(text(&blind.stderr).contains("--min-psnr needs pictures"));
}

#[test]
fn different_networks_are_refused_with_the_first_difference() {
    let folder = tempfile::tempdir().unwrap();
    let (output, _) = converted(folder.path(), &[]);
    let other = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/default");
    let report = folder.path().join("report").display().to_string();
    let other = other.display().to_string();
    let failed = run(&["diff", &other, &output, "--report", &report]);
    assert_eq!(failed.status.code(), Some(1));
    let error = text(&failed.stderr);
    assert!(
        error.contains("are different networks: 'embeddings.token_embedding.weight'"),
        "{error}"
    );
    assert!(!Path::new(&report).exists(), "nothing is left behind");
}

#[test]
fn what_could_only_fail_later_is_refused_before_the_conversion() {
    let folder = tempfile::tempdir().unwrap();
    let (file, empty) = (folder.path().join("file"), folder.path().join("empty.txt"));
    fs::write(&file, "not a folder").unwrap();
    fs::write(&empty, "\n\n").unwrap();
    let (file, empty) = (file.display().to_string(), empty.display().to_string());
    let below = format!("{file}/report");
    let report = folder.path().join("report").display().to_string();
    for (arguments, problem) in [
        (["--report", &file, "--report-pictures", "0"], "cannot be a folder"),
        (["--report", &below, "--report-pictures", "0"], "cannot be a folder"),
        (["--report", &report, "--prompts", &empty], "has no prompts"),
        (["--report", &report, "--prompts", "/nowhere"], "cannot read /nowhere"),
    ] {
        let (output, failed) = converted(folder.path(), &arguments);
        assert_eq!(failed.status.code(), Some(1));
        let error = text(&failed.stderr);
        assert!(error.starts_with("error: ") && error.contains(problem), "{error}");
        assert!(!Path::new(&output).exists() && !Path::new(&report).exists());
    }
}
