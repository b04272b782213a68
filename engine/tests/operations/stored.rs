//! What lies between integer products in f16 or int8, against the same graph with everything in
//! f32: an output is always f32, so that declaring every intermediate as one keeps them so.

use std::sync::Arc;

use pochade_engine::{
    ConvSpec, DType, Encoding, Filter, Graph, Norm, Padding, Shape, Storage, TensorView, Value,
};

use crate::everywhere::{bytes, run_on};
use crate::naive::{Tensor, random};

/// A perturbation of `d` moves a rounding by `s` in `d / s` of all cases, so roundings differ by
/// `sqrt(d s)` in the root of the mean square. Values near a quarter of the largest have `s = 4 / 127`
/// of them; f16 perturbs by about 2^-12, rows of int8 by 1 / sqrt(12) of a step like that.
const F16: f64 = 2.8e-3;
const ROWS: f64 = 1.7e-2;

pub fn filter(shape: [usize; 4], seed: u64) -> Arc<Filter> {
    Arc::new(Filter::random(shape, Storage::Int(Encoding::Int8), true, seed))
}

pub fn norm(channels: usize, seed: u64) -> Arc<Norm> {
    let raw = |seed| bytes(&random(channels, seed), DType::F32);
    let (scale, shift, shape) = (raw(seed), raw(seed + 1), [channels]);
    let view = |raw| TensorView::new(DType::F32, &shape, raw).unwrap();
    Arc::new(Norm::new(&view(&scale), &view(&shift)).unwrap())
}

/// Builds a graph twice, marking every intermediate as an output the second time; the results must
/// be `least` to `most` apart, in root mean square.
fn compare(
    what: &str,
    x: &Tensor,
    [least, most]: [f64; 2],
    f: impl Fn(&mut Marking<'_>, Value) -> Value,
) {
    // What takes long is not repeated with as many threads, under emulation with one number only.
    let threads = match x.data.len() > 1 << 16 {
        true if cfg!(target_arch = "aarch64") => vec![3],
        true => vec![1, 4],
        false => vec![1, 2, 3, 4],
    };
    let [stored, apart] = [false, true]
        .map(|marks| run_on(&threads, &[x], |g, v| f(&mut Marking { g, marks }, v[0])));
    let energy: f64 = apart.iter().map(|v| f64::from(*v).powi(2)).sum();
    let pairs = stored.iter().zip(&apart);
    let error: f64 = pairs.map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum();
    let relative = (error / energy).sqrt();
    assert!((least..most).contains(&relative), "{what}: {relative:.2e}");
}

/// A graph whose intermediates may all be outputs.
struct Marking<'a> {
    g: &'a mut Graph,
    marks: bool,
}

impl Marking<'_> {
    fn mark(&mut self, x: Value) -> Value {
        if self.marks {
            self.g.output(x);
        }
        x
    }

    fn conv(&mut self, x: Value, filter: &Arc<Filter>, spec: ConvSpec) -> Value {
        let h = self.g.conv(x, filter, spec);
        self.mark(h)
    }

    fn norm(&mut self, x: Value, norm: &Arc<Norm>) -> Value {
        let h = self.g.group_norm(x, norm, 4, 1e-5);
        let h = self.g.silu(h);
        self.mark(h)
    }

    fn add(&mut self, a: Value, b: Value) -> Value {
        let h = self.g.add(a, b);
        self.mark(h)
    }
}

/// A residual block behind a convolution, its shortcut wide or not, and a convolution in float.
fn block(m: &mut Marking<'_>, x: Value, channels: [usize; 3]) -> Value {
    let [first, c_in, c_out] = channels;
    let x = m.conv(x, &filter([c_in, first, 3, 3], 1), ConvSpec::same(3));
    let h = m.norm(x, &norm(c_in, 2));
    let h = m.conv(h, &filter([c_out, c_in, 3, 3], 4), ConvSpec::same(3));
    let x = match c_in == c_out {
        true => x,
        false => m.conv(x, &filter([c_out, c_in, 1, 1], 5), ConvSpec::same(1)),
    };
    let h = m.norm(h, &norm(c_out, 6));
    let h = m.conv(h, &filter([c_out, c_out, 3, 3], 8), ConvSpec::same(3));
    let x = m.add(h, x);
    let h = m.norm(x, &norm(c_out, 9));
    m.conv(
        h,
        &Arc::new(Filter::random([3, c_out, 3, 3], Storage::F16, true, 11)),
        ConvSpec::same(3),
    )
}

#[test]
fn residual_blocks_differ_from_those_in_f32_by_roundings_alone() {
    let x = Tensor::random(Shape::image(2, 9, 7, 16), 1);
    for channels in [[16, 32, 32], [16, 48, 32]] {
        compare("block", &x, [1e-5, 2.0 * F16], |m, x| block(m, x, channels));
    }
}

#[test]
fn large_maps_are_kept_in_int8() {
    let x = Tensor::random(Shape::image(1, 256, 256, 3), 1);
    // The last sum's place is that of the map before its shortcut: rows of 32 bytes, 16 of f16.
    compare("large block", &x, [F16, 2.0 * ROWS], |m, x| block(m, x, [3, 32, 16]));
}

#[test]
fn large_doubled_maps_are_kept_in_int8() {
    let x = Tensor::random(Shape::image(1, 128, 128, 64), 1);
    compare("doubled", &x, [F16, 2.0 * ROWS], |m, x| {
        let h = m.conv(x, &filter([64, 64, 3, 3], 1), ConvSpec::up(3));
        let h = m.norm(h, &norm(64, 2));
        m.conv(h, &filter([16, 64, 3, 3], 4), ConvSpec::same(3))
    });
}

#[test]
fn rows_are_rounded_by_the_product_that_alone_reads_them() {
    let x = Tensor::random(Shape::tokens(3, 50, 64), 1);
    compare("rows", &x, [1e-5, 2.0 * F16], |m, x| {
        let h = m.conv(x, &filter([96, 64, 1, 1], 2), ConvSpec::same(1));
        let h = m.conv(h, &filter([64, 96, 1, 1], 3), ConvSpec::same(1));
        m.add(h, x)
    });
}

#[test]
fn bands_of_lines_give_what_the_whole_map_gives() {
    // Somewhat more than the ring's two megabytes.
    let halving = ConvSpec::down(Padding { top: 0, left: 0, bottom: 1, right: 1 });
    for spec in [ConvSpec::same(3), halving] {
        let x = Tensor::random(Shape::image(1, 96, 48, 512), 1);
        compare("bands", &x, [0.0, 1e-5], |m, x| {
            let h = m.norm(x, &norm(512, 2));
            m.conv(h, &filter([1, 512, 3, 3], 4), spec)
        });
    }
}
