//! What the network predicts, and the way from there to the clean latent and to the noise.
//!
//! A noisy latent is `x = alpha * x0 + sigma * noise`. From `x` and any one of the noise, `x0`,
//! the velocity of a variance-preserving process (Salimans and Ho 2022) or the velocity of a
//! straight flow, the others follow.

/// What the network was trained to predict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prediction {
    /// The noise (`epsilon`): the LDM paper, equation 1.
    Epsilon,
    /// The velocity `alpha * noise - sigma * x0` (`v_prediction`).
    Velocity,
    /// The clean latent (`sample`).
    Sample,
    /// The velocity of a straight path, `noise - x0` (`flow_prediction`).
    Flow,
}

/// How much signal and noise a latent has.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Level {
    /// Factor of the clean latent.
    pub alpha: f32,
    /// Factor of the noise.
    pub sigma: f32,
}

impl Level {
    /// No noise at all.
    pub const CLEAN: Self = Self { alpha: 1.0, sigma: 0.0 };

    /// The level at which a share `a` of the variance is signal.
    pub fn of_alpha_cumprod(a: f32) -> Self {
        Self { alpha: a.sqrt(), sigma: (1.0 - a).sqrt() }
    }

    /// The level of unit variance whose ratio of noise to signal is `sigma`.
    pub fn of_sigma(sigma: f32) -> Self {
        let alpha = 1.0 / (sigma * sigma + 1.0).sqrt();
        Self { alpha, sigma: sigma * alpha }
    }
}

impl Prediction {
    /// The clean latent that `output` implies for the noisy `x`.
    #[inline]
    pub fn denoised(self, level: Level, x: f32, output: f32) -> f32 {
        match self {
            Self::Epsilon => (x - level.sigma * output) / level.alpha,
            Self::Velocity => level.alpha * x - level.sigma * output,
            Self::Sample => output,
            Self::Flow => x - level.sigma * output,
        }
    }

    /// The noise that `output` implies for the noisy `x`.
    #[inline]
    pub fn noise(self, level: Level, x: f32, output: f32) -> f32 {
        match self {
            Self::Epsilon => output,
            Self::Velocity => level.alpha * output + level.sigma * x,
            Self::Sample => (x - level.alpha * output) / level.sigma,
            Self::Flow => x + level.alpha * output,
        }
    }

    /// The clean latent in k-diffusion's form, where `x = x0 + sigma * noise`.
    #[inline]
    pub fn denoised_exploding(self, sigma: f32, x: f32, output: f32) -> f32 {
        match self {
            Self::Epsilon | Self::Flow => x - sigma * output,
            Self::Velocity => {
                let variance = sigma * sigma + 1.0;
                output * (-sigma / variance.sqrt()) + x / variance
            }
            Self::Sample => output,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_prediction_leads_back_to_picture_and_noise(
            x0 in -3f32..3.0, noise in -3f32..3.0, share in 0.05f32..0.95,
        ) {
            let level = Level::of_alpha_cumprod(share);
            let x = level.alpha * x0 + level.sigma * noise;
            let velocity = level.alpha * noise - level.sigma * x0;
            let outputs = [
                (Prediction::Epsilon, noise),
                (Prediction::Sample, x0),
                (Prediction::Velocity, velocity),
            ];
            for (prediction, output) in outputs {
                prop_assert!((prediction.denoised(level, x, output) - x0).abs() < 1e-4);
                prop_assert!((prediction.noise(level, x, output) - noise).abs() < 1e-4);
                let sigma = level.sigma / level.alpha;
                let exploding = prediction.denoised_exploding(sigma, x / level.alpha, output);
                prop_assert!((exploding - x0).abs() < 1e-4);
            }
        }

        #[test]
        fn a_flow_leads_back_to_picture_and_noise(
            x0 in -3f32..3.0, noise in -3f32..3.0, sigma in 0f32..1.0,
        ) {
            let level = Level { alpha: 1.0 - sigma, sigma };
            let x = level.alpha * x0 + sigma * noise;
            prop_assert!((Prediction::Flow.denoised(level, x, noise - x0) - x0).abs() < 1e-5);
            prop_assert!((Prediction::Flow.noise(level, x, noise - x0) - noise).abs() < 1e-5);
        }
    }
}
