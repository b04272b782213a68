//! Integer products of random shapes and extreme values, exactly equal to a twin that sums whole
//! numbers, on every instruction set.

use std::sync::Arc;

use pochade_engine::{ConvSpec, DType, Encoding, Filter, Padding, Shape, TensorView};
use proptest::prelude::*;

use crate::everywhere::{bytes, run_everywhere};
use crate::naive::{self, Tensor};

/// A product, all of whose activations and weights are whole steps of 1.
#[derive(Debug)]
struct Case {
    x: Shape,
    out: usize,
    kernel: usize,
    spec: ConvSpec,
    encoding: Encoding,
    seed: u64,
    /// Of a thousand values, how many are extreme.
    extreme: u64,
}

fn cases() -> impl Strategy<Value = Case> {
    let sizes = (1..=2_usize, 1..=5_usize, 1..=6_usize, 1..=150_usize, 1..=70_usize);
    let kind = (0..4_usize, any::<bool>(), any::<u64>(), prop_oneof![Just(30_u64), Just(990)]);
    (sizes, kind).prop_map(|((n, h, w, c, out), (kind, int4, seed, extreme))| {
        let (kernel, spec) = match kind {
            0 => (1, ConvSpec::same(1)),
            1 => (3, ConvSpec::same(3)),
            2 => (3, ConvSpec::down(Padding::same(1))),
            _ => (3, ConvSpec::up(3)),
        };
        let encoding = if int4 { Encoding::Int4 } else { Encoding::Int8 };
        Case { x: Shape::image(n, h, w, c), out, kernel, spec, encoding, seed, extreme }
    })
}

/// Random numbers (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ z >> 31) % n
    }

    /// One of the two extremes, or anything between.
    fn value(&mut self, least: i32, most: i32, extreme: u64) -> f32 {
        let any = least + self.below((most - least + 1) as u64) as i32;
        let end = if self.below(2) == 0 { least } else { most };
        (if self.below(1000) < extreme { end } else { any }) as f32
    }
}

impl Case {
    /// Activations with the extremes that make the step 1: in every row the largest magnitude, in
    /// every picture two values 253 apart with zero anywhere between.
    fn activations(&self, random: &mut Random) -> Tensor {
        let mut data = vec![0.0; self.x.len()];
        let rows = self.kernel == 1;
        for piece in data.chunks_exact_mut(if rows { self.x.c } else { self.x.len() / self.x.n }) {
            let low = -(random.below(254) as i32);
            let (low, high) = if rows { (-127, 127) } else { (low, low + 253) };
            piece.fill_with(|| random.value(low, high, self.extreme));
            let at = random.below(piece.len() as u64) as usize;
            piece[at] = if random.below(2) == 0 { low as f32 } else { high as f32 };
            match piece.len() {
                _ if rows => {}
                1 => piece[at] = 253.0,
                len => piece[(at + 1) % len] = (low + high) as f32 - piece[at],
            }
        }
        Tensor { shape: self.x, data }
    }

    /// Weights, `[output][channel][tap]`, that the encoding holds exactly in steps of 1.
    fn weights(&self, random: &mut Random) -> Vec<f32> {
        let (taps, c) = (self.kernel * self.kernel, self.x.c);
        let mut weights = vec![0.0; self.out * c * taps];
        for output in weights.chunks_exact_mut(c * taps) {
            match self.encoding {
                Encoding::Int8 => {
                    output.fill_with(|| random.value(-127, 127, self.extreme));
                    let at = random.below(output.len() as u64) as usize;
                    output[at] = 127.0;
                }
                Encoding::Int4 => self.int4_weights(random, output),
            }
        }
        weights
    }

    /// Groups of 32 channels of each tap, each with a multiplier and a value of -8 that fixes it;
    /// the first group has the multiplier that fixes the step.
    fn int4_weights(&self, random: &mut Random, output: &mut [f32]) {
        let taps = self.kernel * self.kernel;
        for tap in 0..taps {
            for first in (0..self.x.c).step_by(32) {
                let multiplier = match (tap, first) {
                    (0, 0) => 15.0,
                    _ => random.value(-15, 15, self.extreme),
                };
                for channel in first..(first + 32).min(self.x.c) {
                    let q = if channel == first { -8.0 } else { random.value(-8, 7, self.extreme) };
                    output[channel * taps + tap] = multiplier * q;
                }
            }
        }
    }
}

/// Sums of whole numbers.
fn exact(case: &Case, x: &Tensor, weights: &[f32]) -> Vec<f32> {
    let shape = [case.out, case.x.c, case.kernel, case.kernel];
    let sums = naive::conv(x, weights, &vec![0.0; case.out], shape, case.spec);
    sums.into_iter().map(|sum| sum as f32).collect()
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(target_arch = "x86_64") { 96 } else { 24 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn sums_of_any_shape_are_exact_on_every_instruction_set(case in cases()) {
        let mut random = Random(case.seed);
        let x = case.activations(&mut random);
        let weights = case.weights(&mut random);
        let shape = [case.out, case.x.c, case.kernel, case.kernel];
        let raw = bytes(&weights, DType::F32);
        let view = TensorView::new(DType::F32, &shape, &raw).unwrap();
        let filter = Arc::new(Filter::rounded(&view, None, case.encoding).unwrap());
        prop_assert_eq!(&filter.rounded_values().unwrap(), &weights);
        let got = run_everywhere(&[&x], |g, v| g.conv(v[0], &filter, case.spec));
        prop_assert_eq!(got, exact(&case, &x, &weights));
    }
}
