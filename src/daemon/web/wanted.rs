//! What any interface may ask for, checked as far as no model is needed for it.

use crate::daemon::web::problem::Problem;
use crate::diffusion::SamplerKind;
use crate::paint::{Beginning, Request, Size};

/// A picture as it was asked for; what is `None` is left to the model.
#[derive(Clone, Debug, Default)]
pub(super) struct Wanted {
    pub prompt: String,
    pub negative: String,
    pub seed: u64,
    pub steps: Option<usize>,
    pub guidance: Option<f32>,
    pub size: Option<Size>,
    pub sampler: Option<SamplerKind>,
    pub from: Option<Beginning>,
}

impl Wanted {
    /// The request. What is too large is made smaller at the desk.
    pub fn request(self) -> Result<Request, Problem> {
        if self.guidance.is_some_and(|x| !(0.0..=100.0).contains(&x)) {
            return Err(Problem::bad("guidance is a number from 0 to 100, such as 7.5"));
        }
        Ok(Request {
            prompt: self.prompt,
            negative: self.negative,
            seed: self.seed,
            steps: self.steps,
            guidance: self.guidance,
            size: self.size,
            sampler: self.sampler,
            from: self.from,
            ..Request::default()
        })
    }
}

/// A size as it is written.
pub(super) fn size(text: &str) -> Result<Size, Problem> {
    text.parse().map_err(|problem: &str| Problem::bad(format!("size '{text}': {problem}")))
}

/// A sampler by any of its names.
pub(super) fn sampler(name: &str) -> Result<SamplerKind, Problem> {
    name.parse::<SamplerKind>().map_err(|error| Problem::bad(error.to_string()))
}
