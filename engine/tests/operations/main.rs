//! Every operation against a naive twin in f64, and bit for bit across instruction sets and thread
//! counts.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod everywhere;
mod integers;
mod naive;
mod random_integers;
mod recompute;
mod schedule;
mod stored;
mod winograd;

use std::sync::Arc;

use everywhere::{assert_close, bytes, run_everywhere};
use naive::{Tensor, random};
use pochade_engine::{
    Codebook, ConvSpec, DType, Engine, Filter, Graph, Mask, Norm, Padding, Plan, Pointwise, Rate,
    Session, Shape, TensorView,
};

/// A random filter and the values its encoding really holds.
fn filter(
    shape: [usize; 4],
    bias: bool,
    dtype: DType,
    seed: u64,
) -> (Arc<Filter>, Vec<f32>, Vec<f32>) {
    let len = shape.iter().product();
    let raw = bytes(&random(len, seed), dtype);
    let view = TensorView::new(dtype, &shape, &raw).unwrap();
    let b = random(shape[0], seed + 1);
    let b_raw = bytes(&b, DType::F32);
    let b_shape = [shape[0]];
    let b_view = TensorView::new(DType::F32, &b_shape, &b_raw).unwrap();
    let packed = Filter::conv(&view, bias.then_some(&b_view)).unwrap();
    (Arc::new(packed), view.to_f32(), if bias { b } else { vec![0.0; shape[0]] })
}

fn norm(channels: usize, seed: u64) -> (Arc<Norm>, Vec<f32>, Vec<f32>) {
    let (scale, shift) = (random(channels, seed), random(channels, seed + 1));
    let shape = [channels];
    let (a, b) = (bytes(&scale, DType::F32), bytes(&shift, DType::F32));
    let view = |raw| TensorView::new(DType::F32, &shape, raw).unwrap();
    (Arc::new(Norm::new(&view(&a), &view(&b)).unwrap()), scale, shift)
}

struct ConvCase {
    x: Shape,
    out: usize,
    kernel: usize,
    spec: ConvSpec,
    dtype: DType,
}

#[test]
fn convolutions_equal_the_naive_sum() {
    let asymmetric = Padding { top: 0, left: 0, bottom: 1, right: 1 };
    let case = |x, out, kernel, spec, dtype| ConvCase { x, out, kernel, spec, dtype };
    let cases = [
        case(Shape::image(1, 5, 7, 3), 5, 3, ConvSpec::same(3), DType::F32),
        case(Shape::image(2, 8, 8, 48), 96, 3, ConvSpec::same(3), DType::F16),
        case(Shape::image(1, 9, 6, 20), 33, 1, ConvSpec::same(1), DType::F32),
        case(Shape::image(1, 8, 6, 16), 40, 3, ConvSpec::down(Padding::same(1)), DType::F32),
        case(Shape::image(1, 8, 6, 16), 17, 3, ConvSpec::down(asymmetric), DType::BF16),
        case(Shape::image(1, 4, 5, 24), 48, 3, ConvSpec::up(3), DType::F16),
        case(Shape::image(1, 20, 20, 4), 64, 3, ConvSpec::same(3), DType::F32),
        case(Shape::tokens(3, 77, 64), 130, 1, ConvSpec::same(1), DType::F16),
        case(Shape::vector(2, 640), 1280, 1, ConvSpec::same(1), DType::F32),
        // Deeper than one segment: by channels, by taps.
        case(Shape::tokens(1, 20, 2100), 70, 1, ConvSpec::same(1), DType::F16),
        case(Shape::image(1, 5, 5, 600), 20, 3, ConvSpec::same(3), DType::F32),
        // Doubled, with fewer products.
        case(Shape::image(2, 3, 35, 64), 72, 3, ConvSpec::up(3), DType::F16),
        case(Shape::image(1, 1, 1, 80), 64, 3, ConvSpec::up(3), DType::F32),
        // Few outputs.
        case(Shape::image(2, 18, 67, 64), 3, 3, ConvSpec::same(3), DType::F16),
        case(Shape::image(1, 1, 2, 70), 2, 3, ConvSpec::same(3), DType::F32),
    ];
    for (i, case) in cases.iter().enumerate() {
        let x = Tensor::random(case.x, i as u64);
        let shape = [case.out, case.x.c, case.kernel, case.kernel];
        let (packed, weights, bias) = filter(shape, i % 2 == 0, case.dtype, 100 + i as u64);
        let got = run_everywhere(&[&x], |g, v| g.conv(v[0], &packed, case.spec));
        let want = naive::conv(&x, &weights, &bias, shape, case.spec);
        assert_close(&format!("case {i}"), &got, &want, 1e-5);
    }
}

#[test]
fn a_product_takes_vector_function_and_residual_along() {
    let x = Tensor::random(Shape::image(2, 6, 5, 32), 1);
    let e = Tensor::random(Shape::vector(2, 50), 2);
    let r = Tensor::random(Shape::image(2, 6, 5, 50), 3);
    let (packed, weights, bias) = filter([50, 32, 3, 3], true, DType::F32, 4);
    let got = run_everywhere(&[&x, &e, &r], |g, v| {
        let y = g.conv(v[0], &packed, ConvSpec::same(3));
        let y = g.add_vector(y, v[1]);
        let y = g.silu(y);
        g.add(v[2], y)
    });
    let product = naive::conv(&x, &weights, &bias, [50, 32, 3, 3], ConvSpec::same(3));
    let want: Vec<f64> = (0..product.len())
        .map(|i| {
            let y = product[i] + f64::from(e.data[i / (30 * 50) * 50 + i % 50]);
            y / (1.0 + (-y).exp()) + f64::from(r.data[i])
        })
        .collect();
    assert_close("fused", &got, &want, 1e-5);
}

#[test]
fn fusing_changes_no_bit() {
    let x = Tensor::random(Shape::image(1, 9, 9, 24), 1);
    let r = Tensor::random(Shape::image(1, 9, 9, 24), 2);
    let (packed, ..) = filter([24, 24, 3, 3], true, DType::F32, 4);
    let fused = run_everywhere(&[&x, &r], |g, v| {
        let y = g.conv(v[0], &packed, ConvSpec::same(3));
        let y = g.silu(y);
        g.add(y, v[1])
    });
    let apart = run_everywhere(&[&x, &r], |g, v| {
        let y = g.conv(v[0], &packed, ConvSpec::same(3));
        g.output(y);
        let z = g.silu(y);
        g.output(z);
        g.add(z, v[1])
    });
    assert_eq!(fused, apart);
}

#[test]
fn norms_equal_their_definition() {
    for (shape, groups) in [
        (Shape::image(2, 7, 9, 48), 16),
        (Shape::image(1, 20, 20, 40), 8),
        (Shape::image(1, 3, 3, 6), 1),
    ] {
        let mut x = Tensor::random(shape, 5);
        // A mean far from zero is where one-pass variances fail.
        x.data.iter_mut().for_each(|v| *v += 30.0);
        let (packed, scale, shift) = norm(shape.c, 6);
        let got = run_everywhere(&[&x], |g, v| {
            let y = g.group_norm(v[0], &packed, groups, 1e-5);
            g.silu(y)
        });
        let want = naive::group_norm(&x, &scale, &shift, groups, 1e-5);
        let want: Vec<f64> = want.iter().map(|y| y / (1.0 + (-y).exp())).collect();
        assert_close("group norm", &got, &want, 1e-5);
        let got = run_everywhere(&[&x], |g, v| g.layer_norm(v[0], &packed, 1e-5));
        let want = naive::layer_norm(&x, &scale, &shift, 1e-5);
        assert_close("layer norm", &got, &want, 2e-5);
    }
}

#[test]
fn attention_equals_the_full_matrix() {
    for (queries, keys, c, heads, mask) in [
        (5, 5, 24, 3, Mask::Causal),
        (77, 77, 64, 4, Mask::Causal),
        (200, 200, 40, 1, Mask::Causal),
        (64, 77, 80, 2, Mask::None),
        (300, 300, 48, 3, Mask::None),
        (1, 33, 128, 4, Mask::None),
    ] {
        let q = Tensor::random(Shape::tokens(2, queries, c), 7);
        let k = Tensor::random(Shape::tokens(2, keys, c), 8);
        let v = Tensor::random(Shape::tokens(2, keys, c), 9);
        let got = run_everywhere(&[&q, &k, &v], |g, x| g.attention(x[0], x[1], x[2], heads, mask));
        let want = naive::attention(&q, &k, &v, heads, mask == Mask::Causal);
        assert_close(&format!("{queries} over {keys}"), &got, &want, 1e-5);
    }
}

#[test]
fn pointwise_functions_equal_their_definition() {
    let mut x = Tensor::random(Shape::tokens(1, 50, 61), 10);
    x.data.iter_mut().for_each(|v| *v *= 6.0);
    x.data[..4].copy_from_slice(&[0.0, -100.0, 100.0, -0.0]);
    let gelu = |x: f64| 0.5 * x * (1.0 + naive::erf(x / 2.0_f64.sqrt()));
    let cases: [(Pointwise, &dyn Fn(f64) -> f64); 6] = [
        (Pointwise::Relu, &|x| x.max(0.0)),
        (Pointwise::Silu, &|x| x / (1.0 + (-x).exp())),
        (Pointwise::Gelu, &gelu),
        (Pointwise::QuickGelu, &|x| x / (1.0 + (-1.702 * x).exp())),
        (Pointwise::Tanh, &|x| x.tanh()),
        (Pointwise::Affine { scale: 2.0, shift: -1.0 }, &|x| 2.0 * x - 1.0),
    ];
    for (function, definition) in cases {
        let got = run_everywhere(&[&x], |g, v| g.pointwise(v[0], function));
        let want: Vec<f64> = x.data.iter().map(|v| definition(f64::from(*v))).collect();
        let worst = got.iter().zip(&want).map(|(g, w)| (f64::from(*g) - w).abs());
        let worst = worst.fold(0.0, f64::max);
        assert!(worst < 2e-6 * 6.0, "{function:?}: {worst:.2e}");
    }
    let got = run_everywhere(&[&x], |g, v| {
        let wide = g.concat(v[0], v[0]);
        g.geglu(wide)
    });
    let want: Vec<f64> = x.data.iter().map(|v| f64::from(*v) * gelu(f64::from(*v))).collect();
    assert_close("geglu", &got, &want, 1e-6);
}

#[test]
fn values_are_moved_where_they_belong() {
    let x = Tensor::random(Shape::image(2, 4, 6, 3), 11);
    let y = Tensor::random(Shape::image(2, 4, 6, 5), 12);
    let e = Tensor::random(Shape::vector(2, 6), 13);
    let at = |t: &Tensor, n: usize, h: usize, w: usize, c: usize| t.at(n, h, w, c);

    let got = run_everywhere(&[&x, &y], |g, v| g.concat(v[0], v[1]));
    let want = naive::build(Shape::image(2, 4, 6, 8), |n, h, w, c| {
        if c < 3 { at(&x, n, h, w, c) } else { at(&y, n, h, w, c - 3) }
    });
    assert_close("concat", &got, &want, 0.0);

    let got = run_everywhere(&[&x], |g, v| g.upsample(v[0]));
    let want = naive::build(Shape::image(2, 8, 12, 3), |n, h, w, c| at(&x, n, h / 2, w / 2, c));
    assert_close("upsample", &got, &want, 0.0);

    let got = run_everywhere(&[&x], |g, v| g.avg_pool(v[0]));
    let want = naive::build(Shape::image(2, 2, 3, 3), |n, h, w, c| {
        (0..4).map(|i| at(&x, n, 2 * h + i / 2, 2 * w + i % 2, c)).sum::<f64>() / 4.0
    });
    assert_close("pool", &got, &want, 1e-6);

    let got = run_everywhere(&[&x, &e], |g, v| g.scale_shift(v[0], v[1]));
    let want = naive::build(x.shape, |n, h, w, c| {
        at(&x, n, h, w, c) * (1.0 + at(&e, n, 0, 0, c)) + at(&e, n, 0, 0, c + 3)
    });
    assert_close("scale and shift", &got, &want, 1e-6);

    let got = run_everywhere(&[&x], |g, v| {
        let mean = g.mean_tokens(v[0]);
        g.concat_tokens(mean, v[0])
    });
    let want = naive::build(Shape::tokens(2, 25, 3), |n, _, t, c| match t {
        0 => (0..24).map(|i| at(&x, n, i / 6, i % 6, c)).sum::<f64>() / 24.0,
        t => at(&x, n, (t - 1) / 6, (t - 1) % 6, c),
    });
    assert_close("mean before tokens", &got, &want, 1e-6);
}

#[test]
fn each_position_takes_the_nearest_code() {
    let codes = random(7 * 3, 20);
    let raw = bytes(&codes, DType::F32);
    let book = Codebook::new(&TensorView::new(DType::F32, &[7, 3], &raw).unwrap()).unwrap();
    let book = Arc::new(book);
    let x = Tensor::random(Shape::image(1, 9, 9, 3), 21);
    let got = run_everywhere(&[&x], |g, v| g.nearest_code(v[0], &book));
    for (x, got) in x.data.chunks(3).zip(got.chunks(3)) {
        let distance = |c: &[f32]| c.iter().zip(x).map(|(a, b)| (a - b).powi(2)).sum::<f32>();
        let least = codes.chunks(3).map(distance).fold(f32::INFINITY, f32::min);
        assert!(codes.chunks(3).any(|c| c == got), "not a code");
        assert!(distance(got) <= least * 1.000_01);
    }
}

#[test]
fn what_depends_on_setup_alone_is_computed_once() {
    let (a, b) =
        (filter([16, 16, 1, 1], true, DType::F32, 1), filter([16, 16, 1, 1], true, DType::F32, 2));
    let mut g = Graph::new();
    let context = g.input(Shape::tokens(1, 3, 16), Rate::Setup);
    let x = g.input(Shape::tokens(1, 3, 16), Rate::Run);
    let k = g.linear(context, &a.0);
    let q = g.linear(x, &b.0);
    let y = g.attention(q, k, k, 1, Mask::None);
    g.output(y);
    let plan = Plan::new(&g).unwrap();
    let all = Plan::new(&{
        let mut g = Graph::new();
        let context = g.input(Shape::tokens(1, 3, 16), Rate::Run);
        let x = g.input(Shape::tokens(1, 3, 16), Rate::Run);
        let k = g.linear(context, &a.0);
        let q = g.linear(x, &b.0);
        let y = g.attention(q, k, k, 1, Mask::None);
        g.output(y);
        g
    })
    .unwrap();
    assert_eq!(all.macs() - plan.macs(), 3 * 16 * 16);

    let mut engine = Engine::new(Some(1)).unwrap();
    let mut session = Session::new(&engine, plan);
    let (c, x1, x2) = (random(48, 3), random(48, 4), random(48, 5));
    session.setup(&mut engine, &[(context, &c)]);
    session.run(&mut engine, &[(x, &x1)]);
    let first = session.output(y).to_vec();
    session.run(&mut engine, &[(x, &x2)]);
    assert_ne!(first, session.output(y));
    session.run(&mut engine, &[(x, &x1)]);
    assert_eq!(first, session.output(y), "runs leave what setup computed alone");
}

#[test]
fn parts_that_do_not_fit_are_an_error_not_a_panic() {
    let (packed, ..) = filter([8, 16, 3, 3], true, DType::F32, 1);
    let mut g = Graph::new();
    let x = g.input(Shape::image(1, 4, 4, 10), Rate::Run);
    let y = g.conv(x, &packed, ConvSpec::same(3));
    let y = g.upsample(y);
    g.output(y);
    let error = Plan::new(&g).unwrap_err().to_string();
    assert_eq!(error, "a convolution of 16 channels was given 10");
}
