//! The register tile of every matrix product and convolution.
//!
//! `c[i][j] = sum over taps and k of rows[tap][i][k] * panel[j / 16][tap][k][j % 16]`, each output
//! an unbroken chain of fused multiply-adds in ascending `(tap, k)`. A convolution hands in one row
//! pointer per tap and output pixel, so no patch matrix is ever built; a linear layer has one tap.

use crate::simd::Simd;
use crate::weights::LANES;

/// What a tile computes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tile {
    /// Row pointers, `[taps][height]`, each to `depth` values.
    pub rows: *const *const f32,
    /// Rows of the tile.
    pub height: usize,
    /// Kernel taps.
    pub taps: usize,
    /// Values per tap.
    pub depth: usize,
    /// First panel, `[taps][depth][16]`.
    pub panels: *const f32,
    /// Values from one panel to the next.
    pub panel_stride: usize,
    /// Columns of the tile: whole panels, the last perhaps in part.
    pub width: usize,
    /// First output.
    pub out: *mut f32,
    /// Values from one output row to the next.
    pub out_stride: usize,
    /// Whether the chains go on from what `out` holds instead of from zero.
    pub accumulate: bool,
}

/// Computes a tile of at most `S::TILE_ROWS` x `S::TILE_PANELS * 16`.
///
/// # Safety
/// As [`Simd`]; all pointers of the tile must be valid for what its fields say.
#[inline(always)]
pub(crate) unsafe fn tile<S: Simd>(t: &Tile) {
    /// Picks the instance of constant size, so that all accumulators stay in registers.
    macro_rules! sized {
        ($panels:literal: $($rows:literal)*) => {
            match t.height {
                // SAFETY: the caller's contract; the guard says how many rows there are.
                $($rows if $rows <= S::TILE_ROWS => unsafe { fixed::<S, $rows, $panels>(t) },)*
                height => unreachable!("a tile of {height} rows"),
            }
        };
    }
    match t.width.div_ceil(LANES) {
        1 => sized!(1: 1 2 3 4 5 6 7 8),
        2 if S::TILE_PANELS >= 2 => sized!(2: 1 2 3 4 5 6 7 8),
        3 if S::TILE_PANELS >= 3 => sized!(3: 1 2 3 4 5 6 7 8),
        panels => unreachable!("a tile of {panels} panels"),
    }
}

#[inline(always)]
unsafe fn fixed<S: Simd, const ROWS: usize, const PANELS: usize>(t: &Tile) {
    // SAFETY: the caller's contract.
    unsafe {
        let mut acc = [[S::splat(0.0); PANELS]; ROWS];
        if t.accumulate {
            visit::<S, ROWS, PANELS, true>(t, &mut acc);
        }
        let mut panel = t.panels;
        for tap in 0..t.taps {
            let rows = t.rows.add(tap * ROWS).cast::<[*const f32; ROWS]>().read();
            for k in 0..t.depth {
                let mut b = [S::splat(0.0); PANELS];
                for (p, b) in b.iter_mut().enumerate() {
                    *b = S::load(panel.add(p * t.panel_stride));
                }
                for i in 0..ROWS {
                    let a = S::splat(*rows[i].add(k));
                    for p in 0..PANELS {
                        acc[i][p] = a.fma(b[p], acc[i][p]);
                    }
                }
                panel = panel.add(LANES);
            }
        }
        visit::<S, ROWS, PANELS, false>(t, &mut acc);
    }
}

/// Loads or stores the accumulators, the last panel in part where the tile is not that wide.
#[inline(always)]
unsafe fn visit<S: Simd, const ROWS: usize, const PANELS: usize, const LOAD: bool>(
    t: &Tile,
    acc: &mut [[S; PANELS]; ROWS],
) {
    for (i, row) in acc.iter_mut().enumerate() {
        for (p, lanes) in row.iter_mut().enumerate() {
            // SAFETY: the caller's contract: `width` columns of every row are there.
            unsafe {
                let at = t.out.add(i * t.out_stride + p * LANES);
                let columns = t.width - p * LANES;
                match (LOAD, columns >= LANES) {
                    (true, true) => *lanes = S::load(at),
                    (true, false) => *lanes = S::load_part(at, columns),
                    (false, true) => lanes.store(at),
                    (false, false) => lanes.store_part(at, columns),
                }
            }
        }
    }
}
