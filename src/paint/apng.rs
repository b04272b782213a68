//! Animated PNG: all frames of a walk in one file, in full colour and without loss. A viewer that
//! knows nothing of animation shows the first frame.

use std::fmt;
use std::io::Write;

use image::RgbImage;

use super::png::{PngError, encoder};

/// What an animation is, beside its frames.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Timing {
    /// How many frames there will be.
    pub frames: u32,
    /// Frames per second, from [`LEAST_FPS`] to [`MOST_FPS`].
    pub fps: f32,
}

/// The slowest animation: a frame's delay is a number of 16 bits, in milliseconds.
pub const LEAST_FPS: f32 = 0.02;
/// The fastest one that viewers show as it is meant.
pub const MOST_FPS: f32 = 60.0;

impl Timing {
    /// How long a frame is shown, as a fraction of seconds.
    fn delay(self) -> (u16, u16) {
        let fps = self.fps.clamp(LEAST_FPS, MOST_FPS);
        if fps.fract() == 0.0 { (1, fps as u16) } else { ((1000.0 / fps).round() as u16, 1000) }
    }
}

/// An animation being written, frame by frame; it runs for ever. Holds one frame at a time.
pub struct Animation<W: Write> {
    writer: ::png::Writer<W>,
}

impl<W: Write> fmt::Debug for Animation<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Animation").finish_non_exhaustive()
    }
}

impl<W: Write> Animation<W> {
    /// Starts an animation of pictures of one size that carries `parameters`.
    ///
    /// # Errors
    /// When the size is nothing, there are no frames, or `out` cannot be written to.
    pub fn start(
        out: W,
        size: (u32, u32),
        timing: Timing,
        parameters: &str,
    ) -> Result<Self, PngError> {
        let start = || {
            let mut encoder = encoder(out, size, parameters)?;
            encoder.set_animated(timing.frames, 0)?;
            encoder.validate_sequence(true);
            let (numerator, denominator) = timing.delay();
            encoder.set_frame_delay(numerator, denominator)?;
            encoder.write_header()
        };
        Ok(Self { writer: start().map_err(PngError::Encode)? })
    }

    /// Adds the next frame.
    ///
    /// # Errors
    /// When it is of another size, one too many, or cannot be written.
    pub fn add(&mut self, image: &RgbImage) -> Result<(), PngError> {
        self.writer.write_image_data(image.as_raw()).map_err(PngError::Encode)
    }

    /// Ends the file.
    ///
    /// # Errors
    /// When frames are missing, or it cannot be written.
    pub fn finish(self) -> Result<(), PngError> {
        self.writer.finish().map_err(PngError::Encode)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::codecs::png::PngDecoder;
    use image::{AnimationDecoder, Rgb};
    use std::io::Cursor;

    fn frame(level: u8) -> RgbImage {
        RgbImage::from_fn(4, 3, |x, y| Rgb([level, x as u8 * 60, y as u8 * 80]))
    }

    fn animation(frames: u32, levels: &[u8], fps: f32) -> Result<Vec<u8>, PngError> {
        let mut bytes = Vec::new();
        let mut animation =
            Animation::start(&mut bytes, (4, 3), Timing { frames, fps }, "a red sun")?;
        levels.iter().try_for_each(|level| animation.add(&frame(*level)))?;
        animation.finish()?;
        Ok(bytes)
    }

    #[test]
    fn every_frame_comes_back_with_its_delay() {
        for (fps, delay) in [(10.0, 100), (2.5, 400), (0.02, 50_000)] {
            let bytes = animation(3, &[1, 2, 3], fps).unwrap();
            let decoder = PngDecoder::new(Cursor::new(&bytes)).unwrap().apng().unwrap();
            let frames = decoder.into_frames().collect_frames().unwrap();
            assert_eq!(frames.len(), 3);
            for (level, found) in (1..).zip(frames) {
                let (numerator, denominator) = found.delay().numer_denom_ms();
                assert_eq!(numerator, delay * denominator);
                let picture = image::DynamicImage::ImageRgba8(found.into_buffer()).to_rgb8();
                assert_eq!(picture, frame(level));
            }
            let text = super::super::png::parameters(&bytes).unwrap();
            assert_eq!(text.as_deref(), Some("a red sun"));
        }
    }

    #[test]
    fn a_viewer_of_still_pictures_sees_the_first_frame() {
        let bytes = animation(2, &[7, 9], 12.0).unwrap();
        assert_eq!(image::load_from_memory(&bytes).unwrap().to_rgb8(), frame(7));
    }

    #[test]
    fn missing_frames_and_frames_of_another_size_are_refused() {
        assert!(animation(3, &[1, 2], 12.0).is_err());
        assert!(animation(1, &[1, 2], 12.0).is_err());
        assert!(animation(0, &[], 12.0).is_err());
        let mut bytes = Vec::new();
        let timing = Timing { frames: 1, fps: 1.0 };
        let mut animation = Animation::start(&mut bytes, (5, 5), timing, "").unwrap();
        assert!(animation.add(&frame(0)).is_err());
    }
}
