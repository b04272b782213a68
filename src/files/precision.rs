//! Which layers of a quantised model work in integers, by their canonical names.
//!
//! The layers that see pixels, latents or the time stay in floating point: they are small, and the
//! whole picture passes through each of them. So do layers with fewer than 16 channels on a side,
//! which would be mostly padding, and whatever is looked up instead of multiplied.

/// Channels on both sides of a layer that is worth integers: a panel, a block.
const LEAST_CHANNELS: usize = 16;

/// Beginnings of the names that stay in floating point.
const FLOAT: [&str; 14] = [
    // Text encoder: looked up, or applied to one vector.
    "embeddings.",
    "text_projection.",
    // UNet: the time and what is added to it, the first and the last convolution.
    "time_embed.",
    "label_emb.",
    "text_pool.",
    "input_blocks.0.0.",
    "out.2.",
    // Autoencoders: the picture's side and the latent's side.
    "encoder.conv_in.",
    "encoder.conv_out.",
    "decoder.conv_in.",
    "decoder.conv_out.",
    "quant_conv.",
    "post_quant_conv.",
    "quantize.",
];

/// The projections of the time in every residual block.
const TIME: &str = ".emb_layers.";

/// A weight's shape as `[outputs, channels, kernel height, kernel width]`.
pub(super) fn size(shape: &[usize]) -> Option<[usize; 4]> {
    match *shape {
        [outputs, channels] => Some([outputs, channels, 1, 1]),
        [outputs, channels, kh, kw] => Some([outputs, channels, kh, kw]),
        _ => None,
    }
}

/// Whether the layer is one of those that the tiny autoencoder numbers itself, `decoder.6.weight`:
/// its ends, and the convolutions behind a doubling. These read a sum of many blocks that no norm
/// has evened out, which a single step per picture renders coarsely, and they are few.
fn is_between_blocks(name: &str) -> bool {
    let number = |half| name.strip_prefix(half)?.strip_suffix(".weight")?.parse::<u32>().ok();
    number("encoder.").or_else(|| number("decoder.")).is_some()
}

/// Whether the tensor is the weight of a layer that a quantised model computes in integers.
pub(super) fn is_integer(name: &str, shape: &[usize]) -> bool {
    let wide = size(shape).is_some_and(|[n, c, ..]| n.min(c) >= LEAST_CHANNELS);
    let float = FLOAT.iter().any(|start| name.starts_with(start))
        || name.contains(TIME)
        || is_between_blocks(name);
    wide && !float && name.ends_with(".weight")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layers_at_the_ends_and_those_of_the_time_stay_in_float() {
        let (conv, linear) = (&[320, 320, 3, 3][..], &[320, 1280][..]);
        for (name, shape) in [
            ("input_blocks.0.0.weight", conv),
            ("out.2.weight", conv),
            ("input_blocks.1.0.emb_layers.1.weight", linear),
            ("time_embed.2.weight", linear),
            ("encoder.conv_in.weight", conv),
            ("decoder.conv_out.weight", conv),
            ("embeddings.token_embedding.weight", linear),
            ("text_projection.weight", linear),
            ("decoder.6.weight", conv),
            ("encoder.12.weight", conv),
        ] {
            assert!(!is_integer(name, shape), "{name}");
        }
        for (name, shape) in [
            ("input_blocks.10.0.in_layers.2.weight", conv),
            ("output_blocks.2.1.conv.weight", conv),
            ("middle_block.1.transformer_blocks.0.attn2.to_k.weight", linear),
            ("encoder.layers.0.mlp.fc1.weight", linear),
            ("decoder.up.0.block.2.conv1.weight", conv),
            ("decoder.10.conv.2.weight", conv),
        ] {
            assert!(is_integer(name, shape), "{name}");
        }
    }

    #[test]
    fn narrow_layers_and_vectors_stay_in_float() {
        assert!(!is_integer("decoder.5.conv.0.weight", &[3, 64, 3, 3]));
        assert!(!is_integer("decoder.5.conv.0.weight", &[64, 15, 3, 3]));
        assert!(!is_integer("decoder.5.conv.0.weight", &[64]));
        assert!(!is_integer("decoder.5.conv.0.bias", &[64, 64]));
        assert!(is_integer("decoder.5.conv.0.weight", &[16, 16, 3, 3]));
    }
}
