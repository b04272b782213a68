//! Displays: they know pictures, not models.
//!
//! A [`Screen`] takes frames of its own size. What happens to a picture before that is pure and the
//! same for all of them: [`Layout`] turns it and fits it in, [`caption`] and [`qr`] write on it,
//! [`message`] says something in words where there is no picture, and [`dither()`] brings it to the
//! few inks of an e-paper panel.

#[cfg(feature = "panels")]
mod board;
#[cfg(feature = "panels")]
mod button;
mod canvas;
mod caption;
mod dither;
#[cfg(feature = "drm")]
mod drm;
#[cfg(feature = "panels")]
pub mod epaper;
mod error;
mod fade;
mod framebuffer;
mod gamut;
mod layout;
#[cfg(feature = "panels")]
mod lcd;
mod message;
mod models;
mod palette;
#[cfg(feature = "panels")]
mod pins;
mod png;
#[cfg(all(test, feature = "panels"))]
mod recorder;
mod settings;
mod terminal;
#[cfg(feature = "window")]
mod window;
mod words;

use std::fmt;

use image::RgbImage;

#[cfg(feature = "panels")]
pub use button::Button;
pub use canvas::Canvas;
pub use caption::{caption, qr};
pub use dither::{Dithered, Dithering, Paper, dither};
#[cfg(feature = "drm")]
pub use drm::DrmScreen;
pub use error::ScreenError;
pub use fade::fade;
pub use framebuffer::Framebuffer;
pub use layout::{Fit, Layout, Rotation};
pub use message::message;
pub use models::{InkyPanel, PanelName, WavesharePanel};
pub use palette::{Inks, Palette};
pub use png::PngScreen;
pub use settings::{MAX_SIDE, PinSettings, ScreenKind, ScreenSettings, ScreenSize, open};
pub use terminal::TerminalScreen;
#[cfg(feature = "window")]
pub use window::WindowScreen;

/// Something that shows pictures.
pub trait Screen: Send {
    /// Its size, pace and name.
    fn info(&self) -> ScreenInfo;

    /// Shows a frame of exactly the screen's size, and returns when it is seen.
    ///
    /// # Errors
    /// When the frame has another size, or the device or file does not take it.
    fn show(&mut self, frame: &RgbImage) -> Result<(), ScreenError>;
}

/// What there is to know about a screen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScreenInfo {
    /// Pixels per row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// How soon another frame can follow.
    pub pace: Pace,
    /// Its name for people: `Inky Impression 7.3" (Spectra 6)`.
    pub name: String,
}

impl ScreenInfo {
    /// Refuses a frame of another size.
    ///
    /// # Errors
    /// When the frame is not as large as the screen.
    pub fn check(&self, frame: &RgbImage) -> Result<(), ScreenError> {
        let (frame, screen) = (frame.dimensions(), (self.width, self.height));
        if frame == screen { Ok(()) } else { Err(ScreenError::Size { frame, screen }) }
    }
}

impl fmt::Display for ScreenInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}x{}", self.name, self.width, self.height)
    }
}

/// How soon another frame can follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// Many frames a second: pictures may emerge, and fade into one another.
    Live,
    /// E-paper, whose frames take seconds, and files: every frame wears the panel or the disk.
    Slow,
}
