//! The forward process: how much of the picture is left at each timestep (LDM paper, appendix B).
//!
//! `alphas_cumprod[t]` is the share of signal variance at timestep `t`, `[train_timesteps]`,
//! falling from almost 1 to almost 0. It is kept in `f32` and computed in the order in which
//! PyTorch computes it, because `1 - alphas_cumprod[0]` has few digits left: a more exact schedule
//! would be another schedule.

use super::Level;

/// Where the noise variance added per timestep (beta) comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum BetaSchedule {
    /// Evenly spaced from `start` to `end` (DDPM, section 4).
    Linear {
        /// First beta.
        start: f64,
        /// Last beta.
        end: f64,
    },
    /// The square roots evenly spaced: what the LDM code calls "linear".
    ScaledLinear {
        /// First beta.
        start: f64,
        /// Last beta.
        end: f64,
    },
    /// The squared cosine of improved DDPM, betas capped at 0.999.
    Cosine,
    /// Given one by one, `[train_timesteps]`.
    Trained(Vec<f32>),
}

impl BetaSchedule {
    /// The betas, `[timesteps]`; a trained list keeps its own length.
    fn betas(&self, timesteps: usize) -> Vec<f32> {
        match self {
            Self::Linear { start, end } => linspace(*start as f32, *end as f32, timesteps),
            Self::ScaledLinear { start, end } => {
                let roots = linspace(start.sqrt() as f32, end.sqrt() as f32, timesteps);
                roots.into_iter().map(|root| root * root).collect()
            }
            Self::Cosine => cosine_betas(timesteps),
            Self::Trained(betas) => betas.clone(),
        }
    }
}

/// The share of signal left at every timestep.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    alphas_cumprod: Vec<f32>,
}

impl Schedule {
    /// The schedule of `timesteps` betas. With `zero_terminal_snr` it is stretched so that nothing
    /// of the picture is left at the last timestep (Lin et al. 2023, algorithm 1).
    pub fn new(betas: &BetaSchedule, timesteps: usize, zero_terminal_snr: bool) -> Self {
        let betas = betas.betas(timesteps);
        let alphas: Vec<f32> = betas.iter().map(|beta| 1.0 - beta).collect();
        let alphas_cumprod = running_product(&alphas);
        if zero_terminal_snr && alphas_cumprod.len() > 1 {
            return Self { alphas_cumprod: without_terminal_signal(&alphas_cumprod) };
        }
        Self { alphas_cumprod }
    }

    /// Number of training timesteps.
    pub fn len(&self) -> usize {
        self.alphas_cumprod.len()
    }

    /// Whether there are no timesteps.
    pub fn is_empty(&self) -> bool {
        self.alphas_cumprod.is_empty()
    }

    /// Share of signal variance at every timestep, `[len]`.
    pub fn alphas_cumprod(&self) -> &[f32] {
        &self.alphas_cumprod
    }

    /// How much signal and noise a latent has at timestep `t`, both at unit variance.
    pub fn level(&self, t: usize) -> Level {
        Level::of_alpha_cumprod(self.alphas_cumprod[t])
    }

    /// Noise over signal at every timestep, `[len]`: the k-diffusion samplers' sigma. Where no
    /// signal is left it would be infinite; `2^-24` of signal stands in, as in diffusers.
    pub fn sigmas(&self) -> Vec<f32> {
        const LEAST: f32 = 1.0 / 16_777_216.0;
        let floor = |a: f32| if a == 0.0 { LEAST } else { a };
        self.alphas_cumprod.iter().map(|a| floor(*a)).map(|a| ((1.0 - a) / a).sqrt()).collect()
    }
}

/// PyTorch's `linspace` in `f32`: counted from the start in the first half, from the end in the
/// second, each value rounded once.
fn linspace(start: f32, end: f32, count: usize) -> Vec<f32> {
    if count < 2 {
        return vec![start; count];
    }
    let step = f64::from((end - start) / (count - 1) as f32);
    let value = |i: usize| {
        if i < count / 2 {
            f64::from(start) + step * i as f64
        } else {
            f64::from(end) - step * (count - 1 - i) as f64
        }
    };
    (0..count).map(|i| value(i) as f32).collect()
}

/// Betas whose running product of `1 - beta` is a squared cosine (Nichol and Dhariwal 2021).
fn cosine_betas(timesteps: usize) -> Vec<f32> {
    let signal = |i: usize| {
        let t = i as f64 / timesteps as f64;
        let cos = libm::cos((t + 0.008) / 1.008 * std::f64::consts::PI / 2.0);
        cos * cos
    };
    (0..timesteps).map(|i| (1.0 - signal(i + 1) / signal(i)).min(0.999) as f32).collect()
}

/// Products of the first 1, 2, ... values, multiplied in `f64` and rounded one by one.
fn running_product(values: &[f32]) -> Vec<f32> {
    let mut product = 1.0_f64;
    let next = |value: &f32| {
        product *= f64::from(*value);
        product as f32
    };
    values.iter().map(next).collect()
}

/// Shifts and stretches the square roots so that the last is 0 and the first stays, then goes
/// the way back through betas, as the reference does, for the same rounding.
fn without_terminal_signal(alphas_cumprod: &[f32]) -> Vec<f32> {
    let roots: Vec<f32> = alphas_cumprod.iter().map(|a| a.sqrt()).collect();
    let (first, last) = (roots[0], roots[roots.len() - 1]);
    let stretch = first / (first - last);
    let squares: Vec<f32> =
        roots.iter().map(|root| (root - last) * stretch).map(|root| root * root).collect();
    let ratios = squares.windows(2).map(|pair| pair[1] / pair[0]);
    let alphas: Vec<f32> =
        std::iter::once(squares[0]).chain(ratios).map(|alpha| 1.0 - (1.0 - alpha)).collect();
    running_product(&alphas)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signal_never_grows() {
        for betas in [
            BetaSchedule::Linear { start: 1e-4, end: 0.02 },
            BetaSchedule::ScaledLinear { start: 0.00085, end: 0.012 },
            BetaSchedule::Cosine,
        ] {
            let schedule = Schedule::new(&betas, 1000, true);
            assert!(schedule.alphas_cumprod().windows(2).all(|w| w[1] < w[0]), "{betas:?}");
            assert_eq!(schedule.alphas_cumprod()[999], 0.0);
            assert_eq!(schedule.sigmas()[999], 4096.0 * (1.0 - 2f32.powi(-24)).sqrt());
        }
    }

    #[test]
    fn one_timestep_is_a_schedule_too() {
        let betas = BetaSchedule::Linear { start: 0.1, end: 0.2 };
        assert_eq!(Schedule::new(&betas, 1, true).alphas_cumprod(), [0.9]);
    }
}
