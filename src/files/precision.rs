//! Which layers of a model in integers stay in floating point.
//!
//! One rule for every place that makes integer weights: the quantiser and the benchmark. It keeps
//! what is small and sensitive: the layers between latents or pixels and features, and what the
//! time passes on its way to the residual blocks.

use super::Component;

/// Filters with fewer channels on either side stay in floating point: they hold little, and a
/// picture's or latent's channels do not fill a block of sixteen.
const LEAST_CHANNELS: usize = 16;

/// Whether the layer of this canonical name (within its part, without `.weight`) stays in floating
/// point. `outputs` and `channels` are the filter's.
///
/// Tables that are looked up by row (token and position embeddings, the text projection, codebooks)
/// are no filters and always stay.
pub fn stays_float(part: Component, layer: &str, (outputs, channels): (usize, usize)) -> bool {
    if outputs.min(channels) < LEAST_CHANNELS {
        return true;
    }
    match part {
        Component::Unet => {
            let ends = ["input_blocks.0.0", "out.2"];
            let beside = ["time_embed.", "label_emb.", "text_pool."];
            ends.contains(&layer)
                || beside.iter().any(|start| layer.starts_with(start))
                || layer.contains(".emb_layers.")
        }
        Component::Autoencoder => {
            ["conv_in", "conv_out", "quant_conv"].iter().any(|end| layer.ends_with(end))
        }
        Component::TextEncoder | Component::TextEncoder2 => {
            layer.ends_with("embedding") || layer == "text_projection"
        }
        Component::Scheduler => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends_of_a_network_and_the_way_of_the_time_stay_float() {
        let wide = (320, 320);
        for layer in ["input_blocks.0.0", "out.2", "time_embed.0", "label_emb.0.2"] {
            assert!(stays_float(Component::Unet, layer, wide), "{layer}");
        }
        for layer in ["text_pool.proj", "middle_block.0.emb_layers.1"] {
            assert!(stays_float(Component::Unet, layer, wide), "{layer}");
        }
        for layer in ["decoder.conv_in", "decoder.conv_out", "post_quant_conv"] {
            assert!(stays_float(Component::Autoencoder, layer, wide), "{layer}");
        }
        // The tiny autoencoder numbers its layers; the channels tell its ends.
        assert!(stays_float(Component::Autoencoder, "decoder.0", (64, 4)));
        assert!(stays_float(Component::Autoencoder, "decoder.18", (3, 64)));
        assert!(stays_float(Component::TextEncoder, "text_projection", wide));
    }

    #[test]
    fn where_the_work_is_weights_are_integers() {
        let wide = (320, 320);
        for layer in [
            "input_blocks.1.0.in_layers.2",
            "input_blocks.3.0.op",
            "output_blocks.2.1.conv",
            "middle_block.1.transformer_blocks.0.attn2.to_k",
            "output_blocks.11.0.skip_connection",
        ] {
            assert!(!stays_float(Component::Unet, layer, wide), "{layer}");
        }
        assert!(!stays_float(Component::Autoencoder, "decoder.up.3.block.0.conv1", wide));
        assert!(!stays_float(Component::Autoencoder, "decoder.3.conv.0", (64, 64)));
        assert!(!stays_float(Component::TextEncoder, "encoder.layers.0.mlp.fc1", wide));
    }
}
