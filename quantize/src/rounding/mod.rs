//! Rounding a layer to integers by several methods, of which the one is kept that errs least on
//! samples that no method has seen.
//!
//! - Nearest: every weight for itself.
//! - Compensated (GPTQ, Frantar et al. 2023; the same as Babai's nearest plane, Chen et al. 2025):
//!   column by column, the error made so far is taken into the next weights as far as the inputs are
//!   correlated.
//! - Either with the mean of the error taken into the bias (Nagel et al. 2019), and, where the input is
//!   two values side by side, with each rounded by its own range (Q-Diffusion, Li et al. 2023).

mod factor;
mod matrix;
mod nearest_plane;

use anyhow::Context;
use pochade_engine::{Encoding, Engine, Filter};

use self::factor::Factor;
use self::matrix::Matrix;
use crate::calibrate::{self, Samples};
use crate::layer::Layer;

/// How a layer was rounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    /// To nearest, since painting does not need the layer.
    Unheard,
    Nearest,
    Compensated,
}

impl Method {
    pub fn name(self) -> &'static str {
        match self {
            Self::Unheard => "nearest, not heard",
            Self::Nearest => "nearest",
            Self::Compensated => "compensated",
        }
    }
}

/// A layer in integers.
#[derive(Clone, Debug)]
pub(crate) struct Rounded {
    pub filter: Filter,
    /// What is added to the bias, `[outputs]`, where that is better than nothing.
    pub bias_shift: Option<Vec<f32>>,
    /// How many channels of the input are rounded apart from the rest, where that is better.
    pub split: Option<usize>,
    pub method: Method,
    /// Squared error of the outputs relative to their square, over the held-out samples.
    pub error: f64,
}

/// A layer to be rounded, with the samples of its input.
#[derive(Debug)]
pub(crate) struct Problem<'a> {
    pub layer: &'a Layer,
    /// `[outputs][channels][taps]`.
    pub weights: &'a [f32],
    pub samples: &'a Samples,
}

impl Problem<'_> {
    /// The best rounding to each of `encodings`.
    ///
    /// # Errors
    /// When a weight is not finite.
    pub fn round(
        &self,
        engine: &mut Engine,
        encodings: &[Encoding],
    ) -> anyhow::Result<Vec<Rounded>> {
        if self.samples.held_out.is_empty() {
            return encodings.iter().map(|encoding| self.unheard(*encoding)).collect();
        }
        let mean = self.mean();
        let factor = self.factor(engine, mean.as_deref())?;
        let judge = Judge::new(engine, self, mean.as_deref())?;
        let best = |encoding: &Encoding| {
            let nearest = judge.judge(engine, Method::Nearest, self.nearest(*encoding)?)?;
            let Some(factor) = &factor else { return Ok(nearest) };
            let integers = nearest_plane::round(self.layer, self.weights, factor, *encoding);
            let filter = Filter::from_integers(self.layer.size, &integers, None)?;
            let compensated = judge.judge(engine, Method::Compensated, filter)?;
            Ok(if compensated.error < nearest.error { compensated } else { nearest })
        };
        encodings.iter().map(best).collect()
    }

    fn nearest(&self, encoding: Encoding) -> anyhow::Result<Filter> {
        let rounded = matrix::with_view(self.weights, &self.layer.size, |view| {
            Filter::rounded(view, None, encoding)
        })?;
        Ok(rounded?)
    }

    fn unheard(&self, encoding: Encoding) -> anyhow::Result<Rounded> {
        let (filter, method) = (self.nearest(encoding)?, Method::Unheard);
        Ok(Rounded { filter, bias_shift: None, split: None, method, error: 0.0 })
    }

    /// The factor of the correlations of the inputs, with the mean taken out where a bias takes the
    /// mean's error; `None` where there are no samples.
    fn factor(&self, engine: &mut Engine, mean: Option<&[f32]>) -> anyhow::Result<Option<Factor>> {
        let columns = self.layer.columns();
        let mut rows = self.samples.fitted.clone();
        if let Some(mean) = mean {
            let centre = |row: &mut [f32]| row.iter_mut().zip(mean).for_each(|(x, m)| *x -= m);
            rows.chunks_exact_mut(columns).for_each(centre);
        }
        let size = (self.layer.taps(), self.layer.size[1]);
        (rows.len() >= columns).then(|| Factor::new(engine, &rows, size)).transpose()
    }

    /// The mean row, `[taps][channels]`, of a layer with a bias.
    fn mean(&self) -> Option<Vec<f32>> {
        let columns = self.layer.columns();
        let mut mean = vec![0.0; columns];
        let rows = self.samples.fitted.chunks_exact(columns);
        let count = rows.len().max(1) as f32;
        rows.for_each(|row| mean.iter_mut().zip(row).for_each(|(m, x)| *m += x));
        mean.iter_mut().for_each(|m| *m /= count);
        self.layer.bias.then_some(mean)
    }
}

/// Measures roundings of one layer on its held-out samples, which are rounded as the engine does.
struct Judge<'a> {
    problem: &'a Problem<'a>,
    mean: Option<&'a [f32]>,
    /// `[rows][taps][channels]`, rounded; whole, and split where the input is two values side by side.
    inputs: Vec<(Option<usize>, Vec<f32>)>,
    /// What comes of them without any rounding: `[rows][outputs]`.
    outputs: Vec<f32>,
}

impl<'a> Judge<'a> {
    fn new(
        engine: &mut Engine,
        problem: &'a Problem<'a>,
        mean: Option<&'a [f32]>,
    ) -> anyhow::Result<Self> {
        let Problem { layer, weights, samples } = problem;
        let held_out = &samples.held_out;
        let mut inputs = vec![(None, calibrate::round(layer, held_out, &samples.spans))];
        let apart = |at| calibrate::round_apart(layer.columns(), at, held_out);
        inputs.extend(samples.joined_at.map(|at| (Some(at), apart(at))));
        let outputs = product(engine, layer, &samples.held_out, &tap_major(layer, weights))?;
        Ok(Self { problem, mean, inputs, outputs })
    }

    fn judge(
        &self,
        engine: &mut Engine,
        method: Method,
        filter: Filter,
    ) -> anyhow::Result<Rounded> {
        let layer = self.problem.layer;
        let rounded = filter.rounded_values().context("a rounded filter is in integers")?;
        let quantised = tap_major(layer, &rounded);
        let shift = self.mean.map(|mean| {
            let lost = self.problem.weights.iter().zip(&rounded).map(|(w, q)| w - q);
            let lost = tap_major(layer, &lost.collect::<Vec<f32>>());
            let dot = |row: &[f32]| row.iter().zip(mean).map(|(w, m)| w * m).sum();
            lost.chunks_exact(layer.columns()).map(dot).collect::<Vec<f32>>()
        });
        let mut best =
            Rounded { filter, bias_shift: None, split: None, method, error: f64::INFINITY };
        for (split, inputs) in &self.inputs {
            let mut errors = product(engine, layer, inputs, &quantised)?;
            errors.iter_mut().zip(&self.outputs).for_each(|(found, whole)| *found = whole - *found);
            let error = self.relative(&errors);
            if error < best.error {
                (best.error, best.split, best.bias_shift) = (error, *split, None);
            }
            let Some(shift) = &shift else { continue };
            for row in errors.chunks_exact_mut(shift.len()) {
                row.iter_mut().zip(shift).for_each(|(error, shift)| *error -= shift);
            }
            let error = self.relative(&errors);
            if error < best.error {
                (best.error, best.split, best.bias_shift) = (error, *split, Some(shift.clone()));
            }
        }
        Ok(best)
    }

    /// The squares of errors relative to those of the outputs.
    fn relative(&self, errors: &[f32]) -> f64 {
        squares(errors) / squares(&self.outputs).max(f64::MIN_POSITIVE)
    }
}

/// What weights `[outputs][taps][channels]` make of samples: `[rows][outputs]`.
fn product(
    engine: &mut Engine,
    layer: &Layer,
    samples: &[f32],
    weights: &[f32],
) -> anyhow::Result<Vec<f32>> {
    let columns = layer.columns();
    let samples = Matrix { values: samples, columns };
    matrix::times_transposed(engine, samples, Matrix { values: weights, columns })
}

/// `[outputs][channels][taps]` as `[outputs][taps][channels]`, the order of samples.
fn tap_major(layer: &Layer, weights: &[f32]) -> Vec<f32> {
    let (taps, channels) = (layer.taps(), layer.size[1]);
    let mut ordered = Vec::with_capacity(weights.len());
    for row in weights.chunks_exact(taps * channels) {
        for tap in 0..taps {
            ordered.extend(row.iter().skip(tap).step_by(taps));
        }
    }
    ordered
}

fn squares(values: &[f32]) -> f64 {
    values.iter().map(|v| f64::from(*v) * f64::from(*v)).sum()
}
