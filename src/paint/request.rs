//! What is asked of a painter, what it says while it works, and what it gives back.

use std::fmt;
use std::ops::ControlFlow;
use std::str::FromStr;
use std::time::Duration;

use image::RgbImage;

use pochade_engine::SessionProfile;

use super::{Beginning, LatentPreview, MemoryPlan};
use crate::diffusion::SamplerKind;

/// Something that paints pictures from words.
pub trait Paint {
    /// Why it could not.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Paints one picture, telling `progress` after the text, after every step and after decoding.
    ///
    /// # Errors
    /// When the request does not suit the model, or `progress` asked to stop.
    fn paint(
        &mut self,
        request: &Request,
        progress: &mut dyn FnMut(Progress<'_>) -> ControlFlow<()>,
    ) -> Result<Painting, Self::Error>;

    /// How the request's budget of memory will be kept; `None` without one.
    ///
    /// # Errors
    /// When it cannot be.
    fn plan_memory(&mut self, request: &Request) -> Result<Option<MemoryPlan>, Self::Error> {
        let _ = request;
        Ok(None)
    }

    /// The model's name; empty where there is none.
    fn name(&self) -> String {
        String::new()
    }

    /// The sizes it paints; `None` where any will do.
    fn sizes(&self) -> Option<Sizes> {
        None
    }

    /// From now on, the time of every step of the networks is noted, afresh after each call.
    fn start_profile(&mut self) {}

    /// What was noted since [`Paint::start_profile`].
    fn profile(&self) -> Vec<SessionProfile> {
        Vec::new()
    }
}

/// What to paint; what is `None` is left to the model.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Request {
    /// What should be seen.
    pub prompt: String,
    /// What should not be seen; empty for nothing in particular.
    pub negative: String,
    /// Where the noise starts.
    pub seed: u64,
    /// Another picture that this one lies on the way to.
    pub toward: Option<Toward>,
    /// A picture to begin with; without one, noise.
    pub from: Option<Beginning>,
    /// How many times the UNet is asked.
    pub steps: Option<usize>,
    /// How strongly the prompt is followed.
    pub guidance: Option<f32>,
    /// Width and height.
    pub size: Option<Size>,
    /// The way from noise to picture.
    pub sampler: Option<SamplerKind>,
    /// The most memory that the process may take, in bytes. Weights are then read as they are
    /// needed where they do not fit, which needs a model file in integers.
    pub ram: Option<usize>,
    /// Whether progress should carry a guess at the picture, where the model is small enough for
    /// one.
    pub preview: bool,
}

/// The other end of a way between two pictures.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Toward {
    /// What should be seen there.
    pub prompt: String,
    /// Where the noise there starts.
    pub seed: u64,
    /// How much of the way is gone, from 0 to 1.
    pub share: f32,
}

impl Request {
    /// The same request; at an end of a way simply that end.
    #[must_use]
    pub fn settled(&self) -> Self {
        let mut settled = self.clone();
        match settled.toward.take() {
            Some(toward) if toward.share >= 1.0 => {
                Self { prompt: toward.prompt, seed: toward.seed, ..settled }
            }
            Some(toward) if toward.share > 0.0 => Self { toward: Some(toward), ..settled },
            _ => settled,
        }
    }
}

/// A picture's size in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Pixels per row.
    pub width: usize,
    /// Rows.
    pub height: usize,
}

impl Size {
    /// Both sides times a fraction.
    pub(super) const fn times(self, numerator: usize, denominator: usize) -> Self {
        Self {
            width: self.width * numerator / denominator,
            height: self.height * numerator / denominator,
        }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.width, self.height)
    }
}

impl FromStr for Size {
    type Err = &'static str;

    /// Reads width and height as they are written.
    fn from_str(text: &str) -> Result<Self, &'static str> {
        const WANTED: &str =
            "a size is width x height in pixels from 8 to 16384 each, such as 128x128";
        let (width, height) = text.split_once(['x', 'X']).ok_or(WANTED)?;
        let side = |text: &str| {
            let pixels = text.trim().parse().ok().filter(|n| (8..=16_384).contains(n));
            pixels.ok_or(WANTED)
        };
        Ok(Self { width: side(width)?, height: side(height)? })
    }
}

/// The sizes that a model paints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// What it was trained at.
    pub native: Size,
    /// What the network that knows the words was trained at: smaller than `native` where a second
    /// stage doubles it.
    pub base: Size,
    /// Any width and height that are multiples of this many pixels can be painted.
    pub multiple: usize,
}

impl fmt::Display for Sizes {
    /// The native size, and how it comes about.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.native)?;
        if self.native == self.base {
            return Ok(());
        }
        write!(f, " in two stages, of which the first paints {}", self.base)
    }
}

/// A request with every value filled in: together with the model file it means one picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Resolved {
    /// What should be seen.
    pub prompt: String,
    /// What should not be seen.
    pub negative: String,
    /// Where the noise starts.
    pub seed: u64,
    /// Another picture that this one lies on the way to.
    pub toward: Option<Toward>,
    /// How much may become of the picture that this one began with, which is not told.
    pub strength: Option<f32>,
    /// How many times the UNet is asked, from noise to picture; with a strength, for that part of
    /// them.
    pub steps: usize,
    /// How strongly the prompt is followed.
    pub guidance: f32,
    /// Width and height.
    pub size: Size,
    /// The way from noise to picture.
    pub sampler: SamplerKind,
    /// The model's name.
    pub model: String,
    /// A short hash of the model's file, where known.
    pub model_hash: Option<String>,
}

/// A part of the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The prompt is turned into numbers.
    Text,
    /// Noise is removed from the latent.
    Denoise,
    /// The same in the second stage, from a latent of twice the sides.
    Upscale,
    /// The latent is turned into a picture.
    Decode,
}

/// How far the work has come.
#[derive(Clone, Copy, Debug)]
pub struct Progress<'a> {
    /// The part that has just been done, wholly or by a step.
    pub stage: Stage,
    /// Steps of the stage that are done; 0 after the text, all of them after decoding.
    pub step: usize,
    /// Steps of the stage.
    pub steps: usize,
    /// How much of all stages' steps is done, by what they compute: from 0 to 1.
    pub share: f64,
    /// The picture as it can be guessed now.
    pub preview: Option<LatentPreview<'a>>,
    /// After a step, the latent that the next one begins with, `[h, w, channels]`; else empty.
    pub latent: &'a [f32],
    /// After a step, what the network was given and what it saw there.
    pub look: Option<Look<'a>>,
}

/// One look of the network at a latent.
#[derive(Clone, Copy, Debug)]
pub struct Look<'a> {
    /// The timestep it was told.
    pub timestep: f32,
    /// The noisy latent it was given, brought to unit variance where the sampler works with another:
    /// `[h, w, channels]`.
    pub noisy: &'a [f32],
    /// The clean latent that the sampler read from its answer, of the same shape.
    pub clean: &'a [f32],
}

impl Progress<'_> {
    /// What is said after a stage, or a step of the only one that has any, of which nothing is shown.
    pub fn after(stage: Stage, step: usize, steps: usize) -> Self {
        let share = step as f64 / steps.max(1) as f64;
        Self { stage, step, steps, share, preview: None, latent: &[], look: None }
    }
}

/// How long the parts of the work took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timings {
    /// The text encoder.
    pub text: Duration,
    /// All steps, loading included.
    pub denoise: Duration,
    /// One step, loading left out: the fastest.
    pub step: Duration,
    /// All steps of the second stage, loading included.
    pub upscale: Duration,
    /// The decoder.
    pub decode: Duration,
}

impl Timings {
    /// All of it.
    pub fn total(self) -> Duration {
        self.text + self.denoise + self.upscale + self.decode
    }
}

/// A finished picture.
#[derive(Clone, Debug)]
pub struct Painting {
    /// The picture.
    pub image: RgbImage,
    /// What the decoder made it from, `[h, w, channels]`.
    pub latent: Vec<f32>,
    /// What was painted, with every value filled in.
    pub request: Resolved,
    /// What the user should know, each a sentence: a prompt that was cut, a sampler substituted.
    pub warnings: Vec<String>,
    /// How long it took.
    pub timings: Timings,
}
