//! Integer products against a naive twin that rounds where they do, and bit for bit across
//! instruction sets and thread counts.

use std::sync::Arc;

use pochade_engine::{
    ConvSpec, DType, Encoding, Filter, Graph, Mask, Norm, Padding, Pointwise, Shape, TensorView,
    Value,
};

use crate::everywhere::{assert_close, bytes, run_everywhere};
use crate::naive::{self, Tensor, random};

/// A random filter in integers, the numbers it stands for, and its bias.
fn filter(shape: [usize; 4], encoding: Encoding, seed: u64) -> (Arc<Filter>, Vec<f32>, Vec<f32>) {
    let raw = bytes(&random(shape.iter().product(), seed), DType::F32);
    let bias = random(shape[0], seed + 1);
    let bias_raw = bytes(&bias, DType::F32);
    let bias_shape = [shape[0]];
    let filter = Filter::rounded(
        &TensorView::new(DType::F32, &shape, &raw).unwrap(),
        Some(&TensorView::new(DType::F32, &bias_shape, &bias_raw).unwrap()),
        encoding,
    )
    .unwrap();
    let values = filter.rounded_values().unwrap();
    (Arc::new(filter), values, bias)
}

/// `x` rounded to 127 steps of each piece's largest magnitude.
fn rounded(x: &Tensor, piece: usize) -> Tensor {
    let mut data = x.data.clone();
    for piece in data.chunks_exact_mut(piece) {
        let step = piece.iter().fold(0.0_f32, |m, v| m.max(v.abs())) / 127.0;
        let inverse = if step > 0.0 { 1.0 / step } else { 0.0 };
        for v in piece {
            *v = (*v * inverse).round_ties_even().clamp(-127.0, 127.0) * step;
        }
    }
    Tensor { shape: x.shape, data }
}

struct Case {
    x: Shape,
    out: usize,
    kernel: usize,
    spec: ConvSpec,
}

fn cases() -> Vec<Case> {
    let asymmetric = Padding { top: 0, left: 0, bottom: 1, right: 1 };
    let case = |x, out, kernel, spec| Case { x, out, kernel, spec };
    vec![
        case(Shape::image(2, 8, 8, 48), 96, 3, ConvSpec::same(3)),
        case(Shape::image(1, 5, 7, 20), 5, 3, ConvSpec::same(3)),
        case(Shape::image(1, 8, 6, 16), 40, 3, ConvSpec::down(Padding::same(1))),
        case(Shape::image(2, 8, 6, 32), 17, 3, ConvSpec::down(asymmetric)),
        case(Shape::image(1, 4, 5, 24), 48, 3, ConvSpec::up(3)),
        case(Shape::tokens(3, 77, 64), 130, 1, ConvSpec::same(1)),
        case(Shape::vector(2, 640), 320, 1, ConvSpec::same(1)),
        // More pixels than a task has; a filter deeper than one segment.
        case(Shape::image(1, 24, 30, 16), 64, 3, ConvSpec::same(3)),
        case(Shape::image(1, 5, 5, 1000), 20, 3, ConvSpec::same(3)),
    ]
}

#[test]
fn integer_products_equal_the_naive_sum_of_rounded_values() {
    for encoding in [Encoding::Int8, Encoding::Int4] {
        for (i, case) in cases().iter().enumerate() {
            let x = Tensor::random(case.x, i as u64);
            let shape = [case.out, case.x.c, case.kernel, case.kernel];
            let (packed, weights, bias) = filter(shape, encoding, 100 + i as u64);
            let got = run_everywhere(&[&x], |g, v| g.conv(v[0], &packed, case.spec));
            let piece = if case.kernel == 1 { case.x.c } else { case.x.len() / case.x.n };
            let want = naive::conv(&rounded(&x, piece), &weights, &bias, shape, case.spec);
            assert_close(&format!("{encoding:?}, case {i}"), &got, &want, 1e-5);
        }
    }
}

#[test]
fn rounding_weights_loses_what_the_encoding_must_lose() {
    for (encoding, most) in [(Encoding::Int8, 0.005), (Encoding::Int4, 0.085)] {
        let shape = [24, 80, 3, 3];
        let truth = random(shape.iter().product(), 7);
        let raw = bytes(&truth, DType::F32);
        let view = TensorView::new(DType::F32, &shape, &raw).unwrap();
        let values = Filter::rounded(&view, None, encoding).unwrap().rounded_values().unwrap();
        let energy = |f: &dyn Fn(usize) -> f32| (0..truth.len()).map(|i| f(i).powi(2)).sum::<f32>();
        let error = energy(&|i| truth[i] - values[i]) / energy(&|i| truth[i]);
        assert!(error.sqrt() < most, "{encoding:?}: {}", error.sqrt());
    }
}

#[test]
fn norms_hand_int8_to_the_products_behind_them() {
    let x = Tensor::random(Shape::image(2, 12, 11, 32), 1);
    let parameters = [random(32, 2), random(32, 3)].map(|v| bytes(&v, DType::F32));
    let shape = [32];
    let [scale, shift] =
        parameters.each_ref().map(|raw| TensorView::new(DType::F32, &shape, raw).unwrap());
    let norm = Arc::new(Norm::new(&scale, &shift).unwrap());
    let (conv, _, _) = filter([48, 32, 3, 3], Encoding::Int8, 4);
    let (linear, _, _) = filter([48, 32, 1, 1], Encoding::Int8, 6);
    for silu in [false, true] {
        let group_norm = |g: &mut Graph, x| {
            let h = g.group_norm(x, &norm, 8, 1e-5);
            if silu { g.silu(h) } else { h }
        };
        // A second reader keeps the norm in f32, and rounding becomes a step of its own.
        let fused = run_everywhere(&[&x], |g, v| {
            let h = group_norm(g, v[0]);
            g.conv(h, &conv, ConvSpec::same(3))
        });
        let apart = run_everywhere(&[&x], |g, v| {
            let h = group_norm(g, v[0]);
            g.output(h);
            g.conv(h, &conv, ConvSpec::same(3))
        });
        let apart: Vec<f64> = apart.iter().map(|v| f64::from(*v)).collect();
        assert_close("group norm", &fused, &apart, 1e-5);
    }
    let fused = run_everywhere(&[&x], |g, v| {
        let h = g.layer_norm(v[0], &norm, 1e-5);
        g.linear(h, &linear)
    });
    let apart = run_everywhere(&[&x], |g, v| {
        let h = g.layer_norm(v[0], &norm, 1e-5);
        g.output(h);
        g.linear(h, &linear)
    });
    assert_eq!(fused, apart);
}

#[test]
fn what_follows_an_integer_product_happens_in_it() {
    let x = Tensor::random(Shape::image(2, 6, 5, 32), 1);
    let e = Tensor::random(Shape::vector(2, 40), 2);
    let r = Tensor::random(Shape::image(2, 6, 5, 40), 3);
    let (conv, weights, bias) = filter([40, 32, 3, 3], Encoding::Int8, 4);
    let got = run_everywhere(&[&x, &e, &r], |g, v| {
        let h = g.conv(v[0], &conv, ConvSpec::same(3));
        let h = g.add_vector(h, v[1]);
        let h = g.pointwise(h, Pointwise::Relu);
        g.add(h, v[2])
    });
    let rounded = rounded(&x, 6 * 5 * 32);
    let sums = naive::conv(&rounded, &weights, &bias, [40, 32, 3, 3], ConvSpec::same(3));
    let want: Vec<f64> = sums
        .iter()
        .enumerate()
        .map(|(i, v)| {
            let vector = f64::from(e.data[i / (30 * 40) * 40 + i % 40]);
            (v + vector).max(0.0) + f64::from(r.data[i])
        })
        .collect();
    assert_close("epilogue", &got, &want, 1e-5);
}

#[test]
fn gates_meet_their_values_in_the_product() {
    let x = Tensor::random(Shape::tokens(2, 19, 48), 1);
    let r = Tensor::random(Shape::tokens(2, 19, 32), 2);
    let (linear, _, _) = filter([64, 48, 1, 1], Encoding::Int4, 4);
    let fused = run_everywhere(&[&x, &r], |g, v| {
        let h = g.linear(v[0], &linear);
        let h = g.geglu(h);
        g.add(h, v[1])
    });
    let apart = run_everywhere(&[&x, &r], |g, v| {
        let h = g.linear(v[0], &linear);
        g.output(h);
        let h = g.geglu(h);
        g.add(h, v[1])
    });
    assert_eq!(fused, apart);
}

#[test]
fn integer_attention_is_near_the_full_matrix() {
    // The wider the head, the larger these random scores, and what a step of them is worth.
    for (tokens, keys, c, heads, loss) in [(50, 50, 32, 2, 0.02), (61, 700, 80, 2, 0.04)] {
        let x = Tensor::random(Shape::tokens(2, tokens, c), 1);
        let y = Tensor::random(Shape::tokens(2, keys, c), 2);
        let filters = [3, 4, 5].map(|seed| filter([c, c, 1, 1], Encoding::Int8, seed));
        let products = |g: &mut Graph, v: &[Value]| {
            let [q, k, v] = [(0, 0), (1, 1), (1, 2)].map(|(i, f)| g.linear(v[i], &filters[f].0));
            [q, k, v]
        };
        let got = run_everywhere(&[&x, &y], |g, v| {
            let [q, k, v] = products(g, v);
            g.attention(q, k, v, heads, Mask::None)
        });
        let [q, k, v] = [0, 1, 2].map(|i| {
            let data = run_everywhere(&[&x, &y], |g, v| products(g, v)[i]);
            Tensor { shape: if i == 0 { x.shape } else { y.shape }, data }
        });
        let want = naive::attention(&q, &k, &v, heads, false);
        let error: f64 = got.iter().zip(&want).map(|(a, b)| (f64::from(*a) - b).powi(2)).sum();
        let energy: f64 = want.iter().map(|v| v * v).sum();
        let relative = (error / energy).sqrt();
        assert!(relative < loss && relative > 1e-6, "{keys} keys: {relative:.4}");
    }
}
