//! Euler's rule along the probability-flow equation (Karras et al. 2022, algorithm 2 with no
//! churn), on latents of growing variance: `x = x0 + sigma * noise`.

use super::sampler::{NoiseSource, Sampler};
use super::{Level, Prediction, SchedulerConfig, Spacing, sigmas};

/// Timesteps and noise levels of a run in k-diffusion's form.
#[derive(Debug)]
pub(super) struct SigmaSteps {
    /// What the network is told, `[steps]`.
    pub(super) timesteps: Vec<f32>,
    /// Noise over signal before every step and after the last, `[steps + 1]`.
    pub(super) sigmas: Vec<f32>,
    /// Standard deviation of the first latent.
    pub(super) init_noise_sigma: f32,
}

impl SigmaSteps {
    /// `steps` steps with the spacing of `config`, ending at sigma `last`, or spaced after Karras.
    pub(super) fn new(config: &SchedulerConfig, steps: usize, karras: bool, last: f32) -> Self {
        let table = config.schedule().sigmas();
        let spaced = config.spacing.timesteps(config.train_timesteps, steps, config.steps_offset);
        // NumPy makes these timesteps in single precision.
        let mut timesteps: Vec<f64> = spaced.iter().map(|t| f64::from(*t as f32)).collect();
        let mut levels: Vec<f64> =
            timesteps.iter().map(|t| sigmas::interpolate(&table, *t)).collect();
        if karras {
            levels = sigmas::karras(levels[steps - 1], levels[0], steps);
            let logs = sigmas::logs(&table);
            timesteps = levels.iter().map(|sigma| sigmas::timestep_of(*sigma, &logs)).collect();
        }
        let mut sigmas: Vec<f32> = levels.iter().map(|sigma| *sigma as f32).collect();
        sigmas.push(last);
        Self {
            init_noise_sigma: init_noise_sigma(config.spacing, &sigmas),
            timesteps: timesteps.iter().map(|t| *t as f32).collect(),
            sigmas,
        }
    }

    /// The latent at unit variance, which the network was trained on.
    pub(super) fn scale_input(&self, i: usize, x: &[f32], input: &mut [f32]) {
        let sigma = self.sigmas[i];
        let scale = (sigma * sigma + 1.0).sqrt();
        for (input, x) in input.iter_mut().zip(x) {
            *input = x / scale;
        }
    }
}

/// Leading timesteps stop short of pure noise, so that some signal's variance is added.
fn init_noise_sigma(spacing: Spacing, sigmas: &[f32]) -> f32 {
    let most = sigmas.iter().fold(0.0_f32, |most, sigma| most.max(*sigma));
    match spacing {
        Spacing::Leading => (most * most + 1.0).sqrt(),
        Spacing::Trailing | Spacing::Linspace => most,
    }
}

/// The Euler sampler.
#[derive(Debug)]
pub(super) struct EulerSampler {
    steps: SigmaSteps,
    prediction: Prediction,
    denoised: Vec<f32>,
}

impl EulerSampler {
    /// `steps` steps with the spacing of `config`.
    pub(super) fn new(config: &SchedulerConfig, steps: usize) -> Self {
        let last = if config.final_sigma_zero { 0.0 } else { config.schedule().sigmas()[0] };
        Self {
            steps: SigmaSteps::new(config, steps, config.karras, last),
            prediction: config.prediction,
            denoised: Vec::new(),
        }
    }
}

impl Sampler for EulerSampler {
    fn len(&self) -> usize {
        self.steps.timesteps.len()
    }

    fn timestep(&self, i: usize) -> f32 {
        self.steps.timesteps[i]
    }

    fn init_noise_sigma(&self) -> f32 {
        self.steps.init_noise_sigma
    }

    fn scale_input(&self, i: usize, x: &[f32], input: &mut [f32]) {
        self.steps.scale_input(i, x, input);
    }

    fn level(&self, i: usize) -> Level {
        Level { alpha: 1.0, sigma: self.steps.sigmas[i] }
    }

    fn step(&mut self, i: usize, output: &[f32], x: &mut [f32], _noise: &mut NoiseSource<'_>) {
        let (sigma, next) = (self.steps.sigmas[i], self.steps.sigmas[i + 1]);
        self.denoised.clear();
        for (x, output) in x.iter_mut().zip(output) {
            let denoised = self.prediction.denoised_exploding(sigma, *x, *output);
            let slope = (*x - denoised) / sigma;
            *x += slope * (next - sigma);
            self.denoised.push(denoised);
        }
    }

    fn denoised(&self) -> &[f32] {
        &self.denoised
    }
}
