//! How the engine rounds what a layer reads to int8: matrices row by row, larger kernels by the range
//! of the whole picture. And how static ranges would round it, one for each part of the way from noise
//! to picture: what other engines do, since theirs cannot find a range while they compute.

use std::fmt;

use super::Samples;
use crate::layer::Layer;

/// Levels on either side of zero, of a row.
const ROW_LEVELS: f32 = 127.0;
/// Levels of a picture's range.
const PICTURE_LEVELS: f32 = 253.0;

/// The least and the largest value of a picture.
pub(crate) type Span = [f32; 2];

/// What a picture's span takes in.
pub(super) fn span(values: &[f32]) -> Span {
    values.iter().fold([0.0, 0.0], |[low, high], v| [low.min(*v), high.max(*v)])
}

/// Parts of the way from noise to picture that have ranges of their own.
pub(super) const BUCKETS: usize = 4;

/// What is known of a layer's input in one part of the way.
#[derive(Clone, Copy, Default, PartialEq)]
pub(crate) struct Bucket {
    /// All values.
    pub span: Span,
    /// Sum of their squares, and how many they are.
    pub squares: f64,
    pub count: u64,
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [low, high] = self.span;
        let mean_square = self.squares / self.count.max(1) as f64;
        write!(f, "{low:.3}..{high:.3} rms {:.3}", mean_square.sqrt())
    }
}

impl Bucket {
    /// Takes in what a layer reads.
    pub(super) fn add(&mut self, values: &[f32]) {
        let [low, high] = span(values);
        self.span = [self.span[0].min(low), self.span[1].max(high)];
        self.squares += values.iter().map(|v| f64::from(*v) * f64::from(*v)).sum::<f64>();
        self.count += values.len() as u64;
    }
}

/// Parts of a bucket's range that static steps may keep to; what lies beyond is clipped.
const CLIPS: [f32; 6] = [1.0, 0.85, 0.7, 0.55, 0.4, 0.3];

/// Squared error of the held-out inputs relative to their square: rounded as the engine does, and by
/// the best static range of each bucket.
pub(crate) fn dynamic_and_static(layer: &Layer, samples: &Samples) -> [f64; 2] {
    let columns = layer.columns();
    let dynamic = round(layer, &samples.held_out, &samples.spans);
    let square = |a: f32| f64::from(a) * f64::from(a);
    let lost = |found: &[f32], whole: &[f32]| -> f64 {
        found.iter().zip(whole).map(|(a, b)| square(a - b)).sum()
    };
    let power: f64 = samples.held_out.iter().map(|v| square(*v)).sum();
    let clipped = |clip: f32| {
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
        samples.held_out.chunks_exact(columns).zip(&samples.bucket_of).map(row).sum::<f64>()
    };
    let fixed = CLIPS.into_iter().map(clipped).fold(f64::INFINITY, f64::min);
    [lost(&dynamic, &samples.held_out), fixed].map(|lost| lost / power.max(f64::MIN_POSITIVE))
}

/// Rounds samples `[rows][channels]` of a matrix, the channels before `split` and the others apart.
pub(crate) fn round_apart(channels: usize, split: usize, samples: &[f32]) -> Vec<f32> {
    let mut rounded = Vec::with_capacity(samples.len());
    for row in samples.chunks_exact(channels) {
        let (first, second) = row.split_at(split.min(channels));
        for part in [first, second] {
            let step = part.iter().fold(0.0_f32, |m, v| m.max(v.abs())) / ROW_LEVELS;
            append(&mut rounded, part, step);
        }
    }
    rounded
}

fn append(rounded: &mut Vec<f32>, values: &[f32], step: f32) {
    let inverse = if step > 0.0 { 1.0 / step } else { 0.0 };
    rounded.extend(values.iter().map(|v| (v * inverse).round_ties_even() * step));
}

/// Rounds samples `[rows][taps][channels]` of a layer, each by its own picture's span.
pub(crate) fn round(layer: &Layer, samples: &[f32], spans: &[Span]) -> Vec<f32> {
    let rows = samples.chunks_exact(layer.columns());
    let step = |(row, [low, high]): (&[f32], &Span)| match layer.taps() {
        1 => row.iter().fold(0.0_f32, |m, v| m.max(v.abs())) / ROW_LEVELS,
        _ => (high - low) / PICTURE_LEVELS,
    };
    let mut rounded = Vec::with_capacity(samples.len());
    for (row, span) in rows.zip(spans) {
        append(&mut rounded, row, step((row, span)));
    }
    rounded
}
