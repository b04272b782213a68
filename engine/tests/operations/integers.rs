//! Integer products against a naive twin that rounds where they do, and bit for bit across
//! instruction sets and thread counts.

use std::sync::Arc;

use pochade_engine::{
    ConvSpec, DType, Encoding, Engine, Filter, Graph, Mask, Norm, Padding, Plan, Pointwise, Rate,
    Session, Shape, TensorView, Value,
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
pub(crate) fn rounded(x: &Tensor, piece: usize) -> Tensor {
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

/// `x` rounded to 253 steps of the range of each picture and zero, of which zero is one.
fn rounded_pictures(x: &Tensor) -> Tensor {
    let mut data = x.data.clone();
    for picture in data.chunks_exact_mut(x.shape.len() / x.shape.n) {
        let low = picture.iter().fold(0.0_f32, |m, v| m.min(*v));
        let high = picture.iter().fold(0.0_f32, |m, v| m.max(*v));
        let step = (high - low) / 253.0;
        let inverse = if step > 0.0 { 1.0 / step } else { 0.0 };
        let zero = -(0.5 * (low + high) * inverse).round_ties_even();
        for v in picture {
            *v = (v.mul_add(inverse, zero).round_ties_even() - zero) * step;
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
            let mut x = Tensor::random(case.x, i as u64);
            // More on one side of zero than on the other, in each picture otherwise.
            let middles = [0.8, -0.3, 1.5];
            let pictures = x.data.chunks_exact_mut(case.x.len() / case.x.n);
            for (picture, middle) in pictures.zip(middles) {
                picture.iter_mut().for_each(|v| *v += middle);
            }
            let shape = [case.out, case.x.c, case.kernel, case.kernel];
            let (packed, weights, bias) = filter(shape, encoding, 100 + i as u64);
            let got = run_everywhere(&[&x], |g, v| g.conv(v[0], &packed, case.spec));
            let rounded =
                if case.kernel == 1 { rounded(&x, case.x.c) } else { rounded_pictures(&x) };
            let want = naive::conv(&rounded, &weights, &bias, shape, case.spec);
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
    let rounded = rounded_pictures(&x);
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

/// Keys per block of integer attention, and tokens that their mean is taken over.
const KEYS: usize = 192;
const SAMPLES: usize = 128;

/// What a step of values of at most this magnitude is worth, and its inverse.
fn step(magnitude: f32) -> (f32, f32) {
    let step = magnitude / 127.0;
    (step, if step > 0.0 { 1.0 / step } else { 0.0 })
}

fn largest(values: impl Iterator<Item = f32>) -> f32 {
    values.fold(0.0, |m: f32, v| m.max(v.abs()))
}

/// Queries rounded per row of a head.
fn rounded_queries(q: &Tensor, heads: usize) -> Tensor {
    rounded(q, q.shape.c / heads)
}

/// Keys less their mean, rounded per block of a head.
fn rounded_keys(k: &Tensor, heads: usize) -> Tensor {
    let (tokens, c, d) = (k.shape.w, k.shape.c, k.shape.c / heads);
    let mut out = k.data.clone();
    let apart = tokens.div_ceil(SAMPLES);
    for (picture, out) in k.data.chunks_exact(tokens * c).zip(out.chunks_exact_mut(tokens * c)) {
        let samples = || picture.chunks_exact(c).step_by(apart);
        let inverse = -1.0 / samples().count() as f32;
        let less: Vec<f32> =
            (0..c).map(|i| samples().fold(0.0, |sum: f32, row| sum + row[i]) * inverse).collect();
        for (block, out) in picture.chunks(KEYS * c).zip(out.chunks_mut(KEYS * c)) {
            for head in 0..heads {
                let of = |i: usize| i % c / d == head;
                let centred = block.iter().enumerate().filter(|(i, _)| of(*i));
                let (step, inverse) = step(largest(centred.map(|(i, v)| v + less[i % c])));
                for (i, out) in out.iter_mut().enumerate().filter(|(i, _)| of(*i)) {
                    let v = out.mul_add(inverse, less[i % c] * inverse);
                    *out = v.round_ties_even().clamp(-127.0, 127.0) * step;
                }
            }
        }
    }
    Tensor { shape: k.shape, data: out }
}

/// Values rounded per channel of a block.
fn rounded_values(v: &Tensor) -> Tensor {
    let (tokens, c) = (v.shape.w, v.shape.c);
    let mut data = v.data.clone();
    for block in data.chunks_mut(tokens * c).flat_map(|picture| picture.chunks_mut(KEYS * c)) {
        for channel in 0..c {
            let (step, inverse) = step(largest(block.iter().skip(channel).step_by(c).copied()));
            for v in block.iter_mut().skip(channel).step_by(c) {
                *v = (*v * inverse).round_ties_even() * step;
            }
        }
    }
    Tensor { shape: v.shape, data }
}

/// How far one rounded weight may be off: half a step of 127, and the error of its power of two.
const WEIGHT: f64 = (0.5 + 127.0 * 0.0008) / 127.0;

/// What rounding the weights of a block may do to each output at most, and does on average (the
/// square root of the mean square), given everything else: `sum (w' - w) (v - y) / sum w'`.
fn loss(q: &Tensor, k: &Tensor, v: &Tensor, heads: usize, y: &[f64]) -> Vec<[f64; 2]> {
    let (c, d, tokens) = (q.shape.c, q.shape.c / heads, k.shape.w);
    let (mut out, mut weights) = (Vec::new(), Vec::new());
    for (i, y) in y.iter().enumerate() {
        let (n, query, channel) = (i / c / q.shape.w, i / c % q.shape.w, i % c);
        if channel % d == 0 {
            let score = |t: usize| -> f64 {
                let products =
                    (channel..channel + d).map(|c| q.at(n, 0, query, c) * k.at(n, 0, t, c));
                products.sum::<f64>() / (d as f64).sqrt()
            };
            weights = (0..tokens).map(|t| score(t).exp()).collect::<Vec<f64>>();
        }
        let (mut total, mut most, mut squares) = (0.0, 0.0, 0.0);
        for (block, weights) in weights.chunks(KEYS).enumerate() {
            let top = weights.iter().fold(0.0_f64, |m, w| m.max(*w));
            let far = |t: usize| (v.at(n, 0, block * KEYS + t, channel) - y).abs();
            total += weights.iter().sum::<f64>() - top * WEIGHT * weights.len() as f64;
            most += top * WEIGHT * (0..weights.len()).map(far).sum::<f64>();
            let mean_square = (top / 127.0).powi(2) / 12.0;
            squares += mean_square * (0..weights.len()).map(|t| far(t).powi(2)).sum::<f64>();
        }
        out.push([most / total.max(1e-30), squares.sqrt() / weights.iter().sum::<f64>()]);
    }
    out
}

#[test]
fn integer_attention_loses_what_rounding_must_lose() {
    for (tokens, keys, c, heads) in [(50, 50, 32, 2), (61, 700, 80, 2), (20, 77, 120, 3)] {
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
        let exact = naive::attention(&q, &k, &v, heads, false);
        let (q, k, v) = (rounded_queries(&q, heads), rounded_keys(&k, heads), rounded_values(&v));
        let twin = naive::attention(&q, &k, &v, heads, false);
        let losses = loss(&q, &k, &v, heads, &twin);
        let (mut found, mut expected) = (0.0, 0.0);
        for (((got, exact), twin), [most, mean]) in got.iter().zip(&exact).zip(&twin).zip(&losses) {
            let got = f64::from(*got);
            assert!((got - twin).abs() <= most + 1e-5, "{keys} keys: {got} for {twin} +- {most}");
            found += (got - exact).powi(2);
            expected += (twin - exact).powi(2) + mean * mean;
        }
        let ratio = (found / expected).sqrt();
        assert!((0.5..1.1).contains(&ratio), "{keys} keys: {ratio:.3} of the expected error");
    }
}

#[test]
fn keys_that_do_not_change_are_packed_once() {
    let mut engine = Engine::new(Some(2)).unwrap();
    let filters = [3, 4, 5].map(|seed| filter([48, 48, 1, 1], Encoding::Int8, seed).0);
    let (x, y) = (random(2 * 30 * 48, 1), random(2 * 77 * 48, 2));
    let mut run = |rate: Rate| {
        let mut g = Graph::new();
        let queries = g.input(Shape::tokens(2, 30, 48), Rate::Run);
        let context = g.input(Shape::tokens(2, 77, 48), rate);
        let [q, k, v] =
            [(queries, 0), (context, 1), (context, 2)].map(|(x, f)| g.linear(x, &filters[f]));
        let out = g.attention(q, k, v, 3, Mask::None);
        g.output(out);
        let plan = Plan::new(&g).unwrap();
        let rate_of = |kind: &str| plan.steps().iter().find(|s| s.kind == kind).map(|s| s.rate);
        assert_eq!(rate_of("pack keys"), Some(rate));
        assert_eq!(rate_of("attention int8"), Some(Rate::Run));
        let mut session = Session::new(&engine, plan);
        let (often, mut once) = (vec![(queries, &x[..]), (context, &y[..])], Vec::new());
        let often = if rate == Rate::Setup {
            once.push(often[1]);
            vec![often[0]]
        } else {
            often
        };
        session.setup(&mut engine, &once);
        session.run(&mut engine, &often);
        session.run(&mut engine, &often);
        session.output(out).to_vec()
    };
    assert_eq!(run(Rate::Setup), run(Rate::Run));
}
