//! The integer tile with AVX-VNNI: `vpdpbusd` on 256-bit registers, two to a panel.

use std::arch::x86_64::*;

use super::{IntKernels, IntTile, sized, start};
use crate::weights::LANES;

pub(crate) static KERNELS: IntKernels =
    IntKernels { rows: 6, panels: 1, offset: 128, step: 4, rearrange: None, tile, int4: None };

/// The features that these kernels need beside those of the sixteen lanes.
pub(crate) fn is_available() -> bool {
    is_x86_feature_detected!("avxvnni")
}

/// # Safety
/// The machine has the features; the tile's pointers must be valid for what its fields say.
#[target_feature(enable = "avx2,avxvnni")]
unsafe fn tile(t: &IntTile) {
    sized!(t, fixed, 1: [1 2 3 4 5 6])
}

/// # Safety
/// As [`tile`].
#[target_feature(enable = "avx2,avxvnni")]
unsafe fn fixed<const ROWS: usize, const PANEL: usize>(t: &IntTile) {
    // SAFETY: the caller's contract; there is one panel.
    unsafe {
        let mut sums = [[_mm256_setzero_si256(); 2]; ROWS];
        if let Some(start) = start(t) {
            for (i, [low, high]) in sums.iter_mut().enumerate() {
                *low = _mm256_loadu_si256(start.of(i, 0).cast());
                *high = _mm256_loadu_si256(start.of(i, 0).add(8).cast());
            }
        }
        let mut weights = t.weights;
        for tap in 0..t.taps {
            let offsets = t.offsets.add(tap * ROWS).cast::<[u32; ROWS]>().read_unaligned();
            for k in (0..t.depth).step_by(4) {
                let w = [
                    _mm256_loadu_si256(weights.cast()),
                    _mm256_loadu_si256(weights.add(32).cast()),
                ];
                for i in 0..ROWS {
                    let x = t.base.add(offsets[i] as usize + k).cast::<i32>().read_unaligned();
                    let x = _mm256_set1_epi32(x);
                    sums[i][0] = _mm256_dpbusd_avx_epi32(sums[i][0], x, w[0]);
                    sums[i][1] = _mm256_dpbusd_avx_epi32(sums[i][1], x, w[1]);
                }
                weights = weights.add(4 * LANES);
            }
        }
        for (i, halves) in sums.iter().enumerate() {
            for (half, lanes) in halves.iter().enumerate() {
                _mm256_storeu_si256(t.sums.add(i * t.sum_stride + half * 8).cast(), *lanes);
            }
        }
    }
}
