//! Autoencoders: LDM's `AutoencoderKL` and `VQModel`, and the tiny autoencoder, against diffusers'
//! classes.
//!
//! LDM numbers the decoder's levels by resolution, the finest is 0; diffusers in the order they
//! run, the coarsest is 0.

use super::NameMap;
use crate::files::{Config, FileError};

const RESBLOCK: &[(&str, &str)] = &[
    ("norm1", "norm1"),
    ("conv1", "conv1"),
    ("norm2", "norm2"),
    ("conv2", "conv2"),
    ("nin_shortcut", "conv_shortcut"),
];

/// Single-head attention: canonical, diffusers, and diffusers before 0.14.
const ATTENTION: &[(&str, &str, &str)] = &[
    ("norm", "group_norm", "group_norm"),
    ("q", "to_q", "query"),
    ("k", "to_k", "key"),
    ("v", "to_v", "value"),
    ("proj_out", "to_out.0", "proj_attn"),
];

/// The map of the autoencoder that `config` describes.
///
/// # Errors
/// When the config lacks a field that decides the layout, or is of a class not known here.
pub fn autoencoder(config: Config<'_>) -> Result<NameMap, FileError> {
    match config.text("_class_name") {
        Some("AutoencoderTiny") => tiny(config),
        Some("AutoencoderKL" | "VQModel") | None => full(config),
        Some(other) => {
            let problem =
                format!("is '{other}'; AutoencoderKL, VQModel or AutoencoderTiny is read");
            Err(config.wrong("_class_name", &problem))
        }
    }
}

fn full(config: Config<'_>) -> Result<NameMap, FileError> {
    let down = config.texts("down_block_types")?;
    let up = config.texts("up_block_types")?;
    let layers = config.count("layers_per_block")?;
    let mut map = NameMap::default();
    map.push("encoder.conv_in", "encoder.conv_in");
    for (i, kind) in down.iter().enumerate() {
        let (here, there) = (format!("encoder.down.{i}"), format!("encoder.down_blocks.{i}"));
        level(&mut map, &here, &there, layers, kind.starts_with("Attn"));
        if i + 1 < down.len() {
            map.push(format!("{here}.downsample.conv"), format!("{there}.downsamplers.0.conv"));
        }
    }
    middle(&mut map, "encoder", config);
    finish(&mut map, "encoder");
    map.push("quant_conv", "quant_conv");
    map.push("quantize.embedding", "quantize.embedding");
    map.push("post_quant_conv", "post_quant_conv");
    map.push("decoder.conv_in", "decoder.conv_in");
    middle(&mut map, "decoder", config);
    for (i, kind) in up.iter().enumerate() {
        let last = up.len() - 1;
        let (here, there) = (format!("decoder.up.{}", last - i), format!("decoder.up_blocks.{i}"));
        level(&mut map, &here, &there, layers + 1, kind.starts_with("Attn"));
        if i < last {
            map.push(format!("{here}.upsample.conv"), format!("{there}.upsamplers.0.conv"));
        }
    }
    finish(&mut map, "decoder");
    Ok(map)
}

fn level(map: &mut NameMap, here: &str, there: &str, layers: usize, attending: bool) {
    for j in 0..layers {
        map.push_all(&format!("{here}.block.{j}"), &format!("{there}.resnets.{j}"), RESBLOCK);
        if attending {
            attention(map, &format!("{here}.attn.{j}"), &format!("{there}.attentions.{j}"));
        }
    }
}

fn middle(map: &mut NameMap, half: &str, config: Config<'_>) {
    let (here, there) = (format!("{half}.mid"), format!("{half}.mid_block"));
    map.push_all(&format!("{here}.block_1"), &format!("{there}.resnets.0"), RESBLOCK);
    if config.flag("mid_block_add_attention", true) {
        attention(map, &format!("{here}.attn_1"), &format!("{there}.attentions.0"));
    }
    map.push_all(&format!("{here}.block_2"), &format!("{there}.resnets.1"), RESBLOCK);
}

fn attention(map: &mut NameMap, here: &str, there: &str) {
    for (canonical, stored, old) in ATTENTION {
        let canonical = format!("{here}.{canonical}");
        map.push(canonical.clone(), format!("{there}.{stored}"));
        map.alias(&canonical, format!("{there}.{old}"));
    }
}

fn finish(map: &mut NameMap, half: &str) {
    map.push(format!("{half}.norm_out"), format!("{half}.conv_norm_out"));
    map.push(format!("{half}.conv_out"), format!("{half}.conv_out"));
}

/// The tiny autoencoder is a plain list of layers; only some of the numbers have weights.
fn tiny(config: Config<'_>) -> Result<NameMap, FileError> {
    let encoder = tiny_layers(config, "num_encoder_blocks")?;
    let decoder = tiny_layers(config, "num_decoder_blocks")?;
    let mut map = NameMap::default();
    for (half, layers) in [("encoder", encoder), ("decoder", decoder)] {
        for n in 0..layers {
            let (here, there) = (format!("{half}.{n}"), format!("{half}.layers.{n}"));
            map.push(here.clone(), there.clone());
            for part in ["conv.0", "conv.2", "conv.4", "skip"] {
                map.push(format!("{here}.{part}"), format!("{there}.{part}"));
            }
        }
    }
    Ok(map)
}

/// An upper bound of the layers of one half: its blocks, and up to three more layers for each level
/// and the ends.
fn tiny_layers(config: Config<'_>, field: &str) -> Result<usize, FileError> {
    let levels = config.get(field).and_then(|v| v.as_array()).map_or(0, Vec::len);
    let blocks = config.per_level(field, levels, 0)?;
    if levels == 0 {
        return Err(config.wrong(field, "must be a list of counts"));
    }
    Ok(blocks.iter().sum::<usize>() + 3 * levels.min(64) + 4)
}
