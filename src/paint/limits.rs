//! What sizes a model paints.

use serde_json::Value as Json;

use super::error::MAX_SIDE;
use super::{PaintError, Size, Sizes, decode, denoise};
use crate::files::{Component, ModelFiles};

/// What sizes a model paints.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Pixels per latent pixel.
    pub factor: usize,
    /// What may be asked for.
    pub sizes: Sizes,
}

impl Limits {
    pub fn of(files: &ModelFiles) -> Result<Self, PaintError> {
        let json = files.config(Component::Unet)?;
        let unet = denoise::config(files)?;
        let factor = decode::config(files)?.factor();
        let multiple = factor.saturating_mul(unet.size_multiple());
        let (height, width) = sample_size(json);
        let side = |latent: u64| (latent.min(MAX_SIDE as u64) as usize * factor).min(MAX_SIDE);
        let native = Size { width: side(width), height: side(height) };
        Ok(Self { factor, sizes: Sizes { native, multiple } })
    }

    pub fn check(&self, asked: Size) -> Result<(), PaintError> {
        let multiple = self.sizes.multiple;
        let fits = |side: usize| (1..=MAX_SIDE).contains(&side) && side.is_multiple_of(multiple);
        if fits(asked.width) && fits(asked.height) {
            return Ok(());
        }
        Err(PaintError::Size { asked, multiple })
    }

    /// Rows and columns of the latent of a picture.
    pub fn latent(&self, size: Size) -> (usize, usize) {
        (size.height / self.factor, size.width / self.factor)
    }
}

/// Height and width of the latent that a UNet was trained at; 64 where its config does not say.
fn sample_size(unet: &Json) -> (u64, u64) {
    let sides: Option<Vec<u64>> = match unet.get("sample_size") {
        Some(Json::Array(sides)) => sides.iter().map(Json::as_u64).collect(),
        Some(side) => side.as_u64().map(|side| vec![side, side]),
        None => None,
    };
    match sides.as_deref() {
        Some(&[height, width]) => (height, width),
        _ => (64, 64),
    }
}
