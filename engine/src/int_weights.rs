//! Integer weights: panels of 16 outputs in int8 or int4, as kernels and files hold them.
//!
//! A weight is `step[o] * w` with `w` an int8, or `step[o] * m * q` with `q` an int4 of `-8 ..= 7`
//! and `m` a whole multiplier of `-15 ..= 15` for each group of 32 depths. So every int4 weight
//! *is* an int8 weight (`|m * q| <= 120`): one kernel serves both, and a kernel that multiplies the
//! int4 values and applies the multiplier to the sum of a group gets the same integer.
//!
//! Depths are padded with zeros, tap by tap, to blocks of 16 (`BLOCK`). An int8 block is 256 bytes,
//! `[k / 4][o][k % 4]`. An int4 block is 128: byte `b` holds value `b` of the block's first half in
//! its low and of the second half in its high bits, each plus 8. Multipliers stand apart:
//! `[panel][tap][group][o]`.

use std::ops::Range;

use crate::aligned::Aligned;
use crate::kernels::int::BLOCK;
use crate::weights::LANES;

/// How integer weights are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// One byte, one step per output.
    Int8,
    /// Four bits, one multiplier per 32 depths of an output.
    Int4,
}

/// Depths that share a multiplier.
pub(crate) const GROUP: usize = 32;
/// Bytes of an int8 block.
pub(crate) const BLOCK_BYTES: usize = BLOCK * LANES;

/// The sizes of a filter's panels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PanelShape {
    pub outputs: usize,
    pub taps: usize,
    pub channels: usize,
}

impl PanelShape {
    pub fn panels(&self) -> usize {
        self.outputs.div_ceil(LANES)
    }

    /// Blocks of one tap of a panel.
    pub fn blocks(&self) -> usize {
        self.channels.div_ceil(BLOCK)
    }

    /// Groups of one tap of an output.
    pub fn groups(&self) -> usize {
        self.channels.div_ceil(GROUP)
    }

    /// Bytes of one panel decoded to int8.
    pub fn panel_bytes(&self) -> usize {
        self.taps * self.blocks() * BLOCK_BYTES
    }

    /// Where the weight of `(output, tap, channel)` lies in decoded panels.
    fn at(&self, output: usize, tap: usize, channel: usize) -> usize {
        let block = (output / LANES * self.taps + tap) * self.blocks() + channel / BLOCK;
        let k = channel % BLOCK;
        block * BLOCK_BYTES + k / 4 * (4 * LANES) + output % LANES * 4 + k % 4
    }
}

/// The stored values.
#[derive(Clone, Debug)]
pub(crate) enum Values {
    Int8(Aligned<i8>),
    Int4 {
        /// Two values to a byte.
        pairs: Aligned<u8>,
        /// `[panel][tap][group][o]`.
        multipliers: Aligned<i8>,
    },
}

/// The panels of a filter in integers.
#[derive(Clone, Debug)]
pub(crate) struct IntPanels {
    pub shape: PanelShape,
    pub values: Values,
    /// What one step is worth, per output; padded to whole panels.
    pub steps: Vec<f32>,
    /// `-128 * (sum of the output's weights)`: see [`crate::kernels::int`].
    pub starts: Vec<i32>,
}

impl IntPanels {
    /// Rounds `weights: [output][channel][tap]` to the nearest value of the encoding.
    pub fn round(
        encoding: Encoding,
        shape: PanelShape,
        weights: &dyn Fn(usize, &mut [f32]),
    ) -> Self {
        let mut panels = Self::zeros(encoding, shape);
        let mut row = vec![0.0; shape.taps * shape.channels];
        for output in 0..shape.outputs {
            weights(output, &mut row);
            match encoding {
                Encoding::Int8 => panels.round_int8(output, &row),
                Encoding::Int4 => panels.round_int4(output, &row),
            }
        }
        panels
    }

    /// Panels of zeros.
    pub fn zeros(encoding: Encoding, shape: PanelShape) -> Self {
        let (lanes, bytes) = (shape.panels() * LANES, shape.panels() * shape.panel_bytes());
        let values = match encoding {
            Encoding::Int8 => Values::Int8(Aligned::zeros(bytes)),
            Encoding::Int4 => {
                let mut pairs = Aligned::zeros(bytes / 2);
                pairs.fill(0x88);
                let multipliers = Aligned::zeros(lanes * shape.taps * shape.groups());
                Values::Int4 { pairs, multipliers }
            }
        };
        Self { shape, values, steps: vec![0.0; lanes], starts: vec![0; lanes] }
    }

    /// `row: [channel][tap]`.
    fn round_int8(&mut self, output: usize, row: &[f32]) {
        let Values::Int8(values) = &mut self.values else { return };
        let largest = row.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
        let step = largest / 127.0;
        self.steps[output] = step;
        let inverse = if step > 0.0 { 1.0 / step } else { 0.0 };
        let mut sum = 0;
        for (channel, per_tap) in row.chunks_exact(self.shape.taps).enumerate() {
            for (tap, weight) in per_tap.iter().enumerate() {
                let q = (weight * inverse).round_ties_even().clamp(-127.0, 127.0) as i8;
                values[self.shape.at(output, tap, channel)] = q;
                sum += i32::from(q);
            }
        }
        self.starts[output] = -128 * sum;
    }

    /// `row: [channel][tap]`. The step is set so that the widest group has the multiplier 15; every
    /// group then takes the multiplier that leaves the least error.
    fn round_int4(&mut self, output: usize, row: &[f32]) {
        let shape = self.shape;
        let Values::Int4 { pairs, multipliers } = &mut self.values else { return };
        // The value of largest magnitude becomes -8 times the multiplier, whose sign follows.
        let largest = row.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
        let step = largest / (8.0 * 15.0);
        self.steps[output] = step;
        let inverse = if step > 0.0 { 1.0 / step } else { 0.0 };
        let (mut group, mut sum) = ([0.0; GROUP], 0);
        for tap in 0..shape.taps {
            for first in (0..shape.channels).step_by(GROUP) {
                let group = &mut group[..GROUP.min(shape.channels - first)];
                for (i, value) in group.iter_mut().enumerate() {
                    *value = row[(first + i) * shape.taps + tap] * inverse;
                }
                let multiplier = best_multiplier(group);
                let at = ((output / LANES * shape.taps + tap) * shape.groups() + first / GROUP)
                    * LANES
                    + output % LANES;
                multipliers[at] = multiplier;
                for (i, value) in group.iter().enumerate() {
                    let q = int4(*value, multiplier);
                    put_int4(pairs, shape.at(output, tap, first + i), q);
                    sum += i32::from(q) * i32::from(multiplier);
                }
            }
        }
        self.starts[output] = -128 * sum;
    }

    /// Sets a weight to zero, of depths and outputs within the padding too.
    pub fn clear(&mut self, output: usize, tap: usize, channel: usize) {
        let at = self.shape.at(output, tap, channel);
        match &mut self.values {
            Values::Int8(values) => values[at] = 0,
            Values::Int4 { pairs, .. } => put_int4(pairs, at, 0),
        }
    }

    /// The weight of `(output, tap, channel)` in steps.
    fn value(&self, output: usize, tap: usize, channel: usize) -> i32 {
        let at = self.shape.at(output, tap, channel);
        match &self.values {
            Values::Int8(values) => i32::from(values[at]),
            Values::Int4 { pairs, multipliers } => {
                let line = output / LANES * self.shape.taps + tap;
                let group = line * self.shape.groups() + channel / GROUP;
                i32::from(get_int4(pairs, at))
                    * i32::from(multipliers[group * LANES + output % LANES])
            }
        }
    }

    /// The weights as numbers, `[output][channel][tap]`.
    pub fn to_f32(&self) -> Vec<f32> {
        let PanelShape { outputs, taps, channels } = self.shape;
        let mut values = Vec::with_capacity(outputs * channels * taps);
        for output in 0..outputs {
            for channel in 0..channels {
                let step = self.steps[output];
                values.extend((0..taps).map(|tap| step * self.value(output, tap, channel) as f32));
            }
        }
        values
    }

    /// The groups of some taps of an int4 panel: pairs of one or two blocks, and multipliers. None
    /// of an int8 panel.
    pub fn int4_groups(
        &self,
        panel: usize,
        taps: Range<usize>,
    ) -> impl Iterator<Item = (&[u8], &[i8; LANES])> {
        let (pairs, multipliers) = match &self.values {
            Values::Int4 { pairs, multipliers } => (&pairs[..], &multipliers[..]),
            Values::Int8(_) => Default::default(),
        };
        let line = panel * self.shape.taps;
        let lines = |each: usize| (line + taps.start) * each..(line + taps.end) * each;
        let tap_bytes = self.shape.blocks() * BLOCK_BYTES / 2;
        let pairs = pairs.get(lines(tap_bytes)).unwrap_or_default().chunks_exact(tap_bytes);
        let multipliers = multipliers.as_chunks().0.get(lines(self.shape.groups()));
        // The last group of a tap has one block where there is an odd number of them.
        pairs.flat_map(|tap| tap.chunks(BLOCK_BYTES)).zip(multipliers.unwrap_or_default())
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        let values = match &self.values {
            Values::Int8(values) => values.len(),
            Values::Int4 { pairs, multipliers } => pairs.len() + multipliers.len(),
        };
        values + self.steps.len() * (size_of::<f32>() + size_of::<i32>())
    }
}

/// Value `at` of decoded panels, from stored pairs.
fn get_int4(pairs: &[u8], at: usize) -> i8 {
    let (block, within) = (at / BLOCK_BYTES, at % BLOCK_BYTES);
    let byte = pairs[block * BLOCK_BYTES / 2 + within % (BLOCK_BYTES / 2)];
    let bits = if within < BLOCK_BYTES / 2 { byte & 15 } else { byte >> 4 };
    bits.cast_signed() - 8
}

/// Sets value `at` of decoded panels in stored pairs.
fn put_int4(pairs: &mut [u8], at: usize, q: i8) {
    let (block, within) = (at / BLOCK_BYTES, at % BLOCK_BYTES);
    let byte = &mut pairs[block * BLOCK_BYTES / 2 + within % (BLOCK_BYTES / 2)];
    let bits = (q + 8).cast_unsigned();
    *byte = match within < BLOCK_BYTES / 2 {
        true => *byte & 0xf0 | bits,
        false => *byte & 0x0f | bits << 4,
    };
}

/// The nearest int4 of `value` in steps of `multiplier`.
fn int4(value: f32, multiplier: i8) -> i8 {
    if multiplier == 0 {
        return 0;
    }
    (value / f32::from(multiplier)).round_ties_even().clamp(-8.0, 7.0) as i8
}

/// The multiplier that leaves the smallest squared error in `group`.
fn best_multiplier(group: &[f32]) -> i8 {
    let error = |m: i8| -> f32 {
        let one = |v: &f32| (v - f32::from(int4(*v, m)) * f32::from(m)).powi(2);
        group.iter().map(one).sum()
    };
    let largest = group.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
    // A wider multiplier wastes levels, a much narrower one clips the largest value.
    let (least, most) = ((largest / 10.0) as i8, (largest / 7.0) as i8 + 1);
    let mut best = (error(0), 0);
    for m in (least.max(1)..=most.min(15)).flat_map(|m| [m, -m]) {
        let found = error(m);
        if found < best.0 {
            best = (found, m);
        }
    }
    best.1
}
