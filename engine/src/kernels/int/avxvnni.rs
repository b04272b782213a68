//! The integer tile with AVX-VNNI: `vpdpbusd` on 256-bit registers, two to a panel.

use std::arch::x86_64::*;

use super::ymm::{Dot, walk};
use super::{IntKernels, IntTile, sized};

use crate::kernels::winograd::transforms;

pub(crate) static KERNELS: IntKernels = IntKernels {
    rows: 6,
    panels: 1,
    offset: 128,
    step: 4,
    rearrange: None,
    tile,
    int4: None,
    transforms: transforms!(Avx2, "avx2"),
    release: None,
};

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
    unsafe { walk::<Vnni, ROWS>(t) }
}

struct Vnni;

impl Dot for Vnni {
    #[inline(always)]
    unsafe fn dot(sum: __m256i, x: __m256i, w: __m256i) -> __m256i {
        // SAFETY: the trait's contract.
        unsafe { _mm256_dpbusd_avx_epi32(sum, x, w) }
    }
}
