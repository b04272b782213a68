//! The terminal as a screen.

use std::io::{self, Cursor, Write};

use image::{ImageFormat, RgbImage};

use super::{Pace, Screen, ScreenError, ScreenInfo, ScreenSize};
use crate::paint::preview::{self, Protocol};

/// Where kitty and iTerm2 show a picture, a character is about this many pixels wide.
const CHARACTER: u32 = 8;

/// A terminal that shows every frame at its upper left corner.
#[derive(Debug)]
pub struct TerminalScreen<W> {
    out: W,
    protocol: Protocol,
    size: ScreenSize,
}

impl<W: Write + Send> TerminalScreen<W> {
    /// A terminal of that many columns and rows of characters.
    pub fn new(out: W, protocol: Protocol, columns: u16, rows: u16) -> Self {
        // The last row is for the cursor.
        let (columns, rows) = (u32::from(columns.max(1)), u32::from(rows.max(2)) - 1);
        let pixels = match protocol {
            Protocol::Kitty | Protocol::Iterm2 => CHARACTER,
            Protocol::TrueColour | Protocol::Palette => 1,
        };
        let size = ScreenSize { width: columns * pixels, height: rows * 2 * pixels };
        Self { out, protocol, size }
    }

    fn print(&mut self, frame: &RgbImage) -> io::Result<()> {
        let mut file = Cursor::new(Vec::new());
        if matches!(self.protocol, Protocol::Kitty | Protocol::Iterm2) {
            frame.write_to(&mut file, ImageFormat::Png).map_err(io::Error::other)?;
        }
        let columns = frame.width() as usize;
        let picture = preview::render(frame, file.get_ref(), self.protocol, columns);
        // kitty keeps pictures until it is told not to.
        let clear = if self.protocol == Protocol::Kitty { "\x1b_Ga=d\x1b\\" } else { "" };
        write!(self.out, "{clear}\x1b[H{picture}")?;
        self.out.flush()
    }
}

impl<W: Write + Send> Screen for TerminalScreen<W> {
    fn info(&self) -> ScreenInfo {
        let ScreenSize { width, height } = self.size;
        ScreenInfo { width, height, pace: Pace::Live, name: "the terminal".to_owned() }
    }

    fn show(&mut self, frame: &RgbImage) -> Result<(), ScreenError> {
        self.info().check(frame)?;
        self.print(frame).map_err(ScreenError::Terminal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Rgb;

    fn printed(protocol: Protocol) -> String {
        let mut out = Vec::new();
        let mut screen = TerminalScreen::new(&mut out, protocol, 2, 2);
        let ScreenInfo { width, height, .. } = screen.info();
        screen.show(&RgbImage::from_pixel(width, height, Rgb([250, 100, 0]))).unwrap();
        String::from_utf8(out).unwrap().replace('\x1b', "ESC")
    }

    #[test]
    fn half_blocks_start_at_the_upper_left_and_fill_the_terminal_but_its_last_row() {
        let cell = "38;2;250;100;0;48;2;250;100;0";
        assert_eq!(printed(Protocol::TrueColour), format!("ESC[HESC[{cell}m▀▀ESC[0m\n"));
    }

    #[test]
    fn kitty_is_told_to_forget_the_frame_before() {
        let out = printed(Protocol::Kitty);
        assert!(out.starts_with("ESC_Ga=dESC\\ESC[HESC_Ga=T,f=100,c=2,m=0;"), "{out}");
    }
}
