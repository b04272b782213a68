//! ONNX folders, as PyTorch's exporter and optimum write them (`fixtures/make_onnx.py`): the
//! weights are those of the diffusers folder they were exported from.
#![cfg(feature = "onnx")]
#![allow(clippy::unwrap_used)] // A fixture that cannot be read is a failed test.

mod common;

use std::fs;
use std::path::Path;

use pochade::files::{Component, ModelFiles};
use pochade_quantize::onnx;

use common::{convert, fixture, refused, tiny};

#[test]
fn graphs_have_the_weights_they_were_exported_with() {
    let folder = tempfile::tempdir().unwrap();
    assert!(onnx::is_model(&fixture("onnx")) && !onnx::is_model(&tiny()));
    let found = onnx::open(&fixture("onnx"), folder.path()).unwrap();
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "no copy is left");
    let wanted = ModelFiles::open(&tiny()).unwrap();
    assert!(found.components().eq(wanted.components()));
    for part in [Component::TextEncoder, Component::Unet, Component::Autoencoder] {
        let (a, b) = (found.weights(part).unwrap(), wanted.weights(part).unwrap());
        // Only the painting half of the autoencoder was exported.
        let exported = |name: &str| {
            part != Component::Autoencoder
                || name.starts_with("decoder.")
                || name.starts_with("post_quant_conv.")
        };
        assert!(b.tensors().any(|tensor| exported(tensor.name)));
        for tensor in b.tensors().filter(|tensor| exported(tensor.name)) {
            let (a, b) = (a.view(tensor.name).unwrap(), b.view(tensor.name).unwrap());
            // The exporter widens a few of them.
            assert_eq!((a.shape(), a.to_f32()), (b.shape(), b.to_f32()), "{}", tensor.name);
        }
    }
    convert(&fixture("onnx"), &folder.path().join("a.gguf"), &["--weights", "int8"]);
}

/// A copy of the fixture that can be spoiled.
fn copy(to: &Path) {
    for part in ["unet", "vae_decoder", "text_encoder", "tokenizer", "scheduler"] {
        fs::create_dir_all(to.join(part)).unwrap();
        for file in fs::read_dir(fixture("onnx").join(part)).unwrap() {
            let file = file.unwrap();
            fs::copy(file.path(), to.join(part).join(file.file_name())).unwrap();
        }
    }
    fs::copy(fixture("onnx/model_index.json"), to.join("model_index.json")).unwrap();
}

/// What is said of the fixture after `spoil` had its way with one of its files.
fn spoiled(file: &str, spoil: impl Fn(&[u8]) -> Vec<u8>) -> String {
    let folder = tempfile::tempdir().unwrap();
    copy(folder.path());
    let path = folder.path().join(file);
    let bytes = fs::read(&path).unwrap();
    fs::write(path, spoil(&bytes)).unwrap();
    refused(folder.path(), &[])
}

/// The same length with one stretch for another.
fn swapped(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let places: Vec<usize> =
        (0..bytes.len() - from.len()).filter(|at| bytes[*at..].starts_with(from)).collect();
    assert!(!places.is_empty());
    places.iter().for_each(|at| bytes[*at..*at + to.len()].copy_from_slice(to));
    bytes
}

#[test]
fn graphs_that_lie_are_refused() {
    for cut in [10, 1000, 50_000] {
        let error = spoiled("unet/model.onnx", |bytes| bytes[..cut].to_vec());
        assert!(error.contains("onnx"), "{error}");
    }
    let error = spoiled("unet/model.onnx_data", |bytes| bytes[..bytes.len() / 2].to_vec());
    assert!(error.contains("end of model.onnx_data"), "{error}");
    let away = b"../etc/passwd\0\0";
    let error = spoiled("unet/model.onnx", |bytes| swapped(bytes, b"model.onnx_data", away));
    assert!(error.contains("not in a file of the same folder"), "{error}");
    let gone = b"model.onnx-gone";
    let error = spoiled("unet/model.onnx", |bytes| swapped(bytes, b"model.onnx_data", gone));
    assert!(error.contains("cannot read"), "{error}");
}
