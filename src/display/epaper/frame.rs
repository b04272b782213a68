//! Codes of inks, as a panel's controller wants them: two, four or eight pixels a byte.

use std::ops::Range;

use super::panels::{Packing, Panel};

/// A frame in the controller's order.
pub(super) struct Frame {
    /// Codes, row by row.
    codes: Vec<u8>,
    /// Pixels per row.
    width: usize,
}

impl Frame {
    /// The frame of those codes, in the picture's order.
    pub(super) fn new(codes: &[u8], panel: &Panel) -> Self {
        let (width, height) = (panel.width as usize, panel.height as usize);
        if !panel.turned {
            return Self { codes: codes.to_vec(), width };
        }
        let column = |x: usize| codes[x..].iter().step_by(width).rev();
        Self { codes: (0..width).flat_map(column).copied().collect(), width: height }
    }

    /// Its bytes, the leftmost pixel of each in the uppermost bits.
    pub(super) fn packed(&self, packing: Packing) -> Vec<u8> {
        let (half, width) = (self.width / 2, self.width);
        match packing {
            Packing::All => self.joined(0..width, 4, |code| code),
            Packing::Left => self.joined(0..half, 4, |code| code),
            Packing::Right => self.joined(half..width, 4, |code| code),
            Packing::Pairs => self.joined(0..width, 2, |code| code),
            Packing::Inks(inks) => self.joined(0..width, 1, |code| inks >> code & 1),
        }
    }

    /// Those columns, so many bits a pixel.
    fn joined(&self, columns: Range<usize>, bits: usize, value: impl Fn(u8) -> u8) -> Vec<u8> {
        let rows = self.codes.chunks_exact(self.width).map(|row| &row[columns.clone()]);
        let byte = |pixels: &[u8]| pixels.iter().fold(0, |byte, code| byte << bits | value(*code));
        rows.flat_map(|row| row.chunks_exact(8 / bits)).map(byte).collect()
    }
}
