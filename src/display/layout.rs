//! How a picture lies on a screen: turned, fitted, and as bright as it should be.

use std::str::FromStr;

use image::imageops::{self, FilterType};
use image::{Rgb, RgbImage};
use serde::Deserialize;

/// What to do with a picture whose sides have another ratio than the screen's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fit {
    /// The screen is full and the picture loses at two sides.
    #[default]
    Cover,
    /// The picture is seen whole, with the background at two sides.
    Contain,
}

impl FromStr for Fit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "cover" => Ok(Self::Cover),
            "contain" => Ok(Self::Contain),
            _ => Err(format!("'{text}' is no way to fit a picture in; take cover or contain")),
        }
    }
}

/// How far a picture is turned, clockwise: for screens that hang on their side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rotation {
    /// As it is.
    #[default]
    None,
    /// A quarter: its top is at the right.
    Right,
    /// Upside down.
    Half,
    /// Three quarters: its top is at the left.
    Left,
}

impl FromStr for Rotation {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "none" => Ok(Self::None),
            "right" => Ok(Self::Right),
            "half" => Ok(Self::Half),
            "left" => Ok(Self::Left),
            _ => Err(format!("'{text}' is no rotation; take none, right, half or left")),
        }
    }
}

/// How a picture lies on a screen.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Layout {
    /// For pictures of other proportions.
    pub fit: Fit,
    /// For screens that hang on their side.
    pub rotation: Rotation,
    /// What is seen beside a picture that does not fill the screen.
    pub background: [u8; 3],
    /// 0 is black, 1 leaves the picture as it is.
    pub brightness: f32,
}

impl Default for Layout {
    fn default() -> Self {
        Self {
            fit: Fit::default(),
            rotation: Rotation::default(),
            background: [0; 3],
            brightness: 1.0,
        }
    }
}

impl Layout {
    /// The frame of that size that shows the picture.
    pub fn arrange(&self, picture: &RgbImage, width: u32, height: u32) -> RgbImage {
        let fitted = fitted(picture, self.fit, self.before_turning(width, height));
        let turned = match self.rotation {
            Rotation::None => fitted,
            Rotation::Right => imageops::rotate90(&fitted),
            Rotation::Half => imageops::rotate180(&fitted),
            Rotation::Left => imageops::rotate270(&fitted),
        };
        let mut frame = centred(turned, self.background, width, height);
        dim(&mut frame, self.brightness);
        frame
    }

    /// The size that a frame of the screen's size has before it is turned: what has words on it is
    /// made in this size and then arranged.
    pub fn before_turning(&self, width: u32, height: u32) -> (u32, u32) {
        match self.rotation {
            Rotation::None | Rotation::Half => (width, height),
            Rotation::Right | Rotation::Left => (height, width),
        }
    }
}

/// The picture as large as it will be seen, cut where it does not fit.
fn fitted(picture: &RgbImage, fit: Fit, (width, height): (u32, u32)) -> RgbImage {
    let (from_width, from_height) = picture.dimensions();
    if from_width.min(from_height).min(width).min(height) == 0 {
        return RgbImage::new(0, 0);
    }
    let across = f64::from(width) / f64::from(from_width);
    let down = f64::from(height) / f64::from(from_height);
    match fit {
        Fit::Contain => {
            let scale = across.min(down);
            resized(picture, scaled(from_width, scale, width), scaled(from_height, scale, height))
        }
        Fit::Cover => {
            let scale = 1.0 / across.max(down);
            let kept = (scaled(width, scale, from_width), scaled(height, scale, from_height));
            let (x, y) = ((from_width - kept.0) / 2, (from_height - kept.1) / 2);
            if kept == (from_width, from_height) {
                return resized(picture, width, height);
            }
            let cut = imageops::crop_imm(picture, x, y, kept.0, kept.1).to_image();
            resized(&cut, width, height)
        }
    }
}

/// A length of at least one pixel and no more than `most`.
fn scaled(length: u32, scale: f64, most: u32) -> u32 {
    ((f64::from(length) * scale).round() as u32).clamp(1, most)
}

/// Smaller by Lanczos, which keeps most detail; larger by a cubic, whose edges have smaller halos.
fn resized(picture: &RgbImage, width: u32, height: u32) -> RgbImage {
    if picture.dimensions() == (width, height) {
        return picture.clone();
    }
    let larger = width >= picture.width();
    let filter = if larger { FilterType::CatmullRom } else { FilterType::Lanczos3 };
    imageops::resize(picture, width, height, filter)
}

fn centred(picture: RgbImage, background: [u8; 3], width: u32, height: u32) -> RgbImage {
    if picture.dimensions() == (width, height) {
        return picture;
    }
    let mut frame = RgbImage::from_pixel(width, height, Rgb(background));
    let middle = |frame: u32, picture: u32| i64::from(frame.saturating_sub(picture) / 2);
    let (x, y) = (middle(width, picture.width()), middle(height, picture.height()));
    imageops::replace(&mut frame, &picture, x, y);
    frame
}

fn dim(frame: &mut RgbImage, brightness: f32) {
    let weight = (brightness.clamp(0.0, 1.0) * 256.0).round() as u32;
    if weight < 256 {
        frame.iter_mut().for_each(|value| *value = ((u32::from(*value) * weight + 128) >> 8) as u8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A picture whose left half is red and right half is blue, with a green row on top.
    fn picture(width: u32, height: u32) -> RgbImage {
        RgbImage::from_fn(width, height, |x, y| match (x < width / 2, y) {
            (_, 0) => Rgb([0, 255, 0]),
            (true, _) => Rgb([255, 0, 0]),
            (false, _) => Rgb([0, 0, 255]),
        })
    }

    /// One letter per pixel.
    fn pattern(frame: &RgbImage) -> Vec<String> {
        let letter = |p: &Rgb<u8>| match p.0 {
            [255, 0, 0] => 'r',
            [0, 255, 0] => 'g',
            [0, 0, 255] => 'b',
            [9, 9, 9] => '.',
            _ => '?',
        };
        frame.rows().map(|row| row.map(letter).collect()).collect()
    }

    fn arranged(fit: Fit, rotation: Rotation, size: (u32, u32)) -> Vec<String> {
        let layout = Layout { fit, rotation, background: [9; 3], brightness: 1.0 };
        pattern(&layout.arrange(&picture(4, 4), size.0, size.1))
    }

    #[test]
    fn a_picture_of_the_screens_size_is_shown_as_it_is() {
        assert_eq!(Layout::default().arrange(&picture(6, 4), 6, 4), picture(6, 4));
    }

    #[test]
    fn cover_cuts_and_contain_leaves_the_background() {
        assert_eq!(arranged(Fit::Cover, Rotation::None, (4, 2)), ["rrbb", "rrbb"]);
        assert_eq!(
            arranged(Fit::Contain, Rotation::None, (6, 4)),
            [".gggg.", ".rrbb.", ".rrbb.", ".rrbb."]
        );
    }

    #[test]
    fn turning_is_clockwise() {
        let turned = |rotation| arranged(Fit::Cover, rotation, (4, 4));
        assert_eq!(turned(Rotation::Right), ["rrrg", "rrrg", "bbbg", "bbbg"]);
        assert_eq!(turned(Rotation::Half), ["bbrr", "bbrr", "bbrr", "gggg"]);
        assert_eq!(turned(Rotation::Left), ["gbbb", "gbbb", "grrr", "grrr"]);
    }

    #[test]
    fn at_night_everything_is_darker() {
        let layout = Layout { brightness: 0.25, background: [200; 3], ..Layout::default() };
        let layout = Layout { fit: Fit::Contain, ..layout };
        let frame = layout.arrange(&RgbImage::from_pixel(1, 1, Rgb([255, 128, 4])), 3, 1);
        assert_eq!(frame.as_raw()[..6], [50, 50, 50, 64, 32, 1]);
    }

    #[test]
    fn words_for_fit_and_rotation_are_read_and_others_refused() {
        assert_eq!("contain".parse(), Ok(Fit::Contain));
        assert_eq!("left".parse(), Ok(Rotation::Left));
        assert_eq!(
            "90".parse::<Rotation>().unwrap_err(),
            "'90' is no rotation; take none, right, half or left"
        );
        assert!("fill".parse::<Fit>().unwrap_err().ends_with("take cover or contain"));
    }

    proptest! {
        #[test]
        fn a_frame_always_has_the_size_asked_for(
            from in (0_u32..40, 0_u32..40),
            to in (0_u32..40, 0_u32..40),
            contain: bool,
            rotation in 0_usize..4,
        ) {
            let fit = if contain { Fit::Contain } else { Fit::Cover };
            let rotation =
                [Rotation::None, Rotation::Right, Rotation::Half, Rotation::Left][rotation];
            let layout = Layout { fit, rotation, background: [9; 3], brightness: 1.0 };
            let white = RgbImage::from_pixel(from.0, from.1, Rgb([255; 3]));
            let frame = layout.arrange(&white, to.0, to.1);
            prop_assert_eq!(frame.dimensions(), to);
            // White stays white at every edge, and a covered frame has nothing else.
            let full = !contain && from.0 > 0 && from.1 > 0;
            let sound = |p: &Rgb<u8>| p.0 == [255; 3] || (!full && p.0 == [9; 3]);
            prop_assert!(frame.pixels().all(sound));
        }
    }
}
