//! The config of a CLIP or OpenCLIP text encoder from its tensors.
//!
//! Heads are 64 wide, as in every published CLIP. OpenCLIP, known by its fused matrices or by its
//! width, has another activation, pads with `!`, and is read one layer before its last: Stable
//! Diffusion 2 is given an encoder without that layer, Stable Diffusion XL skips it itself.

use serde_json::{Value, json};

use super::shapes::Shapes;
use crate::files::FileError;

const HEAD_WIDTH: usize = 64;
/// Width of CLIP ViT-L/14, beyond which a text encoder is OpenCLIP's.
const CLIP_WIDTH: usize = 768;
/// Layers of OpenCLIP ViT-H/14.
const VIT_H_LAYERS: usize = 24;

pub(super) fn config(shapes: &Shapes<'_>, is_xl: bool) -> Result<Value, FileError> {
    let embedding = "embeddings.token_embedding.weight";
    if shapes.get(embedding).is_none() {
        return Err(shapes.refuse("its text encoder is not a CLIP"));
    }
    let (vocabulary, width) = (shapes.extent(embedding, 0)?, shapes.extent(embedding, 1)?);
    let mut layers = shapes.count("encoder.layers.");
    let open_clip = shapes.fused || width > CLIP_WIDTH;
    if !width.is_multiple_of(HEAD_WIDTH) || layers < 2 {
        return Err(shapes.refuse(&format!("its text encoder has {layers} layers of {width}")));
    }
    if open_clip && !is_xl && (shapes.fused || layers == VIT_H_LAYERS) {
        layers -= 1;
    }
    let projection = shapes.get("text_projection.weight").filter(|_| open_clip && is_xl);
    let class = if projection.is_some() { "CLIPTextModelWithProjection" } else { "CLIPTextModel" };
    Ok(json!({
        "architectures": [class],
        "vocab_size": vocabulary,
        "eos_token_id": vocabulary - 1,
        "pad_token_id": if open_clip { 0 } else { vocabulary - 1 },
        "max_position_embeddings": shapes.extent("embeddings.position_embedding.weight", 0)?,
        "hidden_size": width,
        "intermediate_size": shapes.extent("encoder.layers.0.mlp.fc1.weight", 0)?,
        "num_hidden_layers": layers,
        "num_attention_heads": width / HEAD_WIDTH,
        "hidden_act": if open_clip { "gelu" } else { "quick_gelu" },
        "projection_dim": projection.and_then(|shape| shape.first()).copied().unwrap_or(width),
    }))
}
