//! How the engine rounds what a layer reads to int8: matrices row by row, larger kernels by the range
//! of the whole picture.

use crate::layer::Layer;

/// Levels on either side of zero, of a row.
const ROW_LEVELS: f32 = 127.0;
/// Levels of a picture's range.
pub(super) const PICTURE_LEVELS: f32 = 253.0;

/// The least and the largest value of a picture.
pub(crate) type Span = [f32; 2];

/// What a picture's span takes in.
pub(super) fn span(values: &[f32]) -> Span {
    values.iter().fold([0.0, 0.0], |[low, high], v| [low.min(*v), high.max(*v)])
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
