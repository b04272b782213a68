//! Normalisations.
//!
//! Group norm statistics come from chunks of a fixed number of positions, whatever the number of
//! threads: per channel, the sum of a chunk, then the sum of squares about the chunk's mean, both
//! in order of positions. Chunks and the channels of a group are combined in order, in f64, by the
//! parallel rule for variances (Chan, Golub and LeVeque).

use super::{Context, Operands, SharedMut, for_chunks, for_rows, int8_rows, quantise, rows};
use crate::activations::{Format, Rows};
use crate::graph::Pointwise;
use crate::kernels::Kernels;
use crate::kernels::rows::{LayerNorm, ScaleShift};
use crate::tensor::Shape;
use crate::weights::Norm;

/// Positions per chunk of statistics.
const POSITIONS: usize = 128;

/// One row of normalised values on their way to int8.
pub(super) fn thread_scratch(shape: Shape) -> usize {
    shape.c
}

pub(super) fn layer_norm(norm: &Norm, eps: f32, o: Operands<'_>, c: &mut Context<'_>) {
    let (k, x, width) = (c.kernels, o.inputs[0], o.shape.c);
    let p = LayerNorm { scale: &norm.scale, shift: &norm.shift, eps };
    let row_of = |row: usize| &x.data[row * width..][..width];
    let Some(layout) = int8_rows(o.shape, o.format) else {
        return for_rows(c, o.out, width, |first, y| {
            (first..).zip(y.chunks_exact_mut(width)).for_each(|(row, y)| {
                k.layer_norm(&p, row_of(row), y);
            });
        });
    };
    let (steps, bytes) = layout.split_mut(o.out);
    let steps = SharedMut(steps.as_mut_ptr());
    quantise::for_rows(&layout, bytes, c, |row, y, scratch| {
        let normed = &mut scratch[..width];
        k.layer_norm(&p, row_of(row), normed);
        let (value, inverse) = quantise::step(k.magnitude(normed));
        k.quantise(inverse, normed, y);
        // SAFETY: the row's own step.
        unsafe { *steps.pointer(row) = value }
    });
}

/// A group norm's parameters.
pub(super) struct Groups<'a> {
    pub norm: &'a Norm,
    pub groups: usize,
    pub eps: f32,
    pub silu: bool,
}

/// Per chunk: sums, squared deviations and, for int8, extremes of every channel. Per picture: scale
/// and shift of every channel and, for int8, two rows of candidates for the largest magnitude.
pub(super) fn scratch(shape: Shape, format: Format) -> usize {
    let chunks = shape.positions().div_ceil(POSITIONS);
    shape.n * (chunks + 1) * parts(format) * shape.c
}

/// Rows of statistics per chunk.
fn parts(format: Format) -> usize {
    if format == Format::F32 { 2 } else { 4 }
}

pub(super) fn group_norm(g: &Groups<'_>, o: Operands<'_>, c: &mut Context<'_>) {
    let (k, x, s) = (c.kernels, o.inputs[0].data, o.shape);
    let (width, positions) = (s.c, s.positions());
    let chunks = positions.div_ceil(POSITIONS);
    let part = parts(o.format) * width;
    let (stats, affine) = o.scratch.split_at_mut(s.n * chunks * part);

    for_chunks(c.pool, stats, part, |_, task, stats| {
        let (n, first) = (task / chunks, task % chunks * POSITIONS);
        let count = POSITIONS.min(positions - first);
        statistics(k, &x[(n * positions + first) * width..][..count * width], width, stats);
    });
    let images = stats.chunks_exact(chunks * part).zip(affine.chunks_exact_mut(part));
    for (stats, affine) in images {
        combine(g, positions, part, stats, affine);
    }
    match int8_rows(s, o.format) {
        Some(layout) => {
            let (steps, bytes) = layout.split_mut(o.out);
            for (n, step) in steps.iter_mut().take(s.n).enumerate() {
                let stats = &stats[n * chunks * part..][..chunks * part];
                let largest = magnitude(k, g.silu, width, stats, &mut affine[n * part..][..part]);
                *step = quantise::step(largest).0;
            }
            apply_int8(g, &layout, x, affine, steps, bytes, c);
        }
        None => apply(g, s, x, affine, o.out, c),
    }
}

/// Scales and shifts of picture `n`.
fn affine_of<'a>(
    g: &Groups<'_>,
    affine: &'a [f32],
    part: usize,
    width: usize,
    n: usize,
) -> ScaleShift<'a> {
    let (scale, shift) = affine[n * part..][..2 * width].split_at(width);
    ScaleShift { scale, shift, silu: g.silu }
}

fn apply(
    g: &Groups<'_>,
    s: Shape,
    x: &[f32],
    affine: &[f32],
    out: &mut [f32],
    c: &mut Context<'_>,
) {
    let (k, width, positions) = (c.kernels, s.c, s.positions());
    let chunks = positions.div_ceil(POSITIONS);
    let out = SharedMut(out.as_mut_ptr());
    c.pool.run(s.n * chunks, &|_, task| {
        let (n, first) = (task / chunks, task % chunks * POSITIONS);
        let count = POSITIONS.min(positions - first);
        let at = (n * positions + first) * width;
        let p = affine_of(g, affine, 2 * width, width, n);
        // SAFETY: tasks cover disjoint ranges of positions.
        let y = unsafe { out.slice(at, count * width) };
        rows::apply(&p, &x[at..][..count * width], y, k);
    });
}

fn apply_int8(
    g: &Groups<'_>,
    layout: &Rows,
    x: &[f32],
    affine: &[f32],
    steps: &[f32],
    bytes: &mut [u8],
    c: &mut Context<'_>,
) {
    let (k, s) = (c.kernels, layout.shape);
    let part = affine.len() / s.n;
    quantise::for_rows(layout, bytes, c, |row, y, scratch| {
        let (n, normed) = (row / s.positions(), &mut scratch[..s.c]);
        let p = affine_of(g, affine, part, s.c, n);
        k.scale_shift(&p, &x[row * s.c..][..s.c], normed);
        k.quantise(quantise::inverse(steps[n]), normed, y);
    });
}

/// Per channel of a chunk: the mean, the sum of squared deviations from it and, if there is room
/// for them, the extremes.
fn statistics(k: &Kernels, x: &[f32], width: usize, stats: &mut [f32]) {
    let (mean, rest) = stats.split_at_mut(width);
    let (squares, extremes) = rest.split_at_mut(width);
    mean.fill(0.0);
    squares.fill(0.0);
    x.chunks_exact(width).for_each(|row| k.accumulate(row, mean));
    k.scale(1.0 / (x.len() / width) as f32, mean);
    x.chunks_exact(width).for_each(|row| k.accumulate_deviation(row, mean, squares));
    if !extremes.is_empty() {
        let (low, high) = extremes.split_at_mut(width);
        low.fill(f32::INFINITY);
        high.fill(f32::NEG_INFINITY);
        x.chunks_exact(width).for_each(|row| k.extremes(row, low, high));
    }
}

/// The largest magnitude that a picture's normalised values reach, from the extremes of every
/// channel, which scale and shift leave extremes.
fn magnitude(k: &Kernels, silu: bool, width: usize, stats: &[f32], affine: &mut [f32]) -> f32 {
    let part = affine.len();
    let (scale_shift, ends) = affine.split_at_mut(2 * width);
    let (scale, shift) = scale_shift.split_at(width);
    let (low, high) = ends.split_at_mut(width);
    low.fill(f32::INFINITY);
    high.fill(f32::NEG_INFINITY);
    for chunk in stats.chunks_exact(part) {
        k.extremes(&chunk[2 * width..3 * width], low, high);
        k.extremes(&chunk[3 * width..], low, high);
    }
    let normed = |ch: usize| [low[ch], high[ch]].map(|v| v.mul_add(scale[ch], shift[ch]));
    let ends = (0..width).flat_map(normed);
    let (least, most) =
        ends.fold((f32::INFINITY, f32::NEG_INFINITY), |(a, b), v| (v.min(a), v.max(b)));
    if silu { silu_magnitude(k, least, most) } else { least.abs().max(most.abs()) }
}

/// The largest magnitude of SiLU over an interval: it falls to -0.2785 at -1.2785 and rises from
/// there on.
fn silu_magnitude(k: &Kernels, least: f32, most: f32) -> f32 {
    const DIP: f32 = -1.278_464_5;
    let ends = [least.clamp(DIP, 0.0), most.max(0.0)];
    let mut values = [0.0; 2];
    k.pointwise(Pointwise::Silu, &ends, &mut values);
    values[0].abs().max(values[1])
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
fn combine(g: &Groups<'_>, positions: usize, part: usize, stats: &[f32], affine: &mut [f32]) {
    let width = g.norm.channels();
    let per_group = width / g.groups;
    let (scale, shift) = affine[..2 * width].split_at_mut(width);
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
