//! How a UNet learns the time: the sinusoidal embedding of DDPM (Ho et al. 2020, after Vaswani et
//! al. 2017), computed here, and the two-layer perceptron that follows it, computed in the graph.

use std::sync::Arc;

use pochade_engine::{Filter, Graph, Value};

use crate::files::{FileError, Weights};

/// The sinusoidal embedding of one number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sinusoid {
    /// Length of the embedding.
    pub width: usize,
    /// `[cos, sin]` as latent diffusion has it, or `[sin, cos]`. diffusers' `flip_sin_to_cos`.
    pub cos_first: bool,
    /// Moves the lowest frequency: 0 for latent diffusion, 1 for DDPM. diffusers' `freq_shift`.
    pub freq_shift: f32,
}

/// Longest period, in timesteps over 2 pi.
const MAX_PERIOD: f64 = 10_000.0;

impl Sinusoid {
    /// The embedding of `t`: `[width]`. An odd width ends in a zero.
    ///
    /// Angles are rounded to f32 where diffusers rounds them, so that both agree at high timesteps.
    pub fn embed(&self, t: f32) -> Vec<f32> {
        let half = self.width / 2;
        let waves = (0..half).map(|i| libm::sincos(f64::from(t * self.frequency(i))));
        let (sin, cos): (Vec<f32>, Vec<f32>) =
            waves.map(|(sin, cos)| (sin as f32, cos as f32)).unzip();
        let mut embedding = if self.cos_first { [cos, sin].concat() } else { [sin, cos].concat() };
        embedding.resize(self.width, 0.0);
        embedding
    }

    /// `10000^(-i / (half - shift))`.
    fn frequency(&self, i: usize) -> f32 {
        let exponent = -(libm::log(MAX_PERIOD) as f32) * i as f32;
        libm::exp(f64::from(exponent / ((self.width / 2) as f32 - self.freq_shift))) as f32
    }
}

/// The embedding of a guidance scale `w` for UNets distilled with it (Meng et al. 2023; LCM):
/// `[width]`.
pub fn guidance_embedding(w: f32, width: usize) -> Vec<f32> {
    Sinusoid { width, cos_first: false, freq_shift: 1.0 }.embed(w * 1000.0)
}

/// The vector that Stable Diffusion XL adds to the time (Podell et al. 2023, section 2.2): the
/// pooled text, then the embeddings of six numbers (original height and width, crop top and left,
/// target height and width).
pub fn size_vector(pooled_text: &[f32], sizes: &[f32; 6], embedding: Sinusoid) -> Vec<f32> {
    let sizes = sizes.iter().flat_map(|&size| embedding.embed(size));
    pooled_text.iter().copied().chain(sizes).collect()
}

/// The perceptron behind the sinusoid: linear, SiLU, linear.
#[derive(Clone, Debug)]
pub(crate) struct TimestepEmbedding {
    /// `[width, guidance_width]`, no bias; only UNets distilled with a guidance scale have it.
    cond_proj: Option<Arc<Filter>>,
    mlp: VectorMlp,
}

impl TimestepEmbedding {
    /// Reads `0`, `2` and, with a guidance width, `cond_proj`.
    pub fn load(
        w: &Weights<'_>,
        width: usize,
        time_embed_dim: usize,
        guidance_width: Option<usize>,
    ) -> Result<Self, FileError> {
        let cond_proj = |g| w.at("cond_proj").unbiased().linear(width, g);
        let cond_proj = guidance_width.map(cond_proj).transpose()?;
        Ok(Self { cond_proj, mlp: VectorMlp::load(w, width, time_embed_dim)? })
    }

    /// `timestep: [n, width]`, `guidance: [n, guidance_width]` -> `[n, time_embed_dim]`.
    pub fn forward(&self, g: &mut Graph, timestep: Value, guidance: Option<Value>) -> Value {
        let Some((filter, guidance)) = self.cond_proj.as_ref().zip(guidance) else {
            return self.mlp.forward(g, timestep);
        };
        let guidance = g.linear(guidance, filter);
        let sum = g.add(timestep, guidance);
        self.mlp.forward(g, sum)
    }
}

/// Linear, SiLU, linear: `[n, width] -> [n, time_embed_dim]`.
#[derive(Clone, Debug)]
pub(crate) struct VectorMlp {
    /// `[time_embed_dim, width]`.
    first: Arc<Filter>,
    /// `[time_embed_dim, time_embed_dim]`.
    second: Arc<Filter>,
}

impl VectorMlp {
    /// Reads `0` and `2`.
    pub fn load(w: &Weights<'_>, width: usize, time_embed_dim: usize) -> Result<Self, FileError> {
        Ok(Self {
            first: w.at(0).linear(time_embed_dim, width)?,
            second: w.at(2).linear(time_embed_dim, time_embed_dim)?,
        })
    }

    pub fn forward(&self, g: &mut Graph, x: Value) -> Value {
        let h = g.linear(x, &self.first);
        let h = g.silu(h);
        g.linear(h, &self.second)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LDM: Sinusoid = Sinusoid { width: 8, cos_first: true, freq_shift: 0.0 };

    #[test]
    fn latent_diffusion_puts_the_cosines_first() {
        let e = LDM.embed(3.0);
        for (i, frequency) in [1.0_f64, 0.1, 0.01, 0.001].into_iter().enumerate() {
            assert!((f64::from(e[i]) - (3.0 * frequency).cos()).abs() < 1e-6);
            assert!((f64::from(e[4 + i]) - (3.0 * frequency).sin()).abs() < 1e-6);
        }
    }

    #[test]
    fn the_other_order_swaps_the_halves() {
        let (a, b) = (LDM.embed(41.0), Sinusoid { cos_first: false, ..LDM }.embed(41.0));
        assert_eq!(a[..4], b[4..]);
        assert_eq!(a[4..], b[..4]);
    }

    #[test]
    fn a_shift_of_one_ends_at_the_longest_period() {
        let e = Sinusoid { cos_first: false, freq_shift: 1.0, ..LDM }.embed(1.0);
        assert!((e[3] - 1e-4).abs() < 1e-9);
    }

    #[test]
    fn an_odd_width_ends_in_a_zero() {
        let e = Sinusoid { width: 9, ..LDM }.embed(5.0);
        assert_eq!((e.len(), e[8]), (9, 0.0));
    }

    #[test]
    fn a_size_vector_is_the_text_and_six_embeddings() {
        let v = size_vector(&[5.0, 6.0], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], LDM);
        assert_eq!(v.len(), 2 + 6 * 8);
        assert_eq!(v[..2], [5.0, 6.0]);
        assert_eq!(v[2 + 5 * 8..], LDM.embed(6.0));
    }
}
