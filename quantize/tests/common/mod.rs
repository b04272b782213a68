//! What the tests of the command share.
#![allow(clippy::unwrap_used, dead_code, reason = "tests, each of which uses some of it")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A file of `tests/fixtures`.
pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// The tiny Stable Diffusion as a diffusers folder.
pub fn tiny() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/files/tiny")
}

pub fn run(input: &Path, output: &Path, more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pochade-quantize"));
    command.arg(input).arg("-o").arg(output).args(more).output().unwrap()
}

/// Converts, and returns what was said.
pub fn convert(input: &Path, output: &Path, more: &[&str]) -> String {
    let done = run(input, output, more);
    let words = String::from_utf8(done.stderr).unwrap();
    assert!(done.status.success(), "{words}");
    words
}

/// The one sentence that a conversion is refused with, which leaves nothing behind.
pub fn refused(input: &Path, more: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let done = run(input, &folder.path().join("out.gguf"), more);
    let words = String::from_utf8(done.stderr).unwrap();
    assert_eq!(done.status.code(), Some(1), "{words}");
    assert!(words.starts_with("error: ") && words.trim_end().lines().count() == 1, "{words}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left behind");
    words
}

/// Copies a folder and all that is in it.
pub fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        match entry.path().is_dir() {
            true => copy(&entry.path(), &to),
            false => drop(fs::copy(entry.path(), to).unwrap()),
        }
    }
}
