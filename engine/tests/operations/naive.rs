//! Naive twins in f64, written from the definitions.

use pochade_engine::{ConvSpec, Shape};

/// An activation and its shape.
pub struct Tensor {
    pub shape: Shape,
    pub data: Vec<f32>,
}

impl Tensor {
    pub fn random(shape: Shape, seed: u64) -> Self {
        Self { shape, data: random(shape.len(), seed) }
    }

    pub fn at(&self, n: usize, h: usize, w: usize, c: usize) -> f64 {
        let s = self.shape;
        f64::from(self.data[((n * s.h + h) * s.w + w) * s.c + c])
    }
}

/// Values in -1 ..= 1 from a linear congruence.
pub fn random(len: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x2545_F491_4F6C_DD1D;
    let mut next = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1_u64 << 23) as f32 - 1.0
    };
    (0..len).map(|_| next()).collect()
}

/// A tensor's values from a formula.
pub fn build(s: Shape, f: impl Fn(usize, usize, usize, usize) -> f64) -> Vec<f64> {
    let mut values = Vec::with_capacity(s.len());
    for n in 0..s.n {
        for h in 0..s.h {
            for w in 0..s.w {
                values.extend((0..s.c).map(|c| f(n, h, w, c)));
            }
        }
    }
    values
}

pub fn conv(
    x: &Tensor,
    weights: &[f32],
    bias: &[f32],
    [out, channels, kh, kw]: [usize; 4],
    spec: ConvSpec,
) -> Vec<f64> {
    let (s, p) = (x.shape, spec.padding);
    let up = if spec.upsample { 2 } else { 1 };
    let extent = |size: usize, pad: usize, k: usize| (size * up + pad - k) / spec.stride + 1;
    let (h, w) = (extent(s.h, p.top + p.bottom, kh), extent(s.w, p.left + p.right, kw));
    let source = |n: usize, y: usize, x_: usize, c: usize| -> f64 {
        let (Some(y), Some(x_)) = (y.checked_sub(p.top), x_.checked_sub(p.left)) else {
            return 0.0;
        };
        if y / up < s.h && x_ / up < s.w { x.at(n, y / up, x_ / up, c) } else { 0.0 }
    };
    build(Shape::image(s.n, h, w, out), |n, y, x_, o| {
        let mut sum = f64::from(bias[o]);
        for c in 0..channels {
            for ky in 0..kh {
                for kx in 0..kw {
                    let weight = weights[((o * channels + c) * kh + ky) * kw + kx];
                    sum += f64::from(weight)
                        * source(n, y * spec.stride + ky, x_ * spec.stride + kx, c);
                }
            }
        }
        sum
    })
}

fn normalise(values: &[f64], eps: f64) -> (f64, f64) {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / values.len() as f64;
    (mean, 1.0 / (variance + eps).sqrt())
}

pub fn group_norm(x: &Tensor, scale: &[f32], shift: &[f32], groups: usize, eps: f64) -> Vec<f64> {
    let s = x.shape;
    let per_group = s.c / groups;
    let group = |n: usize, g: usize| -> Vec<f64> {
        let positions = (0..s.h).flat_map(|h| (0..s.w).map(move |w| (h, w)));
        positions
            .flat_map(|(h, w)| (0..per_group).map(move |i| (h, w, i)))
            .map(|(h, w, i)| x.at(n, h, w, g * per_group + i))
            .collect()
    };
    let moments: Vec<Vec<_>> =
        (0..s.n).map(|n| (0..groups).map(|g| normalise(&group(n, g), eps)).collect()).collect();
    build(s, |n, h, w, c| {
        let (mean, inverse) = moments[n][c / per_group];
        (x.at(n, h, w, c) - mean) * inverse * f64::from(scale[c]) + f64::from(shift[c])
    })
}

pub fn layer_norm(x: &Tensor, scale: &[f32], shift: &[f32], eps: f64) -> Vec<f64> {
    build(x.shape, |n, h, w, c| {
        let row: Vec<f64> = (0..x.shape.c).map(|c| x.at(n, h, w, c)).collect();
        let (mean, inverse) = normalise(&row, eps);
        (row[c] - mean) * inverse * f64::from(scale[c]) + f64::from(shift[c])
    })
}

pub fn attention(q: &Tensor, k: &Tensor, v: &Tensor, heads: usize, causal: bool) -> Vec<f64> {
    let d = q.shape.c / heads;
    let dot = |n: usize, i: usize, j: usize, head: usize| -> f64 {
        let sum: f64 =
            (0..d).map(|c| q.at(n, 0, i, head * d + c) * k.at(n, 0, j, head * d + c)).sum();
        sum / (d as f64).sqrt()
    };
    let mut out = Vec::new();
    for n in 0..q.shape.n {
        for i in 0..q.shape.w {
            let keys = if causal { i + 1 } else { k.shape.w };
            for head in 0..heads {
                let weights: Vec<f64> = (0..keys).map(|j| dot(n, i, j, head).exp()).collect();
                let total: f64 = weights.iter().sum();
                out.extend((0..d).map(|c| {
                    let sum: f64 =
                        (0..keys).map(|j| weights[j] * v.at(n, 0, j, head * d + c)).sum();
                    sum / total
                }));
            }
        }
    }
    out
}

/// The error function by its Taylor series near zero and its continued fraction in the tails.
pub fn erf(x: f64) -> f64 {
    if x.abs() < 3.0 {
        let (mut term, mut sum) = (x, x);
        for n in 1..200 {
            term *= -x * x / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        return sum * 2.0 / std::f64::consts::PI.sqrt();
    }
    let a = x.abs();
    let mut fraction = a;
    for n in (1..60).rev() {
        fraction = a + f64::from(n) / 2.0 / fraction;
    }
    (1.0 - (-a * a).exp() / fraction / std::f64::consts::PI.sqrt()).copysign(x)
}
