//! 3 x 3 convolutions that are computed with fewer products: exact where nothing has to be rounded,
//! little worse than the direct form where something has, and bit for bit alike everywhere.

use std::sync::Arc;

use pochade_engine::{ConvSpec, DType, Encoding, Filter, Pointwise, Shape, TensorView};

use crate::everywhere::{bytes, run_everywhere, run_once};
use crate::integers;
use crate::naive::{self, Tensor, random};

/// A convolution whose activations and weights are whole steps of 1, so small that no transformed
/// window spans more than 254 and no sum of three taps more than 127.
struct Case {
    x: Shape,
    out: usize,
    spec: ConvSpec,
    encoding: Encoding,
}

impl Case {
    /// Within 15, but for one value in the first pixel of each picture that makes the step 1.
    fn activations(&self) -> Tensor {
        let mut data: Vec<f32> =
            random(self.x.len(), 1).into_iter().map(|v| (15.4 * v).round()).collect();
        for picture in data.chunks_exact_mut(self.x.len() / self.x.n) {
            picture[0] = 2047.0;
        }
        Tensor { shape: self.x, data }
    }

    /// `[output][channel][tap]`, within 42, but for one weight of the middle tap that makes the
    /// step 1; in int4 with a multiplier of 5, that of the middle tap's first channels being 15.
    fn weights(&self) -> Vec<f32> {
        let numbers = random(self.out * self.x.c * 9, 2);
        let mut weights: Vec<f32> = match self.encoding {
            Encoding::Int8 => numbers.iter().map(|v| (42.4 * v).round()).collect(),
            Encoding::Int4 => numbers.iter().map(|v| 5.0 * (7.4 * v).round()).collect(),
        };
        for output in weights.chunks_exact_mut(self.x.c * 9) {
            if self.encoding == Encoding::Int8 {
                output[4] = 127.0;
                continue;
            }
            for (i, weight) in output.iter_mut().enumerate() {
                let (channel, tap) = (i / 9, i % 9);
                let multiplier = if tap == 4 && channel < 32 { 15.0 } else { 5.0 };
                let q = if channel % 32 == 0 { -8.0 } else { *weight / 5.0 };
                *weight = multiplier * q;
            }
        }
        weights
    }
}

/// Sets the outputs of tiles whose windows hold a picture's first pixel to zero.
fn without_corner(mut y: Vec<f32>, shape: Shape) -> Vec<f32> {
    for (at, pixel) in y.chunks_exact_mut(shape.c).enumerate() {
        let at = at % shape.positions();
        if at / shape.w < 4 && at % shape.w < 4 {
            pixel.fill(0.0);
        }
    }
    y
}

/// A filter whose integers are these numbers.
fn whole(weights: &[f32], shape: [usize; 4], encoding: Encoding) -> Arc<Filter> {
    let raw = bytes(weights, DType::F32);
    let view = TensorView::new(DType::F32, &shape, &raw).unwrap();
    let filter = Filter::rounded(&view, None, encoding).unwrap();
    assert_eq!(filter.rounded_values().unwrap(), weights);
    Arc::new(filter)
}

fn check_exact(case: &Case) {
    let (x, weights) = (case.activations(), case.weights());
    let shape = [case.out, case.x.c, 3, 3];
    let filter = whole(&weights, shape, case.encoding);
    let got = run_everywhere(&[&x], |g, v| g.conv(v[0], &filter, case.spec));
    let want = naive::conv(&x, &weights, &vec![0.0; case.out], shape, case.spec);
    let want: Vec<f32> = want.into_iter().map(|v| v as f32).collect();
    let to = Shape::image(case.x.n, 2 * case.x.h, 2 * case.x.w, case.out);
    let [got, want] = [got, want].map(|y| without_corner(y, to));
    assert!(got == want, "{:?} of {:?} to {}", case.encoding, case.x, case.out);
}

#[test]
fn doubled_pictures_give_exact_sums_where_nothing_is_rounded() {
    for encoding in [Encoding::Int8, Encoding::Int4] {
        for (x, out) in [
            (Shape::image(2, 8, 8, 64), 64),
            // More tiles than wait together; outputs that do not fill their panels.
            (Shape::image(1, 7, 11, 96), 70),
        ] {
            check_exact(&Case { x, out, spec: ConvSpec::up(3), encoding });
        }
    }
}

#[test]
fn pictures_give_exact_sums_where_nothing_is_rounded() {
    // Odd sizes, so that the last tiles reach beyond the picture.
    let case = Case {
        x: Shape::image(1, 29, 36, 320),
        out: 130,
        spec: ConvSpec::same(3),
        encoding: if cfg!(target_arch = "x86_64") { Encoding::Int4 } else { Encoding::Int8 },
    };
    let (x, weights) = (case.activations(), case.weights());
    let shape = [case.out, case.x.c, 3, 3];
    let filter = whole(&weights, shape, case.encoding);
    let got = run_everywhere(&[&x], |g, v| g.conv(v[0], &filter, case.spec));
    // All sums fit the numbers in which f32 counts.
    let raw = bytes(&weights, DType::F32);
    let view = TensorView::new(DType::F32, &shape, &raw).unwrap();
    let filter = Filter::conv(&view, None).unwrap();
    let want = run_once(&x, |g, v| g.conv(v, &Arc::new(filter), case.spec));
    let to = Shape { c: case.out, ..case.x };
    assert!(without_corner(got, to) == without_corner(want, to));
}

#[test]
fn pictures_lose_little_more_than_in_the_direct_form() {
    let (loss, direct) = losses(Shape::image(1, 32, 32, 320), 128, ConvSpec::same(3));
    assert!(loss < 1.05 * direct && loss > 0.5 * direct, "{loss:.5}, direct {direct:.5}");
}

/// Normally distributed numbers (Box and Muller, 1958).
fn normal(len: usize, seed: u64) -> Vec<f32> {
    let (radii, angles) = (random(len, seed), random(len, seed + 100));
    let pair = |(r, a): (f32, f32)| {
        // The logarithm of a number within 0 and 1, neither of them.
        let radius = (-2.0 * (f64::from(r) * 0.5 + 0.500_000_1).min(1.0).ln()).sqrt();
        (radius * (std::f64::consts::PI * f64::from(a)).cos()) as f32
    };
    radii.into_iter().zip(angles).map(pair).collect()
}

/// What a convolution loses against f32 where `weights` and activations behind SiLU are rounded:
/// that of the engine, and that of the direct form with zero in the middle of the activations' range.
fn losses(x: Shape, out: usize, spec: ConvSpec) -> (f32, f32) {
    let silu = |v: f32| v / (1.0 + (-v).exp());
    let x = Tensor { shape: x, data: normal(x.len(), 3).into_iter().map(silu).collect() };
    let shape = [out, x.shape.c, 3, 3];
    let of = |weights: &[f32]| {
        let raw = bytes(weights, DType::F32);
        let view = TensorView::new(DType::F32, &shape, &raw).unwrap();
        let rounded = Filter::rounded(&view, None, Encoding::Int8).unwrap();
        (Arc::new(Filter::conv(&view, None).unwrap()), Arc::new(rounded))
    };
    let (exact, rounded) = of(&normal(shape.iter().product(), 4));
    let truth = run_once(&x, |g, v| g.conv(v, &exact, spec));
    let got = run_once(&x, |g, v| g.conv(v, &rounded, spec));
    let (whole, _) = of(&rounded.rounded_values().unwrap());
    let direct = run_once(&integers::rounded(&x, x.data.len()), |g, v| g.conv(v, &whole, spec));
    let energy: f32 = truth.iter().map(|v| v * v).sum();
    let loss = |y: &[f32]| {
        let error: f32 = y.iter().zip(&truth).map(|(a, b)| (a - b).powi(2)).sum();
        (error / energy).sqrt()
    };
    (loss(&got), loss(&direct))
}

#[test]
fn doubled_pictures_lose_little_more_than_in_the_direct_form() {
    let (loss, direct) = losses(Shape::image(1, 8, 8, 64), 64, ConvSpec::up(3));
    assert!(loss < 1.05 * direct && loss > 0.5 * direct, "{loss:.5}, direct {direct:.5}");
}

#[test]
fn what_follows_happens_to_the_outputs_of_tiles_too() {
    let x = Tensor::random(Shape::image(2, 8, 9, 64), 1);
    let e = Tensor::random(Shape::vector(2, 64), 2);
    let r = Tensor::random(Shape::image(2, 16, 18, 64), 3);
    let shape = [64, 64, 3, 3];
    let raw = bytes(&random(shape.iter().product(), 4), DType::F32);
    let bias = bytes(&random(64, 5), DType::F32);
    let filter = Filter::rounded(
        &TensorView::new(DType::F32, &shape, &raw).unwrap(),
        Some(&TensorView::new(DType::F32, &[64], &bias).unwrap()),
        Encoding::Int8,
    );
    let filter = Arc::new(filter.unwrap());
    let fused = run_everywhere(&[&x, &e, &r], |g, v| {
        let h = g.conv(v[0], &filter, ConvSpec::up(3));
        let h = g.add_vector(h, v[1]);
        let h = g.pointwise(h, Pointwise::Silu);
        g.add(h, v[2])
    });
    let apart = run_everywhere(&[&x, &e, &r], |g, v| {
        let mut h = g.conv(v[0], &filter, ConvSpec::up(3));
        g.output(h);
        h = g.add_vector(h, v[1]);
        g.output(h);
        h = g.pointwise(h, Pointwise::Silu);
        g.output(h);
        g.add(h, v[2])
    });
    assert_eq!(fused, apart);
}
