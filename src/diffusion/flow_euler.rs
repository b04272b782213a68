//! Euler's rule along the straight paths of a rectified flow (Liu et al. 2022; Esser et al. 2024):
//! `x = (1 - sigma) * x0 + sigma * noise`, and the network predicts `noise - x0`.

use super::sampler::{NoiseSource, Sampler};
use super::{Level, Prediction, SchedulerConfig};

/// The Euler sampler of flow models.
#[derive(Debug)]
pub(super) struct FlowEulerSampler {
    timesteps: Vec<f32>,
    /// Share of noise before every step and after the last, `[steps + 1]`.
    sigmas: Vec<f32>,
    denoised: Vec<f32>,
}

impl FlowEulerSampler {
    /// `steps` steps, moved towards noise by the shift of `config`: once for the ends of the
    /// range and again for every step between them, as in diffusers.
    pub(super) fn new(config: &SchedulerConfig, steps: usize) -> Self {
        let train = config.train_timesteps as f32;
        let shift = config.shift as f32;
        let end = |t: f32| f64::from(shift * (t / train) / (1.0 + (shift - 1.0) * (t / train)));
        let (most, least) = (end(train), end(1.0));
        let stride = (least - most) / (steps.max(2) - 1) as f64;
        let sigma = |i: usize| shifted(most + i as f64 * stride, config.shift) as f32;
        let mut sigmas: Vec<f32> = (0..steps).map(sigma).collect();
        let timesteps = sigmas.iter().map(|sigma| sigma * train).collect();
        sigmas.push(0.0);
        Self { timesteps, sigmas, denoised: Vec::new() }
    }
}

/// The share of noise `sigma`, moved as for `shift` times finer pictures.
fn shifted(sigma: f64, shift: f64) -> f64 {
    shift * sigma / (1.0 + (shift - 1.0) * sigma)
}

impl Sampler for FlowEulerSampler {
    fn len(&self) -> usize {
        self.timesteps.len()
    }

    fn timestep(&self, i: usize) -> f32 {
        self.timesteps[i]
    }

    fn level(&self, i: usize) -> Level {
        Level { alpha: 1.0 - self.sigmas[i], sigma: self.sigmas[i] }
    }

    fn step(&mut self, i: usize, output: &[f32], x: &mut [f32], _noise: &mut NoiseSource<'_>) {
        let (sigma, next) = (self.sigmas[i], self.sigmas[i + 1]);
        let level = Level { alpha: 1.0 - sigma, sigma };
        self.denoised.clear();
        for (x, output) in x.iter_mut().zip(output) {
            self.denoised.push(Prediction::Flow.denoised(level, *x, *output));
            *x += (next - sigma) * output;
        }
    }

    fn denoised(&self) -> &[f32] {
        &self.denoised
    }
}
