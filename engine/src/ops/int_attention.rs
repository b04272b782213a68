//! Softmax attention with integer products.
//!
//! Queries, keys and values were packed by steps of their own ([`super::pack`]). Both products run on
//! the integer tile: keys are its outputs in the first, and the depth in the second. The weights of a
//! block are relative to the block's own largest score and rounded to 127 steps; their sum is that of
//! the rounded weights, so a query's weights always add up to one. Blocks are joined as in the online
//! softmax, in f32, in order.

use std::ops::Range;

use super::{Context, Operands, SharedPlace, as_bytes, as_i32, bytes_of, i32_of};
use crate::kernels::Kernels;
use crate::kernels::attention::{Queries, Scores};
use crate::kernels::int::{self, BLOCK, IntTile};
use crate::packed::{KEYS, PackedKeys, PackedQueries};
use crate::session::scratch_of;
use crate::tensor::Shape;
use crate::weights::LANES;

/// Queries per task: whole tiles on every instruction set.
const QUERIES: usize = 48;
/// Most groups of a task: at least twelve queries each.
const GROUPS: usize = QUERIES / 12;
/// Packed keys and values of so many f32 stay in a second-level cache while all heads pass.
const NEAR: usize = 64 << 10;

/// Lengths of the parts of a thread's scratch memory, in f32.
struct Scratch {
    scores: usize,
    weights: usize,
    values: usize,
}

impl Scratch {
    fn new(depth: usize) -> Self {
        Self {
            scores: LANES * KEYS.max(depth),
            weights: LANES * KEYS / size_of::<f32>(),
            values: QUERIES * depth,
        }
    }
}

/// Room for a block of queries with its scores, weights and values.
pub(super) fn thread_scratch(heads: usize, shape: Shape) -> usize {
    let s = Scratch::new((shape.c / heads).next_multiple_of(BLOCK));
    s.scores + s.weights + s.values
}

/// Inputs are packed queries and packed keys.
pub(super) fn attention(heads: usize, o: Operands<'_>, c: &mut Context<'_>) {
    let [q, keys, ..] = o.inputs;
    let call = Call {
        kernels: c.kernels,
        queries: PackedQueries::new(heads, q.shape),
        q: q.data,
        layout: PackedKeys::new(heads, keys.shape),
        keys: keys.data,
        out: SharedPlace::new(o.out.as_mut_ptr(), o.format),
    };
    let blocks = q.shape.positions().div_ceil(QUERIES);
    // All heads of some queries write whole rows; one head reuses keys that fill the cache.
    let near = heads * call.layout.per_head() <= NEAR;
    let together = if near && q.shape.n * blocks >= 4 * c.pool.threads() { heads } else { 1 };
    let scratch = c.scratch;
    c.pool.run(q.shape.n * heads / together * blocks, &|worker, task| {
        let mut scratch = scratch_of(scratch, worker);
        let first = task / blocks * together;
        for head in first..first + together {
            call.block(head, task % blocks * QUERIES, &mut scratch);
        }
    });
}

struct Call<'a> {
    kernels: &'static Kernels,
    queries: PackedQueries,
    q: &'a [f32],
    layout: PackedKeys,
    keys: &'a [f32],
    out: SharedPlace,
}

/// What a block of queries works in.
struct Block<'a> {
    /// `[queries][depth]`.
    queries: &'a [u8],
    /// `[queries of a group]` by a block of keys, or by the head's channels.
    scores: &'a mut [i32],
    /// `[queries of a group][KEYS]`.
    weights: &'a mut [u8],
    /// `[queries][depth]`.
    values: &'a mut [f32],
}

/// Packed keys and values of a block.
struct Keys<'a> {
    keys: &'a [u8],
    values: &'a [u8],
    starts: &'a [i32],
    value_steps: &'a [f32],
    /// Keys, and repetitions of the last one behind it.
    columns: usize,
    repeated: usize,
    /// What one step of a score is worth, of a query whose own step is 1, as a power of two.
    unit: f32,
}

impl Call<'_> {
    /// One head's queries from `first` on; heads count over pictures.
    fn block(&self, head: usize, first: usize, scratch: &mut [f32]) {
        let (q, depth) = (self.queries, self.layout.depth());
        // Queries that take one lane each: whole tiles.
        let height = LANES - LANES % self.kernels.int.rows;
        let count = QUERIES.min(q.positions - first);
        let (steps, rows) = self.q[head * q.per_head()..][..q.per_head()].split_at(q.steps());
        let sizes = Scratch::new(depth);
        let (scores, rest) = scratch.split_at_mut(sizes.scores);
        let (weights, values) = rest.split_at_mut(sizes.weights);
        let mut block = Block {
            queries: &bytes_of(rows)[first * depth..][..count * depth],
            scores: as_i32(scores),
            weights: as_bytes(weights),
            values: &mut values[..count * depth],
        };
        let mut groups = [Queries::default(); GROUPS];
        for (group, steps) in groups.iter_mut().zip(steps[first..][..count].chunks(height)) {
            group.steps[..steps.len()].copy_from_slice(steps);
        }
        block.values.fill(0.0);
        for keys in 0..self.layout.blocks() {
            let keys = self.keys(head, keys);
            for (group, row) in groups.iter_mut().zip((0..count).step_by(height)) {
                self.group(&keys, group, row..(row + height).min(count), &mut block);
            }
        }
        for (i, values) in block.values.chunks_exact(depth).enumerate() {
            let sum = groups[i / height].sums[i % height];
            self.write(values, sum, head, first + i);
        }
    }

    /// Writes what a query of a head comes to.
    fn write(&self, values: &[f32], sum: f32, head: usize, query: usize) {
        let q = self.queries;
        let row = head / q.heads * q.positions + query;
        let out = self.out.place().offset((row * q.heads + head % q.heads) * q.d);
        // SAFETY: inside the output; no other task has this head's query.
        unsafe { self.kernels.weighted_mean(values, sum, out, q.d) }
    }

    fn keys(&self, head: usize, block: usize) -> Keys<'_> {
        let p = self.layout;
        let parts = p.split(block, &self.keys[p.block(head, block)]);
        let columns = p.columns(block);
        Keys {
            keys: bytes_of(parts.keys),
            values: bytes_of(parts.values),
            starts: i32_of(parts.starts),
            value_steps: parts.value_steps,
            columns,
            repeated: columns - p.tokens_of(block).len(),
            unit: parts.step[0] * std::f32::consts::LOG2_E / (p.d as f32).sqrt(),
        }
    }

    /// A group of queries with one block of keys.
    fn group(&self, keys: &Keys<'_>, queries: &mut Queries, rows: Range<usize>, b: &mut Block<'_>) {
        let (kernels, columns, height) = (self.kernels, keys.columns, rows.len());
        let depth = self.layout.depth();
        let product = Matrix {
            kernels,
            base: b.queries[rows.start * depth..].as_ptr(),
            row_stride: depth,
            depth: self.layout.d.next_multiple_of(kernels.int.step),
            weights: keys.keys,
            weight_stride: depth * LANES,
            starts: Some(keys.starts),
            columns,
        };
        product.compute(height, b.scores);
        let scores = Scores {
            scores: &b.scores[..height * columns],
            columns,
            repeated: keys.repeated,
            unit: keys.unit,
        };
        let factors = kernels.weigh(&scores, queries, b.weights, KEYS);
        let product = Matrix {
            kernels,
            base: b.weights.as_ptr(),
            row_stride: KEYS,
            depth: columns,
            weights: keys.values,
            weight_stride: columns * LANES,
            starts: None,
            columns: depth,
        };
        product.compute(height, b.scores);
        let values = &mut b.values[rows.start * depth..rows.end * depth];
        kernels.gather(&b.scores[..height * depth], keys.value_steps, &factors, values);
    }
}

/// A product of some int8 rows with packed panels.
pub(super) struct Matrix<'a> {
    pub kernels: &'static Kernels,
    pub base: *const u8,
    pub row_stride: usize,
    pub depth: usize,
    pub weights: &'a [u8],
    pub weight_stride: usize,
    /// `None` where rows are stored without the offset.
    pub starts: Option<&'a [i32]>,
    /// Whole panels.
    pub columns: usize,
}

impl Matrix<'_> {
    /// `sums: [height][columns]`.
    pub fn compute(&self, height: usize, sums: &mut [i32]) {
        let (panels, int) = (self.columns / LANES, self.kernels.int);
        assert!(sums.len() >= height * self.columns);
        assert!(self.weights.len() >= (panels - 1) * self.weight_stride + self.depth * LANES);
        let offsets: [u32; int::MAX_ROWS] = std::array::from_fn(|i| (i * self.row_stride) as u32);
        let starts = self.starts.filter(|_| int.offset != 0);
        assert!(starts.is_none_or(|s| s.len() >= self.columns));
        for panel in (0..panels).step_by(int.panels) {
            for row in (0..height).step_by(int.rows) {
                let tile = IntTile {
                    base: self.base.wrapping_add(row * self.row_stride),
                    offsets: offsets.as_ptr(),
                    height: int.rows.min(height - row),
                    taps: 1,
                    depth: self.depth,
                    weights: self.weights[panel * self.weight_stride..].as_ptr().cast(),
                    weight_stride: self.weight_stride,
                    panels: int.panels.min(panels - panel),
                    start: starts.map_or(std::ptr::null(), |s| s[panel * LANES..].as_ptr()),
                    start_stride: LANES,
                    sums: sums[row * self.columns + panel * LANES..].as_mut_ptr(),
                    sum_stride: self.columns,
                    accumulate: false,
                };
                // SAFETY: the caller has `height` rows of `depth` bytes at `base`; the rest was
                // checked.
                unsafe { self.kernels.int_tile(&tile) }
            }
        }
    }
}
