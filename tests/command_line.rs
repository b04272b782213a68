//! The `pochade` command as a user meets it: what it prints, what it writes, and how it fails.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use pochade::paint::infotext::Infotext;
use pochade::paint::png;

const TINY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/files/tiny");

/// The command; under emulation, through the emulator that runs these tests.
fn command() -> Command {
    let runner = std::env::var("POCHADE_TEST_RUNNER").unwrap_or_default();
    let mut words = runner.split_whitespace().chain([env!("CARGO_BIN_EXE_pochade")]);
    let mut command = Command::new(words.next().unwrap());
    command.args(words);
    command
}

fn pochade(arguments: &[&str]) -> Output {
    command().args(arguments).output().unwrap()
}

/// Exit status and standard error.
fn failure(arguments: &[&str]) -> (i32, String) {
    let output = pochade(arguments);
    assert!(output.stdout.is_empty(), "an error belongs to the standard error");
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

fn paint(folder: &Path, more: &[&str]) -> Output {
    let out = folder.join("picture.png");
    let start = ["paint", "a red sun", "--seed", "3", "--steps", "2", "-o", out.to_str().unwrap()];
    pochade(&[&start[..], &["--model", TINY], more].concat())
}

/// A copy of the tiny model that a test may spoil.
fn copy(to: &Path) -> PathBuf {
    fn copy_folder(from: &Path, to: &Path) {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            let target = to.join(entry.file_name());
            match entry.file_type().unwrap().is_dir() {
                true => copy_folder(&entry.path(), &target),
                false => drop(fs::copy(entry.path(), target).unwrap()),
            }
        }
    }
    let model = to.join("model");
    copy_folder(Path::new(TINY), &model);
    model
}

#[test]
fn a_picture_is_written_with_the_settings_that_made_it() {
    let folder = tempfile::tempdir().unwrap();
    let output = paint(folder.path(), &["--guidance", "2.5", "--size", "32x16"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let path = String::from_utf8(output.stdout).unwrap();
    let file = fs::read(path.trim_end()).unwrap();
    let text = Infotext::parse(&png::parameters(&file).unwrap().unwrap());
    assert_eq!(text.prompt, "a red sun");
    for (key, value) in [("Seed", "3"), ("Steps", "2"), ("CFG scale", "2.5"), ("Size", "32x16")] {
        assert_eq!(text.get(key), Some(value), "{key}");
    }
    let picture = image::load_from_memory(&file).unwrap();
    assert_eq!((picture.width(), picture.height()), (32, 16));
}

#[test]
fn the_environment_chooses_the_instruction_set_and_the_picture_stays_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let picture = folder.path().join("picture.png");
    assert!(paint(folder.path(), &[]).status.success());
    let first = fs::read(&picture).unwrap();
    fs::remove_file(&picture).unwrap();
    let status = command()
        .args(["paint", "a red sun", "--seed", "3", "--steps", "2", "--model", TINY, "-o"])
        .arg(&picture)
        .env("POCHADE_ISA", "portable")
        .output()
        .unwrap()
        .status;
    assert!(status.success());
    assert_eq!(first, fs::read(&picture).unwrap());
}

#[test]
fn an_instruction_set_that_is_not_there_is_said() {
    let output = command()
        .args(["paint", "sun", "--model", TINY])
        .env("POCHADE_ISA", "mmx")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(message.contains("POCHADE_ISA=mmx") && message.contains("portable"), "{message}");
}

#[test]
fn words_that_make_no_sense_are_a_usage_error() {
    for (arguments, part) in [
        (&["paint", "sun", "--sampler", "heun"][..], "dpm++2m"),
        (&["paint", "sun", "--size", "wide"], "--size"),
        (&["paint", "sun", "--steps", "0"], "--steps"),
        (&["paint", "sun", "--threads", "0"], "--threads"),
        (&["paint", "sun", "--guidance", "nan"], "--guidance"),
        (&["paint"], "PROMPT"),
    ] {
        let (status, message) = failure(arguments);
        assert_eq!(status, 2, "{message}");
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn what_cannot_be_painted_is_said_in_a_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let odd = paint(folder.path(), &["--size", "21x20"]);
    assert_eq!(odd.status.code(), Some(1));
    let message = String::from_utf8(odd.stderr).unwrap();
    assert!(message.contains("--size 21x20") && message.contains("multiples of"), "{message}");

    let (status, message) = failure(&["paint", "sun", "--model", "/no/such/model"]);
    assert_eq!(status, 1);
    assert!(message.contains("/no/such/model"), "{message}");

    let nowhere = ["paint", "sun", "--model", TINY, "--steps", "1", "-o", "/no/such/folder/x.png"];
    let (status, message) = failure(&nowhere);
    assert_eq!(status, 1);
    assert!(message.contains("/no/such/folder"), "{message}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "no file is left behind");
}

#[test]
fn a_prompt_that_is_too_long_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("x.png");
    let words = "sun ".repeat(100);
    let output =
        pochade(&["paint", &words, "--model", TINY, "--steps", "1", "-o", out.to_str().unwrap()]);
    assert!(output.status.success());
    assert!(String::from_utf8(output.stderr).unwrap().contains("too long"));
}

#[test]
fn spoiled_models_are_errors_that_name_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let model = copy(folder.path());
    let weights = model.join("vae/diffusion_pytorch_model.safetensors");
    let whole = fs::read(&weights).unwrap();
    let spoil = |bytes: &[u8]| {
        fs::write(&weights, bytes).unwrap();
        let out = folder.path().join("x.png");
        let model = model.to_str().unwrap();
        failure(&["paint", "sun", "--model", model, "--steps", "1", "-o", out.to_str().unwrap()])
    };
    let mut lying = whole.clone();
    lying[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    for bytes in [&whole[..whole.len() / 2], &whole[..5], &lying[..], &[]] {
        let (status, message) = spoil(bytes);
        assert_eq!(status, 1, "{message}");
        assert!(message.contains("diffusion_pytorch_model.safetensors"), "{message}");
    }
}

#[test]
fn inspect_shows_parts_and_memory_to_people_and_to_machines() {
    let people = String::from_utf8(pochade(&["inspect", TINY]).stdout).unwrap();
    for part in ["text_encoder", "unet", "vae", "peak memory", "predicted", "Raspberry Pi 5"] {
        assert!(people.contains(part), "{people}");
    }
    let machines = pochade(&["inspect", TINY, "--json"]).stdout;
    let json: serde_json::Value = serde_json::from_slice(&machines).unwrap();
    assert!(json["peak_memory"].as_u64().unwrap() > 10_000);
    assert_eq!(json["parts"].as_array().unwrap().len(), 3);
    assert!(json["predicted"][0]["seconds"].as_f64().unwrap() > 0.0);
}

#[cfg(feature = "kiosk")]
#[test]
fn a_kiosk_is_checked_before_it_is_put_up() {
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/examples/pochade.toml");
    let output = pochade(&["validate-config", "--config", example]);
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success());
    for part in ["can be used", "every 600s", "playlist default, now:", "sun over"] {
        assert!(said.contains(part), "{said}");
    }
    let (status, message) = failure(&["daemon", "--config", "/no/such/pochade.toml"]);
    assert_eq!(status, 1);
    assert!(message.contains("/no/such/pochade.toml") && message.contains("--config"), "{message}");
    let folder = tempfile::tempdir().unwrap();
    let wrong = folder.path().join("pochade.toml");
    fs::write(&wrong, "[schedule]\nevery = \"often\"\n").unwrap();
    let (status, message) = failure(&["validate-config", "--config", wrong.to_str().unwrap()]);
    assert_eq!(status, 1);
    assert!(message.contains("pochade.toml: ") && message.contains("write it as 10m"), "{message}");
}

/// A walk of five frames with the tiny model.
fn walk(out: &Path) -> Output {
    let out = out.to_str().unwrap();
    let prompts = ["walk", "a red sun", "a blue sea", "--seed", "3", "--seed-to", "4"];
    pochade(
        &[&prompts[..], &["--steps", "2", "--frames", "5", "--model", TINY, "-o", out]].concat(),
    )
}

#[test]
fn the_ends_of_a_walk_are_the_files_that_paint_writes() {
    let folder = tempfile::tempdir().unwrap();
    let frames = folder.path().join("frames");
    let output = walk(&frames);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for (frame, prompt, seed) in [(1, "a red sun", "3"), (5, "a blue sea", "4")] {
        let out = folder.path().join("alone.png");
        let alone = ["paint", prompt, "--seed", seed, "--steps", "2", "--model", TINY, "-o"];
        assert!(pochade(&[&alone[..], &[out.to_str().unwrap()]].concat()).status.success());
        let frame = frames.join(format!("frame-{frame:04}.png"));
        assert!(fs::read(frame).unwrap() == fs::read(out).unwrap(), "{prompt}");
    }
    let pixels = |i| image::open(frames.join(format!("frame-{i:04}.png"))).unwrap().to_rgb8();
    let pictures: Vec<_> = (1..=5).map(pixels).collect();
    assert!(pictures.windows(2).all(|pair| pair[0] != pair[1]), "every frame moves on");

    // The same in one file, whose still picture is the first frame.
    let one = folder.path().join("one.apng");
    assert!(walk(&one).status.success());
    let still = image::load_from_memory(&fs::read(one).unwrap()).unwrap().to_rgb8();
    assert!(still == pictures[0]);
}

#[test]
#[cfg(unix)]
fn a_walk_that_is_stopped_leaves_nothing_half_done() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("one.png");
    let mut child = command()
        .args(["walk", "a red sun", "a blue sea", "--frames", "9999", "--model", TINY, "-o"])
        .arg(&out)
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    while fs::read_dir(folder.path()).unwrap().count() == 0 {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let id = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(1));
    let mut said = String::new();
    std::io::Read::read_to_string(&mut child.stderr.take().unwrap(), &mut said).unwrap();
    assert!(said.contains("stopped after") && said.contains("of 9999 frames"), "{said}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_picture_is_explained_as_a_sheet_and_as_a_page() {
    let folder = tempfile::tempdir().unwrap();
    let explain = |name: &str| {
        let out = folder.path().join(name);
        let words = ["explain", "a red sun", "--seed", "3", "--steps", "2", "--model", TINY, "-o"];
        let output = pochade(&[&words[..], &[out.to_str().unwrap()]].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(String::from_utf8(output.stdout).unwrap().trim_end(), out.to_str().unwrap());
        fs::read(out).unwrap()
    };
    // Pictures are enlarged for a sheet, which takes minutes under emulation.
    if std::env::var_os("POCHADE_TEST_RUNNER").is_none() {
        let sheet = explain("sheet.png");
        let text = Infotext::parse(&png::parameters(&sheet).unwrap().unwrap());
        assert_eq!((text.prompt.as_str(), text.get("Seed")), ("a red sun", Some("3")));
        assert!(image::load_from_memory(&sheet).unwrap().width() > 1000);
    }
    let page = String::from_utf8(explain("page.html")).unwrap();
    assert!(page.starts_with("<!DOCTYPE html>") && page.contains("<h1>a red sun</h1>"));
}
