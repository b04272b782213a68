//! Softmax attention with integer products.
//!
//! Queries are rounded per row and head, keys per block of keys after their mean over all tokens was
//! taken off (that adds one number to all scores of a query, which a softmax does not see; SmoothK
//! of SageAttention), values per channel. Both products run on the integer tile: keys are its
//! outputs in the first, and the depth in the second. The weights of a block are relative to the
//! block's own largest score and rounded to 127 steps; their sum is that of the rounded weights, so
//! a query's weights always add up to one. Blocks are joined as in the online softmax, in f32, in
//! order.

use super::{Context, Operand, Operands, SharedMut, as_bytes};
use crate::kernels::Kernels;
use crate::kernels::int::{self, BLOCK, IntTile};
use crate::kernels::rows::{IntScores, IntWeights, ScaleShift};
use crate::session::scratch_of;
use crate::tensor::Shape;
use crate::weights::LANES;

/// Keys per block: whole groups of three panels.
const KEYS: usize = 240;
/// Queries per task.
const QUERIES: usize = 48;

/// Sizes of one head's packed keys and values.
#[derive(Clone, Copy)]
struct Packed {
    heads: usize,
    /// Head size.
    d: usize,
    tokens: usize,
    /// Channels of a token, all heads.
    channels: usize,
}

impl Packed {
    fn new(heads: usize, keys: Shape) -> Self {
        Self { heads, d: keys.c / heads, tokens: keys.positions(), channels: keys.c }
    }

    /// Head size in bytes, padded.
    fn depth(&self) -> usize {
        self.d.next_multiple_of(BLOCK)
    }

    fn padded_tokens(&self) -> usize {
        self.tokens.next_multiple_of(BLOCK)
    }

    /// Bytes of the keys, and of the values.
    fn bytes(&self) -> usize {
        self.padded_tokens() * self.depth()
    }

    /// f32 of a head: keys, values, a start per key, a step per block of keys and per channel of
    /// the values.
    fn per_head(&self) -> usize {
        let bytes = 2 * self.bytes() / size_of::<f32>();
        bytes + self.padded_tokens() + self.key_blocks() + self.depth()
    }

    fn key_blocks(&self) -> usize {
        self.tokens.div_ceil(KEYS).next_multiple_of(BLOCK)
    }

    fn split_mut(self, space: &mut [f32]) -> HeadMut<'_> {
        let (keys, rest) = space.split_at_mut(self.bytes() / size_of::<f32>());
        let (values, rest) = rest.split_at_mut(self.bytes() / size_of::<f32>());
        let (starts, rest) = rest.split_at_mut(self.padded_tokens());
        let (key_steps, value_steps) = rest.split_at_mut(self.key_blocks());
        HeadMut {
            keys: as_bytes(keys),
            values: as_bytes(values),
            starts: super::as_i32(starts),
            key_steps,
            value_steps,
        }
    }

    /// The first value of a head in token `t` of its picture.
    fn at(&self, head: usize, t: usize) -> usize {
        (head / self.heads * self.tokens + t) * self.channels + head % self.heads * self.d
    }
}

struct HeadMut<'a> {
    keys: &'a mut [u8],
    values: &'a mut [u8],
    starts: &'a mut [i32],
    key_steps: &'a mut [f32],
    value_steps: &'a mut [f32],
}

/// Packed keys and values of all heads.
pub(super) fn scratch(heads: usize, keys: Shape) -> usize {
    keys.n * heads * Packed::new(heads, keys).per_head()
}

/// Lengths of the parts of a thread's scratch memory, in f32.
struct Scratch {
    /// Queries in int8, then their steps, sums, values and offsets.
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

/// Room for a block of queries with its scores, weights and values; also for packing a head.
pub(super) fn thread_scratch(heads: usize, shape: Shape) -> usize {
    let depth = (shape.c / heads).next_multiple_of(BLOCK);
    let s = Scratch::new(depth);
    (s.queries + s.scores + s.weights + s.values).max(4 * depth)
}

pub(super) fn attention(heads: usize, o: Operands<'_>, c: &mut Context<'_>) {
    let [q, k, v, _] = o.inputs;
    let (packed, kernels) = (Packed::new(heads, k.shape), c.kernels);
    let scratch = c.scratch;
    super::for_chunks(c.pool, o.scratch, packed.per_head(), |worker, head, space| {
        let mut scratch = scratch_of(scratch, worker);
        let (mut rows, mut into) = (PackRows::new(&packed, &mut scratch), packed.split_mut(space));
        let pack = Pack { kernels, packed, head };
        pack.keys(k.data, &mut into, &mut rows);
        pack.values(v.data, &mut into, &mut rows);
    });
    let call = Call { kernels, q, packed, space: o.scratch, out: SharedMut(o.out.as_mut_ptr()) };
    let blocks = q.shape.positions().div_ceil(QUERIES);
    c.pool.run(q.shape.n * heads * blocks, &|worker, task| {
        call.block(task / blocks, task % blocks * QUERIES, &mut scratch_of(scratch, worker));
    });
}

/// Packing one head.
struct Pack {
    kernels: &'static Kernels,
    packed: Packed,
    head: usize,
}

/// Three rows of a head, and one in int8.
struct PackRows<'a> {
    a: &'a mut [f32],
    b: &'a mut [f32],
    row: &'a mut [f32],
    bytes: &'a mut [u8],
}

impl<'a> PackRows<'a> {
    fn new(p: &Packed, scratch: &'a mut [f32]) -> Self {
        let (a, rest) = scratch.split_at_mut(p.depth());
        let (b, rest) = rest.split_at_mut(p.depth());
        let (row, rest) = rest.split_at_mut(p.depth());
        let bytes = &mut as_bytes(rest)[..p.depth()];
        Self { a: &mut a[..p.d], b: &mut b[..p.d], row: &mut row[..p.d], bytes }
    }
}

impl Pack {
    fn row<'a>(&self, x: &'a [f32], t: usize) -> &'a [f32] {
        &x[self.packed.at(self.head, t)..][..self.packed.d]
    }

    /// Keys less their mean, as panels of sixteen keys; a step per block.
    fn keys(&self, k: &[f32], into: &mut HeadMut<'_>, rows: &mut PackRows<'_>) {
        let (p, kernels) = (self.packed, self.kernels);
        let (mean, row) = (&mut *rows.a, &mut *rows.row);
        mean.fill(0.0);
        (0..p.tokens).for_each(|t| kernels.accumulate(self.row(k, t), mean));
        kernels.scale(-1.0 / p.tokens as f32, mean);
        into.keys.fill(0);
        into.starts.fill(0);
        for (first, step) in (0..p.tokens).step_by(KEYS).zip(&mut *into.key_steps) {
            let tokens = first..(first + KEYS).min(p.tokens);
            let mut largest = 0.0_f32;
            for t in tokens.clone() {
                kernels.add(self.row(k, t), mean, row);
                largest = largest.max(kernels.magnitude(row));
            }
            let (value, inverse) = super::quantise::step(largest);
            *step = value;
            for t in tokens {
                kernels.add(self.row(k, t), mean, row);
                kernels.quantise(inverse, row, rows.bytes);
                let panel = &mut into.keys[t / LANES * LANES * p.depth()..];
                into.starts[t] = self.place_key(t % LANES, rows.bytes, panel);
            }
        }
        self.rearrange(into.keys);
    }

    /// Puts a key into its panel as output `o`; returns what its sums start from.
    fn place_key(&self, o: usize, bytes: &[u8], panel: &mut [u8]) -> i32 {
        let offset = self.kernels.int.offset;
        let mut sum = 0;
        for (i, four) in bytes.as_chunks::<4>().0.iter().enumerate() {
            let four = four.map(|b| b.wrapping_sub(offset));
            sum += four.iter().map(|b| i32::from(b.cast_signed())).sum::<i32>();
            panel[(i * LANES + o) * 4..][..4].copy_from_slice(&four);
        }
        -128 * sum
    }

    /// Values as panels of sixteen channels over the keys; a step per channel.
    fn values(&self, v: &[f32], into: &mut HeadMut<'_>, rows: &mut PackRows<'_>) {
        let (p, kernels) = (self.packed, self.kernels);
        let PackRows { a: low, b: high, row, bytes } = rows;
        low.fill(0.0);
        high.fill(0.0);
        (0..p.tokens).for_each(|t| kernels.extremes(self.row(v, t), low, high));
        for (i, inverse) in high.iter_mut().enumerate() {
            (into.value_steps[i], *inverse) = super::quantise::step(inverse.max(-low[i]));
        }
        low.fill(0.0);
        into.values.fill(0);
        let inverse = ScaleShift { scale: high, shift: low, silu: false };
        for t in 0..p.tokens {
            kernels.scale_shift(&inverse, self.row(v, t), row);
            kernels.quantise(1.0, row, bytes);
            let depth = t / 4 * (4 * LANES) + t % 4;
            for (i, byte) in bytes[..p.d].iter().enumerate() {
                let panel = i / LANES * LANES * p.padded_tokens();
                into.values[panel + depth + i % LANES * 4] = byte.wrapping_sub(kernels.int.offset);
            }
        }
        self.rearrange(into.values);
    }

    fn rearrange(&self, panels: &mut [u8]) {
        if let Some(rearrange) = self.kernels.int.rearrange {
            // SAFETY: whole blocks; the table was handed out for this machine.
            unsafe { rearrange(super::bytes_as_i8(panels)) }
        }
    }
}

struct Call<'a> {
    kernels: &'static Kernels,
    q: Operand<'a>,
    packed: Packed,
    space: &'a [f32],
    out: SharedMut,
}

/// What a block of queries works in.
struct Block<'a> {
    /// `[queries][depth]`.
    queries: &'a [u8],
    scores: &'a mut [i32],
    /// `[rows of a tile][KEYS]`.
    weights: &'a mut [u8],
    /// `[queries][depth]`.
    values: &'a mut [f32],
    rows: [QueryRow; QUERIES],
}

/// Where a query stands in the online softmax.
#[derive(Clone, Copy, Default)]
struct QueryRow {
    /// What one step of its int8 values is worth.
    step: f32,
    /// Largest score so far, as a power of two; its weights' sum.
    largest: f32,
    sum: f32,
}

impl Call<'_> {
    /// One head's queries from `first` on.
    fn block(&self, head: usize, first: usize, scratch: &mut [f32]) {
        let p = self.packed;
        let queries = QUERIES.min(self.q.shape.positions() - first);
        let sizes = Scratch::new(p.depth());
        let (bytes, rest) = scratch.split_at_mut(sizes.queries);
        let (scores, rest) = rest.split_at_mut(sizes.scores);
        let (weights, values) = rest.split_at_mut(sizes.weights);
        let (bytes, values) = (as_bytes(bytes), &mut values[..queries * p.depth()]);
        let mut rows = [QueryRow::default(); QUERIES];
        for (i, row) in rows[..queries].iter_mut().enumerate() {
            let q = &self.q.data[self.at(head, first + i)..][..p.d];
            let (step, inverse) = super::quantise::step(self.kernels.magnitude(q));
            self.kernels.quantise(inverse, q, &mut bytes[i * p.depth()..][..p.depth()]);
            *row = QueryRow { step, largest: f32::NEG_INFINITY, sum: 0.0 };
        }
        values.fill(0.0);
        let (scores, weights) = (super::as_i32(scores), as_bytes(weights));
        let mut block = Block { queries: bytes, scores, weights, values, rows };
        for key in (0..p.tokens).step_by(KEYS) {
            for row in (0..queries).step_by(self.kernels.int.rows) {
                let height = self.kernels.int.rows.min(queries - row);
                self.tile(head, row, height, key, &mut block);
            }
        }
        self.write(head, first, queries, &block);
    }

    /// The row in `q` and `out` of a head's query.
    fn at(&self, head: usize, query: usize) -> usize {
        let p = self.packed;
        (head / p.heads * self.q.shape.positions() + query) * p.channels + head % p.heads * p.d
    }

    /// Some queries with one block of keys.
    fn tile(&self, head: usize, row: usize, height: usize, key: usize, block: &mut Block<'_>) {
        let p = self.packed;
        let keys = KEYS.min(p.tokens - key);
        let padded = keys.next_multiple_of(LANES);
        let of = self.head(head);
        let product = Matrix {
            kernels: self.kernels,
            base: block.queries[row * p.depth()..].as_ptr(),
            row_stride: p.depth(),
            depth: p.d.next_multiple_of(self.kernels.int.step),
            weights: &of.keys[key * p.depth()..],
            weight_stride: p.depth() * LANES,
            starts: Some(&of.starts[key..]),
            columns: padded,
        };
        product.compute(height, block.scores);
        let unit = of.key_steps[key / KEYS] * std::f32::consts::LOG2_E / (p.d as f32).sqrt();
        let rows = &mut block.rows[row..row + height];
        let (mut steps, mut found) = ([0.0; int::MAX_ROWS], [IntWeights::default(); int::MAX_ROWS]);
        let (steps, found) = (&mut steps[..height], &mut found[..height]);
        rows.iter().zip(&mut *steps).for_each(|(row, step)| *step = row.step * unit);
        let scores = &block.scores[..height * padded];
        let scores = IntScores { scores, padded, count: keys, steps };
        self.kernels.int_softmax(&scores, &mut block.weights[..height * KEYS], found);
        let mut factors = [[0.0; 2]; int::MAX_ROWS];
        for (i, row) in rows.iter_mut().enumerate() {
            factors[i] = row.rescale(found[i].largest as f32 * steps[i]);
        }
        self.kernels.exponential(factors[..height].as_flattened_mut());
        let product = Matrix {
            kernels: self.kernels,
            base: block.weights.as_ptr(),
            row_stride: KEYS,
            depth: padded,
            weights: &of.values[key * LANES..],
            weight_stride: p.padded_tokens() * LANES,
            starts: None,
            columns: p.depth(),
        };
        product.compute(height, block.scores);
        for (i, pair) in factors[..height].iter().enumerate() {
            let state = &mut block.rows[row + i];
            state.sum = state.sum * pair[0] + found[i].sum as f32 * pair[1];
            let sums = &block.scores[i * p.depth()..][..p.depth()];
            let values = &mut block.values[(row + i) * p.depth()..][..p.depth()];
            self.kernels.int_gather(sums, *pair, values);
        }
    }

    fn head(&self, head: usize) -> Head<'_> {
        let p = self.packed;
        let space = &self.space[head * p.per_head()..][..p.per_head()];
        let (keys, rest) = space.split_at(p.bytes() / size_of::<f32>());
        let (values, rest) = rest.split_at(p.bytes() / size_of::<f32>());
        let (starts, rest) = rest.split_at(p.padded_tokens());
        let (key_steps, value_steps) = rest.split_at(p.key_blocks());
        Head {
            keys: super::bytes_of(keys),
            values: super::bytes_of(values),
            starts: super::i32_of(starts),
            key_steps,
            value_steps,
        }
    }

    fn write(&self, head: usize, first: usize, queries: usize, block: &Block<'_>) {
        let p = self.packed;
        let steps = &self.head(head).value_steps[..p.d];
        for (i, row) in block.rows[..queries].iter().enumerate() {
            let values = &block.values[i * p.depth()..][..p.d];
            // SAFETY: inside the output; no other task has this head's query.
            let y = unsafe { self.out.slice(self.at(head, first + i), p.d) };
            let inverse = 1.0 / row.sum;
            for ((y, value), step) in y.iter_mut().zip(values).zip(steps) {
                *y = value * inverse * step;
            }
        }
    }
}

impl QueryRow {
    /// Takes in a block's largest score. Returns the logarithms of what to multiply the values so
    /// far with, and the block's.
    fn rescale(&mut self, largest: f32) -> [f32; 2] {
        let (before, next) = (self.largest, self.largest.max(largest));
        self.largest = next;
        [before - next, largest - next].map(|v| v * std::f32::consts::LN_2)
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
