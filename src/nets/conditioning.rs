//! The switch of figure 3 of Rombach et al. 2022: how a condition enters the denoiser.

use std::fmt;

use pochade_engine::{Graph, Rate, Shape, Value};

use super::{ConfigError, UNetConfig, VectorInput};

/// The ways a condition can enter a UNet (`conditioning_key` in latent diffusion).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Conditioning {
    /// Not at all.
    None,
    /// As channels beside the latent: a mask, a small picture, a semantic map.
    Concat,
    /// As tokens that the spatial transformers attend to: text, a layout, a class token.
    CrossAttention,
    /// As channels and as tokens: inpainting with a prompt.
    Hybrid,
    /// As a vector added to the time: a class.
    Adm,
}

/// The sizes that one graph of a UNet is built for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UNetExtent {
    /// Batch; two for classifier-free guidance.
    pub batch: usize,
    /// Rows of the latent.
    pub height: usize,
    /// Columns of the latent.
    pub width: usize,
    /// Tokens of the context, where there is one.
    pub tokens: usize,
}

/// The inputs of one denoising step, declared in a graph. Of the optional ones those exist that the
/// switch and the UNet ask for; a step must be given every one that exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UNetInputs {
    /// The noisy latent `[n, h, w, latent channels]`. Changes with every step.
    pub latent: Value,
    /// The timestep's sinusoid `[n, model_channels]`. Given for all steps of a schedule at once.
    pub timestep: Value,
    /// Channels beside the latent `[n, h, w, in_channels - latent channels]`. Given once.
    pub concat: Option<Value>,
    /// Tokens `[n, tokens, context_width]`. Given once.
    pub context: Option<Value>,
    /// The class's vector `[n, time_embed_dim]` or the vector `[n, width]` of a projection. Given
    /// once.
    pub vector: Option<Value>,
    /// The embedded guidance scale `[n, guidance_width]`. Given once.
    pub guidance: Option<Value>,
}

impl Conditioning {
    /// Reads latent diffusion's `conditioning_key`; no key is [`Conditioning::None`].
    ///
    /// Stable Diffusion 2's `crossattn-adm` and `hybrid-adm` add a vector, which is the UNet's own
    /// ([`UNetConfig::vector`]), to the switch's setting.
    ///
    /// # Errors
    /// When the key is none of these.
    pub fn parse(key: Option<&str>) -> Result<Self, ConfigError> {
        match key {
            None => Ok(Self::None),
            Some("concat") => Ok(Self::Concat),
            Some("crossattn" | "crossattn-adm") => Ok(Self::CrossAttention),
            Some("hybrid" | "hybrid-adm") => Ok(Self::Hybrid),
            Some("adm") => Ok(Self::Adm),
            Some(other) => Err(ConfigError::Unsupported {
                class: "LatentDiffusion",
                field: "conditioning_key".to_owned(),
                value: format!("\"{}\"", other.escape_debug()),
                supported: "none, concat, crossattn, hybrid, adm, crossattn-adm, hybrid-adm"
                    .to_owned(),
            }),
        }
    }

    /// The setting that fits a UNet: more inputs than outputs mean channels, a context width means
    /// tokens.
    pub fn of(config: &UNetConfig) -> Self {
        let concat = config.in_channels > config.out_channels;
        match (concat, config.context_width.is_some()) {
            (true, true) => Self::Hybrid,
            (true, false) => Self::Concat,
            (false, true) => Self::CrossAttention,
            (false, false) if config.vector != VectorInput::None => Self::Adm,
            (false, false) => Self::None,
        }
    }

    /// Whether channels join the latent.
    pub fn takes_channels(self) -> bool {
        matches!(self, Self::Concat | Self::Hybrid)
    }

    /// Whether the transformers attend to tokens.
    pub fn takes_tokens(self) -> bool {
        matches!(self, Self::CrossAttention | Self::Hybrid)
    }

    /// Declares the inputs of a step in `g`.
    pub fn declare(self, g: &mut Graph, config: &UNetConfig, extent: UNetExtent) -> UNetInputs {
        let UNetExtent { batch, height, width, tokens } = extent;
        let image = |channels| Shape::image(batch, height, width, channels);
        let extra = if self.takes_channels() {
            config.in_channels.saturating_sub(config.out_channels)
        } else {
            0
        };
        let context = config.context_width.filter(|_| self.takes_tokens());
        let setup = |g: &mut Graph, shape: Shape| g.input(shape, Rate::Setup);
        UNetInputs {
            latent: g.input(image(config.in_channels - extra), Rate::Run),
            timestep: g.input(Shape::vector(batch, config.model_channels), Rate::Schedule),
            concat: (extra > 0).then(|| setup(g, image(extra))),
            context: context.map(|width| setup(g, Shape::tokens(batch, tokens, width))),
            vector: config.vector_width().map(|width| setup(g, Shape::vector(batch, width))),
            guidance: config.guidance_width.map(|width| setup(g, Shape::vector(batch, width))),
        }
    }
}

impl fmt::Display for Conditioning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Concat => "concat",
            Self::CrossAttention => "crossattn",
            Self::Hybrid => "hybrid",
            Self::Adm => "adm",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXTENT: UNetExtent = UNetExtent { batch: 2, height: 16, width: 24, tokens: 77 };

    fn declared(config: &UNetConfig) -> (Graph, UNetInputs) {
        let mut g = Graph::new();
        let inputs = Conditioning::of(config).declare(&mut g, config, EXTENT);
        (g, inputs)
    }

    #[test]
    fn every_key_of_latent_diffusion_is_read_and_shown_again() {
        for key in ["concat", "crossattn", "hybrid", "adm"] {
            assert_eq!(Conditioning::parse(Some(key)).unwrap().to_string(), key);
        }
        assert_eq!(Conditioning::parse(None), Ok(Conditioning::None));
        let message = Conditioning::parse(Some("film")).unwrap_err().to_string();
        assert!(message.contains("'conditioning_key' is \"film\""), "{message}");
    }

    #[test]
    fn stable_diffusion_takes_tokens_once_and_a_latent_every_step() {
        let (g, inputs) = declared(&UNetConfig::sd15());
        assert_eq!(g.shape(inputs.latent), Shape::image(2, 16, 24, 4));
        assert_eq!(g.shape(inputs.timestep), Shape::vector(2, 320));
        assert_eq!(inputs.context.map(|v| g.shape(v)), Some(Shape::tokens(2, 77, 768)));
        assert_eq!((inputs.concat, inputs.vector, inputs.guidance), (None, None, None));
    }

    #[test]
    fn inpainting_is_hybrid_and_splits_off_five_channels() {
        let config = UNetConfig { in_channels: 9, ..UNetConfig::sd15() };
        assert_eq!(Conditioning::of(&config), Conditioning::Hybrid);
        let (g, inputs) = declared(&config);
        assert_eq!(g.shape(inputs.latent).c, 4);
        assert_eq!(inputs.concat.map(|v| g.shape(v)), Some(Shape::image(2, 16, 24, 5)));
    }

    #[test]
    fn a_class_without_tokens_is_adm_and_a_vector() {
        let vector = VectorInput::Classes(10);
        let config = UNetConfig { context_width: None, vector, ..UNetConfig::sd15() };
        assert_eq!(Conditioning::of(&config), Conditioning::Adm);
        let (g, inputs) = declared(&config);
        assert_eq!(inputs.vector.map(|v| g.shape(v)), Some(Shape::vector(2, 1280)));
        assert_eq!(inputs.context, None);
    }
}
