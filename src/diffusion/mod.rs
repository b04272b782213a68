//! Noise schedules, samplers and guidance (section 3.2 and appendix B of the LDM paper).
//!
//! A model file says how its noise was scheduled: [`SchedulerConfig`]. From that and a number of
//! steps [`sampler`] builds a [`Sampler`], which knows at which timesteps the UNet must be asked
//! and what to do with its answers. [`TorchRng`] draws the noise that PyTorch would draw for the
//! same seed, and [`Guidance`] joins the conditional and the unconditional answer.
//!
//! # Same bits everywhere
//! Everything that touches a latent is `+ - * /` and `sqrt` on `f32` in a fixed order, which IEEE
//! 754 defines to the last bit. The few `cos`, `ln`, `exp` and `pow` on the way to a schedule come
//! from the `libm` crate and never from the standard library, whose results are those of each
//! platform's own C library and differ between them.

mod config;
mod ddim;
mod ddpm;
mod dpm_solver;
mod error;
mod euler;
mod euler_ancestral;
mod fields;
mod flow_euler;
mod guidance;
mod lcm;
mod noise;
mod prediction;
mod sampler;
mod schedule;
mod scheduler_class;
mod sigmas;
mod slerp;
mod spacing;

pub use config::{SchedulerConfig, SolverType};
pub use error::DiffusionError;
pub use guidance::Guidance;
pub use noise::{LatentShape, TorchRng, nchw_to_nhwc};
pub use prediction::{Level, Prediction};
pub use sampler::{NoiseSource, Sampler, SamplerKind, SamplerSettings, sampler};
pub use schedule::{BetaSchedule, Schedule};
pub use slerp::{SeedNoise, slerp};
pub use spacing::Spacing;
