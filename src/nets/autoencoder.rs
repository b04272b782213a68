//! The first stage of latent diffusion: between pictures and latents (Rombach et al. 2022, section
//! 3.1).

use pochade_engine::{Graph, Value};
use serde_json::Value as Json;

use super::config::Fields;
use super::{
    AutoencoderKl, AutoencoderKlConfig, AutoencoderTiny, AutoencoderTinyConfig, AutoencoderVq,
    AutoencoderVqConfig, ConfigError, Posterior,
};
use crate::files::{FileError, Weights};

/// Which half of an autoencoder to keep in memory. Painting from words needs only the decoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Halves {
    /// The decoder alone.
    Decoder,
    /// Encoder and decoder.
    Both,
}

/// Architecture of an [`Autoencoder`].
#[derive(Clone, Debug, PartialEq)]
pub enum AutoencoderConfig {
    /// KL-regularised.
    Kl(AutoencoderKlConfig),
    /// VQ-regularised.
    Vq(AutoencoderVqConfig),
    /// Tiny.
    Tiny(AutoencoderTinyConfig),
}

impl AutoencoderConfig {
    /// Reads the config of diffusers' `AutoencoderKL`, `VQModel` or `AutoencoderTiny`, by its
    /// `_class_name`.
    ///
    /// # Errors
    /// Names the first field with a value that is not supported.
    pub fn from_diffusers(json: &Json) -> Result<Self, ConfigError> {
        let fields = Fields::new("autoencoder", json)?;
        match fields.word("_class_name", "")? {
            "AutoencoderKL" => AutoencoderKlConfig::from_diffusers(json).map(Self::Kl),
            "VQModel" => AutoencoderVqConfig::from_diffusers(json).map(Self::Vq),
            "AutoencoderTiny" => AutoencoderTinyConfig::from_diffusers(json).map(Self::Tiny),
            _ => Err(fields.unsupported("_class_name", "AutoencoderKL, VQModel, AutoencoderTiny")),
        }
    }

    /// Channels of the latent.
    pub fn latent_channels(&self) -> usize {
        match self {
            Self::Kl(config) => config.latent_channels,
            Self::Vq(config) => config.code_channels,
            Self::Tiny(config) => config.latent_channels,
        }
    }

    /// Pixels per latent pixel, in each direction.
    pub fn factor(&self) -> usize {
        match self {
            Self::Kl(config) => config.stack.factor(),
            Self::Vq(config) => config.stack.factor(),
            Self::Tiny(config) => config.factor(),
        }
    }

    /// The denoiser works on `(latent - shift_factor) * scaling_factor`.
    pub fn scaling_factor(&self) -> f32 {
        match self {
            Self::Kl(config) => config.scaling_factor,
            Self::Vq(config) => config.scaling_factor,
            Self::Tiny(config) => config.scaling_factor,
        }
    }

    /// See [`AutoencoderConfig::scaling_factor`].
    pub fn shift_factor(&self) -> f32 {
        match self {
            Self::Kl(config) => config.shift_factor,
            Self::Vq(_) => 0.0,
            Self::Tiny(config) => config.shift_factor,
        }
    }
}

/// An autoencoder of any of the three kinds.
#[derive(Clone, Debug)]
pub struct Autoencoder {
    config: AutoencoderConfig,
    network: Network,
}

#[derive(Clone, Debug)]
enum Network {
    Kl(AutoencoderKl),
    Vq(AutoencoderVq),
    Tiny(AutoencoderTiny),
}

impl Autoencoder {
    /// Reads the weights, named as below `first_stage_model.` in latent diffusion's checkpoints, or
    /// as in TAESD.
    ///
    /// # Errors
    /// When a tensor is missing or does not have the shape that `config` asks for.
    pub fn load(
        w: &Weights<'_>,
        config: &AutoencoderConfig,
        halves: Halves,
    ) -> Result<Self, FileError> {
        let network = match config {
            AutoencoderConfig::Kl(config) => Network::Kl(AutoencoderKl::load(w, config, halves)?),
            AutoencoderConfig::Vq(config) => Network::Vq(AutoencoderVq::load(w, config, halves)?),
            AutoencoderConfig::Tiny(config) => {
                Network::Tiny(AutoencoderTiny::load(w, config, halves)?)
            }
        };
        Ok(Self { config: config.clone(), network })
    }

    /// The architecture.
    pub fn config(&self) -> &AutoencoderConfig {
        &self.config
    }

    /// `image: [n, h, w, 3]` in -1..1 -> what [`Autoencoder::latent`] reads, at `1 / factor` of the
    /// size; nothing when only the decoder was loaded.
    pub fn encode(&self, g: &mut Graph, image: Value) -> Option<Value> {
        match &self.network {
            Network::Kl(network) => network.encode(g, image),
            Network::Vq(network) => network.encode(g, image),
            Network::Tiny(network) => network.encode(g, image),
        }
    }

    /// The latent `[n, h, w, latent_channels]` in the values of an encoding, not yet scaled: the
    /// most likely one.
    pub fn latent(&self, encoding: &[f32]) -> Vec<f32> {
        match &self.network {
            Network::Kl(_) => Posterior::new(encoding, self.config.latent_channels()).mean,
            Network::Vq(_) | Network::Tiny(_) => encoding.to_vec(),
        }
    }

    /// `latent: [n, h, w, latent_channels]`, already divided by the scaling factor -> image
    /// `[n, factor h, factor w, 3]`, about -1..1.
    pub fn decode(&self, g: &mut Graph, latent: Value) -> Value {
        match &self.network {
            Network::Kl(network) => network.decode(g, latent),
            Network::Vq(network) => network.decode(g, latent),
            Network::Tiny(network) => network.decode(g, latent),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_class_decides_the_kind() {
        let read =
            |class: &str| AutoencoderConfig::from_diffusers(&json!({ "_class_name": class }));
        let config = read("AutoencoderTiny").unwrap();
        assert_eq!(
            (config.latent_channels(), config.factor(), config.scaling_factor()),
            (4, 8, 1.0)
        );
        assert_eq!(read("VQModel").unwrap().latent_channels(), 3);
        let message = read("AutoencoderOobleck").unwrap_err().to_string();
        assert!(
            message.contains("supported: AutoencoderKL, VQModel, AutoencoderTiny"),
            "{message}"
        );
    }
}
