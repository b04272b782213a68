//! The integer tile with AVX2. `vpmaddubsw` adds pairs of unsigned by signed products and saturates
//! at 16 bits. With the sign of the activation moved to the weight, no pair leaves the range:
//! `2 * 127 * 127 < 2^15`.

use std::arch::x86_64::*;

use super::ymm::{Dot, walk};
use super::{IntKernels, IntTile, sized};

use crate::kernels::winograd::transforms;

pub(crate) static KERNELS: IntKernels = IntKernels {
    rows: 4,
    panels: 1,
    offset: 0,
    step: 4,
    rearrange: None,
    tile,
    int4: None,
    transforms: transforms!(Avx2, "avx2"),
    release: None,
};

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
    unsafe { walk::<Pairs, ROWS>(t) }
}

struct Pairs;

impl Dot for Pairs {
    #[inline(always)]
    unsafe fn dot(sum: __m256i, x: __m256i, w: __m256i) -> __m256i {
        // SAFETY: the trait's contract.
        unsafe {
            let pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(x), _mm256_sign_epi8(w, x));
            _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
        }
    }
}
