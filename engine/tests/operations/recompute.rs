//! Values that are computed anew by all that read them, norms inside of products, and sums in int8:
//! against the same graph planned otherwise.

use std::sync::Arc;

use pochade_engine::{
    ConvSpec, Filter, Graph, LargeMaps, Plan, PlanOptions, Rate, Shape, Storage, Value,
};

use crate::everywhere::{run_once_with, run_with};
use crate::naive::Tensor;
use crate::stored::{filter, norm};

/// Every map is kept as small as the largest ones are.
const ALL: LargeMaps = LargeMaps { int8: 1, int8_sums: 1 };

fn options(large_maps: LargeMaps, recompute: bool) -> PlanOptions {
    PlanOptions { large_maps, recompute }
}

/// Norm, SiLU, convolution.
fn half(g: &mut Graph, x: Value, [from, to]: [usize; 2], seed: u64) -> Value {
    let h = g.group_norm(x, &norm(from, seed), 4, 1e-5);
    let h = g.silu(h);
    g.conv(h, &filter([to, from, 3, 3], seed + 2), ConvSpec::same(3))
}

fn block(g: &mut Graph, x: Value, [from, to]: [usize; 2], seed: u64) -> Value {
    let h = half(g, x, [from, to], seed);
    let x = match from == to {
        true => x,
        false => g.conv(x, &filter([to, from, 1, 1], seed + 4), ConvSpec::same(1)),
    };
    let h = half(g, h, [to, to], seed + 5);
    g.add(h, x)
}

/// The last level of a decoder and what makes it: doubling, residual blocks, the picture.
fn level(g: &mut Graph, x: Value) -> Value {
    let x = g.conv(x, &filter([64, 64, 3, 3], 1), ConvSpec::up(3));
    let x = block(g, x, [64, 32], 10);
    let x = block(g, x, [32, 32], 20);
    let x = block(g, x, [32, 32], 30);
    let h = g.group_norm(x, &norm(32, 40), 4, 1e-5);
    let h = g.silu(h);
    g.conv(h, &Arc::new(Filter::random([3, 32, 3, 3], Storage::F16, true, 42)), ConvSpec::same(3))
}

/// Bytes of the arena that a level of an input takes.
fn arena(from: Shape, options: &PlanOptions) -> usize {
    let mut g = Graph::new();
    let x = g.input(from, Rate::Run);
    let y = level(&mut g, x);
    g.output(y);
    Plan::with(&g, options).unwrap().activation_bytes(0)
}

#[test]
fn what_is_computed_anew_is_the_same() {
    let x = Tensor::random(Shape::image(1, 9, 15, 64), 1);
    for large in [ALL, LargeMaps { int8_sums: usize::MAX, ..ALL }] {
        let [kept, anew] = [false, true]
            .map(|anew| run_with(&[1, 2, 3], &options(large, anew), &[&x], |g, v| level(g, v[0])));
        assert!(kept == anew);
    }
}

// Bands are the same on every instruction set, and so many pixels take long under emulation.
#[cfg_attr(target_arch = "aarch64", ignore = "takes long under emulation")]
#[test]
fn what_is_computed_anew_in_many_bands_is_the_same() {
    // More than rings hold, in lines that are a whole number of chunks of statistics.
    let x = Tensor::random(Shape::image(1, 107, 192, 64), 1);
    let [kept, anew] = [false, true].map(|anew| run_once_with(&options(ALL, anew), &x, level));
    assert!(kept == anew);
}

#[test]
fn computing_anew_takes_less_memory() {
    let from = Shape::image(1, 512, 512, 64);
    let [kept, anew] = [false, true].map(|anew| arena(from, &options(ALL, anew)));
    let (input, map) = (512 * 512 * 64 * 4, 1024 * 1024 * 32);
    // Maps of 64 and of 32 channels, against one of 32 and what the bands take.
    assert!(kept > input + 2 * map && anew < input + 2 * map, "{kept} and {anew}");
}

#[test]
fn sums_in_int8_differ_by_roundings_alone() {
    let x = Tensor::random(Shape::image(2, 20, 23, 16), 1);
    let [apart, sums] = [usize::MAX, 1].map(|int8_sums| {
        let large = LargeMaps { int8: 1, int8_sums };
        run_with(&[1, 2, 3], &options(large, false), &[&x], |g, v| {
            let x = g.conv(v[0], &filter([32, 16, 3, 3], 1), ConvSpec::same(3));
            let x = block(g, x, [32, 32], 10);
            let x = block(g, x, [32, 32], 20);
            half(g, x, [32, 16], 30)
        })
    });
    let energy: f64 = apart.iter().map(|v| f64::from(*v).powi(2)).sum();
    let pairs = apart.iter().zip(&sums);
    let error: f64 = pairs.map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum();
    let relative = (error / energy).sqrt();
    // Three sums, each rounded to a step of its pixel's largest value over 127.
    assert!((1e-4..3e-2).contains(&relative), "{relative:.2e}");
}
