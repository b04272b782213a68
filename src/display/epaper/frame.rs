//! Codes of inks, as a panel's controller wants them: two pixels a byte.

use super::panels::{Panel, Share};

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

    /// Those columns of it, the left one of two pixels in the upper four bits.
    pub(super) fn packed(&self, share: Share) -> Vec<u8> {
        let half = self.width / 2;
        let columns = match share {
            Share::All => 0..self.width,
            Share::Left => 0..half,
            Share::Right => half..self.width,
        };
        let rows = self.codes.chunks_exact(self.width).map(|row| &row[columns.clone()]);
        rows.flat_map(|row| row.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1])).collect()
    }
}
