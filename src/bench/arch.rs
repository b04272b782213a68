//! The architectures that can be measured: well-known ones, and the default model's.

use std::fmt;
use std::str::FromStr;

use serde_json::json;

use crate::nets::{
    Activation, AutoencoderConfig, AutoencoderKlConfig, AutoencoderTinyConfig, ClipTextConfig,
    ConfigError, ContextLayer, UNetConfig,
};

/// A family of networks of fixed shapes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arch {
    /// The model that comes with the program.
    Default,
    /// Stable Diffusion 1.5.
    Sd15,
    /// Stable Diffusion XL.
    Sdxl,
    /// A UNet of 25.6 M parameters (64, 160 and 320 channels, 3.14 GMAC for a latent of 32 x 32)
    /// and a text encoder of 15.8 M, the size that boards have time for.
    Small,
    /// The tiny autoencoder's decoder.
    Taesd,
    /// The decoder of Stable Diffusion's autoencoder.
    KlF8,
}

/// A network of an architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The text encoders.
    Text,
    /// One forward pass of the denoiser.
    Unet,
    /// From a latent to a picture.
    Decoder,
}

/// The networks of an architecture.
#[derive(Clone, Debug, Default)]
pub(super) struct Networks {
    pub text: Vec<ClipTextConfig>,
    pub unet: Option<UNetConfig>,
    pub decoder: Option<AutoencoderConfig>,
}

impl Arch {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Default, Self::Sd15, Self::Sdxl, Self::Small, Self::Taesd, Self::KlF8];

    /// Width and height of the pictures that it is made for.
    pub fn native_size(self) -> usize {
        match self {
            Self::Default => 128,
            Self::Small => 256,
            Self::Sd15 | Self::Taesd | Self::KlF8 => 512,
            Self::Sdxl => 1024,
        }
    }

    /// The networks it has, in the order they work.
    pub fn parts(self) -> &'static [Part] {
        match self {
            Self::Default | Self::Sd15 | Self::Sdxl => &[Part::Text, Part::Unet, Part::Decoder],
            Self::Small => &[Part::Text, Part::Unet],
            Self::Taesd | Self::KlF8 => &[Part::Decoder],
        }
    }

    /// Width and height must be multiples of this: every level halves them.
    pub fn size_multiple(self) -> usize {
        match self {
            Self::Sd15 => 64,
            Self::Default | Self::Sdxl | Self::Small => 32,
            Self::Taesd | Self::KlF8 => 8,
        }
    }

    pub(super) fn networks(self) -> Result<Networks, ConfigError> {
        let kl_f8 = || Some(AutoencoderConfig::Kl(AutoencoderKlConfig::kl_f8()));
        Ok(match self {
            Self::Default => default_model()?,
            Self::Sd15 => Networks {
                text: vec![ClipTextConfig::vit_l()],
                unet: Some(UNetConfig::sd15()),
                decoder: kl_f8(),
            },
            Self::Sdxl => Networks {
                text: vec![ClipTextConfig::vit_l(), open_clip_big_g()],
                unet: Some(UNetConfig::sdxl()),
                decoder: kl_f8(),
            },
            Self::Small => {
                Networks { text: vec![small_text()], unet: Some(small_unet()?), decoder: None }
            }
            Self::Taesd => Networks {
                decoder: Some(AutoencoderConfig::Tiny(AutoencoderTinyConfig::taesd())),
                ..Networks::default()
            },
            Self::KlF8 => Networks { decoder: kl_f8(), ..Networks::default() },
        })
    }

    fn name(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Sd15 => "sd15",
            Self::Sdxl => "sdxl",
            Self::Small => "small",
            Self::Taesd => "taesd",
            Self::KlF8 => "kl-f8",
        }
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Arch {
    type Err = &'static str;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|arch| arch.name() == name);
        found.ok_or("choose one of default, sd15, sdxl, small, taesd, kl-f8")
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "text",
            Self::Unet => "unet",
            Self::Decoder => "decoder",
        })
    }
}

fn default_model() -> Result<Networks, ConfigError> {
    /// The config of a part of `models/default`; text that is no JSON counts as no object.
    macro_rules! config {
        ($part:literal) => {
            serde_json::from_str(include_str!(concat!(
                "../../models/default/",
                $part,
                "/config.json"
            )))
            .unwrap_or_default()
        };
    }
    Ok(Networks {
        text: vec![ClipTextConfig::from_diffusers(&config!("text_encoder"))?],
        unet: Some(UNetConfig::from_diffusers(&config!("unet"))?),
        decoder: Some(AutoencoderConfig::from_diffusers(&config!("vae"))?),
    })
}

/// OpenCLIP ViT-bigG/14, Stable Diffusion XL's second text encoder: 694.7 M parameters.
fn open_clip_big_g() -> ClipTextConfig {
    ClipTextConfig {
        width: 1280,
        feed_forward: 5120,
        layers: 32,
        heads: 20,
        activation: Activation::Gelu,
        context: ContextLayer::SkipRaw(1),
        projection: Some(1280),
        ..ClipTextConfig::vit_l()
    }
}

/// 256 wide, four layers: 15.8 M parameters, 0.25 GMAC.
fn small_text() -> ClipTextConfig {
    ClipTextConfig {
        width: 256,
        feed_forward: 1024,
        layers: 4,
        heads: 4,
        ..ClipTextConfig::vit_l()
    }
}

/// 25.6 M parameters, 3.14 GMAC for a latent of 32 x 32 and 77 tokens, the context's keys and values
/// included.
fn small_unet() -> Result<UNetConfig, ConfigError> {
    UNetConfig::from_diffusers(&json!({
        "_class_name": "UNet2DConditionModel",
        "sample_size": 32,
        "block_out_channels": [64, 160, 320],
        "layers_per_block": 1,
        "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
        "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
        "cross_attention_dim": 256,
        "attention_head_dim": 8,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_architecture_has_the_networks_it_says() {
        for arch in Arch::ALL {
            assert_eq!(arch.to_string().parse(), Ok(arch));
            let networks = arch.networks().unwrap();
            let has = |part| arch.parts().contains(&part);
            assert_eq!(!networks.text.is_empty(), has(Part::Text), "{arch}");
            assert_eq!(networks.unet.is_some(), has(Part::Unet), "{arch}");
            assert_eq!(networks.decoder.is_some(), has(Part::Decoder), "{arch}");
            let levels = networks.unet.map_or(1, |unet| unet.size_multiple());
            assert_eq!(arch.size_multiple(), 8 * levels, "{arch}");
            assert!(arch.native_size().is_multiple_of(arch.size_multiple()), "{arch}");
            assert!(networks.decoder.is_none_or(|decoder| decoder.factor() == 8), "{arch}");
        }
        assert!("sd3".parse::<Arch>().is_err());
    }
}
