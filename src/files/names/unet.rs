//! UNet: LDM's `openaimodel.UNetModel` against diffusers' `UNet2DConditionModel` and `UNet2DModel`.
//!
//! LDM numbers the blocks in the order they run (`input_blocks.4`), with the parts of one block
//! numbered inside it: 0 the residual block, 1 the attention, last the resampling. Diffusers has a
//! tree of levels.

use serde_json::Value;

use super::NameMap;
use crate::files::config::count_of;
use crate::files::{Config, FileError};

/// The residual block.
const RESBLOCK: &[(&str, &str)] = &[
    ("in_layers.0", "norm1"),
    ("in_layers.2", "conv1"),
    ("emb_layers.1", "time_emb_proj"),
    ("out_layers.0", "norm2"),
    ("out_layers.3", "conv2"),
    ("skip_connection", "conv_shortcut"),
];

/// One block of a spatial transformer; both sides agree on these names.
const TRANSFORMER: &[&str] = &[
    "norm1",
    "attn1.to_q",
    "attn1.to_k",
    "attn1.to_v",
    "attn1.to_out.0",
    "norm2",
    "attn2.to_q",
    "attn2.to_k",
    "attn2.to_v",
    "attn2.to_out.0",
    "norm3",
    "ff.net.0.proj",
    "ff.net.2",
];

/// Attention without context: canonical, diffusers, and diffusers before 0.14.
const ATTENTION: &[(&str, &str, &str)] = &[
    ("norm", "group_norm", "group_norm"),
    ("q", "to_q", "query"),
    ("k", "to_k", "key"),
    ("v", "to_v", "value"),
    ("proj_out", "to_out.0", "proj_attn"),
];

/// What stands behind a residual block.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Attending {
    No,
    /// Self-attention over the positions.
    Plain,
    /// A spatial transformer for each residual block, of so many transformer blocks.
    Transformer(Vec<usize>),
}

/// How a level passes to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Resampling {
    Conv,
    Resblock,
}

/// One level, on the way down or up.
#[derive(Clone, Debug)]
struct Level {
    layers: usize,
    attending: Attending,
    resampling: Option<Resampling>,
}

/// The map of the UNet that `config` describes.
///
/// # Errors
/// When the config lacks a field that decides the layout, or names a block type that is not known.
pub fn unet(config: Config<'_>) -> Result<NameMap, FileError> {
    let (down, up) = levels(config)?;
    let mut map = NameMap::default();
    embeddings(&mut map, config);
    map.push("input_blocks.0.0", "conv_in");
    let mut block = 1;
    for (i, level) in down.iter().enumerate() {
        block = down_level(&mut map, i, level, block);
    }
    middle(&mut map, config)?;
    let mut block = 0;
    for (i, level) in up.iter().enumerate() {
        block = up_level(&mut map, i, level, block);
    }
    map.push("out.0", "conv_norm_out");
    map.push("out.2", "conv_out");
    Ok(map)
}

fn embeddings(map: &mut NameMap, config: Config<'_>) {
    if config.get("time_cond_proj_dim").is_some() {
        map.push("time_embed.cond_proj", "time_embedding.cond_proj");
    }
    map.push("time_embed.0", "time_embedding.linear_1");
    map.push("time_embed.2", "time_embedding.linear_2");
    let layers = [("0", "linear_1"), ("2", "linear_2")];
    match config.text("class_embed_type") {
        None if config.get("num_class_embeds").is_some() => {
            map.push("label_emb", "class_embedding")
        }
        None | Some("identity") => {}
        Some("simple_projection") => map.push("label_emb.0.0", "class_embedding"),
        Some(_) => map.push_all("label_emb.0", "class_embedding", &layers),
    }
    match config.text("addition_embed_type") {
        None => {}
        Some("text") => text_pooling(map),
        Some(_) => map.push_all("label_emb.0", "add_embedding", &layers),
    }
}

/// Attention pooling of the text, added to the time embedding.
fn text_pooling(map: &mut NameMap) {
    for part in ["norm1", "pool", "pool.q_proj", "pool.k_proj", "pool.v_proj", "proj", "norm2"] {
        map.push(format!("text_pool.{part}"), format!("add_embedding.{part}"));
    }
}

fn down_level(map: &mut NameMap, i: usize, level: &Level, mut block: usize) -> usize {
    for j in 0..level.layers {
        let (here, there) = (format!("input_blocks.{block}"), format!("down_blocks.{i}"));
        map.push_all(&format!("{here}.0"), &format!("{there}.resnets.{j}"), RESBLOCK);
        attention(map, &format!("{here}.1"), &format!("{there}.attentions.{j}"), level, j);
        block += 1;
    }
    let (here, there) =
        (format!("input_blocks.{block}.0"), format!("down_blocks.{i}.downsamplers.0"));
    match level.resampling {
        None => return block,
        Some(Resampling::Conv) => map.push(format!("{here}.op"), format!("{there}.conv")),
        Some(Resampling::Resblock) => map.push_all(&here, &there, RESBLOCK),
    }
    block + 1
}

fn up_level(map: &mut NameMap, i: usize, level: &Level, first: usize) -> usize {
    for j in 0..level.layers {
        let (here, there) = (format!("output_blocks.{}", first + j), format!("up_blocks.{i}"));
        map.push_all(&format!("{here}.0"), &format!("{there}.resnets.{j}"), RESBLOCK);
        attention(map, &format!("{here}.1"), &format!("{there}.attentions.{j}"), level, j);
    }
    let next = first + level.layers;
    let part = if level.attending == Attending::No { 1 } else { 2 };
    let here = format!("output_blocks.{}.{part}", next.saturating_sub(1));
    let there = format!("up_blocks.{i}.upsamplers.0");
    match level.resampling {
        None => {}
        Some(Resampling::Conv) => map.push(format!("{here}.conv"), format!("{there}.conv")),
        Some(Resampling::Resblock) => map.push_all(&here, &there, RESBLOCK),
    }
    next
}

fn middle(map: &mut NameMap, config: Config<'_>) -> Result<(), FileError> {
    let kind = config.get("mid_block_type").and_then(|kind| kind.as_str());
    let attending = match (is_conditional(config), kind) {
        // A condition-free UNet of diffusers has no such field; a `null` means that there is no
        // middle.
        (_, None) if config.is_null("mid_block_type") => return Ok(()),
        (true, None | Some("UNetMidBlock2DCrossAttn")) => {
            let depths = depths(config, "transformer_layers_per_block")?;
            let depth = depths.last().and_then(|per_layer| per_layer.first()).copied();
            Attending::Transformer(vec![depth.unwrap_or(1)])
        }
        (false, _) if config.flag("add_attention", true) => Attending::Plain,
        (_, None | Some("UNetMidBlock2D")) => Attending::No,
        (_, Some(other)) => return Err(unknown(config, "mid_block_type", other)),
    };
    let level = Level { layers: 1, attending, resampling: None };
    map.push_all("middle_block.0", "mid_block.resnets.0", RESBLOCK);
    attention(map, "middle_block.1", "mid_block.attentions.0", &level, 0);
    map.push_all("middle_block.2", "mid_block.resnets.1", RESBLOCK);
    Ok(())
}

fn attention(map: &mut NameMap, here: &str, there: &str, level: &Level, layer: usize) {
    match &level.attending {
        Attending::No => {}
        Attending::Plain => {
            for (canonical, stored, old) in ATTENTION {
                let canonical = format!("{here}.{canonical}");
                map.push(canonical.clone(), format!("{there}.{stored}"));
                map.alias(&canonical, format!("{there}.{old}"));
            }
        }
        Attending::Transformer(depths) => {
            let same = |map: &mut NameMap, part: &str| {
                map.push(format!("{here}.{part}"), format!("{there}.{part}"));
            };
            same(map, "norm");
            same(map, "proj_in");
            for block in 0..depths.get(layer).copied().unwrap_or(0) {
                for part in TRANSFORMER {
                    same(map, &format!("transformer_blocks.{block}.{part}"));
                }
            }
            same(map, "proj_out");
        }
    }
}

/// The levels on the way down and on the way up, each in the order of execution.
fn levels(config: Config<'_>) -> Result<(Vec<Level>, Vec<Level>), FileError> {
    let (down, up) = (config.texts("down_block_types")?, config.texts("up_block_types")?);
    if down.len() != up.len() || down.is_empty() {
        return Err(
            config.wrong("up_block_types", "must have as many blocks as 'down_block_types'")
        );
    }
    let mut layers = config.per_level("layers_per_block", down.len(), 2)?;
    let mut depth = depths(config, "transformer_layers_per_block")?;
    depth.resize(down.len(), depth.last().cloned().unwrap_or_default());
    let way_down = level_list(config, "down", &down, &layers, &depth)?;
    layers.reverse();
    layers.iter_mut().for_each(|n| *n += 1);
    depth.reverse();
    if config.get("reverse_transformer_layers_per_block").is_some() {
        depth = depths(config, "reverse_transformer_layers_per_block")?;
    }
    let way_up = level_list(config, "up", &up, &layers, &depth)?;
    Ok((way_down, way_up))
}

fn level_list(
    config: Config<'_>,
    way: &str,
    kinds: &[&str],
    layers: &[usize],
    depths: &[Vec<usize>],
) -> Result<Vec<Level>, FileError> {
    let mut levels = Vec::with_capacity(kinds.len());
    for (i, (kind, &layers)) in kinds.iter().zip(layers).enumerate() {
        let (attending, mut resampling) = block_kind(config, way, kind)?;
        let attending = match (attending, depths.get(i).map(Vec::as_slice)) {
            (Attending::Transformer(_), Some([depth])) => {
                Attending::Transformer(vec![*depth; layers])
            }
            (Attending::Transformer(_), Some(depths)) => Attending::Transformer(depths.to_vec()),
            (other, _) => other,
        };
        if i + 1 == kinds.len() {
            resampling = None;
        }
        levels.push(Level { layers, attending, resampling });
    }
    Ok(levels)
}

/// What a diffusers block type stands for.
fn block_kind(
    config: Config<'_>,
    way: &str,
    kind: &str,
) -> Result<(Attending, Option<Resampling>), FileError> {
    let plain_kind = match kind {
        "ResnetDownsampleBlock2D" | "ResnetUpsampleBlock2D" => {
            return Ok((Attending::No, Some(Resampling::Resblock)));
        }
        _ => kind.replace("Down", "").replace("Up", ""),
    };
    let attention_resampling = match config.text(&format!("{way}sample_type")) {
        Some("resnet") => Resampling::Resblock,
        _ => Resampling::Conv,
    };
    match plain_kind.as_str() {
        "Block2D" => Ok((Attending::No, Some(Resampling::Conv))),
        "AttnBlock2D" => Ok((Attending::Plain, Some(attention_resampling))),
        "CrossAttnBlock2D" => Ok((Attending::Transformer(Vec::new()), Some(Resampling::Conv))),
        _ => Err(unknown(config, &format!("{way}_block_types"), kind)),
    }
}

/// Transformer blocks of each level: one number for all, one for each, or a list with one for each
/// layer.
fn depths(config: Config<'_>, field: &str) -> Result<Vec<Vec<usize>>, FileError> {
    let wrong = || config.wrong(field, "must be a number, or a list of numbers or of lists");
    match config.get(field) {
        None => Ok(vec![vec![1]]),
        Some(Value::Array(levels)) => {
            let depths: Option<_> = levels.iter().map(depths_of_level).collect();
            depths.filter(|depths: &Vec<Vec<usize>>| !depths.is_empty()).ok_or_else(wrong)
        }
        Some(one) => depths_of_level(one).map(|depth| vec![depth]).ok_or_else(wrong),
    }
}

fn depths_of_level(value: &Value) -> Option<Vec<usize>> {
    match value {
        Value::Array(layers) => layers.iter().map(count_of).collect(),
        one => count_of(one).map(|depth| vec![depth]),
    }
}

fn is_conditional(config: Config<'_>) -> bool {
    config.text("_class_name") != Some("UNet2DModel")
}

fn unknown(config: Config<'_>, field: &str, kind: &str) -> FileError {
    config.wrong(field, &format!("names '{kind}', which is not a block type known here"))
}
