//! The register tile of integer products: int8 activations times int8 weights, exact 32-bit sums.
//!
//! `c[i][j] = sum over taps and k of row[tap][i][k] * panel[j / 16][tap][k][j % 16]`. Integers add
//! up to the same sum in any order, so each instruction set may multiply in whatever order suits it
//! and all of them give the same bits. What differs between them is kept to three things, which the
//! table [`IntKernels`] names:
//!
//! - the *offset* of stored activations. VNNI multiplies unsigned by signed bytes, so there a byte
//!   holds the value plus 128, and every sum starts at `-128 * (sum of the output's weights)`;
//! - the order of the bytes in a block of 16 outputs `o` by 16 depths `k`. At rest it is `[k /
//!   4][o][k % 4]`, one 32-bit lane per output, as VNNI and SDOT read it; kernels that need another
//!   get their blocks rearranged in the decode stage;
//! - the size of the tile.
//!
//! Kernels may also multiply int4 weights without making int8 of them: see [`Int4Kernels`].

#[cfg(target_arch = "x86_64")]
pub(crate) mod amx;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512vnni;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avxvnni;
#[cfg(target_arch = "aarch64")]
mod gathered;
#[cfg(target_arch = "aarch64")]
pub(crate) mod neon_dot;
#[cfg(target_arch = "aarch64")]
pub(crate) mod neon_i8mm;
#[cfg(target_arch = "aarch64")]
mod neon_int4;
#[cfg(target_arch = "aarch64")]
pub(crate) mod neon_mlal;
pub(crate) mod portable;
#[cfg(target_arch = "x86_64")]
mod ymm;

use super::winograd::Transforms;
use crate::weights::LANES;

/// Channels of activations and weights are padded with zeros to a multiple of this many bytes.
pub(crate) const BLOCK: usize = 16;
/// Most rows of any tile.
pub(crate) const MAX_ROWS: usize = 16;
/// Most panels of any tile.
pub(crate) const MAX_PANELS: usize = 4;

/// Most bytes of a group of int4 weights that was made ready for a tile.
pub(crate) const MAX_GROUP_BYTES: usize = 2 * BLOCK * LANES + 2 * LANES;

/// What a tile computes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IntTile {
    /// Start of the stored activations.
    pub base: *const u8,
    /// Where each row starts, in bytes from `base`: `[taps][height]`.
    pub offsets: *const u32,
    /// Rows of the tile.
    pub height: usize,
    /// Kernel taps.
    pub taps: usize,
    /// Bytes per tap, a multiple of [`BLOCK`]; of one tap, of [`IntKernels::step`].
    pub depth: usize,
    /// First panel, `[taps][depth / 16]` blocks.
    pub weights: *const i8,
    /// Bytes from one panel to the next.
    pub weight_stride: usize,
    /// Panels of the tile.
    pub panels: usize,
    /// What the sums of the first panel start from; null for zero.
    pub start: *const i32,
    /// Values from one panel's starts to the next one's.
    pub start_stride: usize,
    /// Sums, `[height]` rows of `[panels][16]`.
    pub sums: *mut i32,
    /// Values from one row of sums to the next.
    pub sum_stride: usize,
    /// Whether the sums go on from what `sums` holds; `start` is not read then.
    pub accumulate: bool,
}

/// The integer kernels of one instruction set. See [`crate::kernels::Kernels`] for what makes
/// calling them sound.
#[derive(Debug)]
pub(crate) struct IntKernels {
    /// Rows of the register tile.
    pub rows: usize,
    /// Panels of the register tile.
    pub panels: usize,
    /// What is added to every stored activation, modulo 256.
    pub offset: u8,
    /// Where there is one tap, depth may be any multiple of this.
    pub step: usize,
    /// Brings whole blocks of weights from their order at rest, `[k / 4][o][k % 4]`, into the one
    /// that `tile` reads, where that is another.
    pub rearrange: Option<unsafe fn(&mut [i8])>,
    pub tile: unsafe fn(&IntTile),
    /// Where it is faster not to make int8 of int4 weights.
    pub int4: Option<&'static Int4Kernels>,
    /// For convolutions that take fewer products.
    pub transforms: Transforms,
    /// Gives back what `tile` keeps from the thread that called it, where that is anything.
    pub release: Option<unsafe fn()>,
}

/// Products of int4 values themselves, to which the multipliers of their groups (see
/// [`crate::int_weights`]) come later: the same sums.
#[derive(Debug)]
pub(crate) struct Int4Kernels {
    /// Bytes of a group of a panel as `tile` reads it, at most [`MAX_GROUP_BYTES`].
    pub group_bytes: usize,
    /// Brings a group of one or two blocks, `[blocks][128]`, and its multipliers into that form.
    pub unpack: unsafe fn(&[u8], &[i8; LANES], &mut [i8]),
    /// As [`IntKernels::tile`], of panels of `[taps][depth / 32]` groups.
    pub tile: unsafe fn(&IntTile),
}

/// Picks the instance of constant size, so that all accumulators stay in registers.
///
/// `$fixed::<ROWS, PANELS>(t)` for all rows up to the literals given per number of panels.
macro_rules! sized {
    ($t:expr, $fixed:ident, $($panels:literal: [$($rows:literal)*]),*) => {
        match ($t.panels, $t.height) {
            // SAFETY: the contract of the function that this stands in.
            $($(($panels, $rows) => unsafe { $fixed::<$rows, $panels>($t) },)*)*
            (panels, height) => unreachable!("an integer tile of {height} rows, {panels} panels"),
        }
    };
}
pub(crate) use sized;

/// Where a tile's sums start from.
#[derive(Clone, Copy)]
pub(crate) struct Start {
    first: *const i32,
    row_stride: usize,
    panel_stride: usize,
}

impl Start {
    /// The sixteen sums of row `i`, panel `p`.
    ///
    /// # Safety
    /// The tile has that row and panel.
    #[inline(always)]
    pub unsafe fn of(self, i: usize, p: usize) -> *const i32 {
        // SAFETY: the tile's contract: sums and starts hold sixteen values per panel.
        unsafe { self.first.add(i * self.row_stride + p * self.panel_stride) }
    }
}

/// What a tile's sums start from; `None` for zeros.
#[inline(always)]
pub(crate) fn start(t: &IntTile) -> Option<Start> {
    match t.accumulate {
        true => Some(Start { first: t.sums, row_stride: t.sum_stride, panel_stride: LANES }),
        false if t.start.is_null() => None,
        false => Some(Start { first: t.start, row_stride: 0, panel_stride: t.start_stride }),
    }
}

/// Panel `p` of a tile as a tile of its own.
#[cfg(target_arch = "aarch64")]
pub(crate) fn one_panel(t: &IntTile, p: usize) -> IntTile {
    let starts = if t.start.is_null() { 0 } else { p * t.start_stride };
    IntTile {
        weights: t.weights.wrapping_add(p * t.weight_stride),
        panels: 1,
        start: t.start.wrapping_add(starts),
        sums: t.sums.wrapping_add(p * LANES),
        ..*t
    }
}

/// Decodes int4 blocks that share multipliers (see [`crate::int_weights`]) to int8.
///
/// `pairs: [blocks][128]`, `multipliers: [16]`, `out: [blocks][256]`. Compiled for every instruction
/// set by inlining.
#[inline(always)]
pub(crate) fn decode_int4(pairs: &[u8], multipliers: &[i8; LANES], out: &mut [i8]) {
    const HALF: usize = BLOCK * LANES / 2;
    let each: [i8; HALF] = std::array::from_fn(|b| multipliers[b / 4 % LANES]);
    let blocks = pairs.as_chunks::<HALF>().0.iter().zip(out.as_chunks_mut::<{ 2 * HALF }>().0);
    for (pairs, out) in blocks {
        for b in 0..HALF {
            out[b] = ((pairs[b] & 15).cast_signed() - 8) * each[b];
            out[HALF + b] = ((pairs[b] >> 4).cast_signed() - 8) * each[b];
        }
    }
}
