//! The KL-regularised autoencoder (Rombach et al. 2022, section 3.1): Stable Diffusion's pictures
//! pass through it.

use std::sync::Arc;

use pochade_engine::{ConvSpec, Filter, Graph, Value};
use serde_json::Value as Json;

use super::autoencoder_blocks::{ConvDecoder, ConvEncoder};
use super::config::{Fields, MAX_CHANNELS};
use super::{ConfigError, ConvStackConfig, Halves};
use crate::files::{FileError, Weights};

/// Architecture of an [`AutoencoderKl`].
#[derive(Clone, Debug, PartialEq)]
pub struct AutoencoderKlConfig {
    /// Encoder and decoder.
    pub stack: ConvStackConfig,
    /// Channels of the latent.
    pub latent_channels: usize,
    /// Whether the moments pass a 1 x 1 convolution.
    pub quant_conv: bool,
    /// Whether the latent passes a 1 x 1 convolution.
    pub post_quant_conv: bool,
    /// The denoiser works on `(latent - shift_factor) * scaling_factor`.
    pub scaling_factor: f32,
    /// See `scaling_factor`.
    pub shift_factor: f32,
}

impl AutoencoderKlConfig {
    fn ldm(channel_mult: &[usize], latent_channels: usize, attention: &[usize]) -> Self {
        Self {
            stack: ConvStackConfig::ldm(channel_mult, latent_channels, attention),
            latent_channels,
            quant_conv: true,
            post_quant_conv: true,
            scaling_factor: 1.0,
            shift_factor: 0.0,
        }
    }

    /// The paper's kl-f4: three channels, a quarter of the size.
    pub fn kl_f4() -> Self {
        Self::ldm(&[1, 2, 4], 3, &[])
    }

    /// The paper's kl-f8, which is also Stable Diffusion's: four channels, an eighth of the size.
    pub fn kl_f8() -> Self {
        Self { scaling_factor: 0.18215, ..Self::ldm(&[1, 2, 4, 4], 4, &[]) }
    }

    /// The paper's kl-f16: 16 channels, with attention at 16 x 16 of a 256-pixel picture.
    pub fn kl_f16() -> Self {
        Self::ldm(&[1, 1, 2, 2, 4], 16, &[4])
    }

    /// The paper's kl-f32: 64 channels, with attention at 16 x 16 and 8 x 8 of a 256-pixel picture.
    pub fn kl_f32() -> Self {
        Self::ldm(&[1, 1, 2, 2, 4, 4], 64, &[4, 5])
    }

    /// Reads the config of diffusers' `AutoencoderKL`.
    ///
    /// # Errors
    /// Names the first field with a value that is not supported.
    pub fn from_diffusers(json: &Json) -> Result<Self, ConfigError> {
        let fields = Fields::new("AutoencoderKL", json)?;
        fields.expect_class()?;
        // Latents shifted or scaled channel by channel; nothing here undoes that.
        fields.only("latents_mean", Json::Null)?;
        fields.only("latents_std", Json::Null)?;
        let latent_channels = fields.count("latent_channels", 4, MAX_CHANNELS)?;
        Ok(Self {
            stack: ConvStackConfig::read(&fields, latent_channels)?,
            latent_channels,
            quant_conv: fields.flag("use_quant_conv", true)?,
            post_quant_conv: fields.flag("use_post_quant_conv", true)?,
            scaling_factor: fields.positive("scaling_factor", 0.18215)?,
            shift_factor: fields.number("shift_factor", 0.0)?,
        })
    }
}

/// The weights of a KL autoencoder.
#[derive(Clone, Debug)]
pub struct AutoencoderKl {
    encoder: Option<KlEncoder>,
    /// `[z_channels, latent_channels, 1, 1]`.
    post_quant_conv: Option<Arc<Filter>>,
    decoder: ConvDecoder,
}

#[derive(Clone, Debug)]
struct KlEncoder {
    encoder: ConvEncoder,
    /// `[2 latent_channels, 2 z_channels, 1, 1]`.
    quant_conv: Option<Arc<Filter>>,
}

impl AutoencoderKl {
    /// Reads `encoder`, `quant_conv`, `post_quant_conv` and `decoder`, as far as `halves` needs
    /// them.
    ///
    /// # Errors
    /// When a tensor is missing or does not have the shape that `config` asks for.
    pub fn load(
        w: &Weights<'_>,
        config: &AutoencoderKlConfig,
        halves: Halves,
    ) -> Result<Self, FileError> {
        let (stack, latent) = (&config.stack, config.latent_channels);
        let encoder = || {
            let quant_conv = || w.at("quant_conv").conv(2 * latent, 2 * stack.z_channels, 1);
            Ok(KlEncoder {
                encoder: ConvEncoder::load(&w.at("encoder"), stack, 2 * stack.z_channels)?,
                quant_conv: config.quant_conv.then(quant_conv).transpose()?,
            })
        };
        let post_quant_conv = || w.at("post_quant_conv").conv(stack.z_channels, latent, 1);
        Ok(Self {
            encoder: (halves == Halves::Both).then(encoder).transpose()?,
            post_quant_conv: config.post_quant_conv.then(post_quant_conv).transpose()?,
            decoder: ConvDecoder::load(&w.at("decoder"), stack)?,
        })
    }

    /// `image: [n, h, w, 3]` in -1..1 -> moments `[n, h / f, w / f, 2 latent_channels]` for
    /// [`Posterior::new`]; nothing when only the decoder was loaded.
    pub fn encode(&self, g: &mut Graph, image: Value) -> Option<Value> {
        let KlEncoder { encoder, quant_conv } = self.encoder.as_ref()?;
        let h = encoder.forward(g, image);
        Some(quant_conv.as_ref().map_or(h, |filter| g.conv(h, filter, ConvSpec::same(1))))
    }

    /// `latent: [n, h, w, latent_channels]` -> image `[n, f h, f w, 3]`, about -1..1.
    pub fn decode(&self, g: &mut Graph, latent: Value) -> Value {
        let filter = self.post_quant_conv.as_ref();
        let z = filter.map_or(latent, |filter| g.conv(latent, filter, ConvSpec::same(1)));
        self.decoder.forward(g, z)
    }
}

/// The encoder's Gaussian over latents.
#[derive(Clone, Debug, PartialEq)]
pub struct Posterior {
    /// Most likely latent `[n, h, w, latent_channels]`.
    pub mean: Vec<f32>,
    /// Logarithm of the variance, of the same shape, between -30 and 20.
    pub log_variance: Vec<f32>,
}

impl Posterior {
    /// Splits moments `[n, h, w, 2 latent_channels]`: means, then log-variances.
    pub fn new(moments: &[f32], latent_channels: usize) -> Self {
        let pixels = || moments.chunks_exact(2 * latent_channels.max(1));
        Self {
            mean: pixels().flat_map(|pixel| &pixel[..latent_channels]).copied().collect(),
            log_variance: pixels()
                .flat_map(|pixel| &pixel[latent_channels..])
                .map(|value| value.clamp(-30.0, 20.0))
                .collect(),
        }
    }

    /// A sample for standard normal `noise` of the mean's shape.
    pub fn sample(&self, noise: &[f32]) -> Vec<f32> {
        let deviation = self.log_variance.iter().map(|v| libm::exp(0.5 * f64::from(*v)));
        let moments = self.mean.iter().zip(deviation).zip(noise);
        moments.map(|((mean, deviation), noise)| mean + deviation as f32 * noise).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn sd_vae() -> Json {
        json!({
            "_class_name": "AutoencoderKL",
            "block_out_channels": [128, 256, 512, 512],
            "down_block_types": vec!["DownEncoderBlock2D"; 4],
            "up_block_types": vec!["UpDecoderBlock2D"; 4],
            "layers_per_block": 2,
        })
    }

    #[test]
    fn the_autoencoder_of_stable_diffusion_is_the_papers_f8() {
        let config = AutoencoderKlConfig::from_diffusers(&sd_vae()).unwrap();
        assert_eq!(config, AutoencoderKlConfig::kl_f8());
        assert_eq!(config.stack.factor(), 8);
    }

    #[test]
    fn unsupported_fields_are_named() {
        for (field, value) in [
            ("down_block_types", json!(["DownEncoderBlock2D", "KDownBlock2D"])),
            ("up_block_types", json!(["UpDecoderBlock2D"])),
            ("act_fn", json!("gelu")),
            ("norm_num_groups", json!(48)),
            ("latents_mean", json!([0.1])),
            ("latent_channels", json!(-4)),
            ("scaling_factor", json!(0)),
            ("_class_name", json!("AutoencoderDC")),
            ("block_out_channels", json!([128, 4_000_000_000_u64])),
        ] {
            let mut config = sd_vae();
            config[field] = value;
            let message = AutoencoderKlConfig::from_diffusers(&config).unwrap_err().to_string();
            assert!(message.contains(&format!("'{field}'")), "{message}");
        }
    }

    #[test]
    fn a_posterior_splits_channels_and_clamps_its_log_variance() {
        let posterior = Posterior::new(&[1.0, 2.0, -40.0, 30.0, 3.0, 4.0, 0.0, 1.0], 2);
        assert_eq!(posterior.mean, [1.0, 2.0, 3.0, 4.0]);
        assert_eq!(posterior.log_variance, [-30.0, 20.0, 0.0, 1.0]);
        assert_eq!(posterior.sample(&[0.0, 0.0, 2.0, 0.0]), [1.0, 2.0, 5.0, 4.0]);
    }
}
