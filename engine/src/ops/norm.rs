//! Normalisations.
//!
//! Group norm statistics come from chunks of a fixed number of positions, whatever the number of
//! threads: per channel, the sum of a chunk, then the sum of squares about the chunk's mean, both
//! in order of positions. Chunks and the channels of a group are combined in order, in f64, by the
//! parallel rule for variances (Chan, Golub and LeVeque).

use std::ops::Range;

use super::scales::{Scales, set_range};
use super::source::{self, Lines};
use super::{
    Context, Operand, Operands, SharedMut, for_chunks, int8_rows, quantise, rows_per_task,
};
use crate::fuse::Fused;
use crate::graph::Pointwise;
use crate::kernels::Kernels;
use crate::kernels::rest::{ChannelMoments, Rest};
use crate::kernels::rows::LayerNorm;
use crate::session::scratch_of;
use crate::tensor::Shape;
use crate::weights::Norm;

/// Positions per chunk of statistics.
const POSITIONS: usize = 128;

/// One row of values, and one of normalised ones on their way to int8.
pub(super) fn thread_scratch(shape: Shape) -> usize {
    2 * shape.c
}

pub(super) fn layer_norm(norm: &Norm, eps: f32, o: Operands<'_>, c: &mut Context<'_>) {
    let (k, x, width) = (c.kernels, Operand { shape: o.shape, ..o.inputs[0] }, o.shape.c);
    let p = LayerNorm { scale: &norm.scale, shift: &norm.shift, eps };
    let Some(layout) = int8_rows(o.shape, o.format) else {
        return each_row(x, o.out, c, |_, x, y| k.layer_norm(&p, x, y));
    };
    let (steps, bytes) = layout.split_mut(o.out);
    quantise::zero_row(&layout, bytes, k);
    let steps = SharedMut(steps.as_mut_ptr());
    quantise::for_rows(&layout, bytes, c, |rows, y, scratch| {
        let (normed, space) = scratch.split_at_mut(width);
        for (row, y) in rows.zip(y.chunks_exact_mut(layout.stride())) {
            k.layer_norm(&p, x.row(k, row, space), normed);
            // SAFETY: the row's own step.
            k.round(&Rest::row(normed), 0..1, y, unsafe { steps.slice(row, 1) });
        }
    });
}

/// Calls `f(row, x, y)` for every row of `x` and `out`, on all threads.
fn each_row(
    x: Operand<'_>,
    out: &mut [f32],
    c: &mut Context<'_>,
    f: impl Fn(usize, &[f32], &mut [f32]) + Sync,
) {
    let (k, width, scratch) = (c.kernels, x.shape.c, c.scratch);
    let rows = rows_per_task(width);
    for_chunks(c.pool, out, rows * width, |worker, task, y| {
        let mut space = scratch_of(scratch, worker);
        for (row, y) in (task * rows..).zip(y.chunks_exact_mut(width)) {
            f(row, x.row(k, row, &mut space), y);
        }
    });
}

/// A group norm's parameters.
pub(super) struct Groups<'a> {
    pub norm: &'a Norm,
    pub groups: usize,
    pub eps: f32,
    pub silu: bool,
}

/// Rows of statistics per chunk: means, squared deviations and extremes of every channel.
const PARTS: usize = 4;

/// Statistics of all chunks.
pub(super) fn statistics_scratch(shape: Shape) -> usize {
    shape.n * shape.positions().div_ceil(POSITIONS) * PARTS * shape.c
}

/// Statistics of all chunks, and the scales.
pub(super) fn scratch(shape: Shape) -> usize {
    statistics_scratch(shape) + shape.n * Scales::len(shape.c)
}

/// Most bytes of int8 lines that are made at a time for statistics.
const MADE_BYTES: usize = 4 << 20;

/// Lines of whole chunks that are made at a time for statistics, in whole granules.
fn made_lines(shape: Shape) -> usize {
    let chunk_and_granule = 2 * POSITIONS;
    let least = (1..=chunk_and_granule).find(|n| (n * shape.w).is_multiple_of(POSITIONS));
    let least = least.unwrap_or(chunk_and_granule).next_multiple_of(2);
    least * (MADE_BYTES / (least * shape.w * shape.c)).max(1)
}

/// Whether the statistics of a map can be those of a few lines after another.
pub(crate) fn reads_lines_of(shape: Shape) -> bool {
    shape.n == 1 && made_lines(shape) * shape.w * shape.c <= 2 * MADE_BYTES
}

/// Scratch memory of a step that computes scales alone.
pub(super) fn scales_scratch(step: &Fused) -> usize {
    let shape = step.inputs[0].shape;
    statistics_scratch(shape) + source::scratch(step, 0, made_lines(shape))
}

/// Computes the [`Scales`] as a step of their own.
pub(super) fn scales_alone(g: &Groups<'_>, o: Operands<'_>, c: &mut Context<'_>) {
    let x = o.inputs[0];
    let (stats, space) = o.scratch.split_at_mut(statistics_scratch(x.shape));
    if x.maker.is_none() {
        return group_scales(g, x, o.out, stats, c);
    }
    let (pixels, most) = (x.shape.positions(), made_lines(x.shape) * x.shape.w);
    source::open(x, made_lines(x.shape), space, c, &mut |lines, _, c| {
        for first in (0..pixels).step_by(most) {
            let made = first..(first + most).min(pixels);
            lines.advance(made.clone(), c);
            made_statistics(lines.lines(), made, stats, c);
        }
    });
    scales_from(g, c.kernels, x.shape, stats, o.out);
}

/// The statistics of lines that are there, whole chunks of one picture, among those of `stats`.
fn made_statistics(x: Lines<'_>, pixels: Range<usize>, stats: &mut [f32], c: &mut Context<'_>) {
    // SAFETY: the lines are written by their source alone, which rests until this is done.
    let (k, rest) = (c.kernels, unsafe { x.rest(c.kernels) });
    let part = PARTS * rest.width;
    let chunks = pixels.start / POSITIONS..pixels.end.div_ceil(POSITIONS);
    let stats = &mut stats[chunks.start * part..chunks.end * part];
    for_chunks(c.pool, stats, part, |_, chunk, stats| {
        let first = chunk * POSITIONS;
        let rows = first..(first + POSITIONS).min(pixels.len());
        k.moments(&rest, rows, &mut split(stats, rest.width));
    });
}

/// Computes the [`Scales`] of all pictures.
pub(super) fn group_scales(
    g: &Groups<'_>,
    x: Operand<'_>,
    scales: &mut [f32],
    stats: &mut [f32],
    c: &mut Context<'_>,
) {
    let (k, width, positions) = (c.kernels, x.shape.c, x.shape.positions());
    let (chunks, rest) = (positions.div_ceil(POSITIONS), x.rest(k));
    for_chunks(c.pool, stats, PARTS * width, |_, task, stats| {
        let (n, first) = (task / chunks, task % chunks * POSITIONS);
        let rows = n * positions + first..n * positions + (first + POSITIONS).min(positions);
        k.moments(&rest, rows, &mut split(stats, width));
    });
    scales_from(g, k, x.shape, stats, scales);
}

/// The [`Scales`] of all pictures from the statistics of all chunks.
fn scales_from(g: &Groups<'_>, k: &Kernels, shape: Shape, stats: &mut [f32], scales: &mut [f32]) {
    let (width, positions) = (shape.c, shape.positions());
    let chunks = positions.div_ceil(POSITIONS);
    let images = stats.chunks_exact_mut(chunks * PARTS * width);
    for (stats, scales) in images.zip(scales.chunks_exact_mut(Scales::len(width))) {
        combine(g, positions, stats, scales);
        let range = range(k, g.silu, width, stats, scales);
        set_range(scales, width, range);
    }
}

pub(super) fn group_norm(g: &Groups<'_>, o: Operands<'_>, c: &mut Context<'_>) {
    let (k, x, width) = (c.kernels, o.inputs[0], o.shape.c);
    let (stats, scales) = o.scratch.split_at_mut(statistics_scratch(x.shape));
    group_scales(g, x, scales, stats, c);
    let scales_of = |row: usize| Scales::of(scales, width, row / x.shape.positions());
    each_row(x, o.out, c, |row, x, y| k.scale_shift(&scales_of(row).affine(g.silu), x, y));
}

/// The statistics of one chunk.
fn split(stats: &mut [f32], width: usize) -> ChannelMoments<'_> {
    let (mean, rest) = stats.split_at_mut(width);
    let (squares, rest) = rest.split_at_mut(width);
    let (low, high) = rest.split_at_mut(width);
    ChannelMoments { mean, squares, low, high }
}

/// The range of a picture's normalised values, from the extremes of every channel, which scale and
/// shift leave extremes. The first chunk's become those of all.
fn range(k: &Kernels, silu: bool, width: usize, stats: &mut [f32], scales: &[f32]) -> [f32; 2] {
    let scales = Scales::of(scales, width, 0);
    let (first, rest) = stats.split_at_mut(PARTS * width);
    let all = split(first, width);
    for chunk in rest.chunks_exact_mut(PARTS * width) {
        let chunk = split(chunk, width);
        k.extremes(chunk.low, all.low, all.high);
        k.extremes(chunk.high, all.low, all.high);
    }
    let ends = |ch: usize| {
        [all.low[ch], all.high[ch]].map(|v| v.mul_add(scales.scale[ch], scales.shift[ch]))
    };
    let (least, most) = (0..width)
        .flat_map(ends)
        .fold((f32::INFINITY, f32::NEG_INFINITY), |(a, b), v| (v.min(a), v.max(b)));
    if silu { silu_range(k, least, most) } else { [least, most] }
}

/// The range of SiLU over an interval and zero: it falls to -0.2785 at -1.2785 and rises from there
/// on.
fn silu_range(k: &Kernels, least: f32, most: f32) -> [f32; 2] {
    const DIP: f32 = -1.278_464_5;
    let ends = [least.clamp(DIP, 0.0), most.max(0.0)];
    let mut values = [0.0; 2];
    k.pointwise(Pointwise::Silu, &ends, &mut values);
    values
}

/// Count, mean and sum of squared deviations of some values.
#[derive(Clone, Copy)]
struct Moments {
    count: f64,
    mean: f64,
    squares: f64,
}

impl Moments {
    const NONE: Self = Self { count: 0.0, mean: 0.0, squares: 0.0 };

    fn join(self, other: Self) -> Self {
        let count = self.count + other.count;
        let delta = other.mean - self.mean;
        Self {
            count,
            mean: self.mean + delta * (other.count / count),
            squares: self.squares
                + other.squares
                + delta * delta * (self.count * other.count / count),
        }
    }
}

/// One picture's chunk statistics to a scale and a shift per channel.
fn combine(g: &Groups<'_>, positions: usize, stats: &[f32], scales: &mut [f32]) {
    let width = g.norm.channels();
    let (part, per_group) = (PARTS * width, width / g.groups);
    let (scale, shift) = scales[..2 * width].split_at_mut(width);
    for group in 0..g.groups {
        let channels = group * per_group..(group + 1) * per_group;
        let mut all = Moments::NONE;
        for (chunk, stats) in stats.chunks_exact(part).enumerate() {
            let count = POSITIONS.min(positions - chunk * POSITIONS) as f64;
            for ch in channels.clone() {
                let (mean, squares) = (f64::from(stats[ch]), f64::from(stats[width + ch]));
                all = all.join(Moments { count, mean, squares });
            }
        }
        let inverse = 1.0 / (all.squares / all.count + f64::from(g.eps)).sqrt();
        for ch in channels {
            let factor = inverse * f64::from(g.norm.scale[ch]);
            scale[ch] = factor as f32;
            shift[ch] = (f64::from(g.norm.shift[ch]) - all.mean * factor) as f32;
        }
    }
}
