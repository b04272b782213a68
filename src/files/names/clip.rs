//! CLIP text encoders: transformers' names, with and without `text_model.`, and OpenCLIP's own.
//!
//! Canonical are transformers' names without the prefix. OpenCLIP fuses q, k and v into one matrix,
//! stacked whole, and stores the text projection the other way round.

use super::{Cut, NameMap};
use crate::files::{Config, FileError};

const LAYER: &[&str] = &[
    "layer_norm1",
    "self_attn.q_proj",
    "self_attn.k_proj",
    "self_attn.v_proj",
    "self_attn.out_proj",
    "layer_norm2",
    "mlp.fc1",
    "mlp.fc2",
];

/// The map of the text encoder that `config` describes. Names that lack the `text_model.` prefix
/// are known too.
///
/// # Errors
/// When the config lacks the number of layers.
pub fn clip(config: Config<'_>) -> Result<NameMap, FileError> {
    let mut map = NameMap::default();
    let mut push = |name: String| {
        map.push(name.clone(), format!("text_model.{name}"));
        map.alias(&name, name.clone());
    };
    push("embeddings.token_embedding".to_owned());
    push("embeddings.position_embedding".to_owned());
    for layer in 0..config.count("num_hidden_layers")? {
        LAYER.iter().for_each(|part| push(format!("encoder.layers.{layer}.{part}")));
    }
    push("final_layer_norm".to_owned());
    map.push("text_projection", "text_projection");
    Ok(map)
}

/// The canonical tensors that OpenCLIP's text tensor `stored` holds: none, one, or three.
pub fn open_clip(stored: &str) -> Vec<(String, Cut)> {
    let whole = |name: &str| vec![(name.to_owned(), Cut::Whole)];
    match stored {
        "token_embedding.weight" => whole("embeddings.token_embedding.weight"),
        "positional_embedding" => whole("embeddings.position_embedding.weight"),
        "ln_final.weight" => whole("final_layer_norm.weight"),
        "ln_final.bias" => whole("final_layer_norm.bias"),
        "text_projection" => vec![("text_projection.weight".to_owned(), Cut::Transposed)],
        _ => open_clip_layer(stored).unwrap_or_default(),
    }
}

/// The canonical tensors that `stored` of a text encoder in transformers' names holds, where some
/// are still as OpenCLIP has them: fused, and the projection without a leaf.
pub fn renamed_open_clip(stored: &str) -> Vec<(String, Cut)> {
    if stored == "text_projection" {
        return open_clip(stored);
    }
    match stored.split_once(".in_proj.") {
        Some((attention, leaf)) => thirds(attention, leaf),
        None => vec![(stored.to_owned(), Cut::Whole)],
    }
}

/// The parts of a fused projection of the module `attention`.
fn thirds(attention: &str, leaf: &str) -> Vec<(String, Cut)> {
    let third = |(i, q)| (format!("{attention}.{q}_proj.{leaf}"), Cut::Third(i));
    ['q', 'k', 'v'].into_iter().enumerate().map(third).collect()
}

fn open_clip_layer(stored: &str) -> Option<Vec<(String, Cut)>> {
    let (layer, part) = stored.strip_prefix("transformer.resblocks.")?.split_once('.')?;
    let layer: u32 = layer.parse().ok()?;
    if let Some(leaf) = part.strip_prefix("attn.in_proj_") {
        return Some(thirds(&format!("encoder.layers.{layer}.self_attn"), leaf));
    }
    let (module, leaf) = part.rsplit_once('.')?;
    let module = match module {
        "ln_1" => "layer_norm1",
        "ln_2" => "layer_norm2",
        "attn.out_proj" => "self_attn.out_proj",
        "mlp.c_fc" => "mlp.fc1",
        "mlp.c_proj" => "mlp.fc2",
        _ => return None,
    };
    Some(vec![(format!("encoder.layers.{layer}.{module}.{leaf}"), Cut::Whole)])
}
