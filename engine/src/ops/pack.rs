//! Queries, keys and values of attention to int8: see [`crate::packed`].
//!
//! A step belongs to each query's row of a head, to each block of a head's keys, and to each channel of
//! a block's values. Keys first lose their mean over some tokens, which adds one number to all scores
//! of a query, and a softmax does not see that (SmoothK of SageAttention). They are padded to whole
//! panels by repeating the last one, whose weight is then known, values by zeros.

use std::ops::Range;

use super::int_attention::Matrix;
use super::{Context, Operands, SharedMut, as_bytes, as_i32, bytes_as_i8, quantise};
use crate::activations::Format;
use crate::fuse::Fused;
use crate::kernels::Kernels;
use crate::kernels::attention::position;
use crate::kernels::code::Rounding;
use crate::kernels::rest::Rest;
use crate::kernels::rows::ScaleShift;
use crate::packed::{KeyBlock, PackedKeys, PackedQueries};
use crate::session::scratch_of;
use crate::weights::LANES;

/// Queries per task.
const ROWS: usize = 64;
/// Tokens that the keys' mean is taken over, at even distances: as good as all of them.
const SAMPLES: usize = 128;
/// A task packs as many heads as have so many channels, so that it reads whole pieces of rows.
const WIDTH: usize = 320;

/// Input is `q`.
pub(super) fn pack_queries(o: Operands<'_>, c: &mut Context<'_>) {
    let Format::PackedQueries { heads } = o.format else { return };
    let (layout, x, kernels) = (PackedQueries::new(heads, o.shape), o.inputs[0], c.kernels);
    let scratch = c.scratch;
    let depth = layout.depth();
    let (out, rows) = (SharedMut(o.out.as_mut_ptr()), o.shape.rows());
    c.pool.run(rows.div_ceil(ROWS), &|worker, task| {
        let mut space = scratch_of(scratch, worker);
        for row in task * ROWS..((task + 1) * ROWS).min(rows) {
            let x = x.row(kernels, row, &mut space);
            let (n, at) = (row / layout.positions, row % layout.positions);
            for (head, q) in x.chunks_exact(layout.d).enumerate() {
                let first = (n * heads + head) * layout.per_head();
                let bytes = first + layout.steps() + at * depth / size_of::<f32>();
                let (step, rounding) = quantise::step(kernels.magnitude(q));
                // SAFETY: the query's own step and row.
                unsafe {
                    *out.pointer(first + at) = step;
                    let bytes = as_bytes(out.slice(bytes, depth / size_of::<f32>()));
                    kernels.quantise(rounding, q, bytes);
                }
            }
        }
    });
}

/// Heads that a task packs.
fn together(layout: &PackedKeys) -> usize {
    (WIDTH / layout.d).clamp(1, layout.heads)
}

/// A row to read. For keys: rows of all heads of a task, of one head, and four in int8.
pub(super) fn thread_scratch(step: &Fused) -> usize {
    match step.format {
        Format::PackedQueries { .. } => step.shape.c,
        Format::PackedKeys { heads } => {
            let layout = PackedKeys::new(heads, step.shape);
            3 * together(&layout) * layout.d + 3 * layout.depth()
        }
        _ => 0,
    }
}

/// Inputs are `k, v`.
pub(super) fn pack_keys(o: Operands<'_>, c: &mut Context<'_>) {
    let Format::PackedKeys { heads } = o.format else { return };
    let layout = PackedKeys::new(heads, o.shape);
    let pack = Pack {
        kernels: c.kernels,
        layout,
        k: o.inputs[0].rest(c.kernels),
        v: o.inputs[1].rest(c.kernels),
        out: SharedMut(o.out.as_mut_ptr()),
    };
    let scratch = c.scratch;
    c.pool.run(o.shape.n * heads, &|worker, head| {
        pack.mean(head, &mut scratch_of(scratch, worker));
    });
    let tasks = (2 * c.pool.threads()).div_ceil(o.shape.n * layout.blocks());
    let together = together(&layout).min(heads.div_ceil(tasks));
    let (blocks, groups) = (layout.blocks(), heads.div_ceil(together));
    c.pool.run(o.shape.n * groups * blocks, &|worker, task| {
        let (n, first) = (task / blocks / groups, task / blocks % groups * together);
        let heads = n * heads + first..n * heads + (first + together).min(heads);
        pack.block(heads, task % blocks, &mut scratch_of(scratch, worker));
    });
}

struct Pack<'a> {
    kernels: &'static Kernels,
    layout: PackedKeys,
    k: Rest<'a>,
    v: Rest<'a>,
    out: SharedMut,
}

/// Rows of one head.
struct Rows<'a> {
    scale: &'a mut [f32],
    shift: &'a mut [f32],
    /// A row of all heads of the task.
    space: &'a mut [f32],
    /// Four padded rows.
    bytes: &'a mut [u8],
}

impl Pack<'_> {
    /// The values of some heads in token `t`, read into `space`.
    fn row<'a>(
        &self,
        x: &Rest<'_>,
        heads: Range<usize>,
        t: usize,
        space: &'a mut [f32],
    ) -> &'a [f32] {
        let p = self.layout;
        let row = heads.start / p.heads * p.tokens + t;
        let space = &mut space[..heads.len() * p.d];
        self.kernels.read(x, row, heads.start % p.heads * p.d, space);
        space
    }

    /// The mean of a head's keys over some tokens, negated.
    fn mean(&self, head: usize, space: &mut [f32]) {
        let (p, place) = (self.layout, self.layout.mean(head));
        // SAFETY: inside the buffer; no other task has this head.
        let mean = &mut unsafe { self.out.slice(place.start, place.len()) }[..p.d];
        let apart = p.tokens.div_ceil(SAMPLES);
        mean.fill(0.0);
        for t in (0..p.tokens).step_by(apart) {
            self.kernels.accumulate(self.row(&self.k, head..head + 1, t, space), mean);
        }
        self.kernels.scale(-1.0 / p.tokens.div_ceil(apart) as f32, mean);
    }

    /// One block of some heads of a picture.
    fn block(&self, heads: Range<usize>, block: usize, scratch: &mut [f32]) {
        let (p, tokens) = (self.layout, self.layout.tokens_of(block));
        let (low, rest) = scratch.split_at_mut(heads.len() * p.d);
        let (high, rest) = rest.split_at_mut(heads.len() * p.d);
        let (scale, rest) = rest.split_at_mut(p.depth());
        let (shift, rest) = rest.split_at_mut(p.depth());
        let (space, rest) = rest.split_at_mut(heads.len() * p.d);
        let bytes = &mut as_bytes(rest)[..4 * p.depth()];
        let (scale, shift) = (&mut scale[..p.d], &mut shift[..p.d]);
        let mut rows = Rows { scale, shift, space, bytes };
        for keys in [true, false] {
            let x = if keys { &self.k } else { &self.v };
            low.fill(f32::INFINITY);
            high.fill(f32::NEG_INFINITY);
            for t in tokens.clone() {
                let row = self.row(x, heads.clone(), t, rows.space);
                self.kernels.extremes(row, low, high);
            }
            let extremes = low.chunks_exact_mut(p.d).zip(high.chunks_exact_mut(p.d));
            for (head, (low, high)) in heads.clone().zip(extremes) {
                let (mean, place) = (p.mean(head), p.block(head, block));
                // SAFETY: inside the buffer; no other task has this block, and means are only read.
                let (mean, to) = unsafe {
                    let to = self.out.slice(place.start, place.len());
                    (&*self.out.slice(mean.start, p.d), p.split_mut(block, to))
                };
                if keys {
                    self.kernels.accumulate(mean, low);
                    self.kernels.accumulate(mean, high);
                    self.keys(head, tokens.clone(), [mean, low, high], to, &mut rows);
                } else {
                    self.values(head, tokens.clone(), [low, high], to, &mut rows);
                }
            }
        }
    }

    /// Keys less their mean, as panels of sixteen keys; the last two rows are their extremes.
    fn keys(
        &self,
        head: usize,
        tokens: Range<usize>,
        [mean, low, high]: [&[f32]; 3],
        to: KeyBlock<&mut [f32]>,
        rows: &mut Rows<'_>,
    ) {
        let kernels = self.kernels;
        let largest = kernels.magnitude(low).max(kernels.magnitude(high));
        let (step, Rounding { inverse, .. }) = quantise::step(largest);
        to.step.fill(step);
        rows.scale.fill(inverse);
        rows.shift.iter_mut().zip(mean).for_each(|(shift, mean)| *shift = mean * inverse);
        let (keys, starts) = (as_bytes(to.keys), as_i32(to.starts));
        for i in 0..starts.len() {
            let t = (tokens.start + i).min(tokens.end - 1);
            let bytes = self.quantise(&self.k, (head, t), 0, rows);
            let panel = LANES * bytes.len();
            place_key(i % LANES, bytes, &mut keys[i / LANES * panel..][..panel]);
        }
        self.rearrange(keys);
        self.starts(keys, starts, rows);
    }

    /// A head's values in a token as int8, which is row `i` of four.
    fn quantise<'a>(
        &self,
        x: &Rest<'_>,
        (head, t): (usize, usize),
        i: usize,
        rows: &'a mut Rows<'_>,
    ) -> &'a [u8] {
        let depth = self.layout.depth();
        let row = self.row(x, head..head + 1, t, rows.space);
        let bytes = &mut rows.bytes[i * depth..][..depth];
        let affine = ScaleShift { scale: rows.scale, shift: rows.shift, silu: false };
        self.kernels.scale_shift_quantise(&affine, row, bytes);
        bytes
    }

    /// What each key's sums start from: less the product with a query of stored zeros.
    fn starts(&self, keys: &[u8], starts: &mut [i32], rows: &mut Rows<'_>) {
        let (kernels, depth) = (self.kernels, self.layout.depth());
        rows.bytes.fill(kernels.int.offset);
        let product = Matrix {
            kernels,
            base: rows.bytes.as_ptr(),
            row_stride: depth,
            depth,
            weights: keys,
            weight_stride: depth * LANES,
            starts: None,
            columns: starts.len(),
        };
        product.compute(1, starts);
        starts.iter_mut().for_each(|start| *start = -*start);
    }

    /// Values as panels of sixteen channels over the keys.
    fn values(
        &self,
        head: usize,
        tokens: Range<usize>,
        [low, high]: [&[f32]; 2],
        to: KeyBlock<&mut [f32]>,
        rows: &mut Rows<'_>,
    ) {
        let (depth, columns) = (self.layout.depth(), to.starts.len());
        to.value_steps.fill(0.0);
        for (i, step) in to.value_steps[..low.len()].iter_mut().enumerate() {
            let rounding;
            (*step, rounding) = quantise::step(high[i].max(-low[i]));
            rows.scale[i] = rounding.inverse;
        }
        rows.shift.fill(0.0);
        let values = as_bytes(to.values);
        for first in (0..columns).step_by(4) {
            for i in 0..4 {
                let t = tokens.start + first + i;
                if t < tokens.end {
                    self.quantise(&self.v, (head, t), i, rows);
                } else {
                    rows.bytes[i * depth..][..depth].fill(0);
                }
            }
            place_values(position(first, columns), rows.bytes, values, columns);
        }
        self.rearrange(values);
    }

    fn rearrange(&self, panels: &mut [u8]) {
        if let Some(rearrange) = self.kernels.int.rearrange {
            // SAFETY: whole blocks; the table was handed out for this machine.
            unsafe { rearrange(bytes_as_i8(panels)) }
        }
    }
}

/// Puts a key into its panel as output `o`.
fn place_key(o: usize, bytes: &[u8], panel: &mut [u8]) {
    let outputs = panel.as_chunks_mut::<{ 4 * LANES }>().0;
    for (outputs, four) in outputs.iter_mut().zip(bytes.as_chunks::<4>().0) {
        outputs[4 * o..][..4].copy_from_slice(four);
    }
}

/// Puts four rows of values into every panel of channels, as depths from `at` on of so many.
fn place_values(at: usize, bytes: &[u8], values: &mut [u8], columns: usize) {
    let depth = bytes.len() / 4;
    for first in (0..depth).step_by(LANES) {
        let panel = &mut values[first * columns + at * LANES..][..4 * LANES];
        let row = |i: usize| &bytes[i * depth + first..][..LANES];
        let (a, b, c, d) = (row(0), row(1), row(2), row(3));
        for (o, four) in panel.as_chunks_mut::<4>().0.iter_mut().enumerate() {
            *four = [a[o], b[o], c[o], d[o]];
        }
    }
}
