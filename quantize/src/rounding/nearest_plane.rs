//! The compensated rounding: columns in the order of samples, `[taps][channels]`, each rounded after
//! the error of those before it was taken in.
//!
//! With `M` of [`Factor`] and `e` the errors so far, the outputs' error that column `j` decides on is
//! `M[j][j] e[j] + sum over k < j of M[j][k] e[k]`, so `w[j]` is best rounded after the sum divided by
//! `M[j][j]` was added. The multiplier of an int4 group is the one that leaves the least error in the
//! group after each was tried.

use pochade_engine::{Encoding, Integers};

use super::factor::Factor;
use super::tap_major;
use crate::layer::Layer;

/// Channels that share a multiplier.
const GROUP: usize = 32;

/// Rounds `weights: [outputs][channels][taps]`.
pub(super) fn round(
    layer: &Layer,
    weights: &[f32],
    factor: &Factor,
    encoding: Encoding,
) -> Integers {
    let [outputs, channels, ..] = layer.size;
    let (taps, columns) = (layer.taps(), layer.columns());
    let weights = tap_major(layer, weights);
    let levels = match encoding {
        Encoding::Int8 => 127.0,
        Encoding::Int4 => 8.0 * 15.0,
    };
    let largest = |row: &[f32]| row.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
    let steps: Vec<f32> = weights.chunks_exact(columns).map(|row| largest(row) / levels).collect();
    let groups = channels.div_ceil(GROUP);
    let mut walk = Walk {
        weights: &weights,
        steps: &steps,
        errors: vec![0.0; columns * outputs],
        values: vec![0; columns * outputs],
        outputs,
        columns,
    };
    let mut multipliers = vec![0; outputs * taps * groups];
    for group in 0..taps * groups {
        let first = group / groups * channels + group % groups * GROUP;
        let end = (first + GROUP).min((group / groups + 1) * channels);
        let sums = walk.sums(factor, first, end);
        for output in 0..outputs {
            let found = walk.round_group(factor, (first, end), output, &sums, encoding);
            multipliers[output * taps * groups + group] = found;
        }
    }
    let values = channel_major(&walk.values, (outputs, taps, channels));
    let multipliers = (encoding == Encoding::Int4).then_some(multipliers);
    Integers { steps, values, multipliers }
}

/// What is known while the columns are walked.
struct Walk<'a> {
    /// `[outputs][columns]`.
    weights: &'a [f32],
    steps: &'a [f32],
    /// `[columns][outputs]`: weights minus what they were rounded to.
    errors: Vec<f32>,
    /// `[outputs][columns]`.
    values: Vec<i8>,
    outputs: usize,
    columns: usize,
}

/// A group tried with one multiplier.
#[derive(Clone, Copy)]
struct Trial {
    multiplier: i8,
    values: [i8; GROUP],
    errors: [f32; GROUP],
    loss: f32,
}

impl Walk<'_> {
    /// For the columns of a group, `sum over k before the group of M[j][k] e[k]`: `[group][outputs]`.
    fn sums(&self, factor: &Factor, first: usize, end: usize) -> Vec<f32> {
        let mut sums = vec![0.0; (end - first) * self.outputs];
        let start = first - first % factor.size();
        for (column, sums) in (first..end).zip(sums.chunks_exact_mut(self.outputs)) {
            let errors =
                self.errors[start * self.outputs..first * self.outputs].chunks_exact(self.outputs);
            for (m, errors) in factor.row(column).iter().zip(errors) {
                sums.iter_mut().zip(errors).for_each(|(sum, e)| *sum += m * e);
            }
        }
        sums
    }

    /// Rounds one output's group and says with which multiplier.
    fn round_group(
        &mut self,
        factor: &Factor,
        (first, end): (usize, usize),
        output: usize,
        sums: &[f32],
        encoding: Encoding,
    ) -> i8 {
        let weights = &self.weights[output * self.columns..][first..end];
        let step = self.steps[output];
        let mut given = [0.0; GROUP];
        for (i, sum) in given.iter_mut().enumerate().take(end - first) {
            *sum = sums[i * self.outputs + output];
        }
        let trial = |multiplier| {
            let unit = Unit { step: step * f32::from(multiplier), multiplier, encoding };
            attempt(factor, first, weights, &given, unit)
        };
        let best = match encoding {
            Encoding::Int8 => trial(1),
            Encoding::Int4 => {
                let (least, most) = candidates(factor, first, weights, &given, step);
                let mut best = trial(0);
                for multiplier in (least..=most).flat_map(|m| [m, -m]) {
                    let found = trial(multiplier);
                    if found.loss < best.loss {
                        best = found;
                    }
                }
                best
            }
        };
        for (i, column) in (first..end).enumerate() {
            self.values[output * self.columns + column] = best.values[i];
            self.errors[column * self.outputs + output] = best.errors[i];
        }
        best.multiplier
    }
}

/// What a group is rounded to.
#[derive(Clone, Copy)]
struct Unit {
    /// What one level is worth.
    step: f32,
    multiplier: i8,
    encoding: Encoding,
}

impl Unit {
    fn nearest(self, value: f32) -> i8 {
        if self.step == 0.0 {
            return 0;
        }
        let level = (value / self.step).round_ties_even();
        match self.encoding {
            Encoding::Int8 => level.clamp(-127.0, 127.0) as i8,
            Encoding::Int4 => level.clamp(-8.0, 7.0) as i8,
        }
    }
}

/// The multipliers that may suit a group: the widest value lies near the ends of their levels.
fn candidates(
    factor: &Factor,
    first: usize,
    weights: &[f32],
    given: &[f32; GROUP],
    step: f32,
) -> (i8, i8) {
    let target = |(i, w): (usize, &f32)| w + given[i] / diagonal(factor.row(first + i));
    let largest = weights.iter().enumerate().map(target).fold(0.0_f32, |m, v| m.max(v.abs()));
    let multiple = if step > 0.0 { largest / step } else { 0.0 };
    let (least, most) = ((multiple / 12.0) as i8, (multiple / 7.0) as i8 + 1);
    (least.clamp(1, 15), most.clamp(1, 15))
}

fn diagonal(row: &[f32]) -> f32 {
    row.last().copied().unwrap_or(1.0)
}

/// Rounds a group column by column.
fn attempt(
    factor: &Factor,
    first: usize,
    weights: &[f32],
    given: &[f32; GROUP],
    unit: Unit,
) -> Trial {
    let mut trial =
        Trial { multiplier: unit.multiplier, values: [0; GROUP], errors: [0.0; GROUP], loss: 0.0 };
    for (i, weight) in weights.iter().enumerate() {
        let row = factor.row(first + i);
        let within = &row[row.len() - 1 - i..];
        let before = &trial.errors[..i];
        let sum = given[i] + within.iter().zip(before).map(|(m, e)| m * e).sum::<f32>();
        let diagonal = diagonal(row);
        let level = unit.nearest(weight + sum / diagonal);
        let error = weight - f32::from(level) * unit.step;
        (trial.values[i], trial.errors[i]) = (level, error);
        trial.loss += (sum + diagonal * error).powi(2);
    }
    trial
}

/// `[outputs][taps][channels]` as `[outputs][channels][taps]`.
fn channel_major(values: &[i8], (outputs, taps, channels): (usize, usize, usize)) -> Vec<i8> {
    let mut ordered = Vec::with_capacity(values.len());
    for output in 0..outputs {
        let row = &values[output * taps * channels..][..taps * channels];
        for channel in 0..channels {
            ordered.extend(row.iter().skip(channel).step_by(channels));
        }
    }
    ordered
}
