//! How a model's noise was scheduled: diffusers' `scheduler_config.json`.
//!
//! A field that is missing means the default of the scheduler class that the file names, for that
//! is what it meant where it was written.

use serde_json::Value;

use super::fields::{Fields, wrong};
use super::scheduler_class::Class;
use super::{BetaSchedule, DiffusionError, Prediction, SamplerKind, Schedule, Spacing};

/// More timesteps than any model was trained with; a file that claims more is refused.
const MOST_TIMESTEPS: usize = 100_000;

/// The second-order formula of DPM-Solver++ (Lu et al. 2022, appendix B).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SolverType {
    /// The one to use with guidance.
    Midpoint,
    /// The one by Heun's rule.
    Heun,
}

/// Everything a model file says about its noise and the way it should be removed.
#[derive(Clone, Debug, PartialEq)]
pub struct SchedulerConfig {
    /// The sampler the file asks for.
    pub sampler: SamplerKind,
    /// The scheduler class that the file names but that has no twin here, if so: say it.
    pub substituted: Option<String>,
    /// Noise per timestep; unused by a flow.
    pub betas: BetaSchedule,
    /// Number of timesteps the model was trained with.
    pub train_timesteps: usize,
    /// Whether the schedule is stretched to end without signal (`rescale_betas_zero_snr`).
    pub zero_terminal_snr: bool,
    /// What the network predicts.
    pub prediction: Prediction,
    /// Which timesteps a run visits.
    pub spacing: Spacing,
    /// Added to leading timesteps (`steps_offset`).
    pub steps_offset: usize,
    /// Predicted latents are held within plus and minus this (`clip_sample`); for models of pixels.
    pub clip: Option<f32>,
    /// Whether the step below timestep 0 ends at a clean latent (`set_alpha_to_one`).
    pub final_alpha_one: bool,
    /// Whether the last sigma is 0 rather than that of timestep 0 (`final_sigmas_type`).
    pub final_sigma_zero: bool,
    /// Whether Euler's sigmas are spaced after Karras (`use_karras_sigmas`).
    pub karras: bool,
    /// Whether DDPM adds the larger of its two variances (`variance_type` = `fixed_large`).
    pub large_variance: bool,
    /// Timesteps that a latent consistency model was distilled at (`original_inference_steps`).
    pub original_steps: usize,
    /// Factor of the timestep in a latent consistency model's boundary condition.
    pub timestep_scaling: f32,
    /// Order of DPM-Solver++, 1 or 2.
    pub solver_order: usize,
    /// Formula of DPM-Solver++.
    pub solver_type: SolverType,
    /// Whether DPM-Solver++ ends with a first-order step when there are fewer than 15.
    pub lower_order_final: bool,
    /// Whether DPM-Solver++ always ends with a first-order step.
    pub euler_at_final: bool,
    /// Timesteps with a lower log signal-to-noise ratio are left out by DPM-Solver++.
    pub lambda_min_clipped: f32,
    /// How far a flow's sigmas are moved towards noise (`shift`).
    pub shift: f64,
}

impl SchedulerConfig {
    /// What diffusers assumes for a class of which the file says nothing but the name.
    fn of_class(class: Class) -> Self {
        Self {
            sampler: class.sampler,
            substituted: class.substituted.then(|| class.name.to_owned()),
            betas: class.betas(),
            train_timesteps: 1000,
            zero_terminal_snr: false,
            prediction: if class.is_flow() { Prediction::Flow } else { Prediction::Epsilon },
            spacing: class.spacing,
            steps_offset: 0,
            clip: class.clips.then_some(1.0),
            final_alpha_one: class.final_alpha_one(),
            final_sigma_zero: true,
            karras: false,
            large_variance: false,
            original_steps: 50,
            timestep_scaling: 10.0,
            solver_order: 2,
            solver_type: SolverType::Midpoint,
            lower_order_final: true,
            euler_at_final: false,
            lambda_min_clipped: f32::NEG_INFINITY,
            shift: 1.0,
        }
    }

    /// Reads diffusers' `scheduler_config.json`.
    ///
    /// # Errors
    /// Names the field whose value is of the wrong type, out of range or not supported.
    pub fn from_diffusers(json: &Value) -> Result<Self, DiffusionError> {
        let fields = Fields(json);
        let class = fields.class()?;
        fields.refuse_unsupported()?;
        let mut config = Self::of_class(class);
        config.read_schedule(&fields)?;
        config.read_prediction(&fields)?;
        config.read_steps(&fields)?;
        config.read_solver(&fields)?;
        Ok(config)
    }

    /// The share of signal left at every timestep.
    pub fn schedule(&self) -> Schedule {
        Schedule::new(&self.betas, self.train_timesteps, self.zero_terminal_snr)
    }

    fn read_schedule(&mut self, fields: &Fields<'_>) -> Result<(), DiffusionError> {
        if let Some(count) = fields.count("num_train_timesteps", 2, MOST_TIMESTEPS)? {
            self.train_timesteps = count;
        }
        self.betas = fields.betas(self.betas.clone(), self.train_timesteps)?;
        fields.set_flag("rescale_betas_zero_snr", &mut self.zero_terminal_snr)?;
        if let Some(shift) = fields.number("shift", 1e-3, 1e3)? {
            self.shift = shift;
        }
        Ok(())
    }

    fn read_prediction(&mut self, fields: &Fields<'_>) -> Result<(), DiffusionError> {
        if let Some(name) = fields.text("prediction_type")? {
            self.prediction = match name {
                "epsilon" => Prediction::Epsilon,
                "v_prediction" => Prediction::Velocity,
                "sample" | "original_sample" => Prediction::Sample,
                "flow_prediction" => Prediction::Flow,
                _ => return Err(wrong("prediction_type", name, PREDICTIONS)),
            };
        }
        let mut clips = self.clip.is_some();
        fields.set_flag("clip_sample", &mut clips)?;
        let range = fields.number("clip_sample_range", 0.0, 1e6)?.unwrap_or(1.0);
        self.clip = clips.then_some(range as f32);
        if let Some(name) = fields.text("variance_type")? {
            self.large_variance = match name {
                "fixed_small" | "fixed_small_log" => false,
                "fixed_large" => true,
                _ => return Err(wrong("variance_type", name, VARIANCES)),
            };
        }
        Ok(())
    }

    fn read_steps(&mut self, fields: &Fields<'_>) -> Result<(), DiffusionError> {
        if let Some(name) = fields.text("timestep_spacing")? {
            self.spacing = match name {
                "leading" => Spacing::Leading,
                "trailing" => Spacing::Trailing,
                "linspace" => Spacing::Linspace,
                _ => return Err(wrong("timestep_spacing", name, SPACINGS)),
            };
        }
        if let Some(offset) = fields.count("steps_offset", 0, self.train_timesteps - 1)? {
            self.steps_offset = offset;
        }
        if let Some(count) = fields.count("original_inference_steps", 1, self.train_timesteps)? {
            self.original_steps = count;
        }
        if let Some(factor) = fields.number("timestep_scaling", 0.0, 1e6)? {
            self.timestep_scaling = factor as f32;
        }
        fields.set_flag("set_alpha_to_one", &mut self.final_alpha_one)
    }

    fn read_solver(&mut self, fields: &Fields<'_>) -> Result<(), DiffusionError> {
        if let Some(order) = fields.count("solver_order", 1, 2)? {
            self.solver_order = order;
        }
        if let Some(name) = fields.text("solver_type")? {
            self.solver_type = match name {
                "midpoint" | "bh1" | "bh2" | "logrho" => SolverType::Midpoint,
                "heun" => SolverType::Heun,
                _ => return Err(wrong("solver_type", name, "'midpoint' or 'heun'")),
            };
        }
        if let Some(name) = fields.text("final_sigmas_type")? {
            self.final_sigma_zero = match name {
                "zero" => true,
                "sigma_min" => false,
                _ => return Err(wrong("final_sigmas_type", name, "'zero' or 'sigma_min'")),
            };
        }
        fields.set_flag("use_karras_sigmas", &mut self.karras)?;
        if self.karras && self.sampler == SamplerKind::DpmSolver {
            self.sampler = SamplerKind::DpmSolverKarras;
        }
        fields.set_flag("lower_order_final", &mut self.lower_order_final)?;
        fields.set_flag("euler_at_final", &mut self.euler_at_final)?;
        if let Some(least) = fields.number("lambda_min_clipped", f64::NEG_INFINITY, 1e3)? {
            self.lambda_min_clipped = least as f32;
        }
        Ok(())
    }
}

const PREDICTIONS: &str = "'epsilon', 'v_prediction', 'sample' or 'flow_prediction'";
const VARIANCES: &str = "'fixed_small', 'fixed_small_log' or 'fixed_large'";
const SPACINGS: &str = "'leading', 'trailing' or 'linspace'";

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn error(json: &Value) -> String {
        SchedulerConfig::from_diffusers(json).unwrap_err().to_string()
    }

    #[test]
    fn stable_diffusion_1_is_read_with_ddim_in_place_of_pndm() {
        let json = json!({
            "_class_name": "PNDMScheduler", "_diffusers_version": "0.6.0", "beta_end": 0.012,
            "beta_schedule": "scaled_linear", "beta_start": 0.00085, "num_train_timesteps": 1000,
            "set_alpha_to_one": false, "skip_prk_steps": true, "steps_offset": 1,
            "trained_betas": null, "clip_sample": false,
        });
        let config = SchedulerConfig::from_diffusers(&json).unwrap();
        assert_eq!(config.sampler, SamplerKind::Ddim);
        assert_eq!(config.substituted.as_deref(), Some("PNDMScheduler"));
        assert_eq!(config.betas, BetaSchedule::ScaledLinear { start: 0.00085, end: 0.012 });
        assert_eq!((config.steps_offset, config.final_alpha_one, config.clip), (1, false, None));
        assert_eq!(config.spacing, Spacing::Leading);
    }

    #[test]
    fn a_missing_field_has_the_default_of_the_class_that_the_file_names() {
        let euler = json!({ "_class_name": "EulerDiscreteScheduler" });
        let euler = SchedulerConfig::from_diffusers(&euler).unwrap();
        assert_eq!((euler.spacing, euler.clip), (Spacing::Linspace, None));
        let ddim = SchedulerConfig::from_diffusers(&json!({})).unwrap();
        assert_eq!((ddim.spacing, ddim.clip), (Spacing::Leading, Some(1.0)));
    }

    #[test]
    fn karras_sigmas_choose_the_karras_sampler() {
        let json = json!({
            "_class_name": "DPMSolverMultistepScheduler", "use_karras_sigmas": true,
            "algorithm_type": "dpmsolver++", "lambda_min_clipped": "-Infinity",
        });
        let config = SchedulerConfig::from_diffusers(&json).unwrap();
        assert_eq!(config.sampler, SamplerKind::DpmSolverKarras);
    }

    #[test]
    fn an_unsupported_value_is_named_with_what_would_do() {
        let found = [
            json!({ "_class_name": "IPNDMScheduler" }),
            json!({ "beta_schedule": "sigmoid" }),
            json!({ "prediction_type": "learned" }),
            json!({ "thresholding": true }),
            json!({ "num_train_timesteps": 1_000_000_000_000_u64 }),
            json!({ "beta_start": "a lot" }),
            json!({ "trained_betas": [0.1, 0.2] }),
            json!({ "trained_betas": [0.1, "x"], "num_train_timesteps": 2 }),
            json!({ "steps_offset": -1 }),
            json!({ "_class_name": "DPMSolverMultistepScheduler", "solver_order": 3 }),
            json!({ "_class_name": "DPMSolverMultistepScheduler",
                    "algorithm_type": "sde-dpmsolver++" }),
        ]
        .map(|json| error(&json));
        insta::assert_snapshot!(found.join("\n"));
    }

    #[test]
    fn what_is_no_object_is_read_as_the_defaults_of_ddim() {
        let from_text = SchedulerConfig::from_diffusers(&json!("ddim")).unwrap();
        assert_eq!(from_text, SchedulerConfig::from_diffusers(&json!({})).unwrap());
    }
}
