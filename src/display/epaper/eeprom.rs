//! The small memory on Pimoroni's boards that says which panel is soldered on.
//!
//! 29 bytes at address 0x50 of the I2C bus: width and height (u16, little-endian), colour, version
//! of the board times ten, number of the panel, and when it was written (layout and numbers:
//! `inky/eeprom.py` of the package `inky` 2.6.0).

use std::fmt;

use super::panels::{AC073TC1A, E640, E673, EL133UF1, Panel, UC8159_600, UC8159_640};

/// What a board says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Board {
    /// Pixels per row.
    pub width: u16,
    /// Rows.
    pub height: u16,
    /// The number of its panel.
    pub variant: u8,
}

/// Why a board's memory names no panel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BoardError {
    /// Nothing was ever written there.
    Blank,
    /// A panel that this program has no table for.
    Unknown(Board),
}

impl fmt::Display for BoardError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Blank => f.write_str("the board's memory is blank; name the panel as `panel`"),
            Self::Unknown(board) => write!(
                f,
                "the board has panel number {} ({}x{}), which this program does not know yet",
                board.variant, board.width, board.height
            ),
        }
    }
}

impl std::error::Error for BoardError {}

impl Board {
    /// How many bytes are read.
    pub const BYTES: usize = 29;

    /// What the memory says.
    pub fn read(bytes: &[u8; Self::BYTES]) -> Self {
        let [w0, w1, h0, h1, _, _, variant, ..] = *bytes;
        let (width, height) = (u16::from_le_bytes([w0, w1]), u16::from_le_bytes([h0, h1]));
        Self { width, height, variant }
    }

    /// The panel on the board.
    ///
    /// # Errors
    /// When the memory is blank, or the panel is not known.
    pub fn panel(self) -> Result<&'static Panel, BoardError> {
        match self.variant {
            14 => Ok(&UC8159_600),
            15 | 16 => Ok(&UC8159_640),
            20 => Ok(&AC073TC1A),
            21 | 27 => Ok(&EL133UF1),
            22 | 26 => Ok(&E673),
            25 => Ok(&E640),
            0 | 255 => Err(BoardError::Blank),
            _ => Err(BoardError::Unknown(self)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(variant: u8) -> [u8; Board::BYTES] {
        let mut bytes = [0; Board::BYTES];
        // 800x480, Spectra 6, board version 1.2.
        bytes[..7].copy_from_slice(&[0x20, 0x03, 0xE0, 0x01, 6, 12, variant]);
        bytes
    }

    #[test]
    fn a_board_tells_its_panel() {
        let board = Board::read(&memory(22));
        assert_eq!(board, Board { width: 800, height: 480, variant: 22 });
        let panel = board.panel().unwrap();
        assert_eq!((panel.width, panel.height), (800, 480));
        assert_eq!(panel.name, "Inky Impression 7.3\" (Spectra 6)");
    }

    #[test]
    fn blank_and_unknown_boards_are_told_apart() {
        let told = |bytes| Board::read(&bytes).panel().unwrap_err().to_string();
        assert!(told([255; Board::BYTES]).contains("blank"));
        assert!(told(memory(2)).contains("panel number 2 (800x480)"));
    }
}
