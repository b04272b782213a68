//! Checkpoints that PyTorch pickled: their tensors are the ones that were saved, and nothing in
//! them is run. The files are made by `fixtures/make_fixtures.py`.
#![allow(clippy::unwrap_used)] // A fixture that cannot be read is a failed test.

mod common;

use std::fs;
use std::path::Path;

use pochade::files::{Encoding, TensorFile, safetensors};
use pochade_quantize::checkpoint;

use common::{convert, fixture, refused, tiny};

/// The tensor `name` of whichever table has it.
fn find<'a>(
    tables: &'a [TensorFile],
    name: &str,
) -> (&'a TensorFile, &'a pochade::files::StoredTensor) {
    tables.iter().find_map(|table| Some((table, table.find(name)?))).unwrap()
}

#[test]
fn every_tensor_has_the_values_that_were_saved_however_it_lay_in_memory() {
    let wanted = safetensors::open(&fixture("mixed.safetensors")).unwrap();
    for file in ["mixed.ckpt", "legacy.pt"] {
        let tables = checkpoint::open(&fixture(file)).unwrap();
        assert_eq!(wanted.tensors().len(), 11);
        for tensor in wanted.tensors() {
            let (table, found) = find(&tables, &tensor.name);
            assert_eq!((&found.shape, &found.encoding), (&tensor.shape, &tensor.encoding));
            assert_eq!(table.bytes_of(found), wanted.bytes_of(tensor), "{file}: {}", tensor.name);
        }
        for (name, kind) in [("position_ids", "int64"), ("double", "f64")] {
            assert_eq!(find(&tables, name).1.encoding, Encoding::Other(kind.to_owned()));
        }
        let copied: Vec<&str> = tables[1].tensors().iter().map(|t| t.name.as_str()).collect();
        assert_eq!(copied, ["columns", "transposed", "last", "repeated"], "the rest stays mapped");
    }
}

#[test]
fn a_call_in_a_checkpoint_is_refused_by_name_and_not_made() {
    for file in ["call.ckpt", "call.pt"] {
        let error = refused(&fixture(file), &[]);
        assert!(error.contains("calls posix.system"), "{error}");
    }
    assert!(!Path::new("pochade-was-here").exists());
}

#[test]
fn a_checkpoint_and_its_folder_become_the_same_file() {
    let folder = tempfile::tempdir().unwrap();
    let [a, b, c] = ["a.gguf", "b.gguf", "c.gguf"].map(|name| folder.path().join(name));
    let config = tiny().display().to_string();
    for encoding in ["keep", "int8"] {
        convert(&tiny(), &a, &["--weights", encoding]);
        convert(&fixture("tiny.ckpt"), &b, &["--weights", encoding, "--config", &config]);
        assert!(fs::read(&a).unwrap() == fs::read(&b).unwrap(), "{encoding}");
    }
    let words = convert(&fixture("tiny.ckpt"), &c, &["--config", &config, "--prediction", "v"]);
    assert!(words.contains("left out 1 tensors that no network uses, such as model_ema.decay"));
    let model = pochade::files::ModelFiles::open(&c).unwrap();
    let scheduler = model.config(pochade::files::Component::Scheduler).unwrap();
    assert_eq!(scheduler["prediction_type"], "v_prediction");
}

#[test]
fn a_model_without_a_tokenizer_is_not_converted() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config");
    for part in ["unet", "vae", "text_encoder", "scheduler"] {
        fs::create_dir_all(config.join(part)).unwrap();
        let name = if part == "scheduler" { "scheduler_config.json" } else { "config.json" };
        fs::copy(tiny().join(part).join(name), config.join(part).join(name)).unwrap();
    }
    fs::copy(tiny().join("model_index.json"), config.join("model_index.json")).unwrap();
    let config = config.display().to_string();
    let error = refused(&fixture("tiny.ckpt"), &["--config", &config]);
    assert!(error.contains("no tokenizer") && error.contains("--tokenizer"), "{error}");
    let tokenizer = tiny().join("tokenizer").display().to_string();
    let output = folder.path().join("a.gguf");
    convert(&fixture("tiny.ckpt"), &output, &["--config", &config, "--tokenizer", &tokenizer]);
}
