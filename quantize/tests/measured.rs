//! Conversions that look at what the model paints: calibration, mixes under budgets, recipes.
#![allow(clippy::unwrap_used)] // A fixture that cannot be read is a failed test.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use pochade::files::gguf::Gguf;
use pochade::files::{Component, ModelFiles};

fn tiny() -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/files/tiny");
    folder.display().to_string()
}

/// A folder with prompts in it.
struct Workshop(tempfile::TempDir);

impl Workshop {
    fn new() -> Self {
        let workshop = Self(tempfile::tempdir().unwrap());
        fs::write(workshop.path("prompts.txt"), "a red sun\n\na blue sea\n").unwrap();
        workshop
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Converts the tiny model to `output`.
    fn convert(&self, output: &str, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_pochade-quantize"))
            .current_dir(self.0.path())
            .args([&tiny(), "-o", output])
            .args(arguments)
            .output()
            .unwrap()
    }

    /// The same for a mix, of two pictures.
    fn mix(&self, output: &str, arguments: &[&str]) -> Output {
        let calibrate = ["--weights", "mixed", "--calibrate", "prompts.txt", "--pictures", "2"];
        self.convert(output, &[&calibrate, arguments].concat())
    }

    /// What is said where `output` cannot be made, and is not there.
    fn refusal(&self, arguments: &[&str]) -> String {
        let done = self.convert("refused.gguf", arguments);
        assert_eq!(done.status.code(), Some(1));
        assert!(!self.path("refused.gguf").exists());
        String::from_utf8(done.stderr).unwrap()
    }
}

fn expect_success(done: &Output) {
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

#[test]
fn a_recipe_makes_the_same_file_again() {
    let workshop = Workshop::new();
    expect_success(&workshop.mix("first.gguf", &["--save-recipe", "recipe.toml"]));
    expect_success(&workshop.convert("second.gguf", &["--recipe", "recipe.toml"]));
    let read = |name| fs::read(workshop.path(name)).unwrap();
    assert!(read("first.gguf") == read("second.gguf"), "the files differ");
    let recipe = fs::read_to_string(workshop.path("recipe.toml")).unwrap();
    assert!(recipe.contains("\"unet/middle_block.0.in_layers.2\" = "), "{recipe}");
}

#[test]
fn a_mix_keeps_its_budget_of_bytes_or_says_what_would_do() {
    let workshop = Workshop::new();
    let uniform = |bits| {
        let calibrate = ["--calibrate", "prompts.txt", "--pictures", "2"];
        expect_success(
            &workshop.convert("all.gguf", &[&["--weights", bits], &calibrate[..]].concat()),
        );
        fs::metadata(workshop.path("all.gguf")).unwrap().len()
    };
    let (int4, int8) = (uniform("int4"), uniform("int8"));
    let between = (int4 + int8) / 2;
    let budget = (between as f64 / 1e6).to_string();
    expect_success(&workshop.mix("mix.gguf", &["--budget-mb", &budget]));
    let found = fs::metadata(workshop.path("mix.gguf")).unwrap().len();
    assert!(int4 < found && found <= between, "{int4} < {found} <= {between}");
    let calibrate = ["--weights", "mixed", "--calibrate", "prompts.txt", "--pictures", "2"];
    let said = workshop.refusal(&[&calibrate[..], &["--budget-mb", "0.001"]].concat());
    assert!(said.contains("the layers take"), "{said}");
}

#[test]
fn a_budget_of_time_that_cannot_be_kept_is_refused_with_what_could_be() {
    let workshop = Workshop::new();
    let board = ["--board", "zero2"];
    let calibrate = ["--weights", "mixed", "--calibrate", "prompts.txt", "--pictures", "2"];
    let said = workshop.refusal(&[&calibrate[..], &board, &["--budget-ms", "0.001"]].concat());
    assert!(said.contains("(predicted)"), "{said}");
}

#[test]
fn what_cannot_be_measured_is_refused_in_a_sentence() {
    let workshop = Workshop::new();
    fs::write(workshop.path("empty.txt"), "\n \n").unwrap();
    fs::write(
        workshop.path("other.toml"),
        "version = 1\nsmoothed = []\n[calibration]\nprompts = [\"sea\"]\n\
        pictures = 4\n[layers]\n",
    )
    .unwrap();
    fs::write(workshop.path("broken.toml"), "version = [").unwrap();
    for (arguments, wanted) in [
        (&["--weights", "mixed"][..], "--weights mixed needs --calibrate PROMPTS"),
        (&["--weights", "f16", "--calibrate", "prompts.txt"], "--calibrate is for --weights int8"),
        (&["--weights", "int8", "--calibrate", "none.txt"], "cannot read none.txt"),
        (&["--weights", "int8", "--calibrate", "empty.txt"], "empty.txt cannot be painted"),
        (
            &["--weights", "int8", "--calibrate", "prompts.txt", "--pictures", "1"],
            "paints 2 to 1024 pictures, not 1",
        ),
        (&["--recipe", "other.toml"], "it was written for another model"),
        (&["--recipe", "broken.toml"], "broken.toml is not a recipe"),
    ] {
        let said = workshop.refusal(arguments);
        assert!(said.contains(wanted), "{arguments:?}: {said}");
        assert_eq!(said.trim_end().lines().count(), 1, "{said}");
    }
}

#[test]
fn a_mix_keeps_a_budget_of_time_that_not_all_encodings_would() {
    let workshop = Workshop::new();
    let seconds = |report: &str| {
        let text = fs::read_to_string(workshop.path(report).join("report.json")).unwrap();
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        let boards = json["boards"].as_array().unwrap();
        let board = boards.iter().find(|board| board["board"] == "zero2").unwrap();
        board["predicted_seconds"].as_f64().unwrap()
    };
    let report = |folder| ["--report", folder, "--report-pictures", "0"];
    let whole = [&["--weights", "f16"], &report("whole")[..]].concat();
    expect_success(&workshop.convert("whole.gguf", &whole));
    let least = [&["--weights", "int4"], &report("least")[..]].concat();
    expect_success(&workshop.convert("least.gguf", &least));
    let (least, whole) = (seconds("least"), seconds("whole"));
    let budget = (least + whole) / 2.0;
    let asked = ["--board", "zero2", "--budget-ms", &(1e3 * budget).to_string()];
    expect_success(&workshop.mix("mix.gguf", &[&asked[..], &report("mix")].concat()));
    let found = seconds("mix");
    assert!(least <= found && found <= budget, "{least} <= {found} <= {budget} < {whole}");
}

#[test]
fn a_shortcut_over_two_joined_values_rounds_them_apart_where_that_is_better() {
    let workshop = Workshop::new();
    let calibrate = ["--weights", "int8", "--calibrate", "prompts.txt", "--pictures", "2"];
    expect_success(&workshop.convert("apart.gguf", &calibrate));
    let file = Gguf::open(&workshop.path("apart.gguf")).unwrap();
    let names = file.tensors().tensors().iter().map(|tensor| tensor.name.as_str());
    let split: Vec<&str> = names.filter(|name| name.ends_with(".split")).collect();
    assert!(!split.is_empty());
    assert!(split.iter().all(|name| name.ends_with("skip_connection.weight.split")), "{split:?}");
    let verified = Command::new(env!("CARGO_BIN_EXE_pochade-quantize"))
        .args(["verify", &workshop.path("apart.gguf").display().to_string()])
        .output()
        .unwrap();
    expect_success(&verified);
}

#[test]
fn a_second_stage_is_heard_and_rounded_like_the_first() {
    let workshop = Workshop::new();
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/pipeline");
    let model = workshop.path("cascade");
    common::copy(&fixtures.join("xl"), &model);
    common::copy(&fixtures.join("second"), &model);
    let calibrate = ["--weights", "int8", "--calibrate", "prompts.txt", "--pictures", "2"];
    let more = ["--save-recipe", "recipe.toml", "--report", "report", "--report-pictures", "1"];
    let run = |arguments: &[&str]| {
        let command = Command::new(env!("CARGO_BIN_EXE_pochade-quantize"))
            .current_dir(workshop.0.path())
            .args(arguments)
            .output();
        expect_success(&command.unwrap());
    };
    run(&[&["cascade", "-o", "cascade.gguf"], &calibrate[..], &more].concat());
    run(&["verify", "cascade.gguf"]);
    let recipe = fs::read_to_string(workshop.path("recipe.toml")).unwrap();
    assert!(recipe.contains("\"upscaler/middle_block.0.in_layers.2\" = \"int8\""), "{recipe}");
    let files = ModelFiles::open(&workshop.path("cascade.gguf")).unwrap();
    assert_eq!(files.config(Component::Upscaler).unwrap()["_pochade"]["steps"], 3);
    let report = fs::read_to_string(workshop.path("report/report.json")).unwrap();
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    let choices = report["choices"].as_array().unwrap();
    let heard = choices.iter().filter(|choice| choice["part"] == "upscaler");
    assert!(heard.clone().count() > 10, "{choices:?}");
    for choice in heard {
        let inputs = &choice["inputs"];
        assert_eq!(inputs["ranges"].as_array().unwrap().len(), 3, "one for each step: {choice}");
        assert!(inputs["dynamic_sqnr_db"].as_f64() > Some(20.0), "{choice}");
    }
}
