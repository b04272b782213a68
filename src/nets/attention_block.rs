//! Self-attention of a feature map without a context: ADM's AttentionBlock in unconditional UNets,
//! and the single-head block of the autoencoders. Both are a group norm, three projections,
//! attention, a projection and a shortcut.

use std::sync::Arc;

use pochade_engine::{Filter, Graph, Mask, Norm, Value};

use crate::files::{FileError, Weights};

/// Sizes of one block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AttentionSize {
    pub channels: usize,
    pub heads: usize,
    pub groups: usize,
    pub eps: f32,
}

/// Self-attention over all positions of a feature map.
#[derive(Clone, Debug)]
pub(crate) struct AttentionBlock {
    size: AttentionSize,
    /// `[c]`.
    norm: Arc<Norm>,
    /// Query, key and value, each `[c, c]`.
    qkv: [Arc<Filter>; 3],
    /// `[c, c]`.
    proj_out: Arc<Filter>,
}

impl AttentionBlock {
    pub fn load(w: &Weights<'_>, size: AttentionSize) -> Result<Self, FileError> {
        let square = |name| w.at(name).linear(size.channels, size.channels);
        Ok(Self {
            size,
            norm: w.at("norm").norm(size.channels)?,
            qkv: [square("q")?, square("k")?, square("v")?],
            proj_out: square("proj_out")?,
        })
    }

    /// `[n, h, w, c] -> [n, h, w, c]`.
    pub fn forward(&self, g: &mut Graph, x: Value) -> Value {
        let shape = g.shape(x);
        let h = g.group_norm(x, &self.norm, self.size.groups, self.size.eps);
        let h = g.to_tokens(h); // [n, h * w, c]
        let [q, k, v] = self.qkv.each_ref().map(|filter| g.linear(h, filter));
        let h = g.attention(q, k, v, self.size.heads, Mask::None);
        let h = g.linear(h, &self.proj_out);
        let h = g.view(h, shape);
        g.add(h, x)
    }
}
