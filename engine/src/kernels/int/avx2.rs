//! The integer tile with AVX2. `vpmaddubsw` adds pairs of unsigned by signed products and saturates
//! at 16 bits. With the sign of the activation moved to the weight, no pair leaves the range:
//! `2 * 127 * 127 < 2^15`.

use std::arch::x86_64::*;

use super::{IntKernels, IntTile, sized, start};
use crate::weights::LANES;

pub(crate) static KERNELS: IntKernels =
    IntKernels { rows: 4, panels: 1, offset: 0, step: 4, rearrange: None, tile, int4: None };

/// # Safety
/// The machine has AVX2; the tile's pointers must be valid for what its fields say.
#[target_feature(enable = "avx2")]
unsafe fn tile(t: &IntTile) {
    sized!(t, fixed, 1: [1 2 3 4])
}

/// # Safety
/// As [`tile`].
#[target_feature(enable = "avx2")]
unsafe fn fixed<const ROWS: usize, const PANEL: usize>(t: &IntTile) {
    // SAFETY: the caller's contract; there is one panel.
    unsafe {
        let ones = _mm256_set1_epi16(1);
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
                    let magnitude = _mm256_abs_epi8(x);
                    for half in 0..2 {
                        let pairs = _mm256_maddubs_epi16(magnitude, _mm256_sign_epi8(w[half], x));
                        sums[i][half] =
                            _mm256_add_epi32(sums[i][half], _mm256_madd_epi16(pairs, ones));
                    }
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
