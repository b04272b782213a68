//! What the convolutional encoder and decoder of the KL and the VQ autoencoder look like.

use super::ConfigError;
use super::config::{Fields, MAX_CHANNELS, MAX_LAYERS, MAX_LEVELS};

/// Architecture of an encoder and its decoder (`ddconfig` in latent diffusion).
#[derive(Clone, Debug, PartialEq)]
pub struct ConvStackConfig {
    /// Channels of the picture that is encoded.
    pub in_channels: usize,
    /// Channels of the picture that is decoded.
    pub out_channels: usize,
    /// Width of every level, from the full resolution down; each halves the one before.
    pub channels: Vec<usize>,
    /// Residual blocks per level of the encoder; the decoder has one more.
    pub res_blocks: usize,
    /// Levels with single-head attention behind every residual block.
    pub attention: Vec<bool>,
    /// Whether the middle attends.
    pub middle_attention: bool,
    /// Channels between encoder and decoder.
    pub z_channels: usize,
    /// Groups of every group norm.
    pub groups: usize,
}

impl ConvStackConfig {
    /// Latent diffusion's stack of width 128 with two residual blocks; `attention` lists the levels
    /// that attend.
    pub fn ldm(channel_mult: &[usize], z_channels: usize, attention: &[usize]) -> Self {
        Self {
            in_channels: 3,
            out_channels: 3,
            channels: channel_mult.iter().map(|mult| 128 * mult).collect(),
            res_blocks: 2,
            attention: (0..channel_mult.len()).map(|level| attention.contains(&level)).collect(),
            middle_attention: true,
            z_channels,
            groups: 32,
        }
    }

    /// Pixels per latent pixel, in each direction.
    pub fn factor(&self) -> usize {
        2_usize.saturating_pow(self.channels.len().saturating_sub(1) as u32)
    }

    /// The fields that `AutoencoderKL` and `VQModel` of diffusers share.
    pub(crate) fn read(fields: &Fields<'_>, z_channels: usize) -> Result<Self, ConfigError> {
        fields.one_of("act_fn", "silu", &["silu", "swish"])?;
        let down = fields.words("down_block_types", &["DownEncoderBlock2D"])?;
        let kinds = ["DownEncoderBlock2D", "AttnDownEncoderBlock2D"];
        if down.is_empty() || down.len() > MAX_LEVELS || !down.iter().all(|d| kinds.contains(d)) {
            return Err(fields.unsupported("down_block_types", kinds.join(", ")));
        }
        let attention: Vec<bool> = down.iter().map(|&down| down == kinds[1]).collect();
        let up_name = |&attends: &bool| match attends {
            true => "AttnUpDecoderBlock2D",
            false => "UpDecoderBlock2D",
        };
        let up: Vec<&str> = attention.iter().rev().map(up_name).collect();
        if fields.words("up_block_types", &["UpDecoderBlock2D"])? != up {
            return Err(fields.unsupported("up_block_types", up.join(", ")));
        }
        let channels = fields.counts("block_out_channels", &[64], (1, MAX_CHANNELS))?;
        if channels.len() != down.len() {
            let wanted = format!("a list of {}, one for each down block", down.len());
            return Err(fields.unsupported("block_out_channels", wanted));
        }
        let groups = fields.count("norm_num_groups", 32, MAX_CHANNELS)?;
        fields.divides("norm_num_groups", groups, &channels)?;
        Ok(Self {
            in_channels: fields.count("in_channels", 3, MAX_CHANNELS)?,
            out_channels: fields.count("out_channels", 3, MAX_CHANNELS)?,
            channels,
            res_blocks: fields.count("layers_per_block", 1, MAX_LAYERS)?,
            attention,
            middle_attention: fields.flag("mid_block_add_attention", true)?,
            z_channels,
            groups,
        })
    }

    /// Width of the lowest resolution.
    pub(crate) fn last(&self) -> usize {
        self.channels.last().copied().unwrap_or(0)
    }
}
