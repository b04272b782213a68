//! The scheduler classes of diffusers: the sampler that stands for each, and its defaults.

use super::SamplerKind::{Ddim, Ddpm, DpmSolver, Euler, EulerAncestral, Lcm};
use super::Spacing::{Leading, Linspace};
use super::{BetaSchedule, SamplerKind, Spacing};

const FLOW: &str = "FlowMatchEulerDiscreteScheduler";

/// A scheduler class.
#[derive(Clone, Copy)]
pub(super) struct Class {
    pub(super) name: &'static str,
    pub(super) sampler: SamplerKind,
    pub(super) substituted: bool,
    pub(super) spacing: Spacing,
    pub(super) clips: bool,
}

impl Class {
    const fn new(name: &'static str, sampler: SamplerKind, spacing: Spacing) -> Self {
        Self { name, sampler, substituted: false, spacing, clips: false }
    }

    const fn clipping(self) -> Self {
        Self { clips: true, ..self }
    }

    /// A class that is not implemented here, with the sampler that comes closest to it.
    const fn nearest(name: &'static str, sampler: SamplerKind, spacing: Spacing) -> Self {
        Self { substituted: true, ..Self::new(name, sampler, spacing) }
    }

    /// Whether models of this class predict a flow.
    pub(super) fn is_flow(self) -> bool {
        self.name == FLOW
    }

    /// The default of `set_alpha_to_one`.
    pub(super) fn final_alpha_one(self) -> bool {
        self.name != "PNDMScheduler"
    }

    /// The default of the beta schedule.
    pub(super) fn betas(self) -> BetaSchedule {
        match self.name {
            "LCMScheduler" => BetaSchedule::ScaledLinear { start: 0.00085, end: 0.012 },
            _ => BetaSchedule::Linear { start: 0.0001, end: 0.02 },
        }
    }
}

/// Every class that is understood.
pub(super) const CLASSES: [Class; 15] = [
    Class::new("DDIMScheduler", Ddim, Leading).clipping(),
    Class::new("DDPMScheduler", Ddpm, Leading).clipping(),
    Class::new("EulerDiscreteScheduler", Euler, Linspace),
    Class::new("EulerAncestralDiscreteScheduler", EulerAncestral, Linspace),
    Class::new("DPMSolverMultistepScheduler", DpmSolver, Linspace),
    Class::new("LCMScheduler", Lcm, Leading),
    Class::new(FLOW, Euler, Linspace),
    Class::nearest("PNDMScheduler", Ddim, Leading),
    Class::nearest("DPMSolverSinglestepScheduler", DpmSolver, Linspace),
    Class::nearest("DEISMultistepScheduler", DpmSolver, Linspace),
    Class::nearest("UniPCMultistepScheduler", DpmSolver, Linspace),
    Class::nearest("LMSDiscreteScheduler", Euler, Linspace),
    Class::nearest("HeunDiscreteScheduler", Euler, Linspace),
    Class::nearest("KDPM2DiscreteScheduler", Euler, Linspace),
    Class::nearest("KDPM2AncestralDiscreteScheduler", EulerAncestral, Linspace),
];
