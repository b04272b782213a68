//! What sizes a model paints, and in how many stages.
//!
//! A model with an upscaler ([`super::upscale`]) paints in two stages whatever is at least one and a
//! half times as wide and as high as its base's native size: the base half the width and half the
//! height, and the second stage twice that. Smaller and narrower pictures the base paints alone, as
//! it paints everything in a model without an upscaler.

use serde_json::Value as Json;

use super::error::MAX_SIDE;
use super::{PaintError, Size, Sizes, decode, denoise};
use crate::files::{Component, ModelFiles};

/// What sizes a model paints.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Pixels per latent pixel.
    factor: usize,
    /// What may be asked for.
    pub sizes: Sizes,
    /// Sides that the base paints are multiples of this.
    multiple: usize,
    /// The least size that is painted in two stages, by a model that can.
    two_stages: Option<Size>,
}

impl Limits {
    pub fn of(files: &ModelFiles) -> Result<Self, PaintError> {
        let json = files.config(Component::Unet)?;
        let halvings = |part| Ok::<_, PaintError>(denoise::config(files, part)?.size_multiple());
        let factor = decode::config(files)?.factor();
        let (height, width) = sample_size(json);
        let side = |latent: u64| (latent.min(MAX_SIDE as u64) as usize * factor).min(MAX_SIDE);
        let base = Size { width: side(width), height: side(height) };
        let unet = halvings(Component::Unet)?;
        let upscaler = files.has(Component::Upscaler).then(|| halvings(Component::Upscaler));
        Ok(Self::new(factor, base, (unet, upscaler.transpose()?)))
    }

    /// By the pixels of a latent pixel, the size that the base was trained at, and what the sides of
    /// the base's and the upscaler's latents are multiples of, which are powers of two.
    fn new(factor: usize, base: Size, (unet, upscaler): (usize, Option<usize>)) -> Self {
        let multiple = factor.saturating_mul(unet);
        let Some(upscaler) = upscaler else {
            let sizes = Sizes { native: base, base, multiple };
            return Self { factor, sizes, multiple, two_stages: None };
        };
        let both = factor.saturating_mul(upscaler).max(multiple.saturating_mul(2));
        let sizes = Sizes { native: base.times(2, 1), base, multiple: both };
        Self { factor, sizes, multiple, two_stages: Some(base.times(3, 2)) }
    }

    pub fn check(&self, asked: Size) -> Result<(), PaintError> {
        let from = self.two_stages.filter(|_| self.enlarges(asked));
        let multiple = if from.is_some() { self.sizes.multiple } else { self.multiple };
        let fits = |side: usize| (1..=MAX_SIDE).contains(&side) && side.is_multiple_of(multiple);
        if fits(asked.width) && fits(asked.height) {
            return Ok(());
        }
        Err(PaintError::Size { asked, multiple, from })
    }

    /// Whether a picture is painted in two stages.
    pub fn enlarges(&self, size: Size) -> bool {
        self.two_stages.is_some_and(|from| size.width >= from.width && size.height >= from.height)
    }

    /// The size that the base paints of a picture.
    pub fn base(&self, size: Size) -> Size {
        if self.enlarges(size) { size.times(1, 2) } else { size }
    }

    /// Rows and columns of the latent of a picture.
    pub fn latent(&self, size: Size) -> (usize, usize) {
        (size.height / self.factor, size.width / self.factor)
    }
}

/// The sizes that a model paints.
///
/// # Errors
/// When a part's config is missing or wrong.
pub fn sizes(files: &ModelFiles) -> Result<Sizes, PaintError> {
    Limits::of(files).map(|limits| limits.sizes)
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

#[cfg(test)]
mod tests {
    use super::*;
    use PaintError::Size as Refused;

    const fn size(width: usize, height: usize) -> Size {
        Size { width, height }
    }

    /// Of a base of 128 x 128 whose latent is halved twice, and an upscaler.
    fn limits(upscaler: Option<usize>) -> Limits {
        Limits::new(8, size(128, 128), (4, upscaler))
    }

    #[test]
    fn pictures_from_one_and_a_half_times_the_native_size_on_are_painted_in_two_stages() {
        let limits = limits(Some(4));
        assert_eq!(limits.sizes.native, size(256, 256));
        for (asked, base) in [
            (size(256, 256), size(128, 128)),
            (size(192, 192), size(96, 96)),
            (size(192, 512), size(96, 256)),
            (size(1024, 768), size(512, 384)),
            (size(160, 160), size(160, 160)),
            (size(512, 160), size(512, 160)),
            (size(128, 128), size(128, 128)),
            (size(32, 64), size(32, 64)),
        ] {
            assert!(limits.check(asked).is_ok(), "{asked}");
            assert_eq!(limits.base(asked), base, "{asked}");
            assert_eq!(limits.enlarges(asked), base != asked, "{asked}");
        }
        assert_eq!(limits.latent(size(256, 192)), (24, 32));
    }

    #[test]
    fn without_an_upscaler_every_size_is_painted_by_the_base() {
        let limits = limits(None);
        for side in [32, 128, 192, 224, 256, 1024] {
            let asked = size(side, side);
            assert!(limits.check(asked).is_ok() && limits.base(asked) == asked, "{asked}");
        }
    }

    #[test]
    fn sides_that_do_not_halve_are_refused_from_where_there_are_two_stages() {
        let refused = |upscaler, asked| limits(Some(upscaler)).check(asked);
        let from = Some(size(192, 192));
        let asked = size(224, 256);
        assert_eq!(refused(4, asked), Err(Refused { asked, multiple: 64, from }));
        let asked = size(192, 256);
        assert_eq!(refused(16, asked), Err(Refused { asked, multiple: 128, from }));
        let asked = size(100, 256);
        assert_eq!(refused(4, asked), Err(Refused { asked, multiple: 32, from: None }));
        let asked = size(MAX_SIDE + 64, 256);
        assert!(refused(4, asked).is_err());
    }
}
