//! The command on a tiny Stable Diffusion: what it writes, and how it fails.
#![allow(clippy::unwrap_used)] // A fixture that cannot be read is a failed test.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use pochade::files::{Component, ModelFiles, gguf::Gguf};
use pochade_engine::DType;

fn tiny() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/files/tiny")
}

fn quantize(input: &Path, output: &Path, more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pochade-quantize"));
    command.arg(input).arg("-o").arg(output).args(more).output().unwrap()
}

fn converted(input: &Path, output: &Path, more: &[&str]) -> ModelFiles {
    let done = quantize(input, output, more);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    ModelFiles::open(output).unwrap()
}

const WITH_WEIGHTS: [Component; 3] =
    [Component::TextEncoder, Component::Unet, Component::Autoencoder];

#[test]
fn a_folder_becomes_a_file_with_the_same_content() {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (ModelFiles::open(&tiny()).unwrap(), folder.path().join("a.gguf"));
    let to = converted(&tiny(), &to, &[]);
    assert_eq!(to.pipeline(), from.pipeline());
    assert!(to.components().eq(from.components()));
    for component in from.components() {
        assert_eq!(to.config(component).unwrap(), from.config(component).unwrap());
    }
    for component in WITH_WEIGHTS {
        let (a, b) = (from.weights(component).unwrap(), to.weights(component).unwrap());
        assert!(a.tensors().map(|t| t.name).eq(b.tensors().map(|t| t.name)), "order of execution");
        for tensor in a.tensors() {
            let (a, b) = (a.view(tensor.name).unwrap(), b.view(tensor.name).unwrap());
            assert_eq!((a.dtype(), a.shape(), a.bytes()), (b.dtype(), b.shape(), b.bytes()));
        }
    }
    let ids = |model: &ModelFiles| {
        model.tokenizer(Component::TextEncoder).unwrap().encode("the sun's light! 42", 20)
    };
    assert_eq!(ids(&from), ids(&to));
}

#[test]
fn converting_a_converted_file_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (folder.path().join("1.gguf"), folder.path().join("2.gguf"));
    let a = converted(&tiny(), &first, &[]);
    let b = converted(&first, &second, &[]);
    assert_eq!(fs::read(&first).unwrap(), fs::read(&second).unwrap());
    assert_eq!(a.sha256().unwrap(), b.sha256().unwrap());
    // The target may be the source.
    converted(&first, &first, &[]);
    assert_eq!(fs::read(&first).unwrap(), fs::read(&second).unwrap());
}

#[test]
fn weights_can_be_widened_and_narrowed_again() {
    let folder = tempfile::tempdir().unwrap();
    let (wide, narrow) = (folder.path().join("wide.gguf"), folder.path().join("narrow.gguf"));
    converted(&tiny(), &wide, &["--weights", "f32"]);
    let narrowed = converted(&wide, &narrow, &["--weights", "f16"]);
    let original = ModelFiles::open(&tiny()).unwrap().weights(Component::Unet).unwrap();
    let narrowed = narrowed.weights(Component::Unet).unwrap();
    for tensor in original.tensors() {
        let (a, b) = (original.view(tensor.name).unwrap(), narrowed.view(tensor.name).unwrap());
        let wanted = if a.shape().len() > 1 { DType::F16 } else { DType::F32 };
        assert_eq!(b.dtype(), wanted, "{}", tensor.name);
        assert_eq!(a.to_f32(), b.to_f32(), "{}", tensor.name);
    }
    Gguf::open(&wide).unwrap().verify().unwrap();
}

#[test]
fn wrong_usage_and_failures_have_their_own_exit_codes() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("a.gguf");
    let usage = quantize(&tiny(), &output, &["--weights", "int3"]);
    assert_eq!(usage.status.code(), Some(2));
    let usage = quantize(&tiny(), &folder.path().join("a.bin"), &[]);
    assert_eq!(usage.status.code(), Some(2));
    for (input, output) in [
        (folder.path(), output.as_path()),
        (Path::new("/nowhere"), output.as_path()),
        (&*tiny(), Path::new("/nowhere/a.gguf")),
    ] {
        let failed = quantize(input, output, &[]);
        assert_eq!(failed.status.code(), Some(1));
        assert!(String::from_utf8_lossy(&failed.stderr).starts_with("error: "));
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left behind");
}

#[test]
fn a_damaged_source_is_not_converted() {
    let folder = tempfile::tempdir().unwrap();
    let (good, bad) = (folder.path().join("good.gguf"), folder.path().join("bad.gguf"));
    converted(&tiny(), &good, &[]);
    let mut bytes = fs::read(&good).unwrap();
    let tensors = Gguf::open(&good).unwrap();
    bytes[tensors.tensors().tensors()[5].range.start] ^= 1;
    fs::write(&bad, bytes).unwrap();
    let failed = quantize(&bad, &folder.path().join("out.gguf"), &[]);
    assert_eq!(failed.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&failed.stderr).contains("damaged"));
    assert!(!folder.path().join("out.gguf").exists());
}
