//! The VQ-regularised autoencoder with its codebook absorbed by the decoder (Rombach et al. 2022,
//! section 3.1): the denoiser works on latents before quantisation, and decoding begins by
//! quantising.

use std::sync::Arc;

use pochade_engine::{Codebook, ConvSpec, Filter, Graph, Value};
use serde_json::{Value as Json, json};

use super::autoencoder_blocks::{ConvDecoder, ConvEncoder};
use super::config::{Fields, MAX_CHANNELS, MAX_ROWS};
use super::{ConfigError, ConvStackConfig, Halves};
use crate::files::{FileError, Weights};

/// Architecture of an [`AutoencoderVq`].
#[derive(Clone, Debug, PartialEq)]
pub struct AutoencoderVqConfig {
    /// Encoder and decoder.
    pub stack: ConvStackConfig,
    /// Codes in the codebook.
    pub codes: usize,
    /// Channels of a code, which are the latent's.
    pub code_channels: usize,
    /// The denoiser works on `latent * scaling_factor`.
    pub scaling_factor: f32,
}

impl AutoencoderVqConfig {
    fn ldm(channel_mult: &[usize], (codes, channels): (usize, usize), attention: &[usize]) -> Self {
        let stack = ConvStackConfig::ldm(channel_mult, channels, attention);
        Self { stack, codes, code_channels: channels, scaling_factor: 1.0 }
    }

    /// The paper's vq-f4: 8192 codes of three channels.
    pub fn vq_f4() -> Self {
        Self::ldm(&[1, 2, 4], (8192, 3), &[])
    }

    /// The paper's vq-f4-noattn, whose middle does not attend.
    pub fn vq_f4_noattn() -> Self {
        let mut config = Self::vq_f4();
        config.stack.middle_attention = false;
        config
    }

    /// The paper's vq-f8: 16384 codes of four channels, with attention at 32 x 32 of a 256-pixel
    /// picture.
    pub fn vq_f8() -> Self {
        Self::ldm(&[1, 2, 2, 4], (16384, 4), &[3])
    }

    /// The paper's vq-f16: 16384 codes of eight channels, with attention at 16 x 16 of a 256-pixel
    /// picture.
    pub fn vq_f16() -> Self {
        Self::ldm(&[1, 1, 2, 2, 4], (16384, 8), &[4])
    }

    /// Reads the config of diffusers' `VQModel`.
    ///
    /// # Errors
    /// Names the first field with a value that is not supported.
    pub fn from_diffusers(json: &Json) -> Result<Self, ConfigError> {
        let fields = Fields::new("VQModel", json)?;
        fields.expect_class()?;
        fields.only("norm_type", json!("group"))?;
        fields.only("lookup_from_codebook", json!(false))?;
        let z_channels = fields.count("latent_channels", 3, MAX_CHANNELS)?;
        Ok(Self {
            stack: ConvStackConfig::read(&fields, z_channels)?,
            codes: fields.count("num_vq_embeddings", 256, MAX_ROWS)?,
            code_channels: fields.count("vq_embed_dim", z_channels, MAX_CHANNELS)?,
            scaling_factor: fields.positive("scaling_factor", 0.18215)?,
        })
    }
}

/// The weights of a VQ autoencoder.
#[derive(Clone, Debug)]
pub struct AutoencoderVq {
    encoder: Option<VqEncoder>,
    /// `[codes, code_channels]`.
    codebook: Arc<Codebook>,
    /// `[z_channels, code_channels, 1, 1]`.
    post_quant_conv: Arc<Filter>,
    decoder: ConvDecoder,
}

#[derive(Clone, Debug)]
struct VqEncoder {
    encoder: ConvEncoder,
    /// `[code_channels, z_channels, 1, 1]`.
    quant_conv: Arc<Filter>,
}

impl AutoencoderVq {
    /// Reads `encoder`, `quant_conv`, `quantize.embedding`, `post_quant_conv` and `decoder`, as far
    /// as `halves` needs them.
    ///
    /// # Errors
    /// When a tensor is missing or does not have the shape that `config` asks for.
    pub fn load(
        w: &Weights<'_>,
        config: &AutoencoderVqConfig,
        halves: Halves,
    ) -> Result<Self, FileError> {
        let (stack, code, z) = (&config.stack, config.code_channels, config.stack.z_channels);
        let encoder = || {
            Ok(VqEncoder {
                encoder: ConvEncoder::load(&w.at("encoder"), stack, z)?,
                quant_conv: w.at("quant_conv").conv(code, z, 1)?,
            })
        };
        Ok(Self {
            encoder: (halves == Halves::Both).then(encoder).transpose()?,
            codebook: load_codebook(&w.at("quantize.embedding"), [config.codes, code])?,
            post_quant_conv: w.at("post_quant_conv").conv(z, code, 1)?,
            decoder: ConvDecoder::load(&w.at("decoder"), stack)?,
        })
    }

    /// `image: [n, h, w, 3]` in -1..1 -> latent `[n, h / f, w / f, code_channels]`, not yet
    /// quantised; nothing when only the decoder was loaded.
    pub fn encode(&self, g: &mut Graph, image: Value) -> Option<Value> {
        let VqEncoder { encoder, quant_conv } = self.encoder.as_ref()?;
        let h = encoder.forward(g, image);
        Some(g.conv(h, quant_conv, ConvSpec::same(1)))
    }

    /// `latent: [n, h, w, code_channels]` -> image `[n, f h, f w, 3]`, about -1..1.
    pub fn decode(&self, g: &mut Graph, latent: Value) -> Value {
        let codes = g.nearest_code(latent, &self.codebook);
        let z = g.conv(codes, &self.post_quant_conv, ConvSpec::same(1));
        self.decoder.forward(g, z)
    }
}

fn load_codebook(w: &Weights<'_>, shape: [usize; 2]) -> Result<Arc<Codebook>, FileError> {
    let codes = w.shaped("weight", &shape)?;
    Codebook::new(&codes).map(Arc::new).map_err(|error| FileError::WrongShape {
        file: "VQ autoencoder".to_owned(),
        tensor: "quantize.embedding.weight".to_owned(),
        found: error.to_string(),
        wanted: "one code at least".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_config_of_diffusers_is_read_with_its_defaults() {
        let config = AutoencoderVqConfig::from_diffusers(&json!({
            "_class_name": "VQModel",
            "block_out_channels": [128, 256, 512],
            "down_block_types": vec!["DownEncoderBlock2D"; 3],
            "up_block_types": vec!["UpDecoderBlock2D"; 3],
            "layers_per_block": 2,
            "num_vq_embeddings": 8192,
            "scaling_factor": 1.0,
        }));
        assert_eq!(config, Ok(AutoencoderVqConfig::vq_f4()));
    }

    #[test]
    fn spatial_norms_and_absurd_codebooks_are_refused() {
        for (field, value) in [("norm_type", json!("spatial")), ("num_vq_embeddings", json!(1e12))]
        {
            let message = AutoencoderVqConfig::from_diffusers(&json!({ field: value }));
            let message = message.unwrap_err().to_string();
            assert!(message.starts_with(&format!("VQModel config: '{field}'")), "{message}");
        }
    }
}
