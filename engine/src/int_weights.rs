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

use std::ops::{Deref, Range};
use std::sync::OnceLock;

use crate::aligned::{self, Aligned, Byte};
use crate::kernels::int::BLOCK;
use crate::kernels::winograd::Multipliers;
use crate::mapped::MappedBytes;
use crate::tensor::{DType, TensorView};
use crate::weights::{LANES, WeightError};

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

/// The longest sum of products of a byte and an int8 that an i32 holds.
const MAX_DEPTH: usize = i32::MAX as usize / (255 * 127);
/// Multipliers are within plus and minus this.
const MAX_MULTIPLIER: i8 = 15;

/// The sizes of a filter's panels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PanelShape {
    /// Output channels.
    pub outputs: usize,
    /// Pixels of the kernel, 1 for a matrix.
    pub taps: usize,
    /// Input channels.
    pub channels: usize,
}

impl PanelShape {
    pub(crate) fn panels(&self) -> usize {
        self.outputs.div_ceil(LANES)
    }

    /// Blocks of one tap of a panel.
    pub(crate) fn blocks(&self) -> usize {
        self.channels.div_ceil(BLOCK)
    }

    /// Groups of one tap of an output.
    pub(crate) fn groups(&self) -> usize {
        self.channels.div_ceil(GROUP)
    }

    /// Bytes of one panel decoded to int8.
    pub(crate) fn panel_bytes(&self) -> usize {
        self.taps * self.blocks() * BLOCK_BYTES
    }

    /// Shape of the stored weight: `[panels, taps, blocks, bytes of a block]`.
    pub fn weight(&self, encoding: Encoding) -> [usize; 4] {
        let block = match encoding {
            Encoding::Int8 => BLOCK_BYTES,
            Encoding::Int4 => BLOCK_BYTES / 2,
        };
        [self.panels(), self.taps, self.blocks(), block]
    }

    /// Shape of the stored multipliers of int4 weights: `[panels, taps, groups, 16]`.
    pub fn multipliers(&self) -> [usize; 4] {
        [self.panels(), self.taps, self.groups(), LANES]
    }

    /// Whether all sums fit the integers they are made in.
    fn check(&self) -> Result<(), WeightError> {
        match self.taps.checked_mul(self.channels) {
            Some(depth) if depth <= MAX_DEPTH => Ok(()),
            _ => Err(WeightError(format!(
                "sums of {} x {} products do not fit 32 bits",
                self.taps, self.channels
            ))),
        }
    }

    /// Where the multiplier of an output's group lies, counted `[tap][group]`.
    fn multiplier_at(&self, output: usize, group: usize) -> usize {
        (output / LANES * self.taps * self.groups() + group) * LANES + output % LANES
    }

    /// Where the weight of `(output, tap, channel)` lies in decoded panels.
    fn at(&self, output: usize, tap: usize, channel: usize) -> usize {
        let block = (output / LANES * self.taps + tap) * self.blocks() + channel / BLOCK;
        let k = channel % BLOCK;
        block * BLOCK_BYTES + k / 4 * (4 * LANES) + output % LANES * 4 + k % 4
    }
}

/// Values of one byte: in memory of their own, or in the file that holds them.
#[derive(Clone, Debug)]
pub(crate) enum Stored<T: Byte> {
    Own(Aligned<T>),
    File(MappedBytes),
}

impl<T: Byte> Stored<T> {
    fn zeros(len: usize) -> Self {
        Self::Own(Aligned::zeros(len))
    }

    /// The values to be changed; those of a file never are.
    pub fn own(&mut self) -> &mut [T] {
        match self {
            Self::Own(values) => values,
            Self::File(_) => &mut [],
        }
    }

    /// The values as bytes.
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Own(values) => values.bytes(),
            Self::File(bytes) => bytes,
        }
    }
}

impl<T: Byte> Deref for Stored<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match self {
            Self::Own(values) => values,
            Self::File(bytes) => aligned::of_bytes(bytes),
        }
    }
}

/// The stored values.
#[derive(Clone, Debug)]
pub(crate) enum Values {
    /// One to a byte.
    Int8(Stored<i8>),
    Int4 {
        /// Two values to a byte.
        pairs: Stored<u8>,
        /// `[panel][tap][group][o]`.
        multipliers: Aligned<i8>,
    },
}

impl Values {
    /// The sum of each output's weights in one block.
    fn sums(&self, shape: PanelShape, block: usize) -> [i32; LANES] {
        let mut sums = [0; LANES];
        match self {
            Self::Int8(values) => {
                let block = &values[block * BLOCK_BYTES..][..BLOCK_BYTES];
                add_quads(block, &mut sums, |q| i32::from(*q));
            }
            Self::Int4 { pairs, multipliers } => {
                let bytes = &pairs[block * BLOCK_BYTES / 2..][..BLOCK_BYTES / 2];
                add_quads(bytes, &mut sums, |b| i32::from(b & 15) + i32::from(b >> 4) - 16);
                let (line, within) = (block / shape.blocks(), block % shape.blocks());
                let group = line * shape.groups() + within * BLOCK / GROUP;
                let multipliers = &multipliers[group * LANES..];
                sums.iter_mut().zip(multipliers).for_each(|(sum, m)| *sum *= i32::from(*m));
            }
        }
        sums
    }
}

/// The bytes where they are, or copied.
fn place<T: Byte>(bytes: &[u8], mapped: Option<MappedBytes>) -> Stored<T> {
    let same = |m: &MappedBytes| m.len() == bytes.len();
    mapped.filter(same).map_or_else(|| Stored::Own(Aligned::copied(bytes)), Stored::File)
}

/// Adds values that lie as `[..][o][4]` to the sums of their outputs.
fn add_quads<T>(values: &[T], sums: &mut [i32; LANES], number: impl Fn(&T) -> i32) {
    for lanes in values.as_chunks::<{ 4 * LANES }>().0 {
        for (sum, quad) in sums.iter_mut().zip(lanes.as_chunks::<4>().0) {
            *sum += quad.iter().map(&number).sum::<i32>();
        }
    }
}

/// Integer weights as files store them.
#[derive(Clone, Copy, Debug)]
pub struct StoredPanels<'a> {
    /// The values, [`PanelShape::weight`] in [`DType::I8`].
    pub weight: TensorView<'a>,
    /// What one step of each output is worth: `[outputs]`.
    pub steps: TensorView<'a>,
    /// For int4, [`PanelShape::multipliers`] in [`DType::I8`]; int8 has none.
    pub multipliers: Option<TensorView<'a>>,
}

impl StoredPanels<'_> {
    /// The encoding that the weights are in.
    pub fn encoding(&self) -> Encoding {
        match self.multipliers {
            None => Encoding::Int8,
            Some(_) => Encoding::Int4,
        }
    }

    fn check_shapes(&self, shape: PanelShape) -> Result<(), WeightError> {
        expect(&self.weight, DType::I8, &shape.weight(self.encoding()), "the panels")?;
        if let Some(multipliers) = &self.multipliers {
            expect(multipliers, DType::I8, &shape.multipliers(), "the multipliers")?;
        }
        expect(&self.steps, DType::F32, &[shape.outputs], "the steps")
    }
}

fn expect(
    found: &TensorView<'_>,
    dtype: DType,
    shape: &[usize],
    what: &str,
) -> Result<(), WeightError> {
    if found.dtype() == dtype && found.shape() == shape {
        return Ok(());
    }
    let (has, of) = (found.dtype(), found.shape());
    Err(WeightError(format!("{what} are {has} {of:?} where {dtype} {shape:?} is needed")))
}

/// The bytes of an integer filter as files store them.
#[derive(Clone, Debug)]
pub struct PanelBytes<'a> {
    /// The sizes.
    pub shape: PanelShape,
    /// The encoding.
    pub encoding: Encoding,
    /// [`PanelShape::weight`] of int8.
    pub weight: &'a [u8],
    /// `[outputs]` in f32, little-endian.
    pub steps: Vec<u8>,
    /// For int4, [`PanelShape::multipliers`] of int8.
    pub multipliers: Option<&'a [u8]>,
}

/// Integer weights in plain order, as whoever rounds them finds them.
#[derive(Clone, Debug, PartialEq)]
pub struct Integers {
    /// What one step of each output is worth: `[outputs]`.
    pub steps: Vec<f32>,
    /// `[outputs][channels][taps]`: -127 to 127 of int8, -8 to 7 of int4.
    pub values: Vec<i8>,
    /// For int4, -15 to 15: `[outputs][taps][groups of 32 channels]`; int8 has none.
    pub multipliers: Option<Vec<i8>>,
}

/// The panels of a filter in integers.
#[derive(Clone, Debug)]
pub(crate) struct IntPanels {
    pub shape: PanelShape,
    pub values: Values,
    /// What one step is worth, per output; padded to whole panels.
    pub steps: Vec<f32>,
    /// The sum of each output's weights.
    pub totals: Vec<i32>,
    /// `-128` times that: see [`crate::kernels::int`].
    pub starts: Vec<i32>,
    /// Of filters of nine taps, per panel, found when they are first needed; see
    /// [`crate::kernels::winograd`].
    pub multipliers: Vec<OnceLock<Multipliers>>,
}

impl IntPanels {
    /// Rounds `weights: [output][channel][tap]` to the nearest value of the encoding.
    pub fn round(
        encoding: Encoding,
        shape: PanelShape,
        weights: &dyn Fn(usize, &mut [f32]),
    ) -> Result<Self, WeightError> {
        shape.check()?;
        let mut panels = Self::zeros(encoding, shape);
        let mut row = vec![0.0; shape.taps * shape.channels];
        for output in 0..shape.outputs {
            weights(output, &mut row);
            if row.iter().any(|weight| !weight.is_finite()) {
                let problem = format!("output {output} has a weight that is not a finite number");
                return Err(WeightError(problem));
            }
            match encoding {
                Encoding::Int8 => panels.round_int8(output, &row),
                Encoding::Int4 => panels.round_int4(output, &row),
            }
        }
        panels.count_totals();
        Ok(panels)
    }

    /// Lays integers out in panels.
    pub fn from_integers(shape: PanelShape, integers: &Integers) -> Result<Self, WeightError> {
        shape.check()?;
        let PanelShape { outputs, taps, channels } = shape;
        let Integers { steps, values, multipliers } = integers;
        let (encoding, range) = match multipliers {
            None => (Encoding::Int8, -127..=127),
            Some(_) => (Encoding::Int4, -8..=7),
        };
        let groups = outputs * taps * shape.groups();
        let whole = steps.len() == outputs
            && values.len() == outputs * channels * taps
            && multipliers.as_ref().is_none_or(|m| m.len() == groups);
        if !whole || !values.iter().all(|value| range.contains(value)) {
            return Err(WeightError(format!("the integers are not those of {shape:?}")));
        }
        let mut panels = Self::zeros(encoding, shape);
        panels.steps[..outputs].copy_from_slice(steps);
        for (i, value) in values.iter().enumerate() {
            let at = shape.at(i / taps / channels, i % taps, i / taps % channels);
            match &mut panels.values {
                Values::Int8(values) => values.own()[at] = *value,
                Values::Int4 { pairs, .. } => put_int4(pairs.own(), at, *value),
            }
        }
        if let (Values::Int4 { multipliers: at, .. }, Some(given)) =
            (&mut panels.values, multipliers)
        {
            for (i, value) in given.iter().enumerate() {
                let (output, rest) = (i / taps / shape.groups(), i % (taps * shape.groups()));
                at[shape.multiplier_at(output, rest)] = *value;
            }
        }
        panels.check_values()?;
        panels.count_totals();
        Ok(panels)
    }

    /// The weights of some channels, in int8: every int4 weight is one too.
    pub fn channels(&self, wanted: Range<usize>) -> Self {
        let PanelShape { outputs, taps, .. } = self.shape;
        let shape = PanelShape { channels: wanted.len(), ..self.shape };
        if self.steps.is_empty() {
            return Self::hollow(Encoding::Int8, shape);
        }
        let mut panels = Self::zeros(Encoding::Int8, shape);
        panels.steps.copy_from_slice(&self.steps);
        if let Values::Int8(values) = &mut panels.values {
            let values = values.own();
            for output in 0..outputs {
                for (channel, from) in wanted.clone().enumerate() {
                    for tap in 0..taps {
                        let value = self.value(output, tap, from) as i8;
                        values[shape.at(output, tap, channel)] = value;
                    }
                }
            }
        }
        panels.count_totals();
        panels
    }

    /// Takes weights as they are stored: a copy, or where `mapped` says that the values lie in a
    /// file, those bytes themselves.
    pub fn stored(
        shape: PanelShape,
        stored: &StoredPanels<'_>,
        mapped: Option<MappedBytes>,
    ) -> Result<Self, WeightError> {
        shape.check()?;
        stored.check_shapes(shape)?;
        let bytes = stored.weight.bytes();
        let values = match &stored.multipliers {
            None => Values::Int8(place(bytes, mapped)),
            Some(multipliers) => Values::Int4 {
                pairs: place(bytes, mapped),
                multipliers: Aligned::copied(multipliers.bytes()),
            },
        };
        let lanes = shape.panels() * LANES;
        let mut steps = stored.steps.to_f32();
        steps.resize(lanes, 0.0);
        let (totals, starts) = (vec![0; lanes], vec![0; lanes]);
        let multipliers = multipliers(shape);
        let mut panels = Self { shape, values, steps, totals, starts, multipliers };
        panels.check_values()?;
        panels.count_totals();
        Ok(panels)
    }

    /// Panels without values: enough to plan.
    pub fn hollow(encoding: Encoding, shape: PanelShape) -> Self {
        let values = match encoding {
            Encoding::Int8 => Values::Int8(Stored::zeros(0)),
            Encoding::Int4 => {
                Values::Int4 { pairs: Stored::zeros(0), multipliers: Aligned::zeros(0) }
            }
        };
        let (totals, starts) = (Vec::new(), Vec::new());
        Self { shape, values, steps: Vec::new(), totals, starts, multipliers: Vec::new() }
    }

    /// The encoding of the values.
    pub fn encoding(&self) -> Encoding {
        match self.values {
            Values::Int8(_) => Encoding::Int8,
            Values::Int4 { .. } => Encoding::Int4,
        }
    }

    /// Refuses what no rounding makes and kernels do not compute alike.
    fn check_values(&self) -> Result<(), WeightError> {
        let wrong = |problem: &str| Err(WeightError(problem.to_owned()));
        match &self.values {
            Values::Int8(values) if values.contains(&i8::MIN) => {
                return wrong("a weight is -128, beyond the int8 of this layout");
            }
            Values::Int4 { multipliers, .. }
                if multipliers.iter().any(|m| m.unsigned_abs() > MAX_MULTIPLIER as u8) =>
            {
                return wrong("a multiplier is not within -15 and 15");
            }
            _ => {}
        }
        if self.steps.iter().any(|step| !(step.is_finite() && *step >= 0.0)) {
            return wrong("a step is not a number from 0 on");
        }
        let shape = self.shape;
        for channel in shape.channels..shape.blocks() * BLOCK {
            for line in 0..shape.panels() * LANES * shape.taps {
                if self.value(line / shape.taps, line % shape.taps, channel) != 0 {
                    return wrong("the padding behind the last channel is not zero");
                }
            }
        }
        Ok(())
    }

    /// Counts what kernels need to know of the values.
    pub fn count_totals(&mut self) {
        let shape = self.shape;
        let blocks = shape.taps * shape.blocks();
        for (panel, totals) in self.totals.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
            for block in panel * blocks..(panel + 1) * blocks {
                let sums = self.values.sums(shape, block);
                totals.iter_mut().zip(sums).for_each(|(total, sum)| *total += sum);
            }
        }
        let starts = self.starts.iter_mut().zip(&self.totals);
        starts.for_each(|(start, total)| *start = -128 * total);
    }

    /// Panels of zeros.
    pub fn zeros(encoding: Encoding, shape: PanelShape) -> Self {
        let (lanes, bytes) = (shape.panels() * LANES, shape.panels() * shape.panel_bytes());
        let values = match encoding {
            Encoding::Int8 => Values::Int8(Stored::zeros(bytes)),
            Encoding::Int4 => {
                let mut pairs = Stored::zeros(bytes / 2);
                pairs.own().fill(0x88);
                let multipliers = Aligned::zeros(lanes * shape.taps * shape.groups());
                Values::Int4 { pairs, multipliers }
            }
        };
        let (steps, totals, starts) = (vec![0.0; lanes], vec![0; lanes], vec![0; lanes]);
        Self { shape, values, steps, totals, starts, multipliers: multipliers(shape) }
    }

    /// `row: [channel][tap]`.
    fn round_int8(&mut self, output: usize, row: &[f32]) {
        let Values::Int8(values) = &mut self.values else { return };
        let values = values.own();
        let largest = row.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
        let step = largest / 127.0;
        self.steps[output] = step;
        let inverse = if step > 0.0 { 1.0 / step } else { 0.0 };
        for (channel, per_tap) in row.chunks_exact(self.shape.taps).enumerate() {
            for (tap, weight) in per_tap.iter().enumerate() {
                let q = (weight * inverse).round_ties_even().clamp(-127.0, 127.0) as i8;
                values[self.shape.at(output, tap, channel)] = q;
            }
        }
    }

    /// `row: [channel][tap]`. The step is set so that the widest group has the multiplier 15; every
    /// group then takes the multiplier that leaves the least error.
    fn round_int4(&mut self, output: usize, row: &[f32]) {
        let shape = self.shape;
        let Values::Int4 { pairs, multipliers } = &mut self.values else { return };
        let pairs = pairs.own();
        // The value of largest magnitude becomes -8 times the multiplier, whose sign follows.
        let largest = row.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
        let step = largest / (8.0 * 15.0);
        self.steps[output] = step;
        let inverse = if step > 0.0 { 1.0 / step } else { 0.0 };
        let mut group = [0.0; GROUP];
        for tap in 0..shape.taps {
            for first in (0..shape.channels).step_by(GROUP) {
                let group = &mut group[..GROUP.min(shape.channels - first)];
                for (i, value) in group.iter_mut().enumerate() {
                    *value = row[(first + i) * shape.taps + tap] * inverse;
                }
                let multiplier = best_multiplier(group);
                let at = tap * shape.groups() + first / GROUP;
                multipliers[shape.multiplier_at(output, at)] = multiplier;
                for (i, value) in group.iter().enumerate() {
                    let q = int4(*value, multiplier);
                    put_int4(pairs, shape.at(output, tap, first + i), q);
                }
            }
        }
    }

    /// Sets a weight to zero, of depths and outputs within the padding too.
    pub fn clear(&mut self, output: usize, tap: usize, channel: usize) {
        let at = self.shape.at(output, tap, channel);
        match &mut self.values {
            Values::Int8(values) => values.own()[at] = 0,
            Values::Int4 { pairs, .. } => put_int4(pairs.own(), at, 0),
        }
    }

    /// The weight of `(output, tap, channel)` in steps.
    fn value(&self, output: usize, tap: usize, channel: usize) -> i32 {
        let at = self.shape.at(output, tap, channel);
        match &self.values {
            Values::Int8(values) => i32::from(values[at]),
            Values::Int4 { pairs, multipliers } => {
                let group = tap * self.shape.groups() + channel / GROUP;
                let multiplier = multipliers[self.shape.multiplier_at(output, group)];
                i32::from(get_int4(pairs, at)) * i32::from(multiplier)
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

    /// Bytes of the values alone, without multipliers and steps.
    pub fn value_bytes(&self) -> usize {
        let whole = self.shape.panels() * self.shape.panel_bytes();
        if self.encoding() == Encoding::Int8 { whole } else { whole / 2 }
    }

    /// The bytes that stay in their file, if they do.
    pub fn mapped(&self) -> Option<&MappedBytes> {
        match &self.values {
            Values::Int8(Stored::File(bytes)) | Values::Int4 { pairs: Stored::File(bytes), .. } => {
                Some(bytes)
            }
            _ => None,
        }
    }

    /// Bytes that the values of these panels take, be they here or hollow.
    pub fn bytes(&self) -> usize {
        let whole = self.shape.panels() * self.shape.panel_bytes();
        let values = match self.encoding() {
            Encoding::Int8 => whole,
            Encoding::Int4 => whole / 2 + self.shape.multipliers().iter().product::<usize>(),
        };
        let multipliers = self.multipliers.len() * size_of::<OnceLock<Multipliers>>();
        values
            + multipliers
            + self.shape.panels() * LANES * (size_of::<f32>() + 2 * size_of::<i32>())
    }

    /// The bytes to store.
    pub fn to_store(&self) -> PanelBytes<'_> {
        let (weight, multipliers) = match &self.values {
            Values::Int8(values) => (values.bytes(), None),
            Values::Int4 { pairs, multipliers } => (pairs.bytes(), Some(multipliers.bytes())),
        };
        let steps = &self.steps[..self.shape.outputs.min(self.steps.len())];
        let steps = steps.iter().flat_map(|step| step.to_le_bytes()).collect();
        let (shape, encoding) = (self.shape, self.encoding());
        PanelBytes { shape, encoding, weight, steps, multipliers }
    }
}

/// Room for what filters of nine taps may need.
fn multipliers(shape: PanelShape) -> Vec<OnceLock<Multipliers>> {
    vec![OnceLock::new(); if shape.taps == 9 { shape.panels() } else { 0 }]
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
