//! The integer tile for Arm cores with dot products of bytes: `sdot` by element multiplies four
//! depths of four outputs by the same four depths of one row.
//!
//! Six rows of sixteen outputs are 24 registers of sums; six of activations and two of weights fill
//! the other eight. Sixteen depths take 96 `sdot` and 14 loads, so that a core that starts two
//! products and four other instructions a cycle is bound by its products alone.

use std::arch::aarch64::*;
use std::arch::asm;

use super::{BLOCK, IntKernels, IntTile, one_panel, sized, start};
use crate::kernels::winograd::transforms;
use crate::weights::LANES;

pub(crate) static KERNELS: IntKernels = IntKernels {
    rows: 6,
    panels: 3,
    offset: 0,
    step: BLOCK,
    rearrange: None,
    tile,
    int4: None,
    transforms: transforms!(Neon, "neon"),
    release: None,
};

/// The feature that these kernels need beside NEON.
pub(crate) fn is_available() -> bool {
    std::arch::is_aarch64_feature_detected!("dotprod")
}

/// # Safety
/// The machine has the features; the tile's pointers must be valid for what its fields say.
#[target_feature(enable = "neon,dotprod")]
unsafe fn tile(t: &IntTile) {
    for p in 0..t.panels {
        let t = &one_panel(t, p);
        sized!(t, fixed, 1: [1 2 3 4 5 6])
    }
}

/// `sums += weights * x[4 * LANE..][..4]`, dot products of four depths. The intrinsic is not stable
/// yet.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn dot<const LANE: usize>(sums: &mut int32x4_t, weights: int8x16_t, x: int8x16_t) {
    // SAFETY: the function has the feature; the instruction touches registers alone.
    unsafe {
        asm!(
            "sdot {sums:v}.4s, {weights:v}.16b, {x:v}.4b[{lane}]",
            sums = inout(vreg) *sums,
            weights = in(vreg) weights,
            x = in(vreg) x,
            lane = const LANE,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
}

/// Four depths of all rows: `weights: [16 outputs][4]`.
///
/// # Safety
/// The machine has the features; `weights` must be valid for 64 bytes.
#[inline]
#[target_feature(enable = "neon,dotprod")]
unsafe fn quarter<const ROWS: usize, const LANE: usize>(
    sums: &mut [[int32x4_t; 4]; ROWS],
    x: &[int8x16_t; ROWS],
    weights: *const i8,
) {
    for v in 0..4 {
        // SAFETY: the caller's contract.
        let w = unsafe { vld1q_s8(weights.add((4 * LANE + v) * 16)) };
        for (sums, x) in sums.iter_mut().zip(x) {
            dot::<LANE>(&mut sums[v], w, *x);
        }
    }
}

/// # Safety
/// As [`tile`].
#[target_feature(enable = "neon,dotprod")]
unsafe fn fixed<const ROWS: usize, const PANEL: usize>(t: &IntTile) {
    // SAFETY: the caller's contract; there is one panel.
    unsafe {
        let mut sums = [[vdupq_n_s32(0); 4]; ROWS];
        if let Some(start) = start(t) {
            for (i, sums) in sums.iter_mut().enumerate() {
                let from = start.of(i, 0);
                *sums = [0, 4, 8, 12].map(|lane| vld1q_s32(from.add(lane)));
            }
        }
        let mut weights = t.weights;
        for tap in 0..t.taps {
            let rows: [_; ROWS] = std::array::from_fn(|i| {
                t.base.cast::<i8>().add(*t.offsets.add(tap * ROWS + i) as usize)
            });
            for k in (0..t.depth).step_by(BLOCK) {
                let x = rows.map(|row| vld1q_s8(row.add(k)));
                quarter::<ROWS, 0>(&mut sums, &x, weights);
                quarter::<ROWS, 1>(&mut sums, &x, weights);
                quarter::<ROWS, 2>(&mut sums, &x, weights);
                quarter::<ROWS, 3>(&mut sums, &x, weights);
                weights = weights.add(BLOCK * LANES);
            }
        }
        for (i, sums) in sums.iter().enumerate() {
            for (lane, four) in sums.iter().enumerate() {
                vst1q_s32(t.sums.add(i * t.sum_stride + 4 * lane), *four);
            }
        }
    }
}
