//! `verify` on whole and damaged models.
#![allow(clippy::unwrap_used)] // A fixture that cannot be read is a failed test.

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use pochade::files::gguf::{Gguf, GgufWriter, TensorSpec};
use pochade::files::{Encoding, ModelFiles, StoredTensor, WeightEncoding, pack};
use pochade_engine::TensorView;

fn tiny() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/files/tiny")
}

fn verify(path: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_pochade-quantize")).arg("verify").arg(path).output().unwrap()
}

/// The one sentence on standard error.
fn refusal(path: &Path) -> String {
    let done = verify(path);
    assert_eq!(done.status.code(), Some(1));
    let error = String::from_utf8(done.stderr).unwrap();
    assert_eq!(error.lines().count(), 1, "{error}");
    error
}

/// The tiny model in a file of its own.
fn packed(folder: &Path, encoding: WeightEncoding) -> PathBuf {
    let path = folder.join("tiny.gguf");
    let model = ModelFiles::open(&tiny()).unwrap();
    pack(&model, &path, encoding, |_| ControlFlow::Continue(())).unwrap();
    path
}

/// Writes the file anew with tensors changed by `edit`, so that its hashes are right.
fn rewritten(path: &Path, edit: impl Fn(&mut Vec<(StoredTensor, Vec<u8>)>)) {
    let file = Gguf::open(path).unwrap();
    let stored = file.tensors().tensors();
    let mut tensors: Vec<_> =
        stored.iter().map(|t| (t.clone(), file.tensors().bytes_of(t).to_vec())).collect();
    edit(&mut tensors);
    let dtype = |tensor: &StoredTensor| match tensor.encoding {
        Encoding::Plain(dtype) => dtype,
        Encoding::Other(_) => unreachable!("this file was written here"),
    };
    let spec = |(t, _): &(StoredTensor, Vec<u8>)| TensorSpec {
        name: t.name.clone(),
        dtype: dtype(t),
        shape: t.shape.clone(),
    };
    let ours = ["general.alignment", "pochade.hash.xxh3"];
    let metadata: Vec<_> =
        file.metadata().iter().filter(|(key, _)| !ours.contains(&&**key)).cloned().collect();
    let new = path.with_extension("new.gguf");
    let mut writer =
        GgufWriter::create(&new, &metadata, tensors.iter().map(spec).collect()).unwrap();
    for (tensor, bytes) in &tensors {
        let view = TensorView::new(dtype(tensor), &tensor.shape, bytes).unwrap();
        writer.tensor(&view).unwrap();
    }
    writer.finish().unwrap();
    drop(file);
    fs::rename(new, path).unwrap();
}

/// The first tensor whose name ends so.
fn ending<'a>(
    tensors: &'a mut [(StoredTensor, Vec<u8>)],
    end: &str,
) -> &'a mut (StoredTensor, Vec<u8>) {
    tensors.iter_mut().find(|(tensor, _)| tensor.name.ends_with(end)).unwrap()
}

#[test]
fn whole_models_are_whole() {
    let folder = tempfile::tempdir().unwrap();
    for path in [tiny(), packed(folder.path(), WeightEncoding::Int8)] {
        let done = verify(&path);
        let out = String::from_utf8(done.stdout).unwrap();
        assert!(done.status.success() && done.stderr.is_empty(), "{out}");
        assert_eq!(out.matches("| whole |").count(), 3, "{out}");
    }
    rewritten(&packed(folder.path(), WeightEncoding::Int4), |_| {});
    assert!(verify(&folder.path().join("tiny.gguf")).status.success());
}

#[test]
fn any_changed_byte_is_found_and_its_tensor_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = packed(folder.path(), WeightEncoding::Int8);
    let whole = fs::read(&path).unwrap();
    let tensors = Gguf::open(&path).unwrap().tensors().tensors().to_vec();
    for tensor in tensors.iter().step_by(tensors.len() / 9) {
        let mut bytes = whole.clone();
        bytes[tensor.range.end - 1] ^= 1;
        fs::write(&path, bytes).unwrap();
        let error = refusal(&path);
        assert!(error.contains(&format!("'{}' differs from its checksum", tensor.name)), "{error}");
    }
}

#[test]
fn what_is_missing_or_of_no_use_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = packed(folder.path(), WeightEncoding::Keep);
    rewritten(&path, |tensors| {
        tensors.retain(|(tensor, _)| !tensor.name.ends_with("middle_block.0.in_layers.0.bias"));
    });
    let error = refusal(&path);
    assert!(error.contains("no tensor 'middle_block.0.in_layers.0.bias'"), "{error}");
    packed(folder.path(), WeightEncoding::Keep);
    rewritten(&path, |tensors| {
        let (tensor, bytes) = tensors.last().unwrap().clone();
        for name in ["model.diffusion_model.extra", "first_stage_model.more"] {
            tensors.push((StoredTensor { name: name.to_owned(), ..tensor.clone() }, bytes.clone()));
        }
    });
    let error = refusal(&path);
    assert!(error.contains("'model.diffusion_model.extra' has no place in the unet"), "{error}");
    assert!(error.ends_with("; and 1 more problem\n"), "{error}");
}

#[test]
fn numbers_out_of_their_range_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.gguf");
    let case = |end: &str, put: &dyn Fn(&mut Vec<u8>), problem: &str| {
        packed(folder.path(), WeightEncoding::Int8);
        rewritten(&path, |tensors| put(&mut ending(tensors, end).1));
        let error = refusal(&path);
        assert!(error.contains(problem), "{error}");
    };
    let nan = |bytes: &mut Vec<u8>| bytes[..4].copy_from_slice(&f32::NAN.to_le_bytes());
    let infinite = |bytes: &mut Vec<u8>| bytes[..4].copy_from_slice(&f32::INFINITY.to_le_bytes());
    let least = |bytes: &mut Vec<u8>| bytes[5] = 0x80;
    case("out.0.bias", &nan, "out.0.bias' has a value that is not a finite number");
    case("middle_block.0.in_layers.2.weight", &least, "a weight is -128");
    case("middle_block.0.in_layers.2.weight.step", &infinite, "a step is not a number");
}

#[test]
fn a_folder_is_verified_too() {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("tiny");
    for part in ["", "scheduler", "text_encoder", "tokenizer", "unet", "vae"] {
        fs::create_dir_all(copy.join(part)).unwrap();
        for file in fs::read_dir(tiny().join(part)).unwrap().map(Result::unwrap) {
            if file.file_type().unwrap().is_file() {
                fs::copy(file.path(), copy.join(part).join(file.file_name())).unwrap();
            }
        }
    }
    let weights = copy.join("text_encoder/model.fp16.safetensors");
    let mut bytes = fs::read(&weights).unwrap();
    let end = bytes.len();
    bytes[end - 2..].copy_from_slice(&[0, 0x7e]);
    fs::write(&weights, bytes).unwrap();
    let error = refusal(&copy);
    assert!(error.contains("has a value that is not a finite number"), "{error}");
    fs::remove_file(copy.join("tokenizer/merges.txt")).unwrap();
    assert!(refusal(&copy).ends_with("; and 1 more problem\n"));
}
