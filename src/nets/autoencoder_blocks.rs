//! The convolutional encoder and decoder that the KL and the VQ autoencoder share (Esser et al.
//! 2021; Rombach et al. 2022, section 3.1 and appendix G).

use std::sync::Arc;

use pochade_engine::{ConvSpec, Filter, Graph, Norm, Padding, Value};

use super::ConvStackConfig;
use super::attention_block::{AttentionBlock, AttentionSize};
use crate::files::{FileError, Weights};

const EPS: f32 = 1e-6;

/// From a picture to moments or codes: `[n, h, w, 3] -> [n, h / f, w / f, outputs]`.
#[derive(Clone, Debug)]
pub(crate) struct ConvEncoder {
    /// `[channels[0], in_channels, 3, 3]`.
    conv_in: Arc<Filter>,
    down: Vec<EncoderLevel>,
    mid: Middle,
    end: End,
}

/// Residual blocks, each with its attention, and the halving behind them: `[c, c, 3, 3]` at stride
/// 2.
#[derive(Clone, Debug)]
struct EncoderLevel {
    blocks: Vec<(ResnetBlock, Option<AttentionBlock>)>,
    downsample: Option<Arc<Filter>>,
}

impl ConvEncoder {
    /// Reads the tensors below `encoder.`; the last convolution has `outputs` channels.
    pub fn load(
        w: &Weights<'_>,
        config: &ConvStackConfig,
        outputs: usize,
    ) -> Result<Self, FileError> {
        let first = config.channels.first().copied().unwrap_or(0);
        let mut c = first;
        let mut down = Vec::new();
        for (i, &channels) in config.channels.iter().enumerate() {
            let w = w.at("down").at(i);
            let blocks = load_blocks(&w, config, (c, i), config.res_blocks)?;
            c = channels;
            let more = i + 1 < config.channels.len();
            let conv = || w.at("downsample.conv").conv(c, c, 3);
            down.push(EncoderLevel { blocks, downsample: more.then(conv).transpose()? });
        }
        Ok(Self {
            conv_in: w.at("conv_in").conv(first, config.in_channels, 3)?,
            down,
            mid: Middle::load(&w.at("mid"), config)?,
            end: End::load(w, config.groups, c, outputs)?,
        })
    }

    /// `image: [n, h, w, in_channels] -> [n, h / f, w / f, outputs]`.
    pub fn forward(&self, g: &mut Graph, image: Value) -> Value {
        let mut h = g.conv(image, &self.conv_in, ConvSpec::same(3));
        for level in &self.down {
            h = pass_blocks(g, h, &level.blocks);
            if let Some(conv) = &level.downsample {
                h = g.conv(h, conv, ConvSpec::down(BELOW_AND_RIGHT));
            }
        }
        h = self.mid.forward(g, h);
        self.end.forward(g, h)
    }
}

/// The stride-2 convolutions see one row and one column of zeros, below and to the right.
const BELOW_AND_RIGHT: Padding = Padding { top: 0, left: 0, bottom: 1, right: 1 };

/// From a latent to a picture: `[n, h, w, z_channels] -> [n, f h, f w, out_channels]`.
#[derive(Clone, Debug)]
pub(crate) struct ConvDecoder {
    /// `[channels[last], z_channels, 3, 3]`.
    conv_in: Arc<Filter>,
    mid: Middle,
    /// From the lowest resolution up.
    up: Vec<DecoderLevel>,
    end: End,
}

/// Residual blocks, each with its attention, and the doubling behind them: `[c, c, 3, 3]`.
#[derive(Clone, Debug)]
struct DecoderLevel {
    blocks: Vec<(ResnetBlock, Option<AttentionBlock>)>,
    upsample: Option<Arc<Filter>>,
}

impl ConvDecoder {
    /// Reads the tensors below `decoder.`, whose levels are counted from the full resolution down.
    pub fn load(w: &Weights<'_>, config: &ConvStackConfig) -> Result<Self, FileError> {
        let mut c = config.last();
        let mut up = Vec::new();
        for (i, &channels) in config.channels.iter().enumerate().rev() {
            let w = w.at("up").at(i);
            let blocks = load_blocks(&w, config, (c, i), config.res_blocks + 1)?;
            c = channels;
            let conv = || w.at("upsample.conv").conv(c, c, 3);
            up.push(DecoderLevel { blocks, upsample: (i > 0).then(conv).transpose()? });
        }
        Ok(Self {
            conv_in: w.at("conv_in").conv(config.last(), config.z_channels, 3)?,
            mid: Middle::load(&w.at("mid"), config)?,
            up,
            end: End::load(w, config.groups, c, config.out_channels)?,
        })
    }

    /// `z: [n, h, w, z_channels] -> [n, f h, f w, out_channels]`.
    pub fn forward(&self, g: &mut Graph, z: Value) -> Value {
        let mut h = g.conv(z, &self.conv_in, ConvSpec::same(3));
        h = self.mid.forward(g, h);
        for level in &self.up {
            h = pass_blocks(g, h, &level.blocks);
            if let Some(conv) = &level.upsample {
                h = g.conv(h, conv, ConvSpec::up(3));
            }
        }
        self.end.forward(g, h)
    }
}

/// The residual blocks of level `i`, the first of which is fed `c` channels.
fn load_blocks(
    w: &Weights<'_>,
    config: &ConvStackConfig,
    (c, i): (usize, usize),
    count: usize,
) -> Result<Vec<(ResnetBlock, Option<AttentionBlock>)>, FileError> {
    let channels = config.channels[i];
    let load = |j: usize| {
        let c_in = if j == 0 { c } else { channels };
        let block = ResnetBlock::load(&w.at("block").at(j), (c_in, channels), config.groups)?;
        let attends = config.attention.get(i) == Some(&true);
        let attention = || load_attention(&w.at("attn").at(j), channels, config.groups);
        Ok((block, attends.then(attention).transpose()?))
    };
    (0..count).map(load).collect()
}

fn load_attention(
    w: &Weights<'_>,
    channels: usize,
    groups: usize,
) -> Result<AttentionBlock, FileError> {
    AttentionBlock::load(w, AttentionSize { channels, heads: 1, groups, eps: EPS })
}

fn pass_blocks(g: &mut Graph, x: Value, blocks: &[(ResnetBlock, Option<AttentionBlock>)]) -> Value {
    blocks.iter().fold(x, |h, (block, attention)| {
        let h = block.forward(g, h);
        attention.as_ref().map_or(h, |attention| attention.forward(g, h))
    })
}

/// Residual block, attention, residual block at the lowest resolution.
#[derive(Clone, Debug)]
struct Middle {
    block_1: ResnetBlock,
    attn_1: Option<AttentionBlock>,
    block_2: ResnetBlock,
}

impl Middle {
    fn load(w: &Weights<'_>, config: &ConvStackConfig) -> Result<Self, FileError> {
        let (c, groups) = (config.last(), config.groups);
        let attention = || load_attention(&w.at("attn_1"), c, groups);
        Ok(Self {
            block_1: ResnetBlock::load(&w.at("block_1"), (c, c), groups)?,
            attn_1: config.middle_attention.then(attention).transpose()?,
            block_2: ResnetBlock::load(&w.at("block_2"), (c, c), groups)?,
        })
    }

    fn forward(&self, g: &mut Graph, x: Value) -> Value {
        let h = self.block_1.forward(g, x);
        let h = self.attn_1.as_ref().map_or(h, |attention| attention.forward(g, h));
        self.block_2.forward(g, h)
    }
}

/// Norm, SiLU and the last convolution.
#[derive(Clone, Debug)]
struct End {
    groups: usize,
    /// `[c]`.
    norm_out: Arc<Norm>,
    /// `[outputs, c, 3, 3]`.
    conv_out: Arc<Filter>,
}

impl End {
    fn load(w: &Weights<'_>, groups: usize, c: usize, outputs: usize) -> Result<Self, FileError> {
        Ok(Self {
            groups,
            norm_out: w.at("norm_out").norm(c)?,
            conv_out: w.at("conv_out").conv(outputs, c, 3)?,
        })
    }

    fn forward(&self, g: &mut Graph, x: Value) -> Value {
        let h = g.group_norm(x, &self.norm_out, self.groups, EPS);
        let h = g.silu(h);
        g.conv(h, &self.conv_out, ConvSpec::same(3))
    }
}

/// The residual block without a time.
#[derive(Clone, Debug)]
struct ResnetBlock {
    groups: usize,
    /// `[c_in]`.
    norm1: Arc<Norm>,
    /// `[c_out, c_in, 3, 3]`.
    conv1: Arc<Filter>,
    /// `[c_out]`.
    norm2: Arc<Norm>,
    /// `[c_out, c_out, 3, 3]`.
    conv2: Arc<Filter>,
    /// `[c_out, c_in, 1, 1]` where the widths differ.
    nin_shortcut: Option<Arc<Filter>>,
}

impl ResnetBlock {
    fn load(
        w: &Weights<'_>,
        (c_in, c_out): (usize, usize),
        groups: usize,
    ) -> Result<Self, FileError> {
        let shortcut = || w.at("nin_shortcut").conv(c_out, c_in, 1);
        Ok(Self {
            groups,
            norm1: w.at("norm1").norm(c_in)?,
            conv1: w.at("conv1").conv(c_out, c_in, 3)?,
            norm2: w.at("norm2").norm(c_out)?,
            conv2: w.at("conv2").conv(c_out, c_out, 3)?,
            nin_shortcut: (c_in != c_out).then(shortcut).transpose()?,
        })
    }

    /// `[n, h, w, c_in] -> [n, h, w, c_out]`.
    fn forward(&self, g: &mut Graph, x: Value) -> Value {
        let h = self.norm_silu_conv(g, x, &self.norm1, &self.conv1);
        // Before the second convolution, so that `x` need not wait for it.
        let x = self.nin_shortcut.as_ref().map_or(x, |f| g.conv(x, f, ConvSpec::same(1)));
        let h = self.norm_silu_conv(g, h, &self.norm2, &self.conv2);
        g.add(h, x)
    }

    fn norm_silu_conv(
        &self,
        g: &mut Graph,
        x: Value,
        norm: &Arc<Norm>,
        conv: &Arc<Filter>,
    ) -> Value {
        let h = g.group_norm(x, norm, self.groups, EPS);
        let h = g.silu(h);
        g.conv(h, conv, ConvSpec::same(3))
    }
}
