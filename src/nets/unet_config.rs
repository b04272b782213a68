//! What a UNet looks like: one description for the paper's zoo, Stable Diffusion 1, 2 and XL, and
//! the default model.

use pochade_engine::Padding;

use super::Sinusoid;

/// The architecture of a [`UNet`](super::UNet).
#[derive(Clone, Debug, PartialEq)]
pub struct UNetConfig {
    /// Channels of the input: the latent's, and those concatenated with it.
    pub in_channels: usize,
    /// Channels of the output, which are the latent's.
    pub out_channels: usize,
    /// Width of the first convolution and of the timestep's sinusoid.
    pub model_channels: usize,
    /// Width of the embedded time that reaches every residual block.
    pub time_embed_dim: usize,
    /// From the full resolution down; each level halves the one before.
    pub levels: Vec<Level>,
    /// The blocks at the lowest resolution.
    pub middle: Middle,
    /// Width of a context token. With one, attention levels hold spatial transformers, without,
    /// attention blocks.
    pub context_width: Option<usize>,
    /// What joins the time.
    pub vector: VectorInput,
    /// Width of the embedded guidance scale in UNets distilled with it (LCM).
    pub guidance_width: Option<usize>,
    /// Whether the time scales and shifts (ADM) or is added.
    pub scale_shift: bool,
    /// How the resolution changes.
    pub resample: Resample,
    /// Groups of every group norm.
    pub groups: usize,
    /// Epsilon of the group norms outside the spatial transformers, which have 1e-6.
    pub norm_eps: f32,
    /// Whether the sinusoid puts its cosines first.
    pub cos_first: bool,
    /// The sinusoid's shift of frequencies.
    pub freq_shift: f32,
}

/// One resolution of a UNet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level {
    /// Width of the feature maps.
    pub channels: usize,
    /// Residual blocks on the way down; there is one more on the way up.
    pub res_blocks: usize,
    /// Attention behind every residual block.
    pub attention: Option<Attention>,
}

/// Attention at one resolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attention {
    /// Heads, which share the channels.
    pub heads: usize,
    /// Transformer blocks in each spatial transformer. Without a context there is one attention
    /// block.
    pub depth: usize,
}

/// The blocks at the lowest resolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Middle {
    /// None at all (tiny distilled models).
    Absent,
    /// So many residual blocks.
    ResBlocks(usize),
    /// Residual block, attention, residual block.
    WithAttention(Attention),
}

/// A vector besides the timestep that is added to the embedded time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VectorInput {
    /// None.
    None,
    /// One of so many classes, looked up in a table.
    Classes(usize),
    /// A vector of this width through a perceptron: Stable Diffusion XL's pooled text and sizes.
    Projection(usize),
    /// The context itself, pooled by attention of so many heads.
    PooledContext(usize),
}

/// How a UNet changes the resolution between levels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resample {
    /// A convolution of stride 2 with this padding; repetition and a convolution.
    Conv(Padding),
    /// Averages; repetition.
    Pool,
    /// Residual blocks that resize.
    ResBlock,
}

/// The number of attention heads, as latent diffusion's configs give it.
///
/// Their flag `legacy` makes no difference wherever the head size divides the channels, as it does
/// in every published model: both readings give `channels / size` heads of `size`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heads {
    /// `num_heads`: the same number at every level.
    Count(usize),
    /// `num_head_channels`: heads of the same size at every level.
    Size(usize),
}

impl Heads {
    fn of(self, channels: usize) -> usize {
        match self {
            Self::Count(count) => count,
            Self::Size(size) => channels / size.max(1),
        }
    }
}

/// The parameters of a UNet as latent diffusion's configs write them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LdmUNet<'a> {
    /// Channels of the input.
    pub in_channels: usize,
    /// Channels of the output.
    pub out_channels: usize,
    /// The width that the multipliers multiply.
    pub model_channels: usize,
    /// One multiplier per level.
    pub channel_mult: &'a [usize],
    /// Residual blocks per level.
    pub num_res_blocks: usize,
    /// Downsampling factors (not resolutions, in spite of the name) that have attention.
    pub attention_resolutions: &'a [usize],
    /// Attention heads.
    pub heads: Heads,
    /// Width of a context token, where there are spatial transformers.
    pub context_dim: Option<usize>,
    /// Depth of the spatial transformers at each level.
    pub transformer_depth: &'a [usize],
    /// What joins the time.
    pub vector: VectorInput,
    /// Whether the time scales and shifts.
    pub use_scale_shift_norm: bool,
    /// Whether residual blocks resize.
    pub resblock_updown: bool,
    /// Whether resizing has weights at all.
    pub conv_resample: bool,
}

impl LdmUNet<'_> {
    /// The same architecture in this crate's terms. Missing depths count as 1.
    pub fn config(&self) -> UNetConfig {
        let level = |(i, mult): (usize, &usize)| {
            let channels = self.model_channels * mult;
            let attends = u32::try_from(i)
                .is_ok_and(|i| self.attention_resolutions.contains(&2_usize.saturating_pow(i)));
            let attention = attends.then(|| self.attention(i, channels));
            Level { channels, res_blocks: self.num_res_blocks, attention }
        };
        let levels: Vec<Level> = self.channel_mult.iter().enumerate().map(level).collect();
        let last = levels.last().map_or(self.model_channels, |level| level.channels);
        UNetConfig {
            in_channels: self.in_channels,
            out_channels: self.out_channels,
            model_channels: self.model_channels,
            time_embed_dim: 4 * self.model_channels,
            middle: Middle::WithAttention(self.attention(levels.len().saturating_sub(1), last)),
            levels,
            context_width: self.context_dim,
            vector: self.vector,
            guidance_width: None,
            scale_shift: self.use_scale_shift_norm,
            resample: self.resample(),
            groups: 32,
            norm_eps: 1e-5,
            cos_first: true,
            freq_shift: 0.0,
        }
    }

    fn attention(&self, level: usize, channels: usize) -> Attention {
        let depth = self.transformer_depth.get(level).copied().unwrap_or(1);
        Attention { heads: self.heads.of(channels), depth }
    }

    fn resample(&self) -> Resample {
        match (self.resblock_updown, self.conv_resample) {
            (true, _) => Resample::ResBlock,
            (false, true) => Resample::Conv(Padding::same(1)),
            (false, false) => Resample::Pool,
        }
    }
}

/// Stable Diffusion 1, from which the others differ in a few fields.
const SD15: LdmUNet<'static> = LdmUNet {
    in_channels: 4,
    out_channels: 4,
    model_channels: 320,
    channel_mult: &[1, 2, 4, 4],
    num_res_blocks: 2,
    attention_resolutions: &[4, 2, 1],
    heads: Heads::Count(8),
    context_dim: Some(768),
    transformer_depth: &[1, 1, 1, 1],
    vector: VectorInput::None,
    use_scale_shift_norm: false,
    resblock_updown: false,
    conv_resample: true,
};

impl UNetConfig {
    /// Stable Diffusion 1.1 to 1.5: 859.5 M parameters.
    pub fn sd15() -> Self {
        SD15.config()
    }

    /// Stable Diffusion 2: heads of 64, context of OpenCLIP ViT-H.
    pub fn sd2() -> Self {
        LdmUNet { heads: Heads::Size(64), context_dim: Some(1024), ..SD15 }.config()
    }

    /// Stable Diffusion XL: 2567.5 M parameters, most of them in the deep transformers of the
    /// lowest level.
    pub fn sdxl() -> Self {
        let sdxl = LdmUNet {
            channel_mult: &[1, 2, 4],
            attention_resolutions: &[4, 2],
            heads: Heads::Size(64),
            context_dim: Some(2048),
            transformer_depth: &[1, 2, 10],
            vector: VectorInput::Projection(2816),
            ..SD15
        };
        sdxl.config()
    }

    /// The sinusoid of a timestep.
    pub fn sinusoid(&self) -> Sinusoid {
        Sinusoid {
            width: self.model_channels,
            cos_first: self.cos_first,
            freq_shift: self.freq_shift,
        }
    }

    /// Width of the vector a step is given, where there is one.
    pub fn vector_width(&self) -> Option<usize> {
        match self.vector {
            VectorInput::Classes(_) => Some(self.time_embed_dim),
            VectorInput::Projection(width) => Some(width),
            VectorInput::None | VectorInput::PooledContext(_) => None,
        }
    }

    /// The latent's height and width must be multiples of this.
    pub fn size_multiple(&self) -> usize {
        2_usize.saturating_pow(self.levels.len().saturating_sub(1) as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attention_resolutions_are_downsampling_factors() {
        // Latent diffusion's semantic synthesis config asks for 32, 16, 8 with levels at 1, 2, 4.
        let semantic = LdmUNet {
            model_channels: 128,
            channel_mult: &[1, 4, 8],
            attention_resolutions: &[32, 16, 8],
            context_dim: None,
            ..SD15
        };
        let config = semantic.config();
        assert!(config.levels.iter().all(|level| level.attention.is_none()));
        assert_eq!(config.middle, Middle::WithAttention(Attention { heads: 8, depth: 1 }));
    }

    #[test]
    fn a_head_size_gives_more_heads_to_wider_levels() {
        let heads = |level: &Level| level.attention.map(|a| (a.heads, a.depth));
        let found: Vec<_> = UNetConfig::sdxl().levels.iter().map(heads).collect();
        assert_eq!(found, [None, Some((10, 2)), Some((20, 10))]);
    }

    #[test]
    fn a_latent_must_halve_at_every_level_but_the_last() {
        assert_eq!(UNetConfig::sd15().size_multiple(), 8);
        assert_eq!(UNetConfig::sdxl().size_multiple(), 4);
    }
}
