//! Who follows the denoising, in one stage or two: progress and its share of the whole, the clock.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use super::denoise::Step;
use super::{LatentMap, LatentPreview, Progress, Stage, Timings};

/// Listens to a painter; breaking stops it.
pub(super) type Observer<'a> = dyn FnMut(Progress<'_>) -> ControlFlow<()> + 'a;

/// Follows a picture from noise to the latent that is decoded.
pub(super) struct Watch<'a, 'b> {
    stage: Stage,
    /// Steps of the stage.
    steps: usize,
    /// What each of them is worth, in steps of the first stage.
    worth: f64,
    /// What all stages before were worth, and what all stages are.
    done: f64,
    all: f64,
    /// When the stage began.
    begun: Instant,
    colours: Option<&'a LatentMap>,
    timings: &'a mut Timings,
    progress: &'a mut Observer<'b>,
}

impl<'a, 'b> Watch<'a, 'b> {
    /// Previews have these colours; without them there are none.
    pub fn new(
        colours: Option<&'a LatentMap>,
        (begun, timings): (Instant, &'a mut Timings),
        progress: &'a mut Observer<'b>,
    ) -> Self {
        timings.step = Duration::MAX;
        let (stage, steps) = (Stage::Denoise, 0);
        Self { stage, steps, worth: 1.0, done: 0.0, all: 1.0, begun, colours, timings, progress }
    }

    /// The first stage has so many steps; what comes after it is worth so many more.
    pub fn begin(&mut self, steps: usize, after: f64) {
        (self.steps, self.all) = (steps, steps as f64 + after);
    }

    /// The second stage begins, with so many steps that are worth so much each.
    pub fn begin_second(&mut self, steps: usize, worth: f64) {
        self.end();
        self.done = self.steps as f64;
        (self.stage, self.steps, self.worth) = (Stage::Upscale, steps, worth);
    }

    /// The stage is done.
    pub fn end(&mut self) {
        let took = match self.stage {
            Stage::Upscale => &mut self.timings.upscale,
            _ => &mut self.timings.denoise,
        };
        *took = self.begun.elapsed();
        self.begun = Instant::now();
    }

    /// Tells of a step, and whether to go on.
    pub fn after(&mut self, step: Step<'_>) -> ControlFlow<()> {
        if self.stage == Stage::Denoise {
            self.timings.step = step.took.min(self.timings.step);
        }
        let preview = self.colours.filter(|_| step.look.clean.len() == step.shape.len());
        let preview =
            preview.map(|map| LatentPreview { latent: step.look.clean, shape: step.shape, map });
        (self.progress)(Progress {
            stage: self.stage,
            step: step.done,
            steps: self.steps,
            share: (self.done + step.done as f64 * self.worth) / self.all,
            preview,
            latent: step.latent,
            look: Some(step.look),
        })
    }
}
