//! The config of a KL autoencoder from its decoder's tensors.
//!
//! The factor of the latents cannot be seen: it is that of Stable Diffusion or Stable Diffusion XL.

use serde_json::{Value, json};

use super::shapes::Shapes;
use super::unet::GROUPS;
use crate::files::FileError;

/// The reciprocal of the deviation of latents: of Stable Diffusion, and of Stable Diffusion XL.
const SCALING: [f64; 2] = [0.18215, 0.13025];

pub(super) fn config(shapes: &Shapes<'_>, is_xl: bool) -> Result<Value, FileError> {
    if shapes.any("quantize.") {
        return Err(shapes.refuse("its autoencoder is vector-quantised and not KL-regularised"));
    }
    let levels = shapes.count("decoder.up.");
    if levels == 0 {
        return Err(shapes.refuse("its autoencoder is not latent diffusion's AutoencoderKL"));
    }
    let mut channels = Vec::with_capacity(levels);
    for i in 0..levels {
        channels.push(shapes.extent(&format!("decoder.up.{i}.block.0.conv1.weight"), 0)?);
    }
    if channels.iter().any(|width| !width.is_multiple_of(GROUPS)) {
        let what = format!("its autoencoder has a level whose width is no multiple of {GROUPS}");
        return Err(shapes.refuse(&what));
    }
    let blocks = |i| shapes.count(&format!("decoder.up.{i}.block."));
    if (0..levels).any(|i| blocks(i) != blocks(0)) || blocks(0) < 2 {
        return Err(shapes.refuse("its autoencoder has levels of different lengths"));
    }
    let post_quant_conv = shapes.any("post_quant_conv.");
    let latent = if post_quant_conv { "post_quant_conv.weight" } else { "decoder.conv_in.weight" };
    let mut up = types(shapes, levels, "UpDecoderBlock2D");
    up.reverse();
    Ok(json!({
        "_class_name": "AutoencoderKL",
        "in_channels": 3,
        "out_channels": shapes.extent("decoder.conv_out.weight", 0)?,
        "latent_channels": shapes.extent(latent, 1)?,
        "block_out_channels": channels,
        "layers_per_block": blocks(0) - 1,
        "down_block_types": types(shapes, levels, "DownEncoderBlock2D"),
        "up_block_types": up,
        "mid_block_add_attention": shapes.any("decoder.mid.attn_1."),
        "use_quant_conv": shapes.any("quant_conv."),
        "use_post_quant_conv": post_quant_conv,
        "norm_num_groups": GROUPS,
        "scaling_factor": SCALING[usize::from(is_xl)],
    }))
}

/// The block types from the full resolution down; those that attend are another class.
fn types(shapes: &Shapes<'_>, levels: usize, kind: &str) -> Vec<String> {
    let attends = |i| shapes.any(&format!("decoder.up.{i}.attn."));
    (0..levels).map(|i| if attends(i) { format!("Attn{kind}") } else { kind.to_owned() }).collect()
}
