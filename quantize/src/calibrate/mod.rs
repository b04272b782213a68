//! What layers read while the model paints in floating point: the samples that roundings are fitted
//! to and judged by.
//!
//! A sample is a row `[taps][channels]` of a layer's input: all that one output pixel is computed
//! from. Rows come from all steps of the real sampler, over prompts and seeds, since a denoiser's
//! inputs change along the way (Q-Diffusion, Li et al. 2023; PTQ4DM, Shang et al. 2023). The last
//! quarter of the pictures is held out: roundings are fitted to the other rows and judged by these.

mod activation;
mod listener;
mod patch;
mod ranges;

use std::collections::HashMap;
use std::ops::ControlFlow;

use pochade::paint::{Painter, Request};
use serde::{Deserialize, Serialize};

use self::activation::Span;
pub(crate) use self::activation::{round, round_apart};
use self::listener::Listener;
pub(crate) use self::ranges::Inputs;
use self::ranges::{BUCKETS, Bucket};
use crate::layer::Layer;
use crate::progress::Watch;

/// What a calibration paints.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Calibration {
    /// The prompts, which take turns.
    pub prompts: Vec<String>,
    /// Number of pictures; each has a seed of its own, from 1 on.
    pub pictures: usize,
    /// Steps of each; the model's own number where it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<usize>,
}

impl Calibration {
    /// Says what is wrong with it.
    pub fn check(&self) -> anyhow::Result<()> {
        anyhow::ensure!(!self.prompts.is_empty(), "a calibration needs one prompt at least");
        let (least, most) = (2, MOST_PICTURES);
        let pictures = self.pictures;
        anyhow::ensure!(
            (least..=most).contains(&pictures),
            "a calibration paints {least} to {most} pictures, not {pictures}"
        );
        Ok(())
    }

    /// The request for picture `index`.
    pub fn request(&self, index: usize) -> Request {
        let prompt = self.prompts[index % self.prompts.len()].clone();
        Request { prompt, seed: index as u64 + 1, steps: self.steps, ..Request::default() }
    }

    /// Pictures whose rows are held out.
    fn held_out(&self) -> usize {
        self.pictures.div_ceil(4).min(self.pictures - 1)
    }
}

/// Rows of a layer's input.
#[derive(Clone, Debug, Default)]
pub(crate) struct Samples {
    /// To fit to: `[rows][taps][channels]`.
    pub fitted: Vec<f32>,
    /// To judge by.
    pub held_out: Vec<f32>,
    /// Of each row that is held out, what its picture takes in.
    pub spans: Vec<Span>,
    /// Where the input is two values side by side: how many channels the first has.
    pub joined_at: Option<usize>,
    /// And in which part of the way it was.
    pub bucket_of: Vec<usize>,
    /// What all pictures to fit to had in each.
    pub buckets: [Bucket; BUCKETS],
}

/// Pictures of one calibration at most.
const MOST_PICTURES: usize = 1024;
/// Rows that are held out.
const HELD_OUT_ROWS: usize = 512;
/// Fewest and most rows to fit to; between, twice as many as a row has columns.
const LEAST_ROWS: usize = 1024;
const MOST_ROWS: usize = 6144;
/// Numbers that all rows of one pass may take together.
const NUMBERS_AT_ONCE: usize = 1 << 28;

/// Rows of a layer to fit to.
fn rows(layer: &Layer) -> usize {
    (2 * layer.columns()).clamp(LEAST_ROWS, MOST_ROWS)
}

/// Layers in groups whose samples fit into memory together.
pub(crate) fn passes(layers: &[Layer]) -> Vec<&[Layer]> {
    let mut passes = Vec::new();
    let (mut first, mut sum) = (0, 0);
    for (i, layer) in layers.iter().enumerate() {
        let numbers = (rows(layer) + HELD_OUT_ROWS) * layer.columns();
        if sum + numbers > NUMBERS_AT_ONCE && i > first {
            passes.push(&layers[first..i]);
            (first, sum) = (i, 0);
        }
        sum += numbers;
    }
    passes.extend((first < layers.len()).then(|| &layers[first..]));
    passes
}

/// Paints all pictures and keeps rows of what `layers` read, by their keys.
pub(crate) fn listen(
    painter: &mut Painter,
    calibration: &Calibration,
    layers: &[Layer],
    watch: &Watch,
) -> anyhow::Result<HashMap<String, Samples>> {
    let mut listener = Listener::new(layers, calibration);
    for index in 0..calibration.pictures {
        listener.start_picture(index);
        painter.paint_heard(&calibration.request(index), &mut listener, &mut |_| {
            ControlFlow::Continue(())
        })?;
        watch.step()?;
    }
    Ok(listener.samples())
}
