//! Pictures that clients send to begin with: in base64 or as files, never as addresses to be
//! fetched.

use std::sync::Arc;

use image::GrayImage;
use serde::Deserialize;

use super::problem::Problem;
use super::{base64, pictures};
use crate::paint::Beginning;

/// How much may become of a picture unless it is said.
pub(super) const STRENGTH: f32 = 0.75;

/// Pictures in base64.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Upload {
    pub image: String,
    /// White where it may change, black where not.
    pub mask: Option<String>,
    pub strength: Option<f32>,
}

impl Upload {
    pub fn beginning(&self) -> Result<Beginning, Problem> {
        let mask = self.mask.as_deref().map(decoded).transpose()?;
        Ok(Beginning {
            image: Arc::new(decoded(&self.image)?.into_rgb8()),
            strength: strength(self.strength)?,
            mask: mask.map(|mask| Arc::new(mask.into_luma8())),
        })
    }
}

fn decoded(text: &str) -> Result<image::DynamicImage, Problem> {
    let file = base64::decode(text).ok_or_else(|| {
        Problem::bad("pictures are sent in base64; nothing is fetched from an address")
    })?;
    pictures::decode(&file)
}

/// From 0 to 1.
pub(super) fn strength(given: Option<f32>) -> Result<f32, Problem> {
    let strength = given.unwrap_or(STRENGTH);
    let good = (0.0..=1.0).contains(&strength);
    good.then_some(strength).ok_or_else(|| Problem::bad("strength is a number from 0 to 1"))
}

/// The same mask with black and white exchanged.
pub(super) fn inverted(mask: &GrayImage) -> GrayImage {
    let mut mask = mask.clone();
    mask.iter_mut().for_each(|share| *share = 255 - *share);
    mask
}
