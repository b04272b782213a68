//! The integer tile with AVX-512 VNNI: one `vpdpbusd` multiplies four depths of sixteen outputs.

use std::arch::x86_64::*;

use super::{IntKernels, IntTile, sized, start};
use crate::kernels::winograd::transforms;
use crate::weights::LANES;

pub(crate) static KERNELS: IntKernels = IntKernels {
    rows: 8,
    panels: 3,
    offset: 128,
    step: 4,
    rearrange: None,
    tile,
    int4: None,
    transforms: transforms!(Avx512, "avx512f,avx512bw"),
    release: None,
};

/// The features that these kernels need beside those of the sixteen lanes.
pub(crate) fn is_available() -> bool {
    is_x86_feature_detected!("avx512vnni") && is_x86_feature_detected!("avx512bw")
}

/// # Safety
/// The machine has the features; the tile's pointers must be valid for what its fields say.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn tile(t: &IntTile) {
    sized!(t, fixed,
        1: [1 2 3 4 5 6 7 8],
        2: [1 2 3 4 5 6 7 8],
        3: [1 2 3 4 5 6 7 8])
}

/// # Safety
/// As [`tile`].
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn fixed<const ROWS: usize, const PANELS: usize>(t: &IntTile) {
    // SAFETY: the caller's contract.
    unsafe {
        let mut sums = [[_mm512_setzero_si512(); PANELS]; ROWS];
        if let Some(start) = start(t) {
            for (i, row) in sums.iter_mut().enumerate() {
                for (p, lanes) in row.iter_mut().enumerate() {
                    *lanes = _mm512_loadu_si512(start.of(i, p).cast());
                }
            }
        }
        let mut weights = t.weights;
        for tap in 0..t.taps {
            let mut rows = [t.base; ROWS];
            for (i, row) in rows.iter_mut().enumerate() {
                *row = row.add(*t.offsets.add(tap * ROWS + i) as usize);
            }
            let mut k = 0;
            while k < t.depth {
                let mut w = [_mm512_setzero_si512(); PANELS];
                for (p, w) in w.iter_mut().enumerate() {
                    *w = _mm512_loadu_si512(weights.add(p * t.weight_stride).cast());
                }
                for i in 0..ROWS {
                    let x = _mm512_set1_epi32(rows[i].add(k).cast::<i32>().read_unaligned());
                    for p in 0..PANELS {
                        sums[i][p] = _mm512_dpbusd_epi32(sums[i][p], x, w[p]);
                    }
                }
                weights = weights.add(4 * LANES);
                k += 4;
            }
        }
        for (i, row) in sums.iter().enumerate() {
            for (p, lanes) in row.iter().enumerate() {
                _mm512_storeu_si512(t.sums.add(i * t.sum_stride + p * LANES).cast(), *lanes);
            }
        }
    }
}
