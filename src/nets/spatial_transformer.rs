//! The transformer inside the UNet (Rombach et al. 2022, section 3.3 and appendix E.2.1): the
//! picture's positions attend to each other and to the context. This is where words enter the
//! picture.

use std::sync::Arc;

use pochade_engine::{Filter, Graph, Mask, Norm, Value};

use crate::files::{FileError, Weights};

/// The transformer's group norm has another epsilon than the residual blocks'.
const GROUP_NORM_EPS: f32 = 1e-6;
const LAYER_NORM_EPS: f32 = 1e-5;

/// Widths of one spatial transformer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TransformerSize {
    /// Of the feature map.
    pub channels: usize,
    /// Of one context token.
    pub context_width: usize,
    pub heads: usize,
    pub depth: usize,
    pub groups: usize,
}

/// Group norm, projection, transformer blocks, projection, beside a shortcut.
#[derive(Clone, Debug)]
pub(crate) struct SpatialTransformer {
    groups: usize,
    /// `[c]`.
    norm: Arc<Norm>,
    /// `[c, c]`, a matrix or a 1 x 1 convolution.
    proj_in: Arc<Filter>,
    blocks: Vec<BasicTransformerBlock>,
    /// `[c, c]`.
    proj_out: Arc<Filter>,
}

impl SpatialTransformer {
    pub fn load(w: &Weights<'_>, size: TransformerSize) -> Result<Self, FileError> {
        let c = size.channels;
        let blocks = w.at("transformer_blocks");
        Ok(Self {
            groups: size.groups,
            norm: w.at("norm").norm(c)?,
            proj_in: w.at("proj_in").linear(c, c)?,
            blocks: (0..size.depth)
                .map(|i| BasicTransformerBlock::load(&blocks.at(i), size))
                .collect::<Result<_, _>>()?,
            proj_out: w.at("proj_out").linear(c, c)?,
        })
    }

    /// `x: [n, h, w, c]`, `context: [n, tokens, context_width]` -> `[n, h, w, c]`.
    pub fn forward(&self, g: &mut Graph, x: Value, context: Option<Value>) -> Value {
        let shape = g.shape(x);
        let h = g.group_norm(x, &self.norm, self.groups, GROUP_NORM_EPS);
        let h = g.linear(h, &self.proj_in);
        let h = g.to_tokens(h); // [n, h * w, c]
        let h = self.blocks.iter().fold(h, |h, block| block.forward(g, h, context));
        let h = g.linear(h, &self.proj_out);
        let h = g.view(h, shape);
        g.add(h, x)
    }
}

/// Self-attention, cross-attention, feed-forward; each behind a layer norm and beside a shortcut.
#[derive(Clone, Debug)]
struct BasicTransformerBlock {
    /// Three times `[c]`.
    norms: [Arc<Norm>; 3],
    self_attention: CrossAttention,
    cross_attention: CrossAttention,
    feed_forward: FeedForward,
}

impl BasicTransformerBlock {
    fn load(w: &Weights<'_>, size: TransformerSize) -> Result<Self, FileError> {
        let c = size.channels;
        Ok(Self {
            norms: [w.at("norm1").norm(c)?, w.at("norm2").norm(c)?, w.at("norm3").norm(c)?],
            self_attention: CrossAttention::load(&w.at("attn1"), c, c, size.heads)?,
            cross_attention: CrossAttention::load(
                &w.at("attn2"),
                c,
                size.context_width,
                size.heads,
            )?,
            feed_forward: FeedForward::load(&w.at("ff"), c)?,
        })
    }

    /// `x: [n, h * w, c]`, `context: [n, tokens, context_width]` -> `[n, h * w, c]`. Without a
    /// context the positions attend to each other a second time.
    fn forward(&self, g: &mut Graph, x: Value, context: Option<Value>) -> Value {
        let [norm1, norm2, norm3] = &self.norms;
        let h = g.layer_norm(x, norm1, LAYER_NORM_EPS);
        let h = self.self_attention.forward(g, h, h);
        let x = g.add(h, x);
        let h = g.layer_norm(x, norm2, LAYER_NORM_EPS);
        let h = self.cross_attention.forward(g, h, context.unwrap_or(h));
        let x = g.add(h, x);
        let h = g.layer_norm(x, norm3, LAYER_NORM_EPS);
        let h = self.feed_forward.forward(g, h);
        g.add(h, x)
    }
}

/// Multi-head attention of queries from `x` over keys and values from a context.
#[derive(Clone, Debug)]
struct CrossAttention {
    heads: usize,
    /// `[c, c]`, no bias.
    to_q: Arc<Filter>,
    /// `[c, context_width]`, no bias.
    to_k: Arc<Filter>,
    /// `[c, context_width]`, no bias.
    to_v: Arc<Filter>,
    /// `[c, c]`.
    to_out: Arc<Filter>,
}

impl CrossAttention {
    fn load(
        w: &Weights<'_>,
        c: usize,
        context_width: usize,
        heads: usize,
    ) -> Result<Self, FileError> {
        Ok(Self {
            heads,
            to_q: w.at("to_q").unbiased().linear(c, c)?,
            to_k: w.at("to_k").unbiased().linear(c, context_width)?,
            to_v: w.at("to_v").unbiased().linear(c, context_width)?,
            to_out: w.at("to_out.0").linear(c, c)?,
        })
    }

    /// `x: [n, positions, c]`, `context: [n, tokens, context_width]` -> `[n, positions, c]`.
    fn forward(&self, g: &mut Graph, x: Value, context: Value) -> Value {
        let q = g.linear(x, &self.to_q);
        let k = g.linear(context, &self.to_k);
        let v = g.linear(context, &self.to_v);
        let h = g.attention(q, k, v, self.heads, Mask::None);
        g.linear(h, &self.to_out)
    }
}

/// The gated feed-forward layer, four times as wide inside.
#[derive(Clone, Debug)]
struct FeedForward {
    /// `[8c, c]`: values, then gates.
    proj: Arc<Filter>,
    /// `[c, 4c]`.
    out: Arc<Filter>,
}

impl FeedForward {
    fn load(w: &Weights<'_>, c: usize) -> Result<Self, FileError> {
        Ok(Self {
            proj: w.at("net.0.proj").linear(8 * c, c)?,
            out: w.at("net.2").linear(c, 4 * c)?,
        })
    }

    /// `[n, positions, c] -> [n, positions, c]`.
    fn forward(&self, g: &mut Graph, x: Value) -> Value {
        let h = g.linear(x, &self.proj); // [n, positions, 8c]
        let h = g.geglu(h); // [n, positions, 4c]
        g.linear(h, &self.out)
    }
}
