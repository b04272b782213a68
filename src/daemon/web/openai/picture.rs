//! What all of OpenAI's requests for pictures have in common, and their answers.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use image::RgbImage;
use serde::Deserialize;
use serde_json::{Number, Value, json};

use super::super::problem::Problem;
use super::super::wanted::{Wanted, size};
use super::super::{pictures, read};
use crate::daemon::Finished;
use crate::paint::{Request, preview};

/// The most previews of one picture.
const MOST_PARTIAL: usize = 3;

/// What is asked for; what is not known here is passed over.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Asked {
    pub prompt: Option<String>,
    pub n: Option<usize>,
    pub size: Option<String>,
    pub response_format: Option<String>,
    pub output_format: Option<String>,
    pub output_compression: Option<u8>,
    pub stream: Option<bool>,
    pub partial_images: Option<usize>,
    pub seed: Option<Number>,
    pub steps: Option<usize>,
    pub guidance_scale: Option<f32>,
    pub negative_prompt: Option<String>,
}

/// How pictures are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// The very file of the gallery.
    Png,
    /// Of this quality.
    Jpeg(u8),
}

impl Asked {
    /// A request for every picture, with seeds one after the other.
    pub fn requests(&self, most: usize) -> Result<Vec<Request>, Problem> {
        let prompt = self.prompt.clone().ok_or_else(|| Problem::bad("a prompt is needed"))?;
        let count = self.n.unwrap_or(1);
        if !(1..=most).contains(&count) {
            let range = format!("1 to {most} pictures here ([web] pictures)");
            return Err(Problem::bad(format!("n is {count}; one request may ask for {range}")));
        }
        let seed = read::seed(self.seed.as_ref())?;
        let wanted = Wanted {
            prompt,
            negative: self.negative_prompt.clone().unwrap_or_default(),
            seed,
            steps: self.steps,
            guidance: self.guidance_scale,
            size: self.size.as_deref().filter(|size| *size != "auto").map(size).transpose()?,
            sampler: None,
            from: None,
        };
        let request = wanted.request()?;
        let with_seed = |i| Request { seed: seed.wrapping_add(i as u64), ..request.clone() };
        Ok((0..count).map(with_seed).collect())
    }

    pub fn format(&self) -> Result<Format, Problem> {
        match self.output_format.as_deref() {
            None | Some("png") => Ok(Format::Png),
            Some("jpeg" | "jpg") => Ok(Format::Jpeg(self.output_compression.unwrap_or(100))),
            Some(other) => {
                Err(Problem::bad(format!("output_format '{other}': there are png and jpeg")))
            }
        }
    }

    /// Whether the picture itself is not sent, but where it is.
    pub fn by_address(&self) -> Result<bool, Problem> {
        match self.response_format.as_deref() {
            None | Some("b64_json") => Ok(false),
            Some("url") => Ok(true),
            Some(other) => {
                Err(Problem::bad(format!("response_format '{other}': there are b64_json and url")))
            }
        }
    }

    /// Previews that are wanted on the way.
    pub fn partial_images(&self) -> Result<usize, Problem> {
        let count = self.partial_images.unwrap_or(0);
        let good = count <= MOST_PARTIAL;
        let problem = || Problem::bad(format!("partial_images is from 0 to {MOST_PARTIAL}"));
        good.then_some(count).ok_or_else(problem)
    }
}

impl Format {
    pub fn name(self) -> &'static str {
        match self {
            Self::Png => "png",
            Self::Jpeg(_) => "jpeg",
        }
    }

    /// A finished picture in base64.
    pub fn finished(self, finished: &Arc<Finished>) -> Result<String, Problem> {
        match self {
            Self::Png => Ok(preview::base64(&finished.file)),
            Self::Jpeg(_) => self.encoded(&finished.image),
        }
    }

    /// Any picture in base64.
    pub fn encoded(self, picture: &RgbImage) -> Result<String, Problem> {
        let file = match self {
            Self::Png => pictures::to_png(picture)?,
            Self::Jpeg(quality) => pictures::to_jpeg(picture, quality)?,
        };
        Ok(preview::base64(&file.bytes))
    }
}

/// Seconds since 1970.
pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |span| span.as_secs())
}

/// Nothing is counted and nothing billed, but the field must be there.
pub(super) fn usage() -> Value {
    json!({
        "input_tokens": 0,
        "input_tokens_details": { "image_tokens": 0, "text_tokens": 0 },
        "output_tokens": 0,
        "total_tokens": 0,
    })
}
