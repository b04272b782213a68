//! DDPM: ancestral sampling of the trained Markov chain (Ho et al. 2020, algorithm 2, equation 7).

use super::sampler::{NoiseSource, Sampler, SamplerKind, add_noise, clip};
use super::sampler::{refuse_epsilon_without_signal, whole_timesteps};
use super::{DiffusionError, Level, Prediction, SchedulerConfig};

/// What one step needs, from the schedule.
#[derive(Clone, Copy, Debug)]
struct Step {
    timestep: usize,
    level: Level,
    /// Factor of the clean latent in the mean of the next one.
    denoised: f32,
    /// Factor of the current latent in it.
    current: f32,
    /// Standard deviation around that mean.
    fresh: f32,
}

/// The DDPM sampler.
#[derive(Debug)]
pub(super) struct DdpmSampler {
    steps: Vec<Step>,
    prediction: Prediction,
    clip: Option<f32>,
    denoised: Vec<f32>,
    fresh: Vec<f32>,
}

impl DdpmSampler {
    /// `steps` steps with the spacing of `config`.
    pub(super) fn new(config: &SchedulerConfig, steps: usize) -> Result<Self, DiffusionError> {
        let timesteps =
            config.spacing.timesteps(config.train_timesteps, steps, config.steps_offset);
        let timesteps = whole_timesteps(config, timesteps)?;
        let schedule = config.schedule();
        let alphas = schedule.alphas_cumprod();
        let visited = timesteps.iter().map(|t| alphas[*t]);
        refuse_epsilon_without_signal(config, SamplerKind::Ddpm, visited)?;
        let next = |i: usize| timesteps.get(i + 1).map_or(1.0, |t| alphas[*t]);
        let step =
            |(i, t): (usize, &usize)| Step::new(*t, alphas[*t], next(i), config.large_variance);
        Ok(Self {
            steps: timesteps.iter().enumerate().map(step).collect(),
            prediction: config.prediction,
            clip: config.clip,
            denoised: Vec::new(),
            fresh: Vec::new(),
        })
    }
}

impl Step {
    /// From a share `a` of signal to a share `next` of it.
    fn new(timestep: usize, a: f32, next: f32, large_variance: bool) -> Self {
        let kept = a / next;
        let beta = 1.0 - kept;
        let (noise, next_noise) = (1.0 - a, 1.0 - next);
        let variance = if large_variance { beta } else { (next_noise / noise * beta).max(1e-20) };
        Self {
            timestep,
            level: Level::of_alpha_cumprod(a),
            denoised: next.sqrt() * beta / noise,
            current: kept.sqrt() * next_noise / noise,
            fresh: variance.sqrt(),
        }
    }
}

impl Sampler for DdpmSampler {
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
            *x = step.denoised * denoised + step.current * *x;
            self.denoised.push(denoised);
        }
        if step.timestep > 0 {
            add_noise(x, step.fresh, &mut self.fresh, noise);
        }
    }

    fn denoised(&self) -> &[f32] {
        &self.denoised
    }
}
