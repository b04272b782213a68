//! Packs keys and values for attention in integers: see [`crate::packed_keys`].
//!
//! Keys first lose their mean over all tokens, which adds one number to all scores of a query, and a
//! softmax does not see that (SmoothK of SageAttention). A step belongs to each block of keys, and to
//! each channel of the values. Keys are padded to whole panels by repeating the last one, whose
//! weight is then known, values by zeros.

use super::{Context, Operands, as_bytes, as_i32, bytes_as_i8, quantise};
use crate::activations::Format;
use crate::fuse::Fused;
use crate::kernels::Kernels;
use crate::kernels::attention::position;
use crate::kernels::rows::ScaleShift;
use crate::packed_keys::{KEYS, PackedKeys};
use crate::session::scratch_of;
use crate::weights::LANES;

/// Five rows of a head in f32, and four in int8.
pub(super) fn thread_scratch(step: &Fused) -> usize {
    match step.format {
        Format::PackedKeys { heads } => 6 * PackedKeys::new(heads, step.shape).depth(),
        _ => 0,
    }
}

/// Inputs are keys and values of one shape.
pub(super) fn pack_keys(o: Operands<'_>, c: &mut Context<'_>) {
    let Format::PackedKeys { heads } = o.format else { return };
    let ([k, v, _], scratch, kernels) = (o.inputs, c.scratch, c.kernels);
    let layout = PackedKeys::new(heads, o.shape);
    super::for_chunks(c.pool, o.out, layout.per_head(), |worker, head, space| {
        let mut scratch = scratch_of(scratch, worker);
        let mut rows = Rows::new(&layout, &mut scratch);
        let [keys, values, starts, key_steps, value_steps] = layout.split_mut(space);
        let pack = Pack { kernels, layout, head };
        pack.keys(k.data, as_bytes(keys), as_i32(starts), key_steps, &mut rows);
        pack.values(v.data, as_bytes(values), value_steps, &mut rows);
    });
}

/// Packing one head.
struct Pack {
    kernels: &'static Kernels,
    layout: PackedKeys,
    head: usize,
}

/// Rows of a head.
struct Rows<'a> {
    /// The keys' mean, negated.
    less: &'a mut [f32],
    low: &'a mut [f32],
    high: &'a mut [f32],
    scale: &'a mut [f32],
    shift: &'a mut [f32],
    /// Four padded rows.
    bytes: &'a mut [u8],
}

impl<'a> Rows<'a> {
    fn new(layout: &PackedKeys, scratch: &'a mut [f32]) -> Self {
        let (d, depth) = (layout.d, layout.depth());
        let (less, rest) = scratch.split_at_mut(depth);
        let (low, rest) = rest.split_at_mut(depth);
        let (high, rest) = rest.split_at_mut(depth);
        let (scale, rest) = rest.split_at_mut(depth);
        let (shift, rest) = rest.split_at_mut(depth);
        Self {
            less: &mut less[..d],
            low: &mut low[..d],
            high: &mut high[..d],
            scale: &mut scale[..d],
            shift: &mut shift[..d],
            bytes: &mut as_bytes(rest)[..4 * depth],
        }
    }
}

impl Pack {
    /// The head's values in token `t`.
    fn row<'a>(&self, x: &'a [f32], t: usize) -> &'a [f32] {
        &x[self.layout.at(self.head, t)..][..self.layout.d]
    }

    /// The extremes of every channel in some tokens.
    fn extremes(&self, x: &[f32], tokens: std::ops::Range<usize>, rows: &mut Rows<'_>) {
        rows.low.fill(f32::INFINITY);
        rows.high.fill(f32::NEG_INFINITY);
        tokens.for_each(|t| self.kernels.extremes(self.row(x, t), rows.low, rows.high));
    }

    /// Keys less their mean, as panels of sixteen keys; a step per block.
    fn keys(
        &self,
        k: &[f32],
        keys: &mut [u8],
        starts: &mut [i32],
        steps: &mut [f32],
        rows: &mut Rows<'_>,
    ) {
        let (p, kernels) = (self.layout, self.kernels);
        rows.less.fill(0.0);
        (0..p.tokens).for_each(|t| kernels.accumulate(self.row(k, t), rows.less));
        kernels.scale(-1.0 / p.tokens as f32, rows.less);
        for (first, step) in (0..p.tokens).step_by(KEYS).zip(steps) {
            let tokens = first..(first + KEYS).min(p.tokens);
            self.extremes(k, tokens.clone(), rows);
            kernels.accumulate(rows.less, rows.low);
            kernels.accumulate(rows.less, rows.high);
            let largest = kernels.magnitude(rows.low).max(kernels.magnitude(rows.high));
            let (value, inverse) = quantise::step(largest);
            *step = value;
            rows.scale.fill(inverse);
            rows.shift
                .iter_mut()
                .zip(&*rows.less)
                .for_each(|(shift, less)| *shift = less * inverse);
            for t in tokens.start..tokens.end.next_multiple_of(LANES) {
                let bytes = self.quantise(self.row(k, t.min(tokens.end - 1)), 0, rows);
                let panel = &mut keys[t / LANES * LANES * p.depth()..][..LANES * p.depth()];
                starts[t] = self.place_key(t % LANES, bytes, panel);
            }
        }
        self.rearrange(keys);
    }

    /// A row in int8, which is row `i` of four.
    fn quantise<'a>(&self, row: &[f32], i: usize, rows: &'a mut Rows<'_>) -> &'a [u8] {
        let depth = self.layout.depth();
        let bytes = &mut rows.bytes[i * depth..][..depth];
        let affine = ScaleShift { scale: rows.scale, shift: rows.shift, silu: false };
        self.kernels.scale_shift_quantise(&affine, row, bytes);
        bytes
    }

    /// Puts a key into its panel as output `o`; returns what its sums start from.
    fn place_key(&self, o: usize, bytes: &[u8], panel: &mut [u8]) -> i32 {
        let lanes = panel.as_chunks_mut::<4>().0.iter_mut().skip(o).step_by(LANES);
        lanes.zip(bytes.as_chunks::<4>().0).for_each(|(lane, four)| *lane = *four);
        match self.kernels.int.offset {
            0 => 0,
            offset => {
                let sum: i32 = bytes.iter().map(|b| i32::from(b.cast_signed())).sum();
                -i32::from(offset) * sum
            }
        }
    }

    /// Values as panels of sixteen channels over the keys; a step per channel.
    fn values(&self, v: &[f32], values: &mut [u8], steps: &mut [f32], rows: &mut Rows<'_>) {
        let p = self.layout;
        self.extremes(v, 0..p.tokens, rows);
        for (i, step) in steps[..p.d].iter_mut().enumerate() {
            let largest = rows.high[i].max(-rows.low[i]);
            (*step, rows.scale[i]) = quantise::step(largest);
        }
        rows.shift.fill(0.0);
        for t in (0..p.padded_tokens()).step_by(4) {
            for i in 0..4 {
                if t + i < p.tokens {
                    self.quantise(self.row(v, t + i), i, rows);
                } else {
                    rows.bytes[i * p.depth()..][..p.depth()].fill(0);
                }
            }
            let block = t - t % KEYS;
            let columns = KEYS.min(p.padded_tokens() - block);
            self.place_values((block + position(t - block, columns)) * LANES, rows.bytes, values);
        }
        self.rearrange(values);
    }

    /// Puts four tokens' values into every panel of channels, from byte `at` of the panel on.
    fn place_values(&self, at: usize, bytes: &[u8], values: &mut [u8]) {
        let (depth, panel) = (self.layout.depth(), self.layout.padded_tokens() * LANES);
        for first in (0..depth).step_by(LANES) {
            let to = values[first / LANES * panel + at..][..4 * LANES].as_chunks_mut::<4>().0;
            let rows: [&[u8]; 4] = std::array::from_fn(|i| &bytes[i * depth + first..][..LANES]);
            for (o, four) in to.iter_mut().enumerate() {
                *four = [rows[0][o], rows[1][o], rows[2][o], rows[3][o]];
            }
        }
    }

    fn rearrange(&self, panels: &mut [u8]) {
        if let Some(rearrange) = self.kernels.int.rearrange {
            // SAFETY: whole blocks; the table was handed out for this machine.
            unsafe { rearrange(bytes_as_i8(panels)) }
        }
    }
}
