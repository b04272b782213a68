//! The blocks a UNet is stacked from, and the walk over a checkpoint that numbers them as latent
//! diffusion does.

use std::sync::Arc;

use pochade_engine::{ConvSpec, Filter, Graph, Value};

use super::attention_block::{AttentionBlock, AttentionSize};
use super::resblock::{ResBlock, ResBlockStyle, Resize};
use super::spatial_transformer::{SpatialTransformer, TransformerSize};
use super::{Attention, Level, Middle, Resample, UNetConfig};
use crate::files::{FileError, Weights};

/// What every block may look at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Conditions {
    /// `[n, time_embed_dim]`, after SiLU.
    pub emb: Value,
    /// `[n, tokens, context_width]`.
    pub context: Option<Value>,
}

/// Layers that follow one another (`TimestepEmbedSequential`).
#[derive(Clone, Debug)]
pub(crate) struct Block(Vec<Layer>);

impl Block {
    /// `[n, h, w, c] -> [n, h', w', c']`.
    pub fn forward(&self, g: &mut Graph, x: Value, conditions: Conditions) -> Value {
        self.0.iter().fold(x, |h, layer| layer.forward(g, h, conditions))
    }
}

/// One layer of a [`Block`].
#[derive(Clone, Debug)]
enum Layer {
    Conv(Arc<Filter>, ConvSpec),
    ResBlock(Box<ResBlock>),
    Transformer(SpatialTransformer),
    Attention(Box<AttentionBlock>),
    AvgPool,
    Repeat,
}

impl Layer {
    fn forward(&self, g: &mut Graph, x: Value, conditions: Conditions) -> Value {
        match self {
            Self::Conv(filter, spec) => g.conv(x, filter, *spec),
            Self::ResBlock(block) => block.forward(g, x, conditions.emb),
            Self::Transformer(transformer) => transformer.forward(g, x, conditions.context),
            Self::Attention(block) => block.forward(g, x),
            Self::AvgPool => g.avg_pool(x),
            Self::Repeat => g.upsample(x),
        }
    }
}

/// A walk over the blocks in the order of latent diffusion's constructor, which their names count.
pub(crate) struct Stack<'a> {
    w: &'a Weights<'a>,
    config: &'a UNetConfig,
    /// Width after the blocks so far.
    channels: usize,
    /// Widths of the skips not yet used.
    skips: Vec<usize>,
}

impl<'a> Stack<'a> {
    pub fn new(w: &'a Weights<'a>, config: &'a UNetConfig) -> Self {
        Self { w, config, channels: config.model_channels, skips: Vec::new() }
    }

    /// The way down: first convolution, then per level its residual blocks and, but for the last, a
    /// downsampling.
    pub fn input_blocks(&mut self) -> Result<Vec<Block>, FileError> {
        let w = self.w.at("input_blocks");
        let first = w.at("0.0").conv(self.channels, self.config.in_channels, 3)?;
        let mut blocks = vec![Block(vec![Layer::Conv(first, ConvSpec::same(3))])];
        self.skips.push(self.channels);
        for (i, level) in self.config.levels.iter().enumerate() {
            for _ in 0..level.res_blocks {
                blocks.push(Block(self.res_and_attention(&w.at(blocks.len()), level)?));
                self.skips.push(self.channels);
            }
            if i + 1 < self.config.levels.len() {
                blocks.push(Block(vec![self.down(&w.at(blocks.len()).at(0))?]));
                self.skips.push(self.channels);
            }
        }
        Ok(blocks)
    }

    /// The blocks at the lowest resolution.
    pub fn middle_block(&mut self) -> Result<Block, FileError> {
        let w = self.w.at("middle_block");
        let c = self.channels;
        Ok(Block(match self.config.middle {
            Middle::Absent => Vec::new(),
            // The numbers between are left to the attention that is not there.
            Middle::ResBlocks(count) => (0..count)
                .map(|i| self.res_block(&w.at(2 * i), c, Resize::Keep))
                .collect::<Result<_, _>>()?,
            Middle::WithAttention(attention) => vec![
                self.res_block(&w.at(0), c, Resize::Keep)?,
                self.attention(&w.at(1), attention)?,
                self.res_block(&w.at(2), c, Resize::Keep)?,
            ],
        }))
    }

    /// The way up: per level one residual block more than down, each fed a skip; all levels but the
    /// first end doubled.
    pub fn output_blocks(&mut self) -> Result<Vec<Block>, FileError> {
        let w = self.w.at("output_blocks");
        let mut blocks = Vec::new();
        for (i, level) in self.config.levels.iter().enumerate().rev() {
            for j in 0..=level.res_blocks {
                let w = w.at(blocks.len());
                self.channels += self.skips.pop().unwrap_or(0);
                let mut layers = self.res_and_attention(&w, level)?;
                if i > 0 && j == level.res_blocks {
                    layers.push(self.up(&w.at(layers.len()))?);
                }
                blocks.push(Block(layers));
            }
        }
        Ok(blocks)
    }

    fn res_and_attention(
        &mut self,
        w: &Weights<'_>,
        level: &Level,
    ) -> Result<Vec<Layer>, FileError> {
        let mut layers = vec![self.res_block(&w.at(0), level.channels, Resize::Keep)?];
        if let Some(attention) = level.attention {
            layers.push(self.attention(&w.at(1), attention)?);
        }
        Ok(layers)
    }

    fn res_block(
        &mut self,
        w: &Weights<'_>,
        outputs: usize,
        resize: Resize,
    ) -> Result<Layer, FileError> {
        let style = ResBlockStyle {
            time_embed_dim: self.config.time_embed_dim,
            scale_shift: self.config.scale_shift,
            groups: self.config.groups,
            eps: self.config.norm_eps,
        };
        let block = ResBlock::load(w, style, (self.channels, outputs), resize)?;
        self.channels = outputs;
        Ok(Layer::ResBlock(Box::new(block)))
    }

    fn attention(&self, w: &Weights<'_>, attention: Attention) -> Result<Layer, FileError> {
        let (channels, groups) = (self.channels, self.config.groups);
        let Attention { heads, depth } = attention;
        if let Some(context_width) = self.config.context_width {
            let size = TransformerSize { channels, context_width, heads, depth, groups };
            return Ok(Layer::Transformer(SpatialTransformer::load(w, size)?));
        }
        let size = AttentionSize { channels, heads, groups, eps: self.config.norm_eps };
        Ok(Layer::Attention(Box::new(AttentionBlock::load(w, size)?)))
    }

    fn down(&mut self, w: &Weights<'_>) -> Result<Layer, FileError> {
        let c = self.channels;
        match self.config.resample {
            Resample::Pool => Ok(Layer::AvgPool),
            Resample::ResBlock => self.res_block(w, c, Resize::Down),
            Resample::Conv(padding) => {
                Ok(Layer::Conv(w.at("op").conv(c, c, 3)?, ConvSpec::down(padding)))
            }
        }
    }

    fn up(&mut self, w: &Weights<'_>) -> Result<Layer, FileError> {
        let c = self.channels;
        match self.config.resample {
            Resample::Pool => Ok(Layer::Repeat),
            Resample::ResBlock => self.res_block(w, c, Resize::Up),
            Resample::Conv(_) => Ok(Layer::Conv(w.at("conv").conv(c, c, 3)?, ConvSpec::up(3))),
        }
    }
}
