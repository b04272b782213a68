//! What a model advises about sampling.
//!
//! diffusers ignores fields of `scheduler_config.json` that begin with an underscore, so a model
//! that was made for Pochade says there what suits it: `"_pochade": {"steps": 20, "guidance":
//! 3.0}`.

use serde_json::Value;

/// Advice of a model; `None` where it gives none.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Hints {
    pub steps: Option<usize>,
    pub guidance: Option<f32>,
}

/// Steps where a model does not say how many suit it.
const STEPS: usize = 20;

impl Hints {
    /// Reads the scheduler's config. Advice that makes no sense is no advice.
    pub fn of(scheduler: &Value) -> Self {
        let hints = &scheduler["_pochade"];
        let steps = hints["steps"].as_u64().filter(|n| (1..=1000).contains(n));
        let guidance = hints["guidance"].as_f64().filter(|g| (0.0..100.0).contains(g));
        Self { steps: steps.map(|n| n as usize), guidance: guidance.map(|g| g as f32) }
    }

    /// How many steps to take where no one says.
    pub fn steps(self) -> usize {
        self.steps.unwrap_or(STEPS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_model_advises_steps_and_guidance() {
        let config = json!({"_pochade": {"steps": 8, "guidance": 2.5}});
        assert_eq!(Hints::of(&config), Hints { steps: Some(8), guidance: Some(2.5) });
    }

    #[test]
    fn senseless_advice_is_not_taken() {
        for config in [json!({}), json!([]), json!({"_pochade": {"steps": 0, "guidance": "much"}})]
        {
            assert_eq!(Hints::of(&config), Hints::default());
        }
    }
}
