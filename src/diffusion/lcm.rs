//! Latent consistency models (Luo et al. 2023, algorithm 3): jump to the clean latent, add noise
//! again, jump again.

use super::sampler::refuse_epsilon_without_signal;
use super::sampler::{NoiseSource, Sampler, SamplerKind, clip};
use super::{DiffusionError, Level, Prediction, SchedulerConfig};

/// Standard deviation of clean latents that the boundary condition assumes.
const SIGMA_DATA: f32 = 0.5;

/// What one step needs, from the schedule.
#[derive(Clone, Copy, Debug)]
struct Step {
    timestep: usize,
    level: Level,
    next: Level,
    /// Factor of the current latent in the consistency function.
    skip: f32,
    /// Factor of the predicted clean latent in it.
    out: f32,
}

/// The sampler of latent consistency models.
#[derive(Debug)]
pub(super) struct LcmSampler {
    steps: Vec<Step>,
    prediction: Prediction,
    clip: Option<f32>,
    denoised: Vec<f32>,
    fresh: Vec<f32>,
}

impl LcmSampler {
    /// `steps` of the timesteps the model was distilled at.
    pub(super) fn new(config: &SchedulerConfig, steps: usize) -> Result<Self, DiffusionError> {
        let timesteps = distilled_timesteps(config, steps)?;
        let schedule = config.schedule();
        let alphas = schedule.alphas_cumprod();
        let visited = timesteps.iter().map(|t| alphas[*t]);
        refuse_epsilon_without_signal(config, SamplerKind::Lcm, visited)?;
        let step = |(i, t): (usize, &usize)| {
            let scaled = *t as f32 * config.timestep_scaling;
            let spread = scaled * scaled + SIGMA_DATA * SIGMA_DATA;
            Step {
                timestep: *t,
                level: schedule.level(*t),
                next: schedule.level(*timesteps.get(i + 1).unwrap_or(t)),
                skip: SIGMA_DATA * SIGMA_DATA / spread,
                out: scaled / spread.sqrt(),
            }
        };
        Ok(Self {
            steps: timesteps.iter().enumerate().map(step).collect(),
            prediction: config.prediction,
            clip: config.clip,
            denoised: Vec::new(),
            fresh: Vec::new(),
        })
    }
}

/// `steps` of the `original_steps` timesteps of distillation, evenly, falling.
fn distilled_timesteps(
    config: &SchedulerConfig,
    steps: usize,
) -> Result<Vec<usize>, DiffusionError> {
    let original = config.original_steps.min(config.train_timesteps);
    if steps > original {
        return Err(DiffusionError::Steps { steps, most: original });
    }
    let stride = config.train_timesteps / original;
    let spread = original as f64 / steps as f64;
    let timestep = |i: usize| (original - (i as f64 * spread) as usize) * stride - 1;
    Ok((0..steps).map(timestep).collect())
}

impl Sampler for LcmSampler {
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
        for (x, output) in x.iter().zip(output) {
            let denoised = clip(self.prediction.denoised(step.level, *x, *output), self.clip);
            self.denoised.push(step.out * denoised + step.skip * x);
        }
        if i + 1 == self.steps.len() {
            x.copy_from_slice(&self.denoised);
            return;
        }
        self.fresh.resize(x.len(), 0.0);
        noise(&mut self.fresh);
        for ((x, denoised), fresh) in x.iter_mut().zip(&self.denoised).zip(&self.fresh) {
            *x = step.next.alpha * denoised + step.next.sigma * fresh;
        }
    }

    fn denoised(&self) -> &[f32] {
        &self.denoised
    }
}
