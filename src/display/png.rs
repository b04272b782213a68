//! A screen that is a PNG file: for frames shown by other programs, and for trying things out.
//!
//! Its pace is slow: every frame is written to a disk, which may be a card that wears.

use std::io::Cursor;
use std::path::PathBuf;

use image::{ImageFormat, RgbImage};

use super::{Dithering, Pace, Paper, Screen, ScreenError, ScreenInfo, ScreenSize};
use crate::paint::write;

/// A file that always holds the latest frame, whole.
#[derive(Debug)]
pub struct PngScreen {
    path: PathBuf,
    size: ScreenSize,
    inks: Option<(Paper, Dithering)>,
}

impl PngScreen {
    /// A screen of that size in that file, which is written with the first frame. With `inks` it
    /// shows what an e-paper panel would.
    pub fn new(path: PathBuf, size: ScreenSize, inks: Option<(Paper, Dithering)>) -> Self {
        Self { path, size, inks }
    }
}

impl Screen for PngScreen {
    fn info(&self) -> ScreenInfo {
        let ScreenSize { width, height } = self.size;
        let name = format!("the file '{}'", self.path.display());
        ScreenInfo { width, height, pace: Pace::Slow, name }
    }

    fn show(&mut self, frame: &RgbImage) -> Result<(), ScreenError> {
        self.info().check(frame)?;
        let mut bytes = Cursor::new(Vec::new());
        let dithered =
            self.inks.as_ref().map(|(paper, dithering)| paper.dither(frame, *dithering).picture());
        dithered.as_ref().unwrap_or(frame).write_to(&mut bytes, ImageFormat::Png).map_err(
            |error| ScreenError::Encode { path: self.path.clone(), reason: error.to_string() },
        )?;
        write::replace(&self.path, bytes.get_ref()).map_err(ScreenError::Write)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::display::{Inks, Palette};
    use image::Rgb;

    #[test]
    fn the_file_holds_the_latest_frame_and_nothing_is_left_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("frame.png");
        let mut screen = PngScreen::new(path.clone(), ScreenSize { width: 3, height: 2 }, None);
        let frame = |value| RgbImage::from_pixel(3, 2, Rgb([value, 2, 3]));
        screen.show(&frame(1)).unwrap();
        screen.show(&frame(9)).unwrap();
        assert_eq!(image::open(&path).unwrap().to_rgb8(), frame(9));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn with_inks_the_file_has_no_other_colours() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("frame.png");
        let palette = Palette::blended(Inks::BlackWhite, 0.5);
        let inks = Some((Paper::new(&palette), Dithering::FloydSteinberg));
        let mut screen = PngScreen::new(path.clone(), ScreenSize { width: 9, height: 9 }, inks);
        screen.show(&RgbImage::from_pixel(9, 9, Rgb([128; 3]))).unwrap();
        let shown = image::open(&path).unwrap().to_rgb8();
        assert!(palette.colours.iter().all(|colour| shown.pixels().any(|p| p.0 == *colour)));
        assert!(shown.pixels().all(|p| palette.colours.contains(&p.0)));
    }

    #[test]
    fn a_frame_of_another_size_is_refused() {
        let mut screen = PngScreen::new("x.png".into(), ScreenSize { width: 3, height: 2 }, None);
        assert_eq!(
            screen.show(&RgbImage::new(2, 3)).unwrap_err().to_string(),
            "a frame of 2x3 pixels was meant for a screen of 3x2; arrange it for that size first"
        );
    }
}
