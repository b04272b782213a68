//! What can be wrong with a scheduler's configuration or with what is asked of it.

use std::fmt;

use super::SamplerKind;

/// Why no sampler could be built.
#[derive(Clone, Debug, PartialEq)]
pub enum DiffusionError {
    /// A field of `scheduler_config.json` has a value that is not supported or makes no sense.
    Field {
        /// Name of the field.
        field: &'static str,
        /// What the file says.
        found: String,
        /// What would do.
        wanted: String,
    },
    /// No sampler has this name.
    UnknownSampler(String),
    /// More steps than the model has timesteps, or none at all.
    Steps {
        /// Steps asked for.
        steps: usize,
        /// The most that this sampler and schedule can take.
        most: usize,
    },
    /// The sampler cannot work with what the model predicts.
    Mismatch {
        /// The sampler asked for.
        sampler: SamplerKind,
        /// Why it cannot be used, as the end of a sentence, with the remedy.
        reason: &'static str,
    },
    /// The share of fresh noise is not between 0 and 1.
    Eta(f32),
}

impl fmt::Display for DiffusionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field { field, found, wanted } => {
                write!(f, "the scheduler's '{field}' is {found}, but must be {wanted}")
            }
            Self::UnknownSampler(name) => {
                write!(f, "no sampler is called '{name}'; known are {}", known_samplers())
            }
            Self::Steps { steps, most } => {
                write!(f, "{steps} steps cannot be taken here: choose from 1 to {most}")
            }
            Self::Mismatch { sampler, reason } => {
                write!(f, "the sampler '{}' cannot be used: {reason}", sampler.name())
            }
            Self::Eta(eta) => write!(f, "eta is {eta}, but must be from 0 to 1"),
        }
    }
}

impl std::error::Error for DiffusionError {}

fn known_samplers() -> String {
    SamplerKind::ALL.map(SamplerKind::name).join(", ")
}
