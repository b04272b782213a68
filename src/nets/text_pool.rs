//! The pooled text that joins the time: layer norm, attention pooling, projection, layer norm (the
//! head of DeepFloyd's and GLIDE's text towers; `TextTimeEmbedding` in diffusers).

use std::sync::Arc;

use pochade_engine::{DType, Filter, Graph, Mask, Norm, TensorView, Value};

use crate::files::{FileError, Weights};

const EPS: f32 = 1e-5;

/// One query, the mean token, attends to itself and to all tokens.
#[derive(Clone, Debug)]
pub(crate) struct TextPool {
    heads: usize,
    /// `[width]`.
    norm1: Arc<Norm>,
    /// The learned summand `[width]` of the mean, as the bias of an identity matrix `[width,
    /// width]`: exact in floating point, since every product is by one or zero.
    positional_embedding: Arc<Filter>,
    /// `[width, width]`.
    q_proj: Arc<Filter>,
    /// `[width, width]`.
    k_proj: Arc<Filter>,
    /// `[width, width]`.
    v_proj: Arc<Filter>,
    /// `[time_embed_dim, width]`.
    proj: Arc<Filter>,
    /// `[time_embed_dim]`.
    norm2: Arc<Norm>,
}

impl TextPool {
    pub fn load(
        w: &Weights<'_>,
        (width, time_embed_dim): (usize, usize),
        heads: usize,
    ) -> Result<Self, FileError> {
        let pool = w.at("pool");
        Ok(Self {
            heads,
            norm1: w.at("norm1").norm(width)?,
            positional_embedding: add_vector(&pool, "positional_embedding", width)?,
            q_proj: pool.at("q_proj").linear(width, width)?,
            k_proj: pool.at("k_proj").linear(width, width)?,
            v_proj: pool.at("v_proj").linear(width, width)?,
            proj: w.at("proj").linear(time_embed_dim, width)?,
            norm2: w.at("norm2").norm(time_embed_dim)?,
        })
    }

    /// `context: [n, tokens, width] -> [n, time_embed_dim]`.
    pub fn forward(&self, g: &mut Graph, context: Value) -> Value {
        let tokens = g.layer_norm(context, &self.norm1, EPS);
        let mean = g.mean_tokens(tokens); // [n, 1, width]
        let class = g.linear(mean, &self.positional_embedding);
        let all = g.concat_tokens(class, tokens); // [n, 1 + tokens, width]
        let q = g.linear(class, &self.q_proj);
        let k = g.linear(all, &self.k_proj);
        let v = g.linear(all, &self.v_proj);
        let pooled = g.attention(q, k, v, self.heads, Mask::None); // [n, 1, width]
        let emb = g.linear(pooled, &self.proj);
        g.layer_norm(emb, &self.norm2, EPS)
    }
}

/// The tensor `name`, `[1, width]`, as a layer that adds it.
fn add_vector(w: &Weights<'_>, name: &str, width: usize) -> Result<Arc<Filter>, FileError> {
    let (dtype, vector) = w.table(name, [1, width])?;
    let shape = [width, width];
    let one = |i: usize| if i.is_multiple_of(width + 1) { 1.0_f32 } else { 0.0 };
    let identity: Vec<u8> = (0..width * width).flat_map(|i| one(i).to_le_bytes()).collect();
    let identity = TensorView::new(DType::F32, &shape, &identity);
    let bias = TensorView::new(dtype, &shape[1..], &vector);
    match identity.map(|identity| Filter::linear(&identity, bias.as_ref())) {
        Some(Ok(filter)) => Ok(Arc::new(filter)),
        // Cannot happen with bytes made for this shape; the loader's own message serves.
        Some(Err(_)) | None => w.at(name).linear(width, width),
    }
}
