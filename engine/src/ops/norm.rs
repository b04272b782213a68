//! Normalisations.
//!
//! Group norm statistics come from chunks of a fixed number of positions, whatever the number of
//! threads: per channel, the sum of a chunk, then the sum of squares about the chunk's mean, both
//! in order of positions. Chunks and the channels of a group are combined in order, in f64, by the
//! parallel rule for variances (Chan, Golub and LeVeque).

use super::{Context, Operands, SharedMut, for_chunks, for_rows, rows};
use crate::kernels::Kernels;
use crate::kernels::rows::{LayerNorm, ScaleShift};
use crate::tensor::Shape;
use crate::weights::Norm;

/// Positions per chunk of statistics.
const POSITIONS: usize = 128;

pub(super) fn layer_norm(norm: &Norm, eps: f32, o: Operands<'_>, c: &mut Context<'_>) {
    let (k, x, width) = (c.kernels, o.inputs[0], o.shape.c);
    let p = LayerNorm { scale: &norm.scale, shift: &norm.shift, eps };
    for_rows(c, o.out, width, |first, y| {
        for (row, y) in (first..).zip(y.chunks_exact_mut(width)) {
            k.layer_norm(&p, &x.data[row * width..][..width], y);
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

/// Sums and squared deviations per chunk and channel, and a scale and shift per picture and
/// channel.
pub(super) fn scratch(shape: Shape) -> usize {
    let chunks = shape.positions().div_ceil(POSITIONS);
    shape.n * (chunks + 1) * 2 * shape.c
}

pub(super) fn group_norm(g: &Groups<'_>, o: Operands<'_>, c: &mut Context<'_>) {
    let (k, x, s) = (c.kernels, o.inputs[0].data, o.shape);
    let (width, positions) = (s.c, s.positions());
    let chunks = positions.div_ceil(POSITIONS);
    let (stats, affine) = o.scratch.split_at_mut(s.n * chunks * 2 * width);

    for_chunks(c.pool, stats, 2 * width, |_, task, stats| {
        let (n, first) = (task / chunks, task % chunks * POSITIONS);
        let count = POSITIONS.min(positions - first);
        statistics(k, &x[(n * positions + first) * width..][..count * width], stats);
    });
    for (stats, affine) in
        stats.chunks_exact(chunks * 2 * width).zip(affine.chunks_exact_mut(2 * width))
    {
        combine(g, positions, stats, affine);
    }
    let lines = s.n * chunks;
    let out = SharedMut(o.out.as_mut_ptr());
    let affine = &*affine;
    c.pool.run(lines, &|_, task| {
        let (n, first) = (task / chunks, task % chunks * POSITIONS);
        let count = POSITIONS.min(positions - first);
        let at = (n * positions + first) * width;
        let (scale, shift) = affine[2 * n * width..][..2 * width].split_at(width);
        let p = ScaleShift { scale, shift, silu: g.silu };
        // SAFETY: tasks cover disjoint ranges of positions.
        let y = unsafe { out.slice(at, count * width) };
        rows::apply(&p, &x[at..][..count * width], y, k);
    });
}

/// Per channel of a chunk: the mean, and the sum of squared deviations from it.
fn statistics(k: &Kernels, x: &[f32], stats: &mut [f32]) {
    let width = stats.len() / 2;
    let (mean, squares) = stats.split_at_mut(width);
    mean.fill(0.0);
    squares.fill(0.0);
    x.chunks_exact(width).for_each(|row| k.accumulate(row, mean));
    k.scale(1.0 / (x.len() / width) as f32, mean);
    x.chunks_exact(width).for_each(|row| k.accumulate_deviation(row, mean, squares));
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
fn combine(g: &Groups<'_>, positions: usize, stats: &[f32], affine: &mut [f32]) {
    let width = affine.len() / 2;
    let per_group = width / g.groups;
    let (scale, shift) = affine.split_at_mut(width);
    for group in 0..g.groups {
        let channels = group * per_group..(group + 1) * per_group;
        let mut all = Moments::NONE;
        for (chunk, stats) in stats.chunks_exact(2 * width).enumerate() {
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
