//! Checkpoints of bare tensors: their configs are those of the published models, their weights
//! those of the diffusers folder they were made from.
#![allow(clippy::unwrap_used)] // A fixture that cannot be read is a failed test.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use pochade::diffusion::{Prediction, SchedulerConfig};
use pochade::files::{
    Beside, Checkpoint, Component, Config, Encoding, FileBytes, FileError, ModelFiles, Predicts,
    StoredTensor, TensorFile, names, safetensors,
};
use pochade::nets::{AutoencoderKlConfig, ClipTextConfig, UNetConfig};
use pochade_engine::{DType, TensorView};
use serde_json::Value;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/files")
}

type Shapes = BTreeMap<String, Vec<usize>>;

/// The tensors of a network of diffusers under their checkpoint names.
fn renamed(fixture: &str, component: Component) -> Shapes {
    let path = fixtures().join(format!("names_{fixture}.json"));
    let root: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    let map = names::map_of(component, Config::new(fixture, &root["config"])).unwrap();
    let tensors: Shapes = serde_json::from_value(root["tensors"].clone()).unwrap();
    let name = |stored: &str| format!("{}{}", component.prefix(), map.canonical(stored).unwrap());
    tensors.into_iter().map(|(stored, shape)| (name(&stored), shape)).collect()
}

/// OpenCLIP's text encoder as its own program stores it, behind `prefix`.
fn open_clip(prefix: &str, layers: usize, width: usize) -> Shapes {
    let mut shapes = Shapes::new();
    let mut add =
        |name: &str, shape: &[usize]| shapes.insert(format!("{prefix}{name}"), shape.into());
    add("token_embedding.weight", &[49408, width]);
    add("positional_embedding", &[77, width]);
    add("text_projection", &[width, width]);
    add("logit_scale", &[]);
    add("ln_final.weight", &[width]);
    for layer in 0..layers {
        let mut add = |name: &str, shape: &[usize]| {
            add(&format!("transformer.resblocks.{layer}.{name}"), shape);
        };
        add("attn.in_proj_weight", &[3 * width, width]);
        add("attn.in_proj_bias", &[3 * width]);
        add("attn.out_proj.weight", &[width, width]);
        add("mlp.c_fc.weight", &[4 * width, width]);
        add("mlp.c_proj.weight", &[width, 4 * width]);
    }
    shapes
}

/// A checkpoint of shapes alone.
fn outline(parts: impl IntoIterator<Item = Shapes>) -> Result<ModelFiles, FileError> {
    model(parts, &Beside::default())
}

fn model(
    parts: impl IntoIterator<Item = Shapes>,
    beside: &Beside,
) -> Result<ModelFiles, FileError> {
    let encoding = Encoding::Other("nothing".to_owned());
    let tensor =
        |(name, shape)| StoredTensor { name, encoding: encoding.clone(), shape, range: 0..0 };
    let tensors = parts.into_iter().flatten().map(tensor).collect();
    let table = TensorFile::new("a.safetensors", FileBytes::Static(&[]), tensors)?;
    ModelFiles::from_checkpoint(Checkpoint::new("a.safetensors", vec![table])?, beside)
}

fn sd1() -> [Shapes; 3] {
    [
        renamed("unet_sd15", Component::Unet),
        renamed("vae_kl", Component::Autoencoder),
        renamed("text_clip", Component::TextEncoder),
    ]
}

fn sd2() -> [Shapes; 3] {
    let [_, vae, _] = sd1();
    [renamed("unet_sd21", Component::Unet), vae, open_clip("cond_stage_model.model.", 24, 1024)]
}

fn unet(model: &ModelFiles) -> UNetConfig {
    UNetConfig::from_diffusers(model.config(Component::Unet).unwrap()).unwrap()
}

fn text(model: &ModelFiles, part: Component) -> ClipTextConfig {
    ClipTextConfig::from_diffusers(model.config(part).unwrap()).unwrap()
}

fn vae(model: &ModelFiles) -> AutoencoderKlConfig {
    AutoencoderKlConfig::from_diffusers(model.config(Component::Autoencoder).unwrap()).unwrap()
}

fn scheduler(model: &ModelFiles) -> SchedulerConfig {
    SchedulerConfig::from_diffusers(model.config(Component::Scheduler).unwrap()).unwrap()
}

#[test]
fn stable_diffusion_1_is_known_by_its_tensors() {
    let model = outline(sd1()).unwrap();
    assert_eq!(unet(&model), UNetConfig::sd15());
    assert_eq!(vae(&model), AutoencoderKlConfig::kl_f8());
    assert_eq!(text(&model, Component::TextEncoder), ClipTextConfig::vit_l());
    assert_eq!(model.config(Component::Unet).unwrap()["sample_size"], 64);
    assert_eq!(scheduler(&model).prediction, Prediction::Epsilon);
}

#[test]
fn stable_diffusion_2_has_another_text_encoder_read_before_its_last_layer() {
    let model = outline(sd2()).unwrap();
    assert_eq!(unet(&model), UNetConfig::sd2());
    let found = text(&model, Component::TextEncoder);
    assert_eq!((found.width, found.layers, found.heads), (1024, 23, 16));
    let weights = model.weights(Component::TextEncoder).unwrap();
    let names: Vec<&str> = weights.tensors().map(|tensor| tensor.name).collect();
    assert!(names.contains(&"encoder.layers.22.self_attn.k_proj.weight"));
    assert!(!names.iter().any(|name| name.starts_with("encoder.layers.23.")));
    assert!(weights.unused().iter().any(|name| name.ends_with("logit_scale")));
    let beside = Beside { predicts: Some(Predicts::Velocity), ..Beside::default() };
    let model = self::model(sd2(), &beside).unwrap();
    assert_eq!(scheduler(&model).prediction, Prediction::Velocity);
    assert_eq!(model.config(Component::Unet).unwrap()["sample_size"], 96);
}

#[test]
fn stable_diffusion_xl_has_two_text_encoders_and_a_vector() {
    let [_, kl, clip] = sd1();
    let place = "conditioner.embedders.0.transformer.text_model.";
    let clip = clip
        .into_iter()
        .map(|(name, shape)| (name.replace(Component::TextEncoder.prefix(), place), shape));
    let big = open_clip("conditioner.embedders.1.model.", 32, 1280);
    let xl = renamed("unet_sdxl", Component::Unet);
    let model = outline([xl.clone(), kl, clip.collect(), big]).unwrap();
    assert_eq!(unet(&model), UNetConfig::sdxl());
    assert_eq!(text(&model, Component::TextEncoder), ClipTextConfig::vit_l());
    let second = text(&model, Component::TextEncoder2);
    assert_eq!((second.layers, second.heads, second.projection), (32, 20, Some(1280)));
    assert!((vae(&model).scaling_factor - 0.13025).abs() < 1e-6);
    assert_eq!(model.config(Component::Unet).unwrap()["sample_size"], 128);
    // With one text encoder, nobody makes the vector that its UNet takes.
    let [_, kl, clip] = sd1();
    let error = outline([xl, kl, clip]).unwrap_err().to_string();
    assert!(error.contains("of different models"), "{error}");
}

#[test]
fn a_checkpoint_without_a_part_or_of_an_unusual_kind_is_refused_by_what_it_lacks() {
    let [unet, kl, clip] = sd1();
    let refused = |parts: &[&Shapes]| {
        outline(parts.iter().map(|shapes| (*shapes).clone())).unwrap_err().to_string()
    };
    let vq = renamed("vae_vq", Component::Autoencoder);
    let tiny = renamed("vae_tiny", Component::Autoencoder);
    let own = renamed("unet_default", Component::Unet);
    let mut shortened = unet.clone();
    shortened.retain(|name, _| !name.contains("output_blocks.11."));
    let mut bert = Shapes::new();
    bert.insert("cond_stage_model.transformer.token_emb.weight".to_owned(), vec![30522, 1280]);
    let other = Shapes::from([("conv.weight".to_owned(), vec![3, 3])]);
    insta::assert_snapshot!(
        [
            refused(&[&unet, &kl]),
            refused(&[&unet, &clip]),
            refused(&[&kl, &clip]),
            refused(&[&unet, &vq, &clip]),
            refused(&[&unet, &tiny, &clip]),
            refused(&[&own, &kl, &clip]),
            refused(&[&shortened, &kl, &clip]),
            refused(&[&unet, &kl, &bert]),
            refused(&[&other]),
        ]
        .join("\n")
    );
}

#[test]
fn betas_in_the_file_are_believed_where_they_are_a_schedule_that_is_known() {
    let betas = |bend: f32| {
        let root = |i: u16| {
            let line = f32::from(i) / 499.0;
            0.03 + 0.09 * line + bend * line * (1.0 - line)
        };
        (0..500u16).flat_map(|i| root(i).powi(2).to_le_bytes()).collect::<Vec<u8>>()
    };
    for (bend, timesteps) in [(0.0, 500), (0.01, 1000)] {
        let bytes = betas(bend);
        let mut tensors: Vec<StoredTensor> = sd1()
            .into_iter()
            .flatten()
            .map(|(name, shape)| {
                let encoding = Encoding::Other("nothing".to_owned());
                StoredTensor { name, encoding, shape, range: 0..0 }
            })
            .collect();
        tensors.push(StoredTensor {
            name: "betas".to_owned(),
            encoding: Encoding::Plain(DType::F32),
            shape: vec![500],
            range: 0..2000,
        });
        let bytes = FileBytes::Owned(bytes.into());
        let checkpoint = vec![TensorFile::new("a", bytes, tensors).unwrap()];
        let checkpoint = Checkpoint::new("a", checkpoint).unwrap();
        let model = ModelFiles::from_checkpoint(checkpoint, &Beside::default()).unwrap();
        assert_eq!(scheduler(&model).train_timesteps, timesteps);
        assert!(model.weights(Component::Unet).unwrap().unused().is_empty());
    }
}

/// The tiny model of diffusers as one safetensors file, all names as in checkpoints.
fn tiny_checkpoint(path: &Path) {
    let model = ModelFiles::open(&fixtures().join("tiny")).unwrap();
    let parts = [Component::Unet, Component::Autoencoder, Component::TextEncoder];
    let weights = parts.map(|part| model.weights(part).unwrap());
    let mut tensors: Vec<(String, TensorView<'_>)> = Vec::new();
    for (part, weights) in parts.iter().zip(&weights) {
        for info in weights.tensors() {
            let view = weights.view(info.name).unwrap();
            tensors.push((format!("{}{}", part.prefix(), info.name), view));
        }
    }
    // No order helps a reader.
    tensors.sort_by(|a, b| a.0.cmp(&b.0));
    let tensors: Vec<_> = tensors.iter().map(|(name, view)| (name.as_str(), *view)).collect();
    safetensors::write(path, &tensors).unwrap();
}

#[test]
fn a_checkpoint_has_the_weights_of_the_folder_it_was_made_from() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.safetensors");
    tiny_checkpoint(&path);
    let inferred = ModelFiles::open(&path).unwrap_err().to_string();
    assert!(inferred.contains("--config"), "{inferred}");
    let source = fixtures().join("tiny");
    let beside = Beside { configs: Some(source.clone()), ..Beside::default() };
    let (a, b) =
        (ModelFiles::open(&source).unwrap(), ModelFiles::open_with(&path, &beside).unwrap());
    assert!(a.components().eq(b.components()));
    for part in a.components() {
        assert_eq!(a.config(part).unwrap(), b.config(part).unwrap());
    }
    for part in [Component::Unet, Component::Autoencoder, Component::TextEncoder] {
        let (a, b) = (a.weights(part).unwrap(), b.weights(part).unwrap());
        assert!(a.tensors().map(|t| t.name).eq(b.tensors().map(|t| t.name)), "order of execution");
        for info in a.tensors() {
            let (a, b) = (a.view(info.name).unwrap(), b.view(info.name).unwrap());
            assert_eq!((a.shape(), a.bytes()), (b.shape(), b.bytes()), "{}", info.name);
        }
    }
    let ids = |model: &ModelFiles| {
        model.tokenizer(Component::TextEncoder).unwrap().encode("the sun's light! 42", 20)
    };
    assert_eq!(ids(&a), ids(&b));
    let refused = ModelFiles::open_with(&source, &beside).unwrap_err().to_string();
    assert!(refused.ends_with("has configs of its own"), "{refused}");
}

/// The second text encoder of the tiny Stable Diffusion XL as OpenCLIP's own program would store it:
/// q, k and v fused, the projection the other way round.
fn open_clip_checkpoint(path: &Path, xl: &ModelFiles) {
    let weights = xl.weights(Component::TextEncoder2).unwrap();
    let read = |name: &str| weights.view(name).unwrap().to_f32();
    let mut tensors: Vec<(String, Vec<usize>, Vec<f32>)> = Vec::new();
    let mut add = |name: String, shape: &[usize], values: Vec<f32>| {
        tensors.push((format!("conditioner.embedders.1.model.{name}"), shape.to_vec(), values));
    };
    let mut copy = |name: &str, from: &str| {
        add(name.to_owned(), weights.view(from).unwrap().shape(), read(from));
    };
    copy("token_embedding.weight", "embeddings.token_embedding.weight");
    copy("positional_embedding", "embeddings.position_embedding.weight");
    for leaf in ["weight", "bias"] {
        copy(&format!("ln_final.{leaf}"), &format!("final_layer_norm.{leaf}"));
        for layer in 0..3 {
            for (to, from) in [
                ("ln_1", "layer_norm1"),
                ("ln_2", "layer_norm2"),
                ("attn.out_proj", "self_attn.out_proj"),
                ("mlp.c_fc", "mlp.fc1"),
                ("mlp.c_proj", "mlp.fc2"),
            ] {
                let to = format!("transformer.resblocks.{layer}.{to}.{leaf}");
                copy(&to, &format!("encoder.layers.{layer}.{from}.{leaf}"));
            }
        }
    }
    for layer in 0..3 {
        for (leaf, shape) in [("weight", &[96, 32][..]), ("bias", &[96])] {
            let part = |q| read(&format!("encoder.layers.{layer}.self_attn.{q}_proj.{leaf}"));
            let name = format!("transformer.resblocks.{layer}.attn.in_proj_{leaf}");
            add(name, shape, ["q", "k", "v"].map(part).concat());
        }
    }
    let projection = read("text_projection.weight");
    let turned = (0..32 * 24).map(|i| projection[i % 24 * 32 + i / 24]).collect();
    add("text_projection".to_owned(), &[32, 24], turned);
    let bytes: Vec<Vec<u8>> = tensors
        .iter()
        .map(|(_, _, values)| values.iter().flat_map(|v| v.to_le_bytes()).collect())
        .collect();
    let views: Vec<(&str, TensorView<'_>)> = tensors
        .iter()
        .zip(&bytes)
        .map(|((name, shape, _), b)| {
            (name.as_str(), TensorView::new(DType::F32, shape, b).unwrap())
        })
        .collect();
    safetensors::write(path, &views).unwrap();
}

#[test]
fn open_clips_fused_and_turned_matrices_are_taken_apart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.safetensors");
    let source = fixtures().join("../pipeline/xl");
    let xl = ModelFiles::open(&source).unwrap();
    open_clip_checkpoint(&path, &xl);
    let beside = Beside { configs: Some(source), ..Beside::default() };
    let found = ModelFiles::open_with(&path, &beside).unwrap();
    let found = found.weights(Component::TextEncoder2).unwrap();
    let wanted = xl.weights(Component::TextEncoder2).unwrap();
    assert!(found.tensors().map(|t| t.name).eq(wanted.tensors().map(|t| t.name)));
    for info in wanted.tensors() {
        let (a, b) = (found.view(info.name).unwrap(), wanted.view(info.name).unwrap());
        assert_eq!((a.shape(), a.to_f32()), (b.shape(), b.to_f32()), "{}", info.name);
    }
}

#[test]
fn a_tokenizer_is_taken_from_where_it_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let source = fixtures().join("tiny");
    for tokenizer in [source.clone(), source.join("tokenizer")] {
        let beside = Beside { tokenizer: Some(tokenizer), ..Beside::default() };
        let model = model(sd2(), &beside).unwrap();
        let tokenizer = model.tokenizer(Component::TextEncoder).unwrap();
        // OpenCLIP pads with the first token, whatever the folder says.
        assert_eq!(tokenizer.special().pad, 0);
        assert_eq!(tokenizer.encode("sun", 5).ids[3..], [0, 0]);
    }
    let missing = model(sd1(), &Beside::default()).unwrap();
    let error = missing.tokenizer(Component::TextEncoder).unwrap_err().to_string();
    assert!(error.contains("no tokenizer for text_encoder"), "{error}");
    let empty = Beside { tokenizer: Some(folder.path().to_owned()), ..Beside::default() };
    let error = model(sd1(), &empty).unwrap_err().to_string();
    assert!(error.contains("vocab.json and merges.txt"), "{error}");
}

#[test]
fn a_tokenizer_that_lies_beside_the_file_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.safetensors");
    assert_eq!(Beside::default().or_around(&path), Beside::default());
    fs::create_dir(folder.path().join("tokenizer")).unwrap();
    let around = Beside::default().or_around(&path);
    assert_eq!(around.tokenizer.as_deref(), Some(folder.path()));
}

#[test]
fn names_of_stable_diffusion_cpp_mean_the_same_tensors() {
    let width = 64;
    let prefix = "cond_stage_model.1.transformer.text_model.";
    let found = |name: &str| names::renamed_open_clip(name);
    let fused = found("encoder.layers.3.self_attn.in_proj.weight");
    let wanted = names::open_clip("transformer.resblocks.3.attn.in_proj_weight");
    assert_eq!(fused, wanted);
    assert_eq!(found("text_projection"), names::open_clip("text_projection"));
    assert_eq!(found("final_layer_norm.bias")[0].0, "final_layer_norm.bias");
    let [unet, kl, clip] = sd1();
    let mut second = Shapes::new();
    for (name, shape) in [
        ("embeddings.token_embedding.weight", vec![100, width]),
        ("embeddings.position_embedding.weight", vec![77, width]),
        ("encoder.layers.0.self_attn.in_proj.weight", vec![3 * width, width]),
        ("encoder.layers.0.mlp.fc1.weight", vec![256, width]),
        ("encoder.layers.1.mlp.fc1.weight", vec![256, width]),
        ("text_projection", vec![width, 48]),
    ] {
        second.insert(format!("{prefix}{name}"), shape);
    }
    let mut unet = unet;
    unet.insert("model.diffusion_model.label_emb.0.0.weight".to_owned(), vec![1280, 2816]);
    let model = outline([unet, kl, clip, second]).unwrap();
    let found = text(&model, Component::TextEncoder2);
    assert_eq!((found.layers, found.projection, found.vocabulary), (2, Some(48), 100));
}
