//! Self-attention of a feature map without a context: ADM's AttentionBlock in unconditional UNets,
//! and the single-head block of the autoencoders. Both are a group norm, three projections,
//! attention, a projection and a shortcut.

use std::sync::Arc;

use pochade_engine::{Filter, Graph, Mask, Norm, TensorView, Value};

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
    /// Reads the projections as `q`, `k`, `v`, or fused as latent diffusion's UNet stores them in
    /// `qkv`.
    pub fn load(w: &Weights<'_>, size: AttentionSize) -> Result<Self, FileError> {
        let c = size.channels;
        let qkv = if w.contains("qkv.weight") {
            split_qkv(&w.at("qkv"), c, size.heads)?
        } else {
            [w.at("q").linear(c, c)?, w.at("k").linear(c, c)?, w.at("v").linear(c, c)?]
        };
        let all: Vec<usize> = (0..c).collect();
        let proj_out = pick_rows(&w.at("proj_out"), [c, c], &all)?;
        Ok(Self { size, norm: w.at("norm").norm(c)?, qkv, proj_out })
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

/// Splits the fused projection `[3c, c, 1]` of QKVAttentionLegacy, whose rows go head by head: the
/// head's queries, then its keys, then its values.
fn split_qkv(w: &Weights<'_>, c: usize, heads: usize) -> Result<[Arc<Filter>; 3], FileError> {
    // Heads that do not divide the channels are the graph's error; here they must only not lead out
    // of the matrix.
    let size = if heads > 0 && c.is_multiple_of(heads) { c / heads } else { c };
    let part = |part: usize| {
        let rows = (0..c).map(|row| (row / size * 3 + part) * size + row % size);
        pick_rows(w, [3 * c, c], &rows.collect::<Vec<_>>())
    };
    Ok([part(0)?, part(1)?, part(2)?])
}

/// Packs some rows of the matrix here: `weight: [rows, columns]` with or without trailing ones,
/// `bias: [rows]`.
fn pick_rows(
    w: &Weights<'_>,
    [rows, columns]: [usize; 2],
    picked: &[usize],
) -> Result<Arc<Filter>, FileError> {
    let weight = w.tensor("weight")?;
    let trailing = weight.shape().strip_prefix(&[rows, columns]);
    if !trailing.is_some_and(|rest| rest.len() <= 2 && rest.iter().all(|&d| d == 1)) {
        w.shaped("weight", &[rows, columns, 1])?;
    }
    let bias = w.contains("bias").then(|| w.shaped("bias", &[rows])).transpose()?;
    let (weight_rows, bias_rows) = (
        gather(&weight, columns, picked),
        bias.map(|bias| (bias.dtype(), gather(&bias, 1, picked))),
    );
    let shape = [picked.len(), columns];
    let bias = bias_rows.as_ref().and_then(|(d, bytes)| TensorView::new(*d, &shape[..1], bytes));
    let weight = TensorView::new(weight.dtype(), &shape, &weight_rows);
    match weight.map(|weight| Filter::linear(&weight, bias.as_ref())) {
        Some(Ok(filter)) => Ok(Arc::new(filter)),
        // Cannot happen with rows gathered for this shape; the loader's own message serves.
        Some(Err(_)) | None => w.linear(rows, columns),
    }
}

/// The bytes of some rows of a tensor of `columns` columns.
fn gather(tensor: &TensorView<'_>, columns: usize, picked: &[usize]) -> Vec<u8> {
    let len = columns * tensor.dtype().bytes();
    picked.iter().flat_map(|row| &tensor.bytes()[row * len..][..len]).copied().collect()
}
