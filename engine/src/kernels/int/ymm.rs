//! The walk of an integer tile of one panel in 256-bit registers, two to a panel; how four depths of
//! eight outputs are multiplied is left to the instruction set.

use std::arch::x86_64::*;

use super::{IntTile, start};
use crate::weights::LANES;

/// Multiplies four depths of eight outputs.
///
/// # Safety
/// Only on a machine that has the implementation's instructions, from a function compiled for them.
pub(super) trait Dot {
    /// `sum + x . w` in every 32-bit lane: `x` is one row's four depths, repeated.
    unsafe fn dot(sum: __m256i, x: __m256i, w: __m256i) -> __m256i;
}

/// # Safety
/// As [`Dot`], with AVX2; the tile has one panel, its pointers are valid for what its fields say.
#[inline(always)]
pub(super) unsafe fn walk<D: Dot, const ROWS: usize>(t: &IntTile) {
    // SAFETY: the caller's contract.
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
                let low = _mm256_loadu_si256(weights.cast());
                let high = _mm256_loadu_si256(weights.add(32).cast());
                for i in 0..ROWS {
                    let x = t.base.add(offsets[i] as usize + k).cast::<i32>().read_unaligned();
                    let x = _mm256_set1_epi32(x);
                    sums[i] = [D::dot(sums[i][0], x, low), D::dot(sums[i][1], x, high)];
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
