//! What every layer reads in each part of the way from noise to picture: its range and second moment,
//! and how static ranges, one for each part, would round it. The engine finds a range while it paints,
//! for a row or a picture at a time; other engines cannot, so this says what that is worth, layer by
//! layer.

use serde::{Deserialize, Serialize};

use super::Samples;
use super::activation::{self, PICTURE_LEVELS, Span};
use crate::layer::Layer;

/// Parts of the way from noise to picture that have ranges of their own.
pub(super) const BUCKETS: usize = 4;

/// Parts of a range that static steps may keep to; what lies beyond is clipped.
const CLIPS: [f32; 6] = [1.0, 0.85, 0.7, 0.55, 0.4, 0.3];

/// What a layer reads in one part of the way.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Bucket {
    span: Span,
    /// Sum of the squares of all values, and how many they are.
    squares: f64,
    count: u64,
}

impl Bucket {
    /// Takes in what a layer reads.
    pub(super) fn add(&mut self, values: &[f32]) {
        let [low, high] = activation::span(values);
        self.span = [self.span[0].min(low), self.span[1].max(high)];
        self.squares += values.iter().map(|v| f64::from(*v) * f64::from(*v)).sum::<f64>();
        self.count += values.len() as u64;
    }

    fn range(&self) -> Range {
        let [least, greatest] = self.span;
        let mean_square = self.squares / self.count as f64;
        Range { least, greatest, root_mean_square: mean_square.sqrt() as f32 }
    }
}

/// Range and second moment of what a layer reads in one part of the way.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Range {
    pub least: f32,
    pub greatest: f32,
    pub root_mean_square: f32,
}

/// What was heard of a layer's input.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Inputs {
    /// Of each part of the way in which the layer is computed, the noisiest first.
    pub ranges: Vec<Range>,
    /// Signal over error of the held-out rows, rounded by the ranges that the engine finds, in dB.
    pub dynamic_sqnr_db: f64,
    /// The same by one range for each part of the way, clipped as suits these very rows best.
    pub static_sqnr_db: f64,
}

impl Inputs {
    /// Weighs what was kept of a layer's input; none where nothing was, or where nothing is lost.
    pub fn heard(layer: &Layer, samples: &Samples) -> Option<Self> {
        let power: f64 = samples.held_out.iter().map(|v| square(*v)).sum();
        let dynamic = activation::round(layer, &samples.held_out, &samples.spans);
        let dynamic: f64 = dynamic.iter().zip(&samples.held_out).map(|(a, b)| square(a - b)).sum();
        let fixed = CLIPS.into_iter().map(|clip| clipped(layer, samples, clip));
        let fixed = fixed.fold(f64::INFINITY, f64::min);
        let decibels = |lost: f64| 10.0 * (power / lost).log10();
        let [dynamic_sqnr_db, static_sqnr_db] = [dynamic, fixed].map(decibels);
        let known = dynamic_sqnr_db.is_finite() && static_sqnr_db.is_finite();
        let ranges = samples.buckets.iter().filter(|bucket| bucket.count > 0);
        known.then(|| Self {
            ranges: ranges.map(Bucket::range).collect(),
            dynamic_sqnr_db,
            static_sqnr_db,
        })
    }

    /// Decibels that static ranges would win; less than none where they would lose.
    pub fn static_gain_db(&self) -> f64 {
        self.static_sqnr_db - self.dynamic_sqnr_db
    }
}

fn square(value: f32) -> f64 {
    f64::from(value) * f64::from(value)
}

/// Squared error of the held-out rows by static ranges of which `clip` is kept.
fn clipped(layer: &Layer, samples: &Samples, clip: f32) -> f64 {
    let row = |(row, bucket): (&[f32], &usize)| {
        let [low, high] = samples.buckets[*bucket].span.map(|v| v * clip);
        let step = (high - low) / PICTURE_LEVELS;
        let inverse = if step > 0.0 { 1.0 / step } else { 0.0 };
        let one = |v: &f32| {
            let level = (v * inverse).clamp(low * inverse, high * inverse);
            square(v - level.round_ties_even() * step)
        };
        row.iter().map(one).sum::<f64>()
    };
    samples.held_out.chunks_exact(layer.columns()).zip(&samples.bucket_of).map(row).sum()
}

#[cfg(test)]
mod tests {
    use pochade::files::Component;

    use super::*;

    fn matrix(channels: usize) -> Layer {
        let (part, name) = (Component::Unet, "layer".to_owned());
        Layer { part, name, size: [1, channels, 1, 1], shape: vec![1, channels], bias: false }
    }

    /// Samples of a matrix of two channels, heard in the last part of the way.
    fn samples(heard: &[f32], held_out: &[f32]) -> Samples {
        let mut samples = Samples { held_out: held_out.to_vec(), ..Samples::default() };
        samples.buckets[BUCKETS - 1].add(heard);
        let rows = held_out.len() / 2;
        samples.spans = vec![activation::span(held_out); rows];
        samples.bucket_of = vec![BUCKETS - 1; rows];
        samples
    }

    #[test]
    fn a_range_is_told_of_the_parts_that_were_heard() {
        let layer = matrix(2);
        let heard = Inputs::heard(&layer, &samples(&[3.0, -4.0], &[0.3, 0.7])).unwrap();
        let range = Range { least: -4.0, greatest: 3.0, root_mean_square: 12.5_f32.sqrt() };
        assert_eq!(heard.ranges, [range]);
    }

    #[test]
    fn rows_that_are_quieter_than_all_that_was_heard_lose_by_its_range() {
        let layer = matrix(2);
        let quiet = [0.011, 0.03, -0.007, 0.02];
        let heard = Inputs::heard(&layer, &samples(&[3.0, -4.0], &quiet)).unwrap();
        assert!(heard.static_gain_db() < -20.0, "{heard:?}");
    }

    #[test]
    fn a_range_on_one_side_of_zero_wins_the_steps_of_the_other() {
        let row: Vec<f32> = (1..=100).map(|i| ((i * 37) % 101) as f32 / 101.0).collect();
        let layer = matrix(100);
        let mut samples = samples(&row, &[]);
        (samples.spans, samples.bucket_of) = (vec![activation::span(&row)], vec![BUCKETS - 1]);
        samples.held_out = row;
        // 253 steps for what a row has 127 for.
        let gain = Inputs::heard(&layer, &samples).unwrap().static_gain_db();
        assert!((4.0..8.0).contains(&gain), "{gain}");
    }

    #[test]
    fn nothing_is_said_of_what_nobody_heard() {
        assert_eq!(Inputs::heard(&matrix(2), &Samples::default()), None);
    }
}
