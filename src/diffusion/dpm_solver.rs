//! DPM-Solver++(2M): the probability-flow equation solved exactly but for the network, whose
//! answers are extrapolated from the last two (Lu et al. 2022, algorithm 2).
//!
//! `lambda` is the logarithm of signal over noise; a step is long by its growth `h`.

use super::sampler::{NoiseSource, Sampler};
use super::spacing;
use super::{DiffusionError, Level, Prediction, SchedulerConfig, SolverType, Spacing, sigmas};

/// The factors of one step: `x = current * x + newest * d0 + change * (d0 - d1)`, where `d0` and
/// `d1` are the newest and the previous clean latents.
#[derive(Clone, Copy, Debug)]
struct Step {
    timestep: usize,
    level: Level,
    current: f32,
    newest: f32,
    change: f32,
}

/// The DPM-Solver++ sampler of first or second order.
#[derive(Debug)]
pub(super) struct DpmSolverSampler {
    steps: Vec<Step>,
    prediction: Prediction,
    denoised: Vec<f32>,
    previous: Vec<f32>,
}

impl DpmSolverSampler {
    /// `steps` steps with the spacing of `config`, or spaced after Karras.
    ///
    /// There are fewer steps where `lambda_min_clipped` leaves out timesteps.
    pub(super) fn new(
        config: &SchedulerConfig,
        steps: usize,
        karras: bool,
    ) -> Result<Self, DiffusionError> {
        let table = config.schedule().sigmas();
        let (timesteps, mut sigmas) = if karras {
            karras_steps(config, &table, steps)
        } else {
            spaced_steps(config, &table, steps)?
        };
        if sigmas.windows(2).any(|pair| pair[1] >= pair[0]) {
            // Two steps would share a noise level, and the extrapolation divide by zero.
            return Err(DiffusionError::Steps {
                steps,
                most: (config.train_timesteps / 2 - 1).max(1),
            });
        }
        sigmas.push(if config.final_sigma_zero { 0.0 } else { table[0] });
        Ok(Self {
            steps: solver_steps(config, &timesteps, &sigmas),
            prediction: config.prediction,
            denoised: Vec::new(),
            previous: Vec::new(),
        })
    }
}

/// Timesteps and sigmas after Karras, over the whole schedule.
fn karras_steps(config: &SchedulerConfig, table: &[f32], steps: usize) -> (Vec<usize>, Vec<f32>) {
    let (least, most) = (f64::from(table[0]), f64::from(table[table.len() - 1]));
    let levels = sigmas::karras(least, most, steps);
    let logs = sigmas::logs(table);
    let cosine = config.betas == super::BetaSchedule::Cosine;
    let timestep = |sigma: &f64| {
        let t = sigmas::timestep_of(*sigma, &logs);
        (if cosine { t } else { t.round_ties_even() }) as usize
    };
    (levels.iter().map(timestep).collect(), levels.iter().map(|sigma| *sigma as f32).collect())
}

/// Timesteps with the spacing of `config`, and their sigmas. One more is counted out and the one
/// nearest to the picture is dropped, as in diffusers.
fn spaced_steps(
    config: &SchedulerConfig,
    table: &[f32],
    steps: usize,
) -> Result<(Vec<usize>, Vec<f32>), DiffusionError> {
    let kept = table.len() - clipped(config, table);
    let mut timesteps = match config.spacing {
        Spacing::Linspace => spacing::linspace(kept.saturating_sub(1) as f64, steps + 1),
        Spacing::Leading => spacing::leading(kept / (steps + 1), steps + 1, config.steps_offset),
        Spacing::Trailing => {
            spacing::trailing(kept as f64, table.len() as f64 / steps as f64, steps)
        }
    };
    if config.spacing != Spacing::Trailing {
        timesteps.truncate(steps);
    }
    let timesteps = super::sampler::whole_timesteps(config, timesteps)?;
    let sigmas = timesteps.iter().map(|t| table[*t]).collect();
    Ok((timesteps, sigmas))
}

/// How many of the noisiest timesteps fall below `lambda_min_clipped`; one is always kept.
fn clipped(config: &SchedulerConfig, table: &[f32]) -> usize {
    let lambda = |sigma: f32| log_ratio(Level::of_sigma(sigma));
    let below = table.iter().filter(|sigma| lambda(**sigma) < config.lambda_min_clipped).count();
    below.min(table.len() - 1)
}

fn log_ratio(level: Level) -> f32 {
    libm::logf(level.alpha) - libm::logf(level.sigma)
}

/// The factors of every step. `sigmas` has one more than `timesteps`.
fn solver_steps(config: &SchedulerConfig, timesteps: &[usize], sigmas: &[f32]) -> Vec<Step> {
    let levels: Vec<Level> = sigmas.iter().map(|sigma| Level::of_sigma(*sigma)).collect();
    let count = timesteps.len();
    let first_order = |i: usize| {
        let at_end = config.euler_at_final
            || config.final_sigma_zero
            || config.lower_order_final && count < 15;
        i == 0 || config.solver_order == 1 || (i + 1 == count && at_end)
    };
    let step = |(i, timestep): (usize, &usize)| {
        let previous = (!first_order(i)).then(|| levels[i - 1]);
        Step::new(*timestep, previous, [levels[i], levels[i + 1]], config.solver_type)
    };
    timesteps.iter().enumerate().map(step).collect()
}

impl Step {
    /// From `now` to `next`; of second order where the level before is given.
    fn new(
        timestep: usize,
        previous: Option<Level>,
        [now, next]: [Level; 2],
        solver: SolverType,
    ) -> Self {
        let h = log_ratio(next) - log_ratio(now);
        let shrunk = libm::expf(-h) - 1.0;
        let newest = -(next.alpha * shrunk);
        let change = previous.map_or(0.0, |previous| {
            let ratio = (log_ratio(now) - log_ratio(previous)) / h;
            let factor = match solver {
                SolverType::Midpoint => 0.5 * newest,
                SolverType::Heun => next.alpha * (shrunk / h + 1.0),
            };
            factor * (1.0 / ratio)
        });
        Self { timestep, level: now, current: next.sigma / now.sigma, newest, change }
    }
}

impl Sampler for DpmSolverSampler {
    fn len(&self) -> usize {
        self.steps.len()
    }

    fn timestep(&self, i: usize) -> f32 {
        self.steps[i].timestep as f32
    }

    fn level(&self, i: usize) -> Level {
        self.steps.get(i).map_or(Level::CLEAN, |step| step.level)
    }

    fn step(&mut self, i: usize, output: &[f32], x: &mut [f32], _noise: &mut NoiseSource<'_>) {
        let step = self.steps[i];
        let first = i == 0 || self.denoised.is_empty();
        std::mem::swap(&mut self.previous, &mut self.denoised);
        self.denoised.clear();
        let predicted = x.iter().zip(output);
        let prediction = self.prediction;
        self.denoised.extend(predicted.map(|(x, out)| prediction.denoised(step.level, *x, *out)));
        if first {
            self.previous.clone_from(&self.denoised);
        }
        for ((x, d0), d1) in x.iter_mut().zip(&self.denoised).zip(&self.previous) {
            *x = step.current * *x + step.newest * d0 + step.change * (d0 - d1);
        }
    }

    fn denoised(&self) -> &[f32] {
        &self.denoised
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diffusion::{SamplerKind, SamplerSettings, sampler};
    use serde_json::json;

    #[test]
    fn clipping_the_darkest_timesteps_of_a_cosine_schedule_starts_lower() {
        let json = json!({
            "_class_name": "DPMSolverMultistepScheduler", "beta_schedule": "squaredcos_cap_v2",
            "lambda_min_clipped": -5.1,
        });
        let config = SchedulerConfig::from_diffusers(&json).unwrap();
        let settings = SamplerSettings { kind: SamplerKind::DpmSolver, steps: 10, eta: 0.0 };
        assert!(sampler(&config, settings).unwrap().timestep(0) < 999.0);
    }
}
