//! Painting from a picture (Meng et al. 2021, SDEdit; the LDM paper's section 4.5 fills masks with a
//! network of its own, this way works with any): the picture's latent gets so much noise as belongs to
//! a step midway, and the steps from there on remove it, towards the prompt.

use std::fmt;
use std::sync::Arc;

use image::imageops::{self, FilterType};
use image::{DynamicImage, GrayImage, RgbImage};

use super::{PaintError, Size};
use crate::diffusion::Level;

/// A picture that another one begins with.
#[derive(Clone, PartialEq)]
pub struct Beginning {
    /// It is brought to the new picture's size; what does not fit its shape is cut off.
    pub image: Arc<RgbImage>,
    /// How much may become of it, from 0 (itself, as the autoencoder sees it) to 1 (hardly anything
    /// of it is left).
    pub strength: f32,
    /// Where it may change: white where it may, black where it may not. Nothing for everywhere.
    pub mask: Option<Arc<GrayImage>>,
}

impl fmt::Debug for Beginning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (size, masked) = (self.image.dimensions(), self.mask.is_some());
        f.debug_struct("Beginning")
            .field("size", &size)
            .field("strength", &self.strength)
            .field("masked", &masked)
            .finish()
    }
}

impl Beginning {
    /// Refuses what makes no sense.
    pub(super) fn check(&self) -> Result<(), PaintError> {
        let (width, height) = self.image.dimensions();
        let empty_mask = self.mask.as_ref().is_some_and(|m| m.width() == 0 || m.height() == 0);
        if width == 0 || height == 0 || empty_mask {
            return Err(PaintError::Unsuitable("a picture to begin with has no pixels".to_owned()));
        }
        if !(0.0..=1.0).contains(&self.strength) {
            return Err(PaintError::Unsuitable(format!(
                "strength {} is not from 0 to 1",
                self.strength
            )));
        }
        Ok(())
    }

    /// The step to begin with, of so many, as diffusers and A1111 choose it. Any strength but 0 is
    /// worth a step.
    pub(super) fn first_step(&self, steps: usize) -> usize {
        let taken = (self.strength * steps as f32) as usize;
        let least = usize::from(self.strength > 0.0);
        steps - taken.clamp(least.min(steps), steps)
    }

    /// The picture at a size.
    pub(super) fn fitted(&self, size: Size) -> RgbImage {
        let image = DynamicImage::from(self.image.as_ref().clone());
        image.resize_to_fill(size.width as u32, size.height as u32, FILTER).to_rgb8()
    }

    /// Where it may change, at a size.
    fn fitted_mask(&self, size: Size) -> Option<GrayImage> {
        let mask = DynamicImage::from(self.mask.as_deref()?.clone());
        Some(mask.resize_to_fill(size.width as u32, size.height as u32, FILTER).to_luma8())
    }

    /// How much every place of the latent, of rows and columns, may change.
    pub(super) fn latent_mask(&self, size: Size, latent: (usize, usize)) -> Option<Vec<f32>> {
        self.fitted_mask(size).map(|mask| latent_mask(&mask, latent))
    }

    /// Puts the pixels of a finished picture back that may not change.
    pub(super) fn put_back(&self, image: &mut RgbImage, size: Size) {
        if let Some(mask) = self.fitted_mask(size) {
            put_back(image, &self.fitted(size), &mask);
        }
    }
}

/// A polynomial, which every platform computes to the same bits; a sinc would take its sines from the
/// platform.
const FILTER: FilterType = FilterType::CatmullRom;

/// What a run of the denoiser begins with.
pub(super) struct Origin {
    /// The picture's latent, `[h, w, channels]`.
    pub latent: Vec<f32>,
    /// How much every place may change, `[h, w]` in 0..1.
    pub mask: Option<Vec<f32>>,
    /// The first step.
    pub first: usize,
}

impl Origin {
    /// The latent with as much of `noise` as there is at a level.
    pub fn noised(&self, level: Level, noise: &[f32], x: &mut [f32]) {
        for ((x, z), noise) in x.iter_mut().zip(&self.latent).zip(noise) {
            *x = level.alpha * z + level.sigma * noise;
        }
    }

    /// Puts the latent back where it may not change, with its noise.
    pub fn put_back(&self, level: Level, noise: &[f32], x: &mut [f32]) {
        let Some(mask) = &self.mask else { return };
        let channels = x.len() / mask.len().max(1);
        let mut kept = vec![0.0; x.len()];
        self.noised(level, noise, &mut kept);
        for (place, share) in mask.iter().enumerate() {
            let place = place * channels..(place + 1) * channels;
            for (x, kept) in x[place.clone()].iter_mut().zip(&kept[place]) {
                *x = share * *x + (1.0 - share) * kept;
            }
        }
    }
}

/// A mask as large as a latent of rows and columns.
fn latent_mask(mask: &GrayImage, (rows, columns): (usize, usize)) -> Vec<f32> {
    let small = imageops::resize(mask, columns as u32, rows as u32, FILTER);
    small.into_raw().iter().map(|share| f32::from(*share) / 255.0).collect()
}

/// Puts the pixels back that may not change.
fn put_back(image: &mut RgbImage, from: &RgbImage, mask: &GrayImage) {
    let pixels = image.pixels_mut().zip(from.pixels()).zip(mask.pixels());
    for ((new, old), share) in pixels {
        let share = u32::from(share.0[0]);
        for (new, old) in new.0.iter_mut().zip(old.0) {
            let sum = share * u32::from(*new) + (255 - share) * u32::from(old);
            *new = ((sum + 127) / 255) as u8;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{Luma, Rgb};

    fn beginning(strength: f32) -> Beginning {
        let image = Arc::new(RgbImage::from_pixel(6, 4, Rgb([200, 100, 0])));
        Beginning { image, strength, mask: None }
    }

    #[test]
    fn strength_says_how_many_steps_are_left() {
        let first = |strength, steps| beginning(strength).first_step(steps);
        assert_eq!([first(1.0, 20), first(0.75, 20), first(0.5, 7)], [0, 5, 4]);
        assert_eq!([first(0.0, 20), first(0.01, 20), first(0.3, 1)], [20, 19, 0]);
        let wrong = [beginning(1.5), beginning(f32::NAN)];
        assert!(wrong.iter().all(|wrong| wrong.check().is_err()) && beginning(0.0).check().is_ok());
        let empty = Beginning { image: Arc::new(RgbImage::new(0, 4)), ..beginning(0.5) };
        assert!(empty.check().is_err());
    }

    #[test]
    fn the_middle_of_the_picture_fills_the_size() {
        let stripes = RgbImage::from_fn(12, 4, |x, _| Rgb([if x < 4 { 255 } else { 9 }; 3]));
        let from = Beginning { image: Arc::new(stripes), ..beginning(0.5) };
        let fitted = from.fitted(Size { width: 8, height: 8 });
        assert_eq!((fitted.dimensions(), fitted.get_pixel(4, 4).0), ((8, 8), [9; 3]));
    }

    #[test]
    fn what_the_mask_covers_stays() {
        let mask = GrayImage::from_fn(2, 1, |x, _| Luma([255 * x as u8]));
        let (old, mut new) = (RgbImage::from_pixel(2, 1, Rgb([7; 3])), RgbImage::new(2, 1));
        put_back(&mut new, &old, &mask);
        assert_eq!(new.as_raw()[..], [7, 7, 7, 0, 0, 0]);
        let latent = vec![1.0, 2.0, 3.0, 4.0];
        let origin = Origin { latent, mask: Some(latent_mask(&mask, (1, 2))), first: 0 };
        let mut x = [9.0; 4];
        origin.put_back(Level { alpha: 0.5, sigma: 2.0 }, &[1.0; 4], &mut x);
        assert_eq!(x, [2.5, 3.0, 9.0, 9.0]);
    }
}
