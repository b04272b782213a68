//! DDIM: denoising diffusion implicit models (Song et al. 2020, equation 12).
//!
//! The LDM paper's own sampler. With eta 0 no noise is added and the picture depends on the first
//! latent alone.

use super::sampler::{NoiseSource, Sampler, SamplerKind, add_noise, clip};
use super::sampler::{refuse_epsilon_without_signal, whole_timesteps};
use super::{DiffusionError, Level, Prediction, SchedulerConfig};

/// What one step needs, from the schedule.
#[derive(Clone, Copy, Debug)]
struct Step {
    timestep: usize,
    level: Level,
    /// Factor of the clean latent in the next one.
    next_alpha: f32,
    /// Factor of the predicted noise in the next one.
    next_sigma: f32,
    /// Factor of the fresh noise in the next one.
    fresh: f32,
}

/// The DDIM sampler.
#[derive(Debug)]
pub(super) struct DdimSampler {
    steps: Vec<Step>,
    eta: f32,
    prediction: Prediction,
    clip: Option<f32>,
    denoised: Vec<f32>,
    fresh: Vec<f32>,
}

impl DdimSampler {
    /// `steps` steps with the spacing of `config`.
    ///
    /// The step back is always the whole stride, even where the timesteps themselves are rounded
    /// otherwise, as in diffusers.
    pub(super) fn new(
        config: &SchedulerConfig,
        steps: usize,
        eta: f32,
    ) -> Result<Self, DiffusionError> {
        let timesteps =
            config.spacing.timesteps(config.train_timesteps, steps, config.steps_offset);
        let timesteps = whole_timesteps(config, timesteps)?;
        let schedule = config.schedule();
        let alphas = schedule.alphas_cumprod();
        let visited = timesteps.iter().map(|t| alphas[*t]);
        refuse_epsilon_without_signal(config, SamplerKind::Ddim, visited)?;
        let last = if config.final_alpha_one { 1.0 } else { alphas[0] };
        let stride = config.train_timesteps / steps;
        let step = |t: &usize| {
            let next = t.checked_sub(stride).map_or(last, |t| alphas[t]);
            Step::new(*t, alphas[*t], next, eta)
        };
        Ok(Self {
            steps: timesteps.iter().map(step).collect(),
            eta,
            prediction: config.prediction,
            clip: config.clip,
            denoised: Vec::new(),
            fresh: Vec::new(),
        })
    }
}

impl Step {
    /// From a share `a` of signal to a share `next` of it.
    fn new(timestep: usize, a: f32, next: f32, eta: f32) -> Self {
        let variance = (1.0 - next) / (1.0 - a) * (1.0 - a / next);
        let fresh = eta * variance.max(0.0).sqrt();
        Self {
            timestep,
            level: Level::of_alpha_cumprod(a),
            next_alpha: next.sqrt(),
            next_sigma: (1.0 - next - fresh * fresh).max(0.0).sqrt(),
            fresh,
        }
    }
}

impl Sampler for DdimSampler {
    fn len(&self) -> usize {
        self.steps.len()
    }

    fn timestep(&self, i: usize) -> f32 {
        self.steps[i].timestep as f32
    }

    fn level(&self, i: usize) -> Level {
        self.steps.get(i).map_or(Level::CLEAN, |step| step.level)
    }

    fn step(&mut self, i: usize, output: &[f32], x: &mut [f32], noise: &mut NoiseSource<'_>) {
        let step = self.steps[i];
        self.denoised.clear();
        for (x, output) in x.iter_mut().zip(output) {
            let denoised = clip(self.prediction.denoised(step.level, *x, *output), self.clip);
            let direction = step.next_sigma * self.prediction.noise(step.level, *x, *output);
            *x = step.next_alpha * denoised + direction;
            self.denoised.push(denoised);
        }
        if self.eta > 0.0 {
            add_noise(x, step.fresh, &mut self.fresh, noise);
        }
    }

    fn denoised(&self) -> &[f32] {
        &self.denoised
    }
}
