//! The config of a UNet from its tensors: `openaimodel.UNetModel` with spatial transformers.
//!
//! Levels end where a block only halves. Everything is read off shapes but the heads (8 of them in
//! Stable Diffusion 1, 64 channels wide where the transformer's ends are matrices, as from Stable
//! Diffusion 2 on) and the groups of the norms (32).

use serde_json::{Value, json};

use super::Predicts;
use super::shapes::Shapes;
use crate::files::FileError;

/// Groups of every norm in the published models.
pub(super) const GROUPS: usize = 32;
/// Width of the embedding of one number of Stable Diffusion XL's sizes.
const SIZE_WIDTH: usize = 256;
/// Width of a head from Stable Diffusion 2 on.
const HEAD_WIDTH: usize = 64;
/// Heads in Stable Diffusion 1.
const HEADS: usize = 8;
/// Width of the context in Stable Diffusion 2.
const CONTEXT_2: usize = 1024;

/// One level on the way down.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Level {
    channels: usize,
    layers: usize,
    /// Transformer blocks behind each residual block.
    depth: usize,
}

/// The config, for two text encoders with the vector of Stable Diffusion XL or for one without.
pub(super) fn config(
    shapes: &Shapes<'_>,
    is_xl: bool,
    predicts: Predicts,
) -> Result<Value, FileError> {
    let levels = levels(shapes)?;
    check_mirror(shapes, &levels)?;
    let context = context_width(shapes)?;
    let linear = is_linear(shapes)?;
    let mut config = json!({
        "_class_name": "UNet2DConditionModel",
        "sample_size": sample_size(is_xl, context, predicts),
        "in_channels": shapes.extent("input_blocks.0.0.weight", 1)?,
        "out_channels": shapes.extent("out.2.weight", 0)?,
        "down_block_types": types(&levels, "Down"),
        "up_block_types": types(&levels, "Up").into_iter().rev().collect::<Vec<_>>(),
        "block_out_channels": levels.iter().map(|level| level.channels).collect::<Vec<_>>(),
        "layers_per_block": levels.iter().map(|level| level.layers).collect::<Vec<_>>(),
        "transformer_layers_per_block": depths(shapes, &levels)?,
        "cross_attention_dim": context,
        "attention_head_dim": heads(shapes, &levels, linear)?,
        "use_linear_projection": linear,
        "norm_num_groups": GROUPS,
    });
    add_vector(&mut config, shapes, is_xl)?;
    Ok(config)
}

fn levels(shapes: &Shapes<'_>) -> Result<Vec<Level>, FileError> {
    let mut levels = vec![Level::default()];
    for n in 1..shapes.count("input_blocks.") {
        if shapes.any(&format!("input_blocks.{n}.0.op.")) {
            levels.push(Level::default());
            continue;
        }
        let channels = shapes.extent(&format!("input_blocks.{n}.0.in_layers.2.weight"), 0)?;
        let depth = shapes.count(&format!("input_blocks.{n}.1.transformer_blocks."));
        if depth == 0 && shapes.any(&format!("input_blocks.{n}.1.")) {
            return Err(shapes.refuse("its UNet attends without a context"));
        }
        let level = levels.last_mut().map(|level| {
            let first = level.layers == 0;
            let same = first || (level.channels, level.depth) == (channels, depth);
            *level = Level { channels, depth, layers: level.layers + 1 };
            same
        });
        if level == Some(false) {
            return Err(shapes.refuse("its UNet has a level of unequal blocks"));
        }
    }
    if levels.iter().any(|level| level.layers == 0 || !level.channels.is_multiple_of(GROUPS)) {
        let what = format!("its UNet has a level whose width is no multiple of {GROUPS}");
        return Err(shapes.refuse(&what));
    }
    Ok(levels)
}

/// The way up has one block more at every level.
fn check_mirror(shapes: &Shapes<'_>, levels: &[Level]) -> Result<(), FileError> {
    let wanted: usize = levels.iter().map(|level| level.layers + 1).sum();
    match shapes.count("output_blocks.") {
        found if found == wanted => Ok(()),
        found => {
            let what = format!("its UNet has {found} blocks on the way up and not {wanted}");
            Err(shapes.refuse(&what))
        }
    }
}

fn types(levels: &[Level], way: &str) -> Vec<String> {
    let kind = |level: &Level| match level.depth {
        0 => format!("{way}Block2D"),
        _ => format!("CrossAttn{way}Block2D"),
    };
    levels.iter().map(kind).collect()
}

/// Transformer blocks of every level. The middle has as many as the last one, where that attends.
fn depths(shapes: &Shapes<'_>, levels: &[Level]) -> Result<Vec<usize>, FileError> {
    let middle = shapes.count("middle_block.1.transformer_blocks.");
    let last = levels.last().map_or(0, |level| level.depth);
    if middle == 0 || (last != 0 && last != middle) {
        return Err(shapes.refuse("its UNet has an unusual middle"));
    }
    let mut depths: Vec<usize> = levels.iter().map(|level| level.depth.max(1)).collect();
    if let Some(last) = depths.last_mut() {
        *last = middle;
    }
    Ok(depths)
}

fn context_width(shapes: &Shapes<'_>) -> Result<usize, FileError> {
    shapes.extent("middle_block.1.transformer_blocks.0.attn2.to_k.weight", 1)
}

/// Whether the ends of a spatial transformer are matrices rather than 1 x 1 convolutions.
fn is_linear(shapes: &Shapes<'_>) -> Result<bool, FileError> {
    let name = "middle_block.1.proj_in.weight";
    shapes.extent(name, 1)?;
    Ok(shapes.get(name).is_some_and(|shape| shape.len() == 2))
}

/// What diffusers calls `attention_head_dim`: the number of heads.
fn heads(shapes: &Shapes<'_>, levels: &[Level], linear: bool) -> Result<Value, FileError> {
    let unit = if linear { HEAD_WIDTH } else { HEADS };
    if levels.iter().any(|level| !level.channels.is_multiple_of(unit)) {
        return Err(
            shapes.refuse("its UNet has a width that published models' heads do not divide")
        );
    }
    Ok(match linear {
        true => levels.iter().map(|level| level.channels / HEAD_WIDTH).collect(),
        false => HEADS.into(),
    })
}

/// The side of the latents that the published models were trained at.
fn sample_size(is_xl: bool, context: usize, predicts: Predicts) -> usize {
    match (is_xl, context, predicts) {
        (true, ..) => 128,
        (false, CONTEXT_2, Predicts::Velocity) => 96,
        _ => 64,
    }
}

/// The pooled text and six numbers that join the time in Stable Diffusion XL.
fn add_vector(config: &mut Value, shapes: &Shapes<'_>, is_xl: bool) -> Result<(), FileError> {
    match (is_xl, shapes.any("label_emb.")) {
        (false, false) => {}
        (true, true) => {
            let width = shapes.extent("label_emb.0.0.weight", 1)?;
            config["addition_embed_type"] = "text_time".into();
            config["addition_time_embed_dim"] = SIZE_WIDTH.into();
            config["projection_class_embeddings_input_dim"] = width.into();
        }
        _ => return Err(shapes.refuse("its UNet and text encoders are of different models")),
    }
    Ok(())
}
