//! The name maps against the module trees of diffusers and transformers (fixtures made by
//! `make_fixtures.py`).
#![allow(clippy::unwrap_used)] // A fixture that cannot be read is a failed test.

use std::collections::{BTreeMap, BTreeSet};

use pochade::files::names::{self, NameMap};
use pochade::files::{Config, FileError};
use serde_json::{Value, json};

type Builder = fn(Config<'_>) -> Result<NameMap, FileError>;

struct Fixture {
    config: Value,
    tensors: BTreeMap<String, Vec<usize>>,
}

fn fixture(name: &str) -> Fixture {
    let path = format!("{}/tests/fixtures/files/names_{name}.json", env!("CARGO_MANIFEST_DIR"));
    let root: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let tensors = serde_json::from_value(root["tensors"].clone()).unwrap();
    Fixture { config: root["config"].clone(), tensors }
}

fn map_of(build: Builder, name: &str) -> (NameMap, Fixture) {
    let fixture = fixture(name);
    let map = build(Config::new(name, &fixture.config)).unwrap();
    (map, fixture)
}

/// Modules that a map names for every block though only some blocks have them.
fn is_optional(canonical: &str) -> bool {
    let digit_last = canonical.rsplit('.').next().is_some_and(|s| s.parse::<u32>().is_ok());
    ["skip_connection", "nin_shortcut", "skip", "quantize.embedding", "text_projection"]
        .iter()
        .any(|end| canonical.ends_with(end))
        // The tiny autoencoder's layers are numbered, and some have no weights.
        || canonical.starts_with("encoder.") && (digit_last || canonical.contains(".conv."))
        || canonical.starts_with("decoder.") && (digit_last || canonical.contains(".conv."))
}

fn check(build: Builder, name: &str) {
    let (map, fixture) = map_of(build, name);
    let mut canonical = BTreeSet::new();
    let mut modules = BTreeSet::new();
    for stored in fixture.tensors.keys() {
        let there =
            map.canonical(stored).unwrap_or_else(|| panic!("{name}: {stored} is not mapped"));
        assert_eq!(map.stored(&there).as_ref(), Some(stored), "{name}: {there} does not lead back");
        modules.insert(there.rsplit_once('.').unwrap().0.to_owned());
        assert!(canonical.insert(there), "{name}: {stored} shares its canonical name");
    }
    for (module, stored) in map.modules() {
        let there = modules.contains(module) || is_optional(module);
        assert!(there, "{name}: the map has {module} for {stored}, the network has no such tensor");
    }
}

#[test]
fn every_unet_maps_one_to_one() {
    for name in ["sd15", "sd21", "sdxl", "default", "unconditional"] {
        check(names::unet, &format!("unet_{name}"));
    }
}

#[test]
fn every_autoencoder_maps_one_to_one() {
    for name in ["kl", "vq", "tiny"] {
        check(names::autoencoder, &format!("vae_{name}"));
    }
}

#[test]
fn text_encoders_map_one_to_one() {
    for name in ["clip", "projected"] {
        let (map, fixture) = map_of(names::clip, &format!("text_{name}"));
        let canonical: BTreeSet<_> =
            fixture.tensors.keys().map(|stored| map.canonical(stored).unwrap()).collect();
        assert_eq!(canonical.len(), fixture.tensors.len());
    }
}

fn expect(build: Builder, name: &str, pairs: &[(&str, &str)]) {
    let (map, _) = map_of(build, name);
    for (canonical, stored) in pairs {
        assert_eq!(map.canonical(stored).as_deref(), Some(*canonical), "{name}: {stored}");
    }
}

#[test]
fn unet_names_are_those_of_the_latent_diffusion_checkpoints() {
    let pairs = [
        ("time_embed.0.weight", "time_embedding.linear_1.weight"),
        ("input_blocks.0.0.bias", "conv_in.bias"),
        ("input_blocks.1.0.in_layers.0.weight", "down_blocks.0.resnets.0.norm1.weight"),
        ("input_blocks.3.0.op.weight", "down_blocks.0.downsamplers.0.conv.weight"),
        ("input_blocks.4.0.skip_connection.weight", "down_blocks.1.resnets.0.conv_shortcut.weight"),
        (
            "middle_block.1.transformer_blocks.0.attn1.to_q.weight",
            "mid_block.attentions.0.transformer_blocks.0.attn1.to_q.weight",
        ),
        ("output_blocks.2.1.conv.weight", "up_blocks.0.upsamplers.0.conv.weight"),
        ("output_blocks.5.2.conv.weight", "up_blocks.1.upsamplers.0.conv.weight"),
        ("output_blocks.11.1.proj_out.bias", "up_blocks.3.attentions.2.proj_out.bias"),
        ("out.2.weight", "conv_out.weight"),
    ];
    expect(names::unet, "unet_sd15", &pairs);
    expect(names::unet, "unet_sdxl", &[("label_emb.0.2.bias", "add_embedding.linear_2.bias")]);
    let pooled = [
        ("text_pool.pool.positional_embedding", "add_embedding.pool.positional_embedding"),
        ("text_pool.proj.weight", "add_embedding.proj.weight"),
    ];
    expect(names::unet, "unet_default", &pooled);
    let plain = [
        ("label_emb.weight", "class_embedding.weight"),
        ("input_blocks.4.1.q.weight", "down_blocks.1.attentions.0.to_q.weight"),
        ("input_blocks.4.1.q.weight", "down_blocks.1.attentions.0.query.weight"),
        ("input_blocks.6.0.in_layers.2.weight", "down_blocks.1.downsamplers.0.conv1.weight"),
    ];
    expect(names::unet, "unet_unconditional", &plain);
}

#[test]
fn the_decoder_is_numbered_by_resolution() {
    let pairs = [
        ("decoder.up.3.block.0.norm1.weight", "decoder.up_blocks.0.resnets.0.norm1.weight"),
        ("decoder.up.1.upsample.conv.weight", "decoder.up_blocks.2.upsamplers.0.conv.weight"),
        ("decoder.mid.attn_1.proj_out.weight", "decoder.mid_block.attentions.0.to_out.0.weight"),
        ("decoder.mid.attn_1.proj_out.weight", "decoder.mid_block.attentions.0.proj_attn.weight"),
        (
            "encoder.down.1.block.0.nin_shortcut.bias",
            "encoder.down_blocks.1.resnets.0.conv_shortcut.bias",
        ),
    ];
    expect(names::autoencoder, "vae_kl", &pairs);
    let attending = (
        "encoder.down.3.attn.1.norm.weight",
        "encoder.down_blocks.3.attentions.1.group_norm.weight",
    );
    expect(names::autoencoder, "vae_vq", &[attending]);
}

#[test]
fn a_guidance_embedding_is_mapped_where_the_config_has_one() {
    let mut config = fixture("unet_sd15").config;
    config["time_cond_proj_dim"] = json!(256);
    let map = names::unet(Config::new("lcm", &config)).unwrap();
    let stored = "time_embedding.cond_proj.weight";
    assert_eq!(map.canonical(stored).as_deref(), Some("time_embed.cond_proj.weight"));
}

#[test]
fn blocks_of_compressed_models_are_mapped() {
    // Layers per block and transformer depths as lists, and no middle block.
    let config = json!({
        "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"],
        "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D"],
        "layers_per_block": [1, 2],
        "transformer_layers_per_block": [1, [2, 4]],
        "reverse_transformer_layers_per_block": [[4, 2, 1], 1],
        "mid_block_type": null,
    });
    let map = names::unet(Config::new("small", &config)).unwrap();
    let depth = |stored: &str| map.canonical(stored);
    assert!(depth("down_blocks.1.attentions.1.transformer_blocks.3.norm1.weight").is_some());
    assert!(depth("down_blocks.1.attentions.0.transformer_blocks.2.norm1.weight").is_none());
    assert!(depth("up_blocks.0.attentions.0.transformer_blocks.3.norm1.weight").is_some());
    assert!(depth("up_blocks.0.attentions.2.transformer_blocks.1.norm1.weight").is_none());
    assert!(depth("up_blocks.1.resnets.1.conv1.weight").is_some());
    assert!(depth("mid_block.resnets.0.conv1.weight").is_none());
}

#[test]
fn the_order_is_that_of_execution() {
    let (map, _) = map_of(names::unet, "unet_sd15");
    let order = [
        "time_embed.0.weight",
        "time_embed.0.bias",
        "input_blocks.0.0.weight",
        "input_blocks.1.0.in_layers.0.weight",
        "input_blocks.11.0.out_layers.3.bias",
        "middle_block.0.in_layers.0.weight",
        "output_blocks.0.0.in_layers.0.weight",
        "output_blocks.11.1.proj_out.weight",
        "out.2.weight",
        "not.there",
    ];
    assert!(order.windows(2).all(|pair| map.rank(pair[0]) < map.rank(pair[1])));
}

#[test]
fn hostile_configs_are_refused_by_field() {
    let base = fixture("unet_default").config;
    let cases = [
        ("layers_per_block", json!(1_000_000_000_000_000_000u64)),
        ("layers_per_block", json!([1])),
        ("down_block_types", json!([])),
        ("down_block_types", json!(["DownBlock2D", "KDownBlock2D", "DownBlock2D"])),
        ("transformer_layers_per_block", json!(-1)),
        ("transformer_layers_per_block", json!([])),
        ("mid_block_type", json!("UNetMidBlock3D")),
    ];
    for (field, value) in cases {
        let mut config = base.clone();
        config[field] = value;
        let error = names::unet(Config::new("config.json", &config)).unwrap_err().to_string();
        assert!(error.starts_with("config.json: '"), "{error}");
    }
    let error = names::clip(Config::new("config.json", &json!({"num_hidden_layers": 1e30})));
    assert!(error.is_err());
    let error = names::autoencoder(Config::new("c", &json!({"_class_name": "AutoencoderDC"})));
    assert!(error.unwrap_err().to_string().contains("AutoencoderDC"));
}
