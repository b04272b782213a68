//! Softmax attention with integer products.
//!
//! Keys and values were packed by a step of their own ([`super::pack_keys`]); queries are rounded per
//! row and head. Both products run on the integer tile: keys are its outputs in the first, and the
//! depth in the second. The weights of a block are relative to the block's own largest score and
//! rounded to 127 steps; their sum is that of the rounded weights, so a query's weights always add up
//! to one. Blocks are joined as in the online softmax, in f32, in order.

use super::{Context, Operand, Operands, SharedMut, as_bytes, as_i32, bytes_of, i32_of};
use crate::activations::Format;
use crate::kernels::Kernels;
use crate::kernels::attention::{Queries, Scores};
use crate::kernels::int::{self, BLOCK, IntTile};
use crate::packed_keys::{KEYS, PackedKeys};
use crate::session::scratch_of;
use crate::tensor::Shape;
use crate::weights::LANES;

/// Queries per task: whole tiles on every instruction set.
const QUERIES: usize = 48;
/// Most tiles of a task.
const TILES: usize = QUERIES / 4;
/// Packed keys and values of so many f32 stay in a second-level cache while all heads pass.
const NEAR: usize = 64 << 10;

/// Lengths of the parts of a thread's scratch memory, in f32.
struct Scratch {
    queries: usize,
    scores: usize,
    weights: usize,
    values: usize,
}

impl Scratch {
    fn new(depth: usize) -> Self {
        Self {
            queries: QUERIES * depth / size_of::<f32>(),
            scores: int::MAX_ROWS * KEYS.max(depth),
            weights: int::MAX_ROWS * KEYS / size_of::<f32>(),
            values: QUERIES * depth,
        }
    }
}

/// Room for a block of queries with its scores, weights and values.
pub(super) fn thread_scratch(heads: usize, shape: Shape) -> usize {
    let s = Scratch::new((shape.c / heads).next_multiple_of(BLOCK));
    s.queries + s.scores + s.weights + s.values
}

/// Inputs are queries and packed keys.
pub(super) fn attention(o: Operands<'_>, c: &mut Context<'_>) {
    let [q, keys, _] = o.inputs;
    let Format::PackedKeys { heads } = keys.format else { return };
    let layout = PackedKeys::new(heads, keys.shape);
    let call =
        Call { kernels: c.kernels, q, layout, keys: keys.data, out: SharedMut(o.out.as_mut_ptr()) };
    let blocks = q.shape.positions().div_ceil(QUERIES);
    // All heads of some queries read and write whole rows; one head reuses keys that fill the cache.
    let near = heads * layout.per_head() <= NEAR && q.shape.n * blocks >= 4 * c.pool.threads();
    let together = if near { heads } else { 1 };
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
    q: Operand<'a>,
    layout: PackedKeys,
    keys: &'a [f32],
    out: SharedMut,
}

/// A head's queries, from one on.
#[derive(Clone, Copy)]
struct Range {
    head: usize,
    first: usize,
    count: usize,
}

/// What a block of queries works in.
struct Block<'a> {
    /// `[queries][depth]`.
    queries: &'a mut [u8],
    /// `[rows of a tile]` by a block of keys, or by the head's channels.
    scores: &'a mut [i32],
    /// `[rows of a tile][KEYS]`.
    weights: &'a mut [u8],
    /// `[queries][depth]`.
    values: &'a mut [f32],
    tiles: [Queries; TILES],
}

impl Call<'_> {
    /// One head's queries from `first` on.
    fn block(&self, head: usize, first: usize, scratch: &mut [f32]) {
        let (p, height) = (self.layout, self.kernels.int.rows);
        let count = QUERIES.min(self.q.shape.positions() - first);
        let range = Range { head, first, count };
        let sizes = Scratch::new(p.depth());
        let (queries, rest) = scratch.split_at_mut(sizes.queries);
        let (scores, rest) = rest.split_at_mut(sizes.scores);
        let (weights, values) = rest.split_at_mut(sizes.weights);
        let mut block = Block {
            queries: as_bytes(queries),
            scores: as_i32(scores),
            weights: as_bytes(weights),
            values: &mut values[..count * p.depth()],
            tiles: [Queries::default(); TILES],
        };
        self.round(range, &mut block);
        block.values.fill(0.0);
        let head = self.head(head);
        for key in (0..p.tokens).step_by(KEYS) {
            for (tile, row) in (0..count).step_by(height).enumerate() {
                self.tile(&head, key, tile, row..(row + height).min(count), &mut block);
            }
        }
        self.write(range, &head, &block);
    }

    /// The row in `q` and `out` of a head's query.
    fn at(&self, head: usize, query: usize) -> usize {
        let p = self.layout;
        (head / p.heads * self.q.shape.positions() + query) * p.channels + head % p.heads * p.d
    }

    /// Queries to int8.
    fn round(&self, range: Range, block: &mut Block<'_>) {
        let (p, height) = (self.layout, self.kernels.int.rows);
        for (i, bytes) in block.queries.chunks_exact_mut(p.depth()).take(range.count).enumerate() {
            let q = &self.q.data[self.at(range.head, range.first + i)..][..p.d];
            let (step, inverse) = super::quantise::step(self.kernels.magnitude(q));
            self.kernels.quantise(inverse, q, bytes);
            block.tiles[i / height].steps[i % height] = step;
        }
    }

    /// A tile of queries with one block of keys.
    fn tile(
        &self,
        head: &Head<'_>,
        key: usize,
        tile: usize,
        rows: std::ops::Range<usize>,
        block: &mut Block<'_>,
    ) {
        let (p, kernels, height) = (self.layout, self.kernels, rows.len());
        let (keys, depth) = (KEYS.min(p.tokens - key), p.depth());
        let columns = keys.next_multiple_of(LANES);
        let product = Matrix {
            kernels,
            base: block.queries[rows.start * depth..].as_ptr(),
            row_stride: depth,
            depth: p.d.next_multiple_of(kernels.int.step),
            weights: &head.keys[key * depth..],
            weight_stride: depth * LANES,
            starts: Some(&head.starts[key..]),
            columns,
        };
        product.compute(height, block.scores);
        let scores = Scores {
            scores: &block.scores[..height * columns],
            columns,
            repeated: columns - keys,
            unit: head.key_steps[key / KEYS] * std::f32::consts::LOG2_E / (p.d as f32).sqrt(),
        };
        let factors = kernels.weigh(&scores, &mut block.tiles[tile], block.weights, KEYS);
        let product = Matrix {
            kernels,
            base: block.weights.as_ptr(),
            row_stride: KEYS,
            depth: columns,
            weights: &head.values[key * LANES..],
            weight_stride: p.padded_tokens() * LANES,
            starts: None,
            columns: depth,
        };
        product.compute(height, block.scores);
        let values = &mut block.values[rows.start * depth..rows.end * depth];
        kernels.gather(&block.scores[..height * depth], &factors, values, depth);
    }

    fn head(&self, head: usize) -> Head<'_> {
        let space = &self.keys[head * self.layout.per_head()..][..self.layout.per_head()];
        let [keys, values, starts, key_steps, value_steps] = self.layout.split(space);
        Head {
            keys: bytes_of(keys),
            values: bytes_of(values),
            starts: i32_of(starts),
            key_steps,
            value_steps,
        }
    }

    fn write(&self, range: Range, head: &Head<'_>, block: &Block<'_>) {
        let (p, height) = (self.layout, self.kernels.int.rows);
        let steps = &head.value_steps[..p.d];
        for (i, values) in block.values.chunks_exact(p.depth()).enumerate() {
            // SAFETY: inside the output; no other task has this head's query.
            let y = unsafe { self.out.slice(self.at(range.head, range.first + i), p.d) };
            let inverse = 1.0 / block.tiles[i / height].sums[i % height];
            for ((y, value), step) in y.iter_mut().zip(values).zip(steps) {
                *y = value * inverse * step;
            }
        }
    }
}

/// Packed keys and values of one head.
struct Head<'a> {
    keys: &'a [u8],
    values: &'a [u8],
    starts: &'a [i32],
    key_steps: &'a [f32],
    value_steps: &'a [f32],
}

/// A product of some int8 rows with packed panels.
struct Matrix<'a> {
    kernels: &'static Kernels,
    base: *const u8,
    row_stride: usize,
    depth: usize,
    weights: &'a [u8],
    weight_stride: usize,
    /// `None` where rows are stored without the offset.
    starts: Option<&'a [i32]>,
    /// Whole panels.
    columns: usize,
}

impl Matrix<'_> {
    /// `sums: [height][columns]`.
    fn compute(&self, height: usize, sums: &mut [i32]) {
        let panels = self.columns / LANES;
        assert!(sums.len() >= height * self.columns);
        assert!(self.weights.len() >= (panels - 1) * self.weight_stride + self.depth * LANES);
        let offsets: [u32; int::MAX_ROWS] = std::array::from_fn(|i| (i * self.row_stride) as u32);
        let starts = self.starts.filter(|_| self.kernels.int.offset != 0);
        assert!(starts.is_none_or(|s| s.len() >= self.columns));
        for first in (0..panels).step_by(self.kernels.int.panels) {
            let tile = IntTile {
                base: self.base,
                offsets: offsets.as_ptr(),
                height,
                taps: 1,
                depth: self.depth,
                weights: self.weights[first * self.weight_stride..].as_ptr().cast(),
                weight_stride: self.weight_stride,
                panels: self.kernels.int.panels.min(panels - first),
                start: starts.map_or(std::ptr::null(), |s| s[first * LANES..].as_ptr()),
                start_stride: LANES,
                sums: sums[first * LANES..].as_mut_ptr(),
                sum_stride: self.columns,
                accumulate: false,
            };
            // SAFETY: the caller has `height` rows of `depth` bytes at `base`; the rest was checked.
            unsafe { self.kernels.int_tile(&tile) }
        }
    }
}
