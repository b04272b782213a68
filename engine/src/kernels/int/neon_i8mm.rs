//! The integer tile for Arm cores with products of byte matrices: `smmla` multiplies eight depths of
//! two rows by the same eight depths of two outputs.
//!
//! Pairs of rows must lie side by side, so rows are gathered first (see [`super::gathered`]): the
//! two instructions per pair and block that this takes would cost a tenth of the products if each
//! panel did it again. Six rows by sixteen outputs are 24 registers of sums, two by two.

use std::arch::aarch64::*;
use std::arch::asm;

use super::gathered::{self, Gathered, Product, Rows};
use super::{BLOCK, IntKernels, IntTile};
use crate::int_weights::BLOCK_BYTES;
use crate::kernels::winograd::transforms;
use crate::weights::LANES;

pub(crate) static KERNELS: IntKernels = IntKernels {
    rows: 12,
    panels: 3,
    offset: 0,
    step: BLOCK,
    rearrange: Some(rearrange),
    tile,
    int4: None,
    transforms: transforms!(Neon, "neon"),
    release: None,
};

static GATHERED: Gathered = Gathered {
    rows: 2 * PAIRS,
    unit: BLOCK,
    row_bytes: 2 * PAIRS * BLOCK,
    weight_bytes: BLOCK_BYTES,
    chunk: 64,
    gather,
    multiply,
};

/// Pairs of rows that are multiplied at once.
const PAIRS: usize = 3;
/// Pairs of outputs of a panel.
const COLUMNS: usize = LANES / 2;

/// Sums of two rows by two outputs.
type Sums = [[int32x4_t; COLUMNS]; PAIRS];

/// The feature that these kernels need beside NEON.
pub(crate) fn is_available() -> bool {
    std::arch::is_aarch64_feature_detected!("i8mm")
}

/// # Safety
/// The machine has the features; the tile's pointers must be valid for what its fields say.
unsafe fn tile(t: &IntTile) {
    // SAFETY: the caller's contract.
    unsafe { gathered::tile(&GATHERED, t) }
}

/// From `[k / 4][o][k % 4]` to `[k / 8][o][k % 8]`.
///
/// # Safety
/// None: every 64-bit Arm has NEON.
#[target_feature(enable = "neon")]
unsafe fn rearrange(weights: &mut [i8]) {
    for half in weights.as_chunks_mut::<{ BLOCK_BYTES / 2 }>().0 {
        let rest = *half;
        for (o, depths) in half.as_chunks_mut::<8>().0.iter_mut().enumerate() {
            *depths = std::array::from_fn(|k| rest[k / 4 * (4 * LANES) + 4 * o + k % 4]);
        }
    }
}

/// Rows as `[block][k / 8][row][k % 8]`.
///
/// # Safety
/// The pointers must be valid for what the fields say.
#[target_feature(enable = "neon")]
unsafe fn gather(rows: &Rows) {
    for k in (0..rows.depths).step_by(BLOCK) {
        for pair in 0..PAIRS {
            // SAFETY: the caller's contract.
            unsafe {
                let [a, b] = [0, 1]
                    .map(|i| vreinterpretq_s64_s8(vld1q_s8(rows.starts[2 * pair + i].add(k))));
                let to = rows.to.add(2 * PAIRS * k + pair * BLOCK);
                vst1q_s8(to, vreinterpretq_s8_s64(vzip1q_s64(a, b)));
                vst1q_s8(to.add(PAIRS * BLOCK), vreinterpretq_s8_s64(vzip2q_s64(a, b)));
            }
        }
    }
}

/// # Safety
/// The machine has the features; the pointers must be valid for what the fields say.
#[target_feature(enable = "neon,i8mm")]
unsafe fn multiply(p: &Product) {
    let mut sums = [[vdupq_n_s32(0); COLUMNS]; PAIRS];
    let (mut rows, mut weights) = (p.rows, p.weights);
    for _ in 0..2 * p.units {
        // SAFETY: the caller's contract.
        unsafe {
            eight_depths(&mut sums, rows, weights);
            rows = rows.add(PAIRS * BLOCK);
            weights = weights.add(COLUMNS * BLOCK);
        }
    }
    for (i, pair) in sums.iter().enumerate() {
        // SAFETY: the caller's contract.
        unsafe { add_pair(p, 2 * i, pair) }
    }
}

/// Eight depths: `rows: [6][8]`, `weights: [16 outputs][8]`.
///
/// # Safety
/// The machine has the features; the pointers must be valid for these many bytes.
#[inline]
#[target_feature(enable = "neon,i8mm")]
unsafe fn eight_depths(sums: &mut Sums, rows: *const i8, weights: *const i8) {
    // SAFETY: the caller's contract.
    unsafe {
        let x: [_; PAIRS] = std::array::from_fn(|i| vld1q_s8(rows.add(i * BLOCK)));
        for column in 0..COLUMNS {
            let w = vld1q_s8(weights.add(column * BLOCK));
            for (sums, x) in sums.iter_mut().zip(x) {
                multiply_pairs(&mut sums[column], x, w);
            }
        }
    }
}

/// `sums[row][output] += x[row] * weights[output]`, products of eight depths. The intrinsic is not
/// stable yet.
#[inline]
#[target_feature(enable = "neon,i8mm")]
fn multiply_pairs(sums: &mut int32x4_t, x: int8x16_t, weights: int8x16_t) {
    // SAFETY: the function has the feature; the instruction touches registers alone.
    unsafe {
        asm!(
            "smmla {sums:v}.4s, {x:v}.16b, {weights:v}.16b",
            sums = inout(vreg) *sums,
            x = in(vreg) x,
            weights = in(vreg) weights,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
}

/// Adds the sums of two rows to those in memory, as far as the tile has the rows.
///
/// # Safety
/// The pointers must be valid for what the fields say.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn add_pair(p: &Product, row: usize, pair: &[int32x4_t; COLUMNS]) {
    for (four, [a, b]) in pair.as_chunks::<2>().0.iter().enumerate() {
        let (a, b) = (vreinterpretq_s64_s32(*a), vreinterpretq_s64_s32(*b));
        let rows = [vzip1q_s64(a, b), vzip2q_s64(a, b)].map(|v| vreinterpretq_s32_s64(v));
        for (i, sums) in rows.into_iter().enumerate().take(p.height.saturating_sub(row)) {
            // SAFETY: the caller's contract.
            unsafe {
                let to = p.sums.add((row + i) * p.sum_stride + 4 * four);
                vst1q_s32(to, vaddq_s32(vld1q_s32(to), sums));
            }
        }
    }
}
