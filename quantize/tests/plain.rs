//! Files for other readers of GGUF: standard blocks, byte for byte as ggml's own Python package
//! makes them (`fixtures/make_fixtures.py`).
#![allow(clippy::unwrap_used)] // A fixture that cannot be read is a failed test.

mod common;

use std::path::{Path, PathBuf};

use pochade::files::gguf::{Gguf, Value};
use pochade::files::{Component, Encoding, ModelFiles, blocks, safetensors};
use pochade_engine::DType;

use common::{convert, fixture, refused, run};

/// A tiny Stable Diffusion XL with matrices of whole blocks.
fn xl() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/pipeline/xl")
}

#[test]
fn blocks_are_those_of_ggmls_own_package() {
    let file = safetensors::open(&fixture("blocks.safetensors")).unwrap();
    let values = file.view("values").unwrap().unwrap().to_f32();
    for (name, dtype) in [("q8_0", DType::Q8_0), ("q4_0", DType::Q4_0)] {
        let mut found = Vec::new();
        assert!(blocks::append(&mut found, &values, dtype));
        let wanted = file.bytes_of(file.find(name).unwrap());
        assert_eq!(found.len(), wanted.len());
        let size = dtype.bytes();
        for (i, (a, b)) in found.chunks(size).zip(wanted.chunks(size)).enumerate() {
            assert_eq!(a, b, "{name}: row {i}");
        }
    }
}

#[test]
fn a_plain_file_has_standard_types_alone_and_is_still_a_model() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.gguf");
    let weight = "middle_block.1.transformer_blocks.0.attn1.to_q.weight";
    let from = ModelFiles::open(&xl()).unwrap().weights(Component::Unet).unwrap();
    let values = from.view(weight).unwrap().to_f32();
    for (word, dtype, file_type) in [("int8", DType::Q8_0, 7), ("int4", DType::Q4_0, 2)] {
        convert(&xl(), &path, &["--weights", word, "--gguf-plain"]);
        let gguf = Gguf::open(&path).unwrap();
        assert_eq!(gguf.get("general.file_type"), Some(&Value::U32(file_type)));
        assert_eq!(gguf.get("general.quantization_version"), Some(&Value::U32(2)));
        let model = ModelFiles::open(&path).unwrap();
        let unet = model.weights(Component::Unet).unwrap();
        for tensor in unet.tensors() {
            let kind = match (tensor.name, tensor.shape) {
                (_, [_]) => DType::F32,
                (name, [_, columns])
                    if columns % 32 == 0
                        && !name.starts_with("time_embed")
                        && !name.starts_with("label_emb") =>
                {
                    dtype
                }
                _ => DType::F16,
            };
            assert_eq!(tensor.encoding, &Encoding::Plain(kind), "{}", tensor.name);
        }
        let mut wanted = Vec::new();
        assert!(blocks::append(&mut wanted, &values, dtype));
        assert_eq!(unet.view(weight).unwrap().bytes(), wanted);
        assert!(model.tokenizer(Component::TextEncoder).is_ok());
    }
}

#[test]
fn panels_of_integers_are_not_made_plain() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.gguf");
    convert(&xl(), &path, &["--weights", "int8"]);
    for weights in ["keep", "int8", "f16"] {
        let error = refused(&path, &["--gguf-plain", "--weights", weights]);
        assert!(error.contains("is in integers already"), "{error}");
    }
    let usage = run(&xl(), &path, &["--gguf-plain", "--calibrate", "prompts.txt"]);
    assert_eq!(usage.status.code(), Some(2));
}
