//! The fields of a `scheduler_config.json`, read without trust.

use serde_json::Value;

use super::scheduler_class::{CLASSES, Class};
use super::{BetaSchedule, DiffusionError};

const BETAS: &str = "'linear', 'scaled_linear' or 'squaredcos_cap_v2'";

/// Fields that change every picture and are not implemented.
const UNSUPPORTED: [&str; 11] = [
    "thresholding",
    "use_exponential_sigmas",
    "use_beta_sigmas",
    "use_lu_lambdas",
    "use_flow_sigmas",
    "use_dynamic_shifting",
    "invert_sigmas",
    "stochastic_sampling",
    "shift_terminal",
    "sigma_min",
    "sigma_max",
];

/// The JSON object, read field by field; a missing field or a null is `None`.
pub(super) struct Fields<'a>(pub(super) &'a Value);

impl<'a> Fields<'a> {
    fn get(&self, field: &str) -> Option<&'a Value> {
        self.0.get(field).filter(|value| !value.is_null())
    }

    /// The scheduler class that the file names; DDIM when it names none.
    pub(super) fn class(&self) -> Result<Class, DiffusionError> {
        let name = self.text("_class_name")?.unwrap_or("DDIMScheduler");
        CLASSES.into_iter().find(|class| class.name == name).ok_or_else(|| {
            let known = CLASSES.map(|class| class.name).join(", ");
            wrong("_class_name", name, &format!("one of {known}"))
        })
    }

    /// Refuses what would change every picture and is not implemented.
    pub(super) fn refuse_unsupported(&self) -> Result<(), DiffusionError> {
        for field in UNSUPPORTED {
            match self.get(field) {
                None | Some(Value::Bool(false)) => {}
                Some(value) => return Err(wrong(field, value, "absent, null or false")),
            }
        }
        self.only("interpolation_type", "linear")?;
        self.only("timestep_type", "discrete")?;
        self.only_solver()
    }

    fn only(&self, field: &'static str, supported: &str) -> Result<(), DiffusionError> {
        match self.text(field)? {
            Some(text) if text != supported => Err(wrong(field, text, &format!("'{supported}'"))),
            _ => Ok(()),
        }
    }

    /// UniPC and DEIS name other algorithms; they are substituted anyway.
    fn only_solver(&self) -> Result<(), DiffusionError> {
        if self.class()?.substituted {
            return Ok(());
        }
        self.only("algorithm_type", "dpmsolver++")
    }

    /// A text.
    pub(super) fn text(&self, field: &'static str) -> Result<Option<&'a str>, DiffusionError> {
        self.get(field)
            .map(|value| value.as_str().ok_or_else(|| wrong(field, value, "a text")))
            .transpose()
    }

    /// A number within bounds.
    pub(super) fn number(
        &self,
        field: &'static str,
        least: f64,
        most: f64,
    ) -> Result<Option<f64>, DiffusionError> {
        let Some(value) = self.get(field) else { return Ok(None) };
        // JSON has no infinity; diffusers writes the default of `lambda_min_clipped` as a text.
        if value.as_str() == Some("-Infinity") && least == f64::NEG_INFINITY {
            return Ok(None);
        }
        match value.as_f64() {
            Some(number) if (least..=most).contains(&number) => Ok(Some(number)),
            _ => Err(wrong(field, value, &format!("a number from {least} to {most}"))),
        }
    }

    /// A whole number within bounds.
    pub(super) fn count(
        &self,
        field: &'static str,
        least: usize,
        most: usize,
    ) -> Result<Option<usize>, DiffusionError> {
        let Some(value) = self.get(field) else { return Ok(None) };
        match value.as_u64().and_then(|count| usize::try_from(count).ok()) {
            Some(count) if (least..=most).contains(&count) => Ok(Some(count)),
            _ => Err(wrong(field, value, &format!("a whole number from {least} to {most}"))),
        }
    }

    /// Overwrites `flag` where the field is there.
    pub(super) fn set_flag(
        &self,
        field: &'static str,
        flag: &mut bool,
    ) -> Result<(), DiffusionError> {
        if let Some(value) = self.get(field) {
            *flag = value.as_bool().ok_or_else(|| wrong(field, value, "true or false"))?;
        }
        Ok(())
    }

    /// The beta schedule for `count` timesteps; what is missing comes from `default`.
    pub(super) fn betas(
        &self,
        default: BetaSchedule,
        count: usize,
    ) -> Result<BetaSchedule, DiffusionError> {
        if let Some(betas) = self.get("trained_betas") {
            return trained_betas(betas, count);
        }
        let (default_start, default_end) = match default {
            BetaSchedule::Linear { start, end } | BetaSchedule::ScaledLinear { start, end } => {
                (start, end)
            }
            _ => (0.0001, 0.02),
        };
        let start = self.number("beta_start", 1e-6, 0.9999)?.unwrap_or(default_start);
        let end = self.number("beta_end", 1e-6, 0.9999)?.unwrap_or(default_end);
        match self.text("beta_schedule")? {
            Some("linear") => Ok(BetaSchedule::Linear { start, end }),
            Some("scaled_linear") => Ok(BetaSchedule::ScaledLinear { start, end }),
            Some("squaredcos_cap_v2") => Ok(BetaSchedule::Cosine),
            Some(name) => Err(wrong("beta_schedule", name, BETAS)),
            None => Ok(match default {
                BetaSchedule::ScaledLinear { .. } => BetaSchedule::ScaledLinear { start, end },
                _ => BetaSchedule::Linear { start, end },
            }),
        }
    }
}

fn trained_betas(value: &Value, count: usize) -> Result<BetaSchedule, DiffusionError> {
    let wanted = || format!("{count} numbers from 0.000001 to 1, one per 'num_train_timesteps'");
    let beta = |value: &Value| {
        value.as_f64().filter(|beta| (1e-6..=1.0).contains(beta)).map(|beta| beta as f32)
    };
    let betas: Option<Vec<f32>> =
        value.as_array().and_then(|values| values.iter().map(beta).collect());
    match betas {
        Some(betas) if betas.len() == count => Ok(BetaSchedule::Trained(betas)),
        Some(betas) => Err(wrong("trained_betas", format!("{} numbers", betas.len()), &wanted())),
        None => Err(wrong("trained_betas", "not a list of betas", &wanted())),
    }
}

/// The error for a field.
pub(super) fn wrong(field: &'static str, found: impl ToString, wanted: &str) -> DiffusionError {
    DiffusionError::Field { field, found: found.to_string(), wanted: wanted.to_owned() }
}
