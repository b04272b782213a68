//! Softmax attention without the matrix of scores (the online softmax of Milakov and Gimelshein).
//!
//! Keys are packed once per head into panels `[keys / 16][d][16]`, values into `[d /
//! 16][keys][16]`, so that both products use the register tile. A task takes one head and a block
//! of queries and walks the keys in blocks of a fixed size: that size, not the instruction set or
//! the threads, decides where sums are rescaled.

use super::{Context, Operand, Operands, SharedMut};
use crate::graph::Mask;
use crate::kernels::Kernels;
use crate::kernels::rows::SoftmaxRow;
use crate::kernels::tile::Tile;
use crate::session::scratch_of;
use crate::tensor::Shape;
use crate::weights::LANES;

/// Keys per block.
const KEYS: usize = 256;
/// Queries per task.
const QUERIES: usize = 48;

/// Packed keys and values of all heads.
pub(super) fn scratch(heads: usize, keys: Shape) -> usize {
    let packed = Packed::new(heads, keys);
    keys.n * heads * packed.per_head()
}

/// Scores and accumulated values of a block of queries.
pub(super) fn thread_scratch(heads: usize, shape: Shape) -> usize {
    QUERIES * (KEYS + (shape.c / heads).next_multiple_of(LANES))
}

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

    fn keys_len(&self) -> usize {
        self.tokens.next_multiple_of(LANES) * self.d
    }

    fn per_head(&self) -> usize {
        self.keys_len() + self.tokens * self.d.next_multiple_of(LANES)
    }

    /// Packs one head of `k` and `v`; `head` counts over pictures and heads.
    fn pack(&self, head: usize, k: &[f32], v: &[f32], packed: &mut [f32]) {
        let first = head / self.heads * self.tokens * self.channels + head % self.heads * self.d;
        let (keys, values) = packed.split_at_mut(self.keys_len());
        keys.fill(0.0);
        values.fill(0.0);
        for t in 0..self.tokens {
            let row = first + t * self.channels..first + t * self.channels + self.d;
            let panel = t / LANES * self.d * LANES + t % LANES;
            for (i, value) in k[row.clone()].iter().enumerate() {
                keys[panel + i * LANES] = *value;
            }
            for (i, lanes) in v[row].chunks(LANES).enumerate() {
                values[(i * self.tokens + t) * LANES..][..lanes.len()].copy_from_slice(lanes);
            }
        }
    }
}

pub(super) fn attention(heads: usize, mask: Mask, o: Operands<'_>, c: &mut Context<'_>) {
    let [q, k, v, _] = o.inputs;
    let packed = Packed::new(heads, k.shape);
    super::for_chunks(c.pool, o.scratch, packed.per_head(), |_, head, space| {
        packed.pack(head, k.data, v.data, space);
    });
    let call = Call {
        kernels: c.kernels,
        q,
        packed,
        space: o.scratch,
        mask,
        scale: 1.0 / (packed.d as f32).sqrt(),
        out: SharedMut(o.out.as_mut_ptr()),
    };
    let blocks = q.shape.positions().div_ceil(QUERIES);
    let scratch = c.scratch;
    c.pool.run(q.shape.n * heads * blocks, &|worker, task| {
        call.block(task / blocks, task % blocks * QUERIES, &mut scratch_of(scratch, worker));
    });
}

struct Call<'a> {
    kernels: &'static Kernels,
    q: Operand<'a>,
    packed: Packed,
    space: &'a [f32],
    mask: Mask,
    scale: f32,
    out: SharedMut,
}

impl Call<'_> {
    /// One head's queries from `first` on.
    fn block(&self, head: usize, first: usize, scratch: &mut [f32]) {
        let p = self.packed;
        let queries = QUERIES.min(self.q.shape.positions() - first);
        let width = p.d.next_multiple_of(LANES);
        let (scores, sums) = scratch.split_at_mut(QUERIES * KEYS);
        let sums = &mut sums[..queries * width];
        sums.fill(0.0);
        let mut rows = [SoftmaxRow { largest: f32::NEG_INFINITY, sum: 0.0 }; QUERIES];
        let visible = if self.mask == Mask::Causal { first + queries } else { p.tokens };
        for key in (0..visible).step_by(KEYS) {
            let keys = KEYS.min(visible - key);
            self.scores(head, first, queries, key, keys, scores);
            for (i, row) in rows[..queries].iter_mut().enumerate() {
                let (s, sums) = (&mut scores[i * KEYS..][..keys], &mut sums[i * width..][..width]);
                self.weigh(first + i, key, s, row, sums);
            }
            self.gather(head, key, keys, scores, sums);
        }
        self.write(head, first, &rows[..queries], sums);
    }

    /// The row in `q` and `out` of a head's query.
    fn at(&self, head: usize, query: usize) -> usize {
        let p = self.packed;
        (head / p.heads * self.q.shape.positions() + query) * p.channels + head % p.heads * p.d
    }

    /// `scores[i][j] = q[first + i] . k[key + j]`.
    fn scores(
        &self,
        head: usize,
        first: usize,
        queries: usize,
        key: usize,
        keys: usize,
        scores: &mut [f32],
    ) {
        let p = self.packed;
        let panels = &self.space[head * p.per_head()..][..p.keys_len()];
        let rows = |i: usize| self.q.data[self.at(head, first + i)..][..p.d].as_ptr();
        let product = Matrix {
            kernels: self.kernels,
            depth: p.d,
            panels: &panels[key * p.d..],
            panel_stride: p.d * LANES,
            columns: keys,
            out_stride: KEYS,
            accumulate: false,
        };
        product.compute(queries, rows, scores);
    }

    /// Scores of one query to weights, and what was summed before to the new scale.
    fn weigh(
        &self,
        query: usize,
        key: usize,
        s: &mut [f32],
        row: &mut SoftmaxRow,
        sums: &mut [f32],
    ) {
        let seen = match self.mask {
            Mask::None => s.len(),
            Mask::Causal => (query + 1).saturating_sub(key).min(s.len()),
        };
        let (s, hidden) = s.split_at_mut(seen);
        hidden.fill(0.0);
        if s.is_empty() {
            return;
        }
        let factor = self.kernels.softmax(s, self.scale, row);
        if factor != 1.0 {
            self.kernels.scale(factor, sums);
        }
    }

    /// `sums[i] += scores[i] . v[key..]`.
    fn gather(&self, head: usize, key: usize, keys: usize, scores: &[f32], sums: &mut [f32]) {
        let p = self.packed;
        let width = p.d.next_multiple_of(LANES);
        let values = &self.space[head * p.per_head()..][p.keys_len()..p.per_head()];
        let product = Matrix {
            kernels: self.kernels,
            depth: keys,
            panels: &values[key * LANES..],
            panel_stride: p.tokens * LANES,
            columns: width,
            out_stride: width,
            accumulate: true,
        };
        product.compute(sums.len() / width, |i| scores[i * KEYS..][..keys].as_ptr(), sums);
    }

    fn write(&self, head: usize, first: usize, rows: &[SoftmaxRow], sums: &[f32]) {
        let d = self.packed.d;
        let width = d.next_multiple_of(LANES);
        for (i, (row, sums)) in rows.iter().zip(sums.chunks_exact(width)).enumerate() {
            // SAFETY: inside the output; no other task has this head's query.
            let y = unsafe { self.out.slice(self.at(head, first + i), d) };
            y.iter_mut().zip(sums).for_each(|(y, sum)| *y = sum / row.sum);
        }
    }
}

/// A product of some rows with packed panels.
struct Matrix<'a> {
    kernels: &'static Kernels,
    depth: usize,
    panels: &'a [f32],
    panel_stride: usize,
    columns: usize,
    out_stride: usize,
    accumulate: bool,
}

impl Matrix<'_> {
    /// `row(i)` points to `depth` values.
    fn compute(&self, height: usize, row: impl Fn(usize) -> *const f32, out: &mut [f32]) {
        let (step, wide) = (self.kernels.tile_rows, self.kernels.tile_panels * LANES);
        assert!(height == 0 || out.len() >= (height - 1) * self.out_stride + self.columns);
        let panels = self.columns.div_ceil(LANES);
        assert!(self.panels.len() >= (panels - 1) * self.panel_stride + self.depth * LANES);
        for first in (0..height).step_by(step) {
            let rows: [*const f32; 8] = std::array::from_fn(|i| row((first + i).min(height - 1)));
            for column in (0..self.columns).step_by(wide) {
                let tile = Tile {
                    rows: rows.as_ptr(),
                    height: step.min(height - first),
                    taps: 1,
                    depth: self.depth,
                    panels: self.panels[column / LANES * self.panel_stride..].as_ptr(),
                    panel_stride: self.panel_stride,
                    width: wide.min(self.columns - column),
                    out: out[first * self.out_stride + column..].as_mut_ptr(),
                    out_stride: self.out_stride,
                    accumulate: self.accumulate,
                };
                // SAFETY: rows point to `depth` values; panels and output were checked above.
                unsafe { self.kernels.tile(&tile) }
            }
        }
    }
}
