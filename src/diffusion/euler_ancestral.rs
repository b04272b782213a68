//! Euler ancestral: an Euler step further down than asked, then fresh noise back up
//! (k-diffusion's `sample_euler_ancestral`, eta 1).

use super::euler::SigmaSteps;
use super::sampler::{NoiseSource, Sampler, add_noise};
use super::{Level, Prediction, SchedulerConfig};

/// The Euler ancestral sampler.
#[derive(Debug)]
pub(super) struct EulerAncestralSampler {
    steps: SigmaSteps,
    prediction: Prediction,
    denoised: Vec<f32>,
    fresh: Vec<f32>,
}

impl EulerAncestralSampler {
    /// `steps` steps with the spacing of `config`.
    pub(super) fn new(config: &SchedulerConfig, steps: usize) -> Self {
        Self {
            steps: SigmaSteps::new(config, steps, false, 0.0),
            prediction: config.prediction,
            denoised: Vec::new(),
            fresh: Vec::new(),
        }
    }
}

/// How far down to step and how much noise to add to get from `sigma` to `next`.
fn down_and_up(sigma: f32, next: f32) -> (f32, f32) {
    let (from, to) = (sigma * sigma, next * next);
    let up = (to * (from - to) / from).sqrt();
    let down = (to - up * up).max(0.0).sqrt();
    (down, up)
}

impl Sampler for EulerAncestralSampler {
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

    fn step(&mut self, i: usize, output: &[f32], x: &mut [f32], noise: &mut NoiseSource<'_>) {
        let (sigma, next) = (self.steps.sigmas[i], self.steps.sigmas[i + 1]);
        let (down, up) = down_and_up(sigma, next);
        self.denoised.clear();
        for (x, output) in x.iter_mut().zip(output) {
            let denoised = self.prediction.denoised_exploding(sigma, *x, *output);
            let slope = (*x - denoised) / sigma;
            *x += slope * (down - sigma);
            self.denoised.push(denoised);
        }
        // Noise is drawn after the last step too, so that the next picture of the same generator
        // is diffusers' one; it is multiplied by 0.
        add_noise(x, up, &mut self.fresh, noise);
    }

    fn denoised(&self) -> &[f32] {
        &self.denoised
    }
}
