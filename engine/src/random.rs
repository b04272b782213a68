//! Weights drawn at random, in the form the kernels read: what speed and memory are measured with
//! where no trained model is at hand.
//!
//! Values are uniform between `-1 / sqrt(depth)` and `1 / sqrt(depth)`, as PyTorch initialises its
//! layers. Panels are filled directly, whatever their encoding; nothing passes through f32.

use crate::aligned::Aligned;
use crate::int_weights::{Encoding, IntPanels, PanelShape, Values};
use crate::kernels::int::BLOCK;
use crate::weights::{Filter, LANES, Norm, Panels};

/// How the values of a filter are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Storage {
    /// In half precision.
    F16,
    /// In single precision.
    F32,
    /// In integers.
    Int(Encoding),
}

impl Filter {
    /// A filter `[out, in, kh, kw]` of random weights, with a random bias or none. The same `seed`
    /// gives the same filter.
    pub fn random(shape: [usize; 4], storage: Storage, bias: bool, seed: u64) -> Self {
        let [outputs, channels, kh, kw] = shape;
        let mut random = Random(seed);
        let panel_shape = PanelShape { outputs, taps: kh * kw, channels };
        let limit = 1.0 / ((kh * kw * channels).max(1) as f32).sqrt();
        let panels = match storage {
            Storage::F16 => half_panels(panel_shape, limit, &mut random),
            Storage::F32 => single_panels(panel_shape, limit, &mut random),
            Storage::Int(encoding) => {
                Panels::Int(int_panels(panel_shape, encoding, limit, &mut random))
            }
        };
        let bias = bias.then(|| {
            let mut bias = vec![0.0; outputs.next_multiple_of(LANES)];
            bias[..outputs].fill_with(|| limit * random.unit());
            bias
        });
        Self::from_parts(panels, bias, shape)
    }
}

impl Norm {
    /// A normalisation that neither scales nor shifts.
    pub fn identity(channels: usize) -> Self {
        Self { scale: vec![1.0; channels], shift: vec![0.0; channels] }
    }
}

/// Values that a byte of a filter in floating point stands for.
fn values(limit: f32) -> [f32; 256] {
    std::array::from_fn(|byte| limit * f32::from(level(byte as u8)) / 127.0)
}

fn half_panels(shape: PanelShape, limit: f32, random: &mut Random) -> Panels {
    let values = values(limit).map(|v| half::f16::from_f32(v).to_bits());
    let mut panels = Aligned::zeros(shape.panels() * LANES * shape.taps * shape.channels);
    random.fill(&mut panels, |byte| values[usize::from(byte)]);
    Panels::F16(panels)
}

fn single_panels(shape: PanelShape, limit: f32, random: &mut Random) -> Panels {
    let values = values(limit);
    let mut panels = Aligned::zeros(shape.panels() * LANES * shape.taps * shape.channels);
    random.fill(&mut panels, |byte| values[usize::from(byte)]);
    Panels::F32(panels)
}

/// A byte as one of the levels `-127 ..= 127`.
fn level(byte: u8) -> i8 {
    byte.cast_signed().max(-127)
}

fn int_panels(shape: PanelShape, encoding: Encoding, limit: f32, random: &mut Random) -> IntPanels {
    let mut panels = IntPanels::zeros(encoding, shape);
    match &mut panels.values {
        Values::Int8(values) => random.fill(values.own(), level),
        Values::Int4 { pairs, multipliers } => {
            random.fill(pairs.own(), |byte| byte);
            random.fill(multipliers, |byte| (byte % 15 + 1).cast_signed());
        }
    }
    let levels = match encoding {
        Encoding::Int8 => 127.0,
        Encoding::Int4 => 8.0 * 15.0,
    };
    panels.steps[..shape.outputs].fill(limit / levels);
    clear_padding(&mut panels);
    panels.count_totals();
    panels
}

/// Sets the weights of depths and outputs that the filter does not have to zero.
fn clear_padding(panels: &mut IntPanels) {
    let PanelShape { outputs, taps, channels } = panels.shape;
    let padded = panels.shape.blocks() * BLOCK;
    for output in 0..panels.shape.panels() * LANES {
        let first = if output < outputs { channels } else { 0 };
        for tap in 0..taps {
            (first..padded).for_each(|channel| panels.clear(output, tap, channel));
        }
    }
}

/// SplitMix64 (Steele, Lea and Flood 2014): a few instructions for eight bytes.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A value of -1..1.
    fn unit(&mut self) -> f32 {
        f32::from(level(self.next() as u8)) / 127.0
    }

    /// Fills `out` with what `value` makes of random bytes.
    fn fill<T>(&mut self, out: &mut [T], value: impl Fn(u8) -> T) {
        for piece in out.chunks_mut(size_of::<u64>()) {
            for (out, byte) in piece.iter_mut().zip(self.next().to_le_bytes()) {
                *out = value(byte);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STORAGES: [Storage; 4] =
        [Storage::F32, Storage::F16, Storage::Int(Encoding::Int8), Storage::Int(Encoding::Int4)];

    #[test]
    fn totals_are_those_of_the_values_that_the_panels_hold() {
        for encoding in [Encoding::Int8, Encoding::Int4] {
            // Neither outputs nor channels fill their blocks.
            let shape = [21, 37, 3, 3];
            let filter = Filter::random(shape, Storage::Int(encoding), false, 5);
            let values = filter.rounded_values().unwrap();
            let Panels::Int(panels) = &filter.panels else { panic!("integers were asked for") };
            for (output, row) in values.chunks_exact(37 * 9).enumerate() {
                let sum: f32 = row.iter().map(|v| (v / panels.steps[output]).round()).sum();
                assert_eq!(panels.totals[output], sum as i32);
                assert_eq!(panels.starts[output], -128 * panels.totals[output]);
            }
            assert!(panels.starts[21..].iter().all(|s| *s == 0), "outputs that are not there");
        }
    }

    #[test]
    fn values_are_as_wide_as_the_depth_asks_and_not_all_alike() {
        let limit = 1.0 / (64.0_f32 * 9.0).sqrt();
        for encoding in [Encoding::Int8, Encoding::Int4] {
            let filter = Filter::random([32, 64, 3, 3], Storage::Int(encoding), true, 1);
            let values = filter.rounded_values().unwrap();
            let largest = values.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
            assert!(largest <= limit * 1.0001 && largest > 0.9 * limit, "{encoding:?} {largest}");
            let mean = values.iter().sum::<f32>() / values.len() as f32;
            assert!(mean.abs() < 0.1 * limit, "{encoding:?} {mean}");
        }
    }

    #[test]
    fn a_seed_decides_the_filter_and_its_size_is_that_of_a_stored_one() {
        for storage in STORAGES {
            let bits = |seed| {
                let filter = Filter::random([20, 18, 1, 1], storage, true, seed);
                (format!("{:?}", filter.bias), filter.bytes())
            };
            assert_eq!(bits(3), bits(3));
            assert_ne!(bits(3).0, bits(4).0);
        }
        let bytes = |s| Filter::random([32, 64, 1, 1], s, false, 0).bytes();
        assert_eq!(STORAGES.map(bytes), [8192, 4096, 2048 + 384, 1024 + 64 + 384]);
    }
}
