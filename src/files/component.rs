//! The parts of a model.

use std::fmt;

/// A part that has a config, and mostly weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Component {
    /// The encoder of the prompt.
    TextEncoder,
    /// The second one, of Stable Diffusion XL.
    TextEncoder2,
    /// The denoiser.
    Unet,
    /// The second denoiser, which doubles the latent's sides; Pochade's own.
    Upscaler,
    /// The autoencoder, of whatever kind.
    Autoencoder,
    /// The noise schedule: a config without weights.
    Scheduler,
}

impl Component {
    /// All parts, in the order they work.
    pub const ALL: [Self; 6] = [
        Self::TextEncoder,
        Self::TextEncoder2,
        Self::Unet,
        Self::Upscaler,
        Self::Autoencoder,
        Self::Scheduler,
    ];

    /// The name that diffusers' folders and Pochade's metadata use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::TextEncoder => "text_encoder",
            Self::TextEncoder2 => "text_encoder_2",
            Self::Unet => "unet",
            Self::Upscaler => "upscaler",
            Self::Autoencoder => "vae",
            Self::Scheduler => "scheduler",
        }
    }

    /// What stands before the canonical names in a file that holds several parts, as in LDM's
    /// checkpoints.
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::TextEncoder => "cond_stage_model.transformer.text_model.",
            Self::TextEncoder2 => "cond_stage_model.1.transformer.text_model.",
            Self::Unet => "model.diffusion_model.",
            Self::Upscaler => "upscaler.",
            Self::Autoencoder => "first_stage_model.",
            Self::Scheduler => "scheduler.",
        }
    }

    /// The tokenizer that belongs to a text encoder.
    pub(super) const fn tokenizer(self) -> Option<&'static str> {
        match self {
            Self::TextEncoder => Some("tokenizer"),
            Self::TextEncoder2 => Some("tokenizer_2"),
            _ => None,
        }
    }
}

impl fmt::Display for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
