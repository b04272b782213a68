//! Whole models: a diffusers folder, the same folder in memory, and their errors.
#![allow(clippy::unwrap_used)] // A fixture that cannot be read is a failed test.

use std::collections::BTreeSet;
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use pochade::files::gguf::{Gguf, GgufWriter, TensorSpec, Value};
use pochade::files::{
    Component, FileBytes, FileError, ModelFiles, Progress, TensorSource, WeightEncoding, Weights,
    pack, safetensors,
};
use pochade_engine::{DType, TensorView};

fn tiny() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/files/tiny")
}

fn files_below(folder: &Path, root: &Path, out: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files_below(&path, root, out);
        } else {
            out.push(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned());
        }
    }
}

/// A copy of the tiny model that a test may spoil.
fn copy() -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    let mut files = Vec::new();
    files_below(&tiny(), &tiny(), &mut files);
    for file in files {
        let target = to.path().join(&file);
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(tiny().join(&file), target).unwrap();
    }
    to
}

const WITH_WEIGHTS: [Component; 3] =
    [Component::TextEncoder, Component::Unet, Component::Autoencoder];

#[test]
fn a_folder_gives_all_tensors_by_canonical_names() {
    let model = ModelFiles::open(&tiny()).unwrap();
    assert_eq!(model.pipeline(), Some("StableDiffusionPipeline"));
    let unet = model.weights(Component::Unet).unwrap();
    assert!(unet.unused().is_empty());
    let names: Vec<&str> = unet.tensors().map(|t| t.name).collect();
    assert_eq!(names[0], "time_embed.0.weight", "the order is that of execution, across shards");
    assert_eq!(*names.last().unwrap(), "out.2.bias");
    let weights = Weights::new(&unet);
    let query = weights.at("input_blocks").at(1).at(1).at("transformer_blocks.0.attn1.to_q");
    assert_eq!(query.tensor("weight").unwrap().shape(), [8, 8]);
    let text = model.weights(Component::TextEncoder).unwrap();
    assert!(text.tensor("encoder.layers.1.self_attn.q_proj.weight").is_some());
    let missing = weights.tensor("nothing").unwrap_err();
    assert!(matches!(missing, FileError::MissingTensor { .. }));
}

#[test]
fn a_file_in_the_binary_is_the_file_on_disk() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.gguf");
    let model = ModelFiles::open(&tiny()).unwrap();
    pack(&model, &path, WeightEncoding::Int8, |_| ControlFlow::Continue(())).unwrap();
    let disk = ModelFiles::open(&path).unwrap();
    let memory = ModelFiles::embedded("the binary", fs::read(&path).unwrap().leak()).unwrap();
    assert_eq!(disk.sha256().unwrap(), memory.sha256().unwrap());
    for component in WITH_WEIGHTS {
        assert_eq!(disk.config(component).unwrap(), memory.config(component).unwrap());
        let (a, b) = (disk.weights(component).unwrap(), memory.weights(component).unwrap());
        assert_eq!(a.tensors().collect::<Vec<_>>(), b.tensors().collect::<Vec<_>>());
        for tensor in a.tensors() {
            assert_eq!(a.view(tensor.name).unwrap().bytes(), b.view(tensor.name).unwrap().bytes());
        }
    }
    let tokens = |model: &ModelFiles| {
        model.tokenizer(Component::TextEncoder).unwrap().encode("a red sun", 12)
    };
    assert_eq!(tokens(&disk), tokens(&memory));
}

#[test]
fn the_hash_can_be_computed_with_sha256sum() {
    let script =
        "LC_ALL=C find . -type f | sed 's,^\\./,,' | LC_ALL=C sort | xargs sha256sum | sha256sum";
    let Ok(output) = Command::new("sh").arg("-c").arg(script).current_dir(tiny()).output() else {
        return;
    };
    let printed = String::from_utf8(output.stdout).unwrap();
    let model = ModelFiles::open(&tiny()).unwrap();
    if printed.len() >= 64 {
        assert_eq!(&printed[..64], model.sha256().unwrap());
    }
    assert_eq!(model.short_hash().unwrap(), &model.sha256().unwrap()[..10]);
}

fn error_of(folder: &Path) -> String {
    let model = match ModelFiles::open(folder) {
        Ok(model) => model,
        Err(error) => return error.to_string(),
    };
    let weights = WITH_WEIGHTS.map(|c| model.weights(c).err());
    let tokenizer = model.tokenizer(Component::TextEncoder).err();
    weights.into_iter().flatten().chain(tokenizer).next().unwrap().to_string()
}

#[test]
fn errors_name_the_file_and_what_to_do() {
    let gone = error_of(Path::new("/nowhere/model"));
    assert!(gone.starts_with("/nowhere/model: cannot read"), "{gone}");
    let model = copy();
    fs::remove_file(model.path().join("model_index.json")).unwrap();
    assert!(error_of(model.path()).contains("no model_index.json"));
    let single = tiny().join("vae/diffusion_pytorch_model.safetensors");
    assert!(error_of(&single).contains("named as in latent diffusion's checkpoints"));
    let text = tiny().join("tokenizer/vocab.json");
    assert!(error_of(&text).contains("a model is a diffusers folder with model_index.json"));
    let model = copy();
    fs::remove_file(model.path().join("vae/diffusion_pytorch_model.safetensors")).unwrap();
    assert!(error_of(model.path()).contains("no vae weights in safetensors form"));
    let model = copy();
    fs::write(model.path().join("unet/config.json"), "{").unwrap();
    assert!(error_of(model.path()).contains("unet/config.json: not JSON"));
    let model = copy();
    fs::remove_dir_all(model.path().join("tokenizer")).unwrap();
    assert!(error_of(model.path()).contains("no tokenizer"));
}

#[test]
fn a_shard_index_cannot_leave_its_folder() {
    for name in
        ["../vae/diffusion_pytorch_model.safetensors", "/etc/passwd", "..", "a\\b.safetensors", "x"]
    {
        let model = copy();
        let index = serde_json::json!({"weight_map": {"conv_in.weight": name}});
        let path = model.path().join("unet/diffusion_pytorch_model.safetensors.index.json");
        fs::write(path, index.to_string()).unwrap();
        let error = error_of(model.path());
        assert!(error.contains("not a file of the same folder"), "{name}: {error}");
    }
}

#[test]
fn a_shard_that_lacks_a_tensor_is_noticed() {
    let model = copy();
    let path = model.path().join("unet/diffusion_pytorch_model.safetensors.index.json");
    let mut index: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    index["weight_map"]["phantom"] = "diffusion_pytorch_model-00001-of-00002.safetensors".into();
    fs::write(path, index.to_string()).unwrap();
    assert!(error_of(model.path()).contains("has no tensor 'phantom'"));
}

fn write_text_encoder(model: &Path, file: &str, tensors: &[(&str, Vec<usize>)]) {
    fs::remove_file(model.join("text_encoder/model.fp16.safetensors")).unwrap();
    let bytes: Vec<u8> = (0..4096u32).flat_map(|i| (i as f32).to_le_bytes()).collect();
    let views: Vec<_> = tensors
        .iter()
        .map(|(name, shape)| {
            let len = shape.iter().product::<usize>() * 4;
            (*name, TensorView::new(DType::F32, shape, &bytes[..len]).unwrap())
        })
        .collect();
    safetensors::write(&model.join("text_encoder").join(file), &views).unwrap();
}

#[test]
fn open_clip_tensors_are_split_and_turned() {
    let model = copy();
    let tensors = [
        ("positional_embedding", vec![4, 2]),
        ("transformer.resblocks.1.attn.in_proj_weight", vec![6, 2]),
        ("transformer.resblocks.1.attn.in_proj_bias", vec![6]),
        ("transformer.resblocks.1.mlp.c_fc.weight", vec![8, 2]),
        ("text_projection", vec![2, 3]),
        ("logit_scale", vec![]),
    ];
    write_text_encoder(model.path(), "open_clip_model.safetensors", &tensors);
    let weights = ModelFiles::open(model.path()).unwrap().weights(Component::TextEncoder).unwrap();
    let values = |name: &str| weights.view(name).unwrap().to_f32();
    assert_eq!(values("encoder.layers.1.self_attn.k_proj.weight"), [4.0, 5.0, 6.0, 7.0]);
    assert_eq!(values("encoder.layers.1.self_attn.v_proj.bias"), [4.0, 5.0]);
    assert_eq!(values("text_projection.weight"), [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
    assert_eq!(weights.view("text_projection.weight").unwrap().shape(), [3, 2]);
    assert_eq!(weights.view("embeddings.position_embedding.weight").unwrap().shape(), [4, 2]);
    assert_eq!(weights.unused(), ["logit_scale"]);
}

#[test]
fn clip_tensors_are_found_without_their_prefix() {
    let model = copy();
    let tensors =
        [("encoder.layers.0.mlp.fc1.bias", vec![16]), ("final_layer_norm.weight", vec![12])];
    write_text_encoder(model.path(), "model.safetensors", &tensors);
    let weights = ModelFiles::open(model.path()).unwrap().weights(Component::TextEncoder).unwrap();
    let names: BTreeSet<&str> = weights.tensors().map(|t| t.name).collect();
    assert_eq!(names, tensors.iter().map(|(name, _)| *name).collect());
}

#[test]
fn one_tensor_under_two_names_is_refused() {
    let model = copy();
    let tensors =
        [("final_layer_norm.weight", vec![2]), ("text_model.final_layer_norm.weight", vec![2])];
    write_text_encoder(model.path(), "model.safetensors", &tensors);
    assert!(error_of(model.path()).contains("two tensors are both 'final_layer_norm.weight'"));
}

/// The tiny model as a GGUF file one bit of which is wrong, in the tensor `name`.
fn damaged_gguf(name: &str) -> ModelFiles {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.gguf");
    let model = ModelFiles::open(&tiny()).unwrap();
    pack(&model, &path, WeightEncoding::Keep, |_| ControlFlow::Continue(())).unwrap();
    let at = Gguf::open(&path).unwrap().tensors().find(name).unwrap().range.start;
    let mut bytes = fs::read(&path).unwrap();
    bytes[at] ^= 1;
    let bytes = FileBytes::Owned(Arc::from(bytes));
    ModelFiles::from_gguf(Gguf::parse("a.gguf", bytes).unwrap()).unwrap()
}

#[test]
fn a_damaged_tensor_is_refused_when_its_values_are_asked_for() {
    let weights =
        damaged_gguf("model.diffusion_model.out.2.bias").weights(Component::Unet).unwrap();
    let out = Weights::new(&weights).at("out").at(2);
    assert!(out.contains("bias"), "a damaged bias is not a missing one");
    let error = out.conv(4, 8, 3).unwrap_err().to_string();
    assert!(error.contains("out.2.bias") && error.contains("damaged"), "{error}");
    assert!(out.tensor("weight").is_ok(), "the others are read");
    let plan = Weights::hollow(&weights).at("out").at(2);
    assert!(plan.conv(4, 8, 3).is_ok(), "planning reads no values");
}

#[test]
fn a_fused_projection_is_taken_apart_head_by_head() {
    // Two heads of width 1: rows are q, k, v of the first head, then of the second.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.gguf");
    let config = serde_json::json!({"attention_head_dim": 1}).to_string();
    let metadata = [("pochade.unet.config".to_owned(), Value::String(config))];
    let name = "model.diffusion_model.input_blocks.1.1.qkv.weight".to_owned();
    let spec = TensorSpec { name, dtype: DType::F32, shape: vec![6, 2, 1] };
    let bytes: Vec<u8> = (0..12u8).flat_map(|i| f32::from(i).to_le_bytes()).collect();
    let mut writer = GgufWriter::create(&path, &metadata, vec![spec]).unwrap();
    writer.tensor(&TensorView::new(DType::F32, &[6, 2, 1], &bytes).unwrap()).unwrap();
    writer.finish().unwrap();
    let weights = ModelFiles::open(&path).unwrap().weights(Component::Unet).unwrap();
    let values = |part: &str| {
        let view = weights.view(&format!("input_blocks.1.1.{part}.weight")).unwrap();
        assert_eq!(view.shape(), [2, 2]);
        view.to_f32()
    };
    assert_eq!(values("q"), [0.0, 1.0, 6.0, 7.0]);
    assert_eq!(values("k"), [2.0, 3.0, 8.0, 9.0]);
    assert_eq!(values("v"), [4.0, 5.0, 10.0, 11.0]);
}

#[test]
fn an_interrupted_packing_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.gguf");
    let model = ModelFiles::open(&tiny()).unwrap();
    let half = |progress: Progress<'_>| match progress.done > progress.total / 2 {
        true => ControlFlow::Break(()),
        false => ControlFlow::Continue(()),
    };
    let error = pack(&model, &path, WeightEncoding::Keep, half).unwrap_err();
    assert!(matches!(error, FileError::Interrupted { .. }), "{error}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_value_beyond_f16_is_not_narrowed_to_infinity() {
    let model = copy();
    let shape = [1, 2];
    let bytes: Vec<u8> = [1.0f32, 70_000.0].iter().flat_map(|v| v.to_le_bytes()).collect();
    let view = TensorView::new(DType::F32, &shape, &bytes).unwrap();
    fs::remove_file(model.path().join("text_encoder/model.fp16.safetensors")).unwrap();
    let path = model.path().join("text_encoder/model.safetensors");
    safetensors::write(&path, &[("text_projection.weight", view)]).unwrap();
    let out = model.path().join("a.gguf");
    let opened = ModelFiles::open(model.path()).unwrap();
    let go_on = |_: Progress<'_>| ControlFlow::Continue(());
    let error = pack(&opened, &out, WeightEncoding::F16, go_on).unwrap_err().to_string();
    assert!(error.contains("text_projection.weight") && error.contains("f16"), "{error}");
    assert!(!out.exists());
}
