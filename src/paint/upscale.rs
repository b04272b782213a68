//! The second stage of a cascade (the LDM paper's sections 3.3 and 4.4; Ho et al. 2021): a small UNet
//! paints the latent once more at twice the sides, beside the first one's, which is enlarged by
//! repetition and blurred with noise of a fixed level, so that what the first stage got wrong is not
//! taken for certain.
//!
//! The UNet's input is `[1, 2h, 2w, 2 channels]`: the noisy latent, then the condition. Its config says
//! in a field that diffusers ignores how it was trained: `"_pochade": {"steps": 4,
//! "condition_timestep": 200}`.
//!
//! One seed means one picture: the generator that drew the first stage's noise goes on, and draws the
//! condition's noise and then that which the second stage begins with, each as PyTorch draws `[1,
//! channels, 2h, 2w]`.

use pochade_engine::Plan;
use serde_json::Value as Json;

use super::memory::{Work, graph};
use super::{PaintError, denoise};
use crate::diffusion::{
    LatentShape, Level, Sampler, SamplerKind, SamplerSettings, SchedulerConfig, SeedNoise, sampler,
};
use crate::files::{Component, ModelFiles, Weights};
use crate::nets::{Conditioning, UNetConfig};

/// How a model's second stage was trained.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Upscaling {
    /// How many times it is asked.
    pub steps: usize,
    /// How much signal and noise its condition has.
    level: Level,
}

impl Upscaling {
    /// What a model's configs say, where it has a second stage.
    pub fn of(files: &ModelFiles) -> Result<Option<Self>, PaintError> {
        if !files.has(Component::Upscaler) {
            return Ok(None);
        }
        let scheduler = SchedulerConfig::from_diffusers(files.config(Component::Scheduler)?)?;
        let base = denoise::config(files, Component::Unet)?;
        check_channels(files, base.out_channels)?;
        let steps = advice(files, "steps", 1..=scheduler.train_timesteps)?;
        let timestep = advice(files, "condition_timestep", 0..=scheduler.train_timesteps - 1)?;
        let upscaling = Self { steps, level: scheduler.schedule().level(timestep) };
        upscaling.sampler(&scheduler)?;
        Ok(Some(upscaling))
    }

    /// The model's own noise is removed by DDIM.
    pub fn sampler(&self, scheduler: &SchedulerConfig) -> Result<Box<dyn Sampler>, PaintError> {
        let settings = SamplerSettings { kind: SamplerKind::Ddim, steps: self.steps, eta: 0.0 };
        Ok(sampler(scheduler, settings)?)
    }

    /// The condition for the latent of the first stage: `[h, w, channels] -> [2h, 2w, channels]`.
    pub fn condition(&self, latent: &[f32], shape: LatentShape, noise: &mut SeedNoise) -> Vec<f32> {
        let doubled = LatentShape { height: 2 * shape.height, width: 2 * shape.width, ..shape };
        let mut condition = vec![0.0; doubled.len()];
        noise.draw(doubled, &mut condition);
        for (place, pixel) in condition.chunks_exact_mut(shape.channels).enumerate() {
            let (y, x) = (place / doubled.width / 2, place % doubled.width / 2);
            let from = &latent[(y * shape.width + x) * shape.channels..];
            for (noise, z) in pixel.iter_mut().zip(from) {
                *noise = self.level.alpha * z + self.level.sigma * *noise;
            }
        }
        condition
    }
}

/// A whole number that the upscaler's config must state.
fn advice(
    files: &ModelFiles,
    field: &str,
    range: std::ops::RangeInclusive<usize>,
) -> Result<usize, PaintError> {
    let fields = files.fields(Component::Upscaler)?;
    let stated = fields.get("_pochade").and_then(|advice| advice.get(field)).and_then(Json::as_u64);
    let stated = stated.and_then(|number| usize::try_from(number).ok());
    stated.filter(|number| range.contains(number)).ok_or_else(|| {
        let (least, most) = (range.start(), range.end());
        let problem = format!("must be a whole number from {least} to {most}");
        fields.wrong(&format!("_pochade.{field}"), &problem).into()
    })
}

/// The second stage knows latents of so many channels, and is told nothing but one of them.
fn check_channels(files: &ModelFiles, channels: usize) -> Result<(), PaintError> {
    let fields = files.fields(Component::Upscaler)?;
    let config = denoise::config(files, Component::Upscaler)?;
    let wrong = |field: &str, problem: String| Err(fields.wrong(field, &problem).into());
    let UNetConfig { in_channels, out_channels, .. } = config;
    if out_channels != channels {
        return wrong("out_channels", format!("must be {channels}, as the UNet's"));
    }
    if in_channels != 2 * channels {
        return wrong("in_channels", format!("must be {}, twice the UNet's", 2 * channels));
    }
    match Conditioning::of(&config) {
        Conditioning::Concat if config.vector_width().is_none() => Ok(()),
        _ => wrong("_class_name", "must be UNet2DModel without classes".to_owned()),
    }
}

/// How many steps of the first stage a step of the second one is worth, by what they compute.
pub(super) fn worth(files: &ModelFiles, work: Work) -> Result<f64, PaintError> {
    let macs = |part: Component| {
        let weights = files.weights(part)?;
        let graph = graph(files, part, &Weights::hollow(&weights), work)?;
        let plan = Plan::new(&graph).map_err(|e| PaintError::Graph(part.name(), e))?;
        Ok::<_, PaintError>(plan.macs() as f64)
    };
    Ok(macs(Component::Upscaler)? / macs(Component::Unet)?.max(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_of_the_latent_becomes_four_with_noise_of_their_own() {
        let shape = LatentShape { channels: 2, height: 2, width: 3 };
        let latent: Vec<f32> = (0..12).map(|v| v as f32).collect();
        let condition = |level| {
            let upscaling = Upscaling { steps: 1, level };
            upscaling.condition(&latent, shape, &mut SeedNoise::new(3, None))
        };
        let clean = condition(Level::CLEAN);
        let row = [0.0, 1.0, 0.0, 1.0, 2.0, 3.0, 2.0, 3.0, 4.0, 5.0, 4.0, 5.0];
        assert_eq!(clean[..24], [row, row].concat());
        assert_eq!(clean[24..36], row.map(|v| v + 6.0));
        let doubled = LatentShape { channels: 2, height: 4, width: 6 };
        let mut noise = vec![0.0; doubled.len()];
        SeedNoise::new(3, None).draw(doubled, &mut noise);
        let noisy = condition(Level { alpha: 0.5, sigma: 2.0 });
        let expected = clean.iter().zip(&noise).map(|(z, noise)| 0.5 * z + 2.0 * noise);
        assert_eq!(noisy, expected.collect::<Vec<_>>());
    }
}
