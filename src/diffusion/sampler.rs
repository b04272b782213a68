//! One interface to every sampler, their names, and the choice among them.

use std::fmt;
use std::str::FromStr;

use super::ddim::DdimSampler;
use super::ddpm::DdpmSampler;
use super::dpm_solver::DpmSolverSampler;
use super::euler::EulerSampler;
use super::euler_ancestral::EulerAncestralSampler;
use super::flow_euler::FlowEulerSampler;
use super::lcm::LcmSampler;
use super::{DiffusionError, Level, Prediction, SchedulerConfig, Spacing};

/// Fills a slice with unit normal noise, in the layout of the latent.
pub type NoiseSource<'a> = dyn FnMut(&mut [f32]) + 'a;

/// Removes noise from a latent, step by step, by asking a network.
///
/// A run starts at `x = init_noise_sigma * noise`. Then for every `i` below `len`: the network is
/// given `scale_input(i, x)` and `timestep(i)`, and its answer goes to `step(i)`, which turns `x`
/// into the latent of the next step, or after the last into the clean one.
pub trait Sampler: fmt::Debug + Send {
    /// Number of steps, which is the number of times the network is asked.
    fn len(&self) -> usize;

    /// Whether there are no steps.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The timestep the network is told at step `i`, below `len`.
    fn timestep(&self, i: usize) -> f32;

    /// Standard deviation of the latent that a run starts from.
    fn init_noise_sigma(&self) -> f32 {
        1.0
    }

    /// Writes to `input` what the network must be given for the latent `x`, of the same length.
    fn scale_input(&self, _i: usize, x: &[f32], input: &mut [f32]) {
        input.copy_from_slice(x);
    }

    /// How much signal and noise the latent has before step `i`, or for `i` of `len` at the end. A
    /// run that starts from a picture starts at any `i`, with `x = alpha * latent + sigma * noise`.
    fn level(&self, i: usize) -> Level;

    /// Takes the network's `output` for step `i`, as long as `x`, and moves `x` one step on.
    ///
    /// Samplers that add fresh noise draw it from `noise`, once per step at most. Steps must come
    /// in order; a sampler that looks back starts afresh at step 0
    /// and when it is new.
    fn step(&mut self, i: usize, output: &[f32], x: &mut [f32], noise: &mut NoiseSource<'_>);

    /// The clean latent as the last step saw it coming, for previews; empty before the first step.
    fn denoised(&self) -> &[f32];
}

/// A sampler by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SamplerKind {
    /// DDIM (Song et al. 2020), deterministic unless eta is raised.
    Ddim,
    /// Euler's rule on the probability-flow equation (Karras et al. 2022, algorithm 2 with no
    /// churn); on a flow model, along the flow.
    Euler,
    /// Euler's rule with fresh noise after each step, as k-diffusion's ancestral sampling.
    EulerAncestral,
    /// DPM-Solver++ of second order, multistep (Lu et al. 2022).
    DpmSolver,
    /// The same with noise levels spaced after Karras.
    DpmSolverKarras,
    /// Latent consistency models (Luo et al. 2023): few steps, for models distilled to it.
    Lcm,
    /// The DDPM ancestral sampler (Ho et al. 2020).
    Ddpm,
}

impl SamplerKind {
    /// Every sampler.
    pub const ALL: [Self; 7] = [
        Self::Ddim,
        Self::Euler,
        Self::EulerAncestral,
        Self::DpmSolver,
        Self::DpmSolverKarras,
        Self::Lcm,
        Self::Ddpm,
    ];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ddim => "ddim",
            Self::Euler => "euler",
            Self::EulerAncestral => "euler_a",
            Self::DpmSolver => "dpm++2m",
            Self::DpmSolverKarras => "dpm++2m_karras",
            Self::Lcm => "lcm",
            Self::Ddpm => "ddpm",
        }
    }

    /// The name that other programs show and write into pictures.
    pub fn display_name(self) -> &'static str {
        match self {
            Self::Ddim => "DDIM",
            Self::Euler => "Euler",
            Self::EulerAncestral => "Euler a",
            Self::DpmSolver => "DPM++ 2M",
            Self::DpmSolverKarras => "DPM++ 2M Karras",
            Self::Lcm => "LCM",
            Self::Ddpm => "DDPM",
        }
    }
}

impl fmt::Display for SamplerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.display_name())
    }
}

impl FromStr for SamplerKind {
    type Err = DiffusionError;

    /// Reads either name, whatever its case, spaces, hyphens and underscores.
    fn from_str(name: &str) -> Result<Self, DiffusionError> {
        let wanted = plain(name);
        Self::ALL
            .into_iter()
            .find(|kind| plain(kind.name()) == wanted)
            .ok_or_else(|| DiffusionError::UnknownSampler(name.to_owned()))
    }
}

/// The name without what people write differently.
fn plain(name: &str) -> String {
    let name: String =
        name.chars().filter(|c| !" _-".contains(*c)).collect::<String>().to_lowercase();
    name.replace("dpmpp", "dpm++").replace("eulerancestral", "eulera")
}

/// What a run asks of a sampler.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SamplerSettings {
    /// Which sampler.
    pub kind: SamplerKind,
    /// Number of steps, from 1 to the number of training timesteps.
    pub steps: usize,
    /// Share of fresh noise in DDIM's steps, from 0 (none) to 1 (as DDPM); others ignore it.
    pub eta: f32,
}

/// The sampler for a run.
///
/// # Errors
/// When the number of steps or eta is out of range, or the sampler cannot work with what the model
/// predicts.
pub fn sampler(
    config: &SchedulerConfig,
    settings: SamplerSettings,
) -> Result<Box<dyn Sampler>, DiffusionError> {
    let SamplerSettings { kind, steps, eta } = settings;
    let most = config.train_timesteps;
    if !(1..=most).contains(&steps) {
        return Err(DiffusionError::Steps { steps, most });
    }
    if !(0.0..=1.0).contains(&eta) {
        return Err(DiffusionError::Eta(eta));
    }
    if config.prediction == Prediction::Flow {
        return flow_sampler(config, kind, steps);
    }
    Ok(match kind {
        SamplerKind::Ddim => Box::new(DdimSampler::new(config, steps, eta)?),
        SamplerKind::Ddpm => Box::new(DdpmSampler::new(config, steps)?),
        SamplerKind::Lcm => Box::new(LcmSampler::new(config, steps)?),
        SamplerKind::Euler | SamplerKind::EulerAncestral => euler_sampler(config, kind, steps)?,
        SamplerKind::DpmSolver => Box::new(DpmSolverSampler::new(config, steps, false)?),
        SamplerKind::DpmSolverKarras => Box::new(DpmSolverSampler::new(config, steps, true)?),
    })
}

/// Euler's rule with or without fresh noise. Between timesteps it interpolates, so only the highest
/// one matters.
fn euler_sampler(
    config: &SchedulerConfig,
    kind: SamplerKind,
    steps: usize,
) -> Result<Box<dyn Sampler>, DiffusionError> {
    let leading = config.spacing == Spacing::Leading;
    if leading && last_leading(config, steps) >= config.train_timesteps {
        return Err(DiffusionError::Steps { steps, most: most_leading_steps(config) });
    }
    Ok(match kind {
        SamplerKind::EulerAncestral => Box::new(EulerAncestralSampler::new(config, steps)),
        _ => Box::new(EulerSampler::new(config, steps)),
    })
}

fn flow_sampler(
    config: &SchedulerConfig,
    kind: SamplerKind,
    steps: usize,
) -> Result<Box<dyn Sampler>, DiffusionError> {
    match kind {
        SamplerKind::Euler => Ok(Box::new(FlowEulerSampler::new(config, steps))),
        _ => Err(DiffusionError::Mismatch {
            sampler: kind,
            reason: "the model predicts a flow; take 'euler'",
        }),
    }
}

/// Whole timesteps below the number of training timesteps, or the error that says how many steps
/// would have fitted.
pub(super) fn whole_timesteps(
    config: &SchedulerConfig,
    timesteps: Vec<f64>,
) -> Result<Vec<usize>, DiffusionError> {
    let whole: Vec<usize> = timesteps.iter().map(|t| t.round_ties_even() as usize).collect();
    if whole.iter().all(|t| *t < config.train_timesteps) {
        return Ok(whole);
    }
    Err(DiffusionError::Steps { steps: whole.len(), most: most_leading_steps(config) })
}

/// The most steps whose leading timesteps stay in range with the model's offset.
fn most_leading_steps(config: &SchedulerConfig) -> usize {
    let train = config.train_timesteps;
    (1..=train).take_while(|steps| last_leading(config, *steps) < train).last().unwrap_or(1)
}

/// The first timestep of a run with leading spacing, which is its highest.
fn last_leading(config: &SchedulerConfig, steps: usize) -> usize {
    (steps - 1) * (config.train_timesteps / steps) + config.steps_offset
}

/// The noise predicted where no signal is left says nothing of the picture.
pub(super) fn refuse_epsilon_without_signal(
    config: &SchedulerConfig,
    kind: SamplerKind,
    alphas_cumprod: impl IntoIterator<Item = f32>,
) -> Result<(), DiffusionError> {
    let blind = alphas_cumprod.into_iter().any(|a| a == 0.0);
    if blind && config.prediction == Prediction::Epsilon {
        let reason = "the model predicts noise, but its schedule starts without any signal; \
                      take 'euler', or correct 'prediction_type' in its scheduler's configuration";
        return Err(DiffusionError::Mismatch { sampler: kind, reason });
    }
    Ok(())
}

/// Holds `value` within plus and minus the limit, where there is one.
#[inline]
pub(super) fn clip(value: f32, limit: Option<f32>) -> f32 {
    limit.map_or(value, |limit| value.clamp(-limit, limit))
}

/// Adds `scale` times fresh noise to `x`; `buffer` is kept between calls.
pub(super) fn add_noise(
    x: &mut [f32],
    scale: f32,
    buffer: &mut Vec<f32>,
    noise: &mut NoiseSource<'_>,
) {
    buffer.resize(x.len(), 0.0);
    noise(buffer);
    for (x, fresh) in x.iter_mut().zip(buffer.iter()) {
        *x += scale * fresh;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    const SPACINGS: [&str; 3] = ["leading", "trailing", "linspace"];
    const PREDICTIONS: [&str; 4] = ["epsilon", "v_prediction", "sample", "flow_prediction"];

    proptest! {
        #[test]
        fn any_schedule_and_any_number_of_steps_is_run_or_refused(
            train in 2usize..60, steps in 0usize..70, offset in 0usize..3, kind in 0usize..7,
            spacing in 0usize..3, prediction in 0usize..4, zero in any::<bool>(),
        ) {
            let json = json!({
                "num_train_timesteps": train, "steps_offset": offset.min(train - 1),
                "timestep_spacing": SPACINGS[spacing],
                "prediction_type": PREDICTIONS[prediction],
                "rescale_betas_zero_snr": zero, "clip_sample": false,
            });
            let config = SchedulerConfig::from_diffusers(&json).unwrap();
            let settings = SamplerSettings { kind: SamplerKind::ALL[kind], steps, eta: 1.0 };
            let Ok(mut sampler) = sampler(&config, settings) else { return Ok(()) };
            prop_assert!((1..=steps).contains(&sampler.len()));
            let mut x = [0.5_f32, -1.0, 2.0].map(|x| x * sampler.init_noise_sigma());
            for i in 0..sampler.len() {
                prop_assert!((0.0..=train as f32).contains(&sampler.timestep(i)));
                let mut input = [0.0; 3];
                sampler.scale_input(i, &x, &mut input);
                sampler.step(i, &input, &mut x, &mut |noise| noise.fill(0.1));
                prop_assert!(x.iter().all(|x| x.is_finite()), "step {} of {:?}", i, sampler);
                prop_assert_eq!(sampler.denoised().len(), 3);
            }
        }
    }

    #[test]
    fn a_network_that_knows_the_picture_leads_back_to_it_from_any_step() {
        let (picture, noise) = ([0.5_f32, -1.0, 2.0], [0.3_f32, 1.0, -0.7]);
        for (kind, flow) in SamplerKind::ALL
            .map(|kind| (kind, false))
            .into_iter()
            .chain([(SamplerKind::Euler, true)])
        {
            let prediction = if flow { "flow_prediction" } else { "epsilon" };
            let json = json!({
                "prediction_type": prediction, "clip_sample": false,
                "_class_name": if flow { "FlowMatchEulerDiscreteScheduler" } else { "DDIMScheduler" },
            });
            let config = SchedulerConfig::from_diffusers(&json).unwrap();
            for first in [0, 3, 7] {
                let settings = SamplerSettings { kind, steps: 8, eta: 0.0 };
                let mut sampler = sampler(&config, settings).unwrap();
                let Level { alpha, sigma } = sampler.level(first);
                let mut x = [0, 1, 2].map(|i| alpha * picture[i] + sigma * noise[i]);
                for i in first..8 {
                    let Level { alpha, sigma } = sampler.level(i);
                    let noise = [0, 1, 2].map(|i| (x[i] - alpha * picture[i]) / sigma);
                    let answer =
                        [0, 1, 2].map(|i| if flow { noise[i] - picture[i] } else { noise[i] });
                    sampler.step(i, &answer, &mut x, &mut |fresh| fresh.fill(0.2));
                    let seen = sampler.denoised();
                    let close =
                        |a: &[f32]| a.iter().zip(picture).all(|(a, b)| (a - b).abs() < 2e-2);
                    assert!(close(seen), "{kind} from {first}: {seen:?} at {i}");
                }
                assert!(sampler.level(8).sigma < 0.05, "{kind}");
                let far = x.iter().zip(picture).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(far < 0.06, "{kind} from {first}: {x:?}");
            }
        }
    }

    #[test]
    fn a_sampler_is_known_by_all_its_names() {
        for kind in SamplerKind::ALL {
            assert_eq!(kind.name().parse(), Ok(kind));
            assert_eq!(kind.display_name().parse(), Ok(kind));
        }
        assert_eq!("dpmpp_2m".parse(), Ok(SamplerKind::DpmSolver));
        assert_eq!("Euler Ancestral".parse(), Ok(SamplerKind::EulerAncestral));
    }

    #[test]
    fn an_unknown_sampler_is_answered_with_the_known_ones() {
        let error = "heun".parse::<SamplerKind>().unwrap_err();
        insta::assert_snapshot!(error);
    }

    fn built(json: &serde_json::Value, name: &str, steps: usize, eta: f32) -> String {
        let config = SchedulerConfig::from_diffusers(json).unwrap();
        let settings = SamplerSettings { kind: name.parse().unwrap(), steps, eta };
        sampler(&config, settings).map_or_else(|e| e.to_string(), |s| format!("{} steps", s.len()))
    }

    #[test]
    fn every_sampler_takes_one_step_and_refuses_none_and_too_many() {
        for kind in SamplerKind::ALL {
            let json = json!({ "timestep_spacing": "trailing" });
            assert_eq!(built(&json, kind.name(), 1, 0.0), "1 steps");
            let refused = "steps cannot be taken here: choose from 1 to 1000";
            assert_eq!(built(&json, kind.name(), 0, 0.0), format!("0 {refused}"));
            assert_eq!(built(&json, kind.name(), 1001, 0.0), format!("1001 {refused}"));
        }
    }

    #[test]
    fn what_cannot_be_sampled_is_refused_with_a_remedy() {
        let offset = json!({ "steps_offset": 1 });
        let zero_snr = json!({ "rescale_betas_zero_snr": true, "timestep_spacing": "trailing" });
        let flow = json!({ "_class_name": "FlowMatchEulerDiscreteScheduler" });
        insta::assert_snapshot!(
            [
                built(&offset, "ddim", 1000, 0.0),
                built(&offset, "lcm", 51, 0.0),
                built(&offset, "ddim", 10, 1.5),
                built(&offset, "dpm++2m", 1000, 0.0),
                built(&zero_snr, "ddim", 10, 0.0),
                built(&flow, "ddim", 10, 0.0),
                built(&flow, "euler", 10, 0.0),
            ]
            .join("\n")
        );
    }
}
