//! Sixteen lanes as two AVX2 registers.

use std::arch::x86_64::*;

use super::Simd;

#[derive(Clone, Copy)]
pub(crate) struct Avx2([__m256; 2]);

/// The features that [`Avx2`] needs.
pub(crate) fn is_available() -> bool {
    is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("fma")
        && is_x86_feature_detected!("f16c")
}

impl Simd for Avx2 {
    const TILE_ROWS: usize = 6;
    const TILE_PANELS: usize = 1;

    #[inline(always)]
    unsafe fn splat(v: f32) -> Self {
        // SAFETY: the trait's contract.
        Self(unsafe { [_mm256_set1_ps(v); 2] })
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> Self {
        // SAFETY: the trait's contract.
        Self(unsafe { [_mm256_loadu_ps(p), _mm256_loadu_ps(p.add(8))] })
    }
    #[inline(always)]
    unsafe fn load_f16(p: *const u16) -> Self {
        // SAFETY: the trait's contract.
        Self(unsafe {
            [
                _mm256_cvtph_ps(_mm_loadu_si128(p.cast())),
                _mm256_cvtph_ps(_mm_loadu_si128(p.add(8).cast())),
            ]
        })
    }
    #[inline(always)]
    unsafe fn load_i32(p: *const i32) -> Self {
        // SAFETY: the trait's contract.
        Self(unsafe { [0, 8].map(|i| _mm256_cvtepi32_ps(_mm256_loadu_si256(p.add(i).cast()))) })
    }
    #[inline(always)]
    unsafe fn store_i8(self, p: *mut u8, offset: u8) {
        // SAFETY: the trait's contract. Packing works within halves of 128 bits; the permutation
        // puts the quarters back in order.
        unsafe {
            let [a, b] = self.0.map(|v| _mm256_cvtps_epi32(v));
            let words = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packs_epi32(a, b));
            let (low, high) = (_mm256_castsi256_si128(words), _mm256_extracti128_si256::<1>(words));
            let bytes = _mm_packs_epi16(low, high);
            _mm_storeu_si128(p.cast(), _mm_add_epi8(bytes, _mm_set1_epi8(offset.cast_signed())));
        }
    }
    #[inline(always)]
    unsafe fn load_i32_less(p: *const i32, base: i32) -> Self {
        // SAFETY: the trait's contract.
        Self(unsafe {
            [0, 8].map(|i| {
                let v = _mm256_loadu_si256(p.add(i).cast());
                _mm256_cvtepi32_ps(_mm256_sub_epi32(v, _mm256_set1_epi32(base)))
            })
        })
    }
    #[inline(always)]
    unsafe fn load_i32_less_times(p: *const i32, times: i32, q: *const i32) -> Self {
        // SAFETY: the trait's contract.
        Self(unsafe {
            [0, 8].map(|i| {
                let q = _mm256_loadu_si256(q.add(i).cast());
                let q = _mm256_mullo_epi32(q, _mm256_set1_epi32(times));
                _mm256_cvtepi32_ps(_mm256_sub_epi32(_mm256_loadu_si256(p.add(i).cast()), q))
            })
        })
    }
    #[inline(always)]
    unsafe fn add_bits(self, b: Self) -> Self {
        let add = |a: __m256, b: __m256| {
            // SAFETY: the trait's contract.
            unsafe {
                let sum = _mm256_add_epi32(_mm256_castps_si256(a), _mm256_castps_si256(b));
                _mm256_castsi256_ps(sum)
            }
        };
        Self([add(self.0[0], b.0[0]), add(self.0[1], b.0[1])])
    }
    #[inline(always)]
    unsafe fn times_power(self, n: Self) -> Self {
        // SAFETY: the trait's contract.
        unsafe {
            let power =
                n.0.map(|n| _mm256_castsi256_ps(_mm256_slli_epi32::<23>(_mm256_castps_si256(n))));
            self.add_bits(Self(power))
        }
    }
    #[inline(always)]
    unsafe fn store_low_bytes(self, p: *mut u8) {
        // SAFETY: the trait's contract. A byte without its upper bits is packed unchanged.
        unsafe {
            let low = _mm256_set1_epi32(255);
            let [a, b] = self.0.map(|v| _mm256_and_si256(_mm256_castps_si256(v), low));
            let words = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packus_epi32(a, b));
            let (low, high) = (_mm256_castsi256_si128(words), _mm256_extracti128_si256::<1>(words));
            _mm_storeu_si128(p.cast(), _mm_packus_epi16(low, high));
        }
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f32) {
        // SAFETY: the trait's contract.
        unsafe {
            _mm256_storeu_ps(p, self.0[0]);
            _mm256_storeu_ps(p.add(8), self.0[1]);
        }
    }
    #[inline(always)]
    unsafe fn fma(self, b: Self, c: Self) -> Self {
        // SAFETY: the trait's contract.
        Self(unsafe {
            [_mm256_fmadd_ps(self.0[0], b.0[0], c.0[0]), _mm256_fmadd_ps(self.0[1], b.0[1], c.0[1])]
        })
    }
    #[inline(always)]
    unsafe fn add(self, b: Self) -> Self {
        // SAFETY: the trait's contract.
        Self(unsafe { [_mm256_add_ps(self.0[0], b.0[0]), _mm256_add_ps(self.0[1], b.0[1])] })
    }
    #[inline(always)]
    unsafe fn sub(self, b: Self) -> Self {
        // SAFETY: the trait's contract.
        Self(unsafe { [_mm256_sub_ps(self.0[0], b.0[0]), _mm256_sub_ps(self.0[1], b.0[1])] })
    }
    #[inline(always)]
    unsafe fn mul(self, b: Self) -> Self {
        // SAFETY: the trait's contract.
        Self(unsafe { [_mm256_mul_ps(self.0[0], b.0[0]), _mm256_mul_ps(self.0[1], b.0[1])] })
    }
    #[inline(always)]
    unsafe fn div(self, b: Self) -> Self {
        // SAFETY: the trait's contract.
        Self(unsafe { [_mm256_div_ps(self.0[0], b.0[0]), _mm256_div_ps(self.0[1], b.0[1])] })
    }
    #[inline(always)]
    unsafe fn max(self, b: Self) -> Self {
        // SAFETY: the trait's contract. The instruction returns its second operand where lanes do
        // not compare.
        Self(unsafe { [_mm256_max_ps(self.0[0], b.0[0]), _mm256_max_ps(self.0[1], b.0[1])] })
    }
    #[inline(always)]
    unsafe fn min(self, b: Self) -> Self {
        // SAFETY: the trait's contract. The instruction returns its second operand where lanes do
        // not compare.
        Self(unsafe { [_mm256_min_ps(self.0[0], b.0[0]), _mm256_min_ps(self.0[1], b.0[1])] })
    }
    #[inline(always)]
    unsafe fn copysign(self, sign: Self) -> Self {
        // SAFETY: the trait's contract.
        unsafe {
            let bit = _mm256_set1_ps(-0.0);
            let low = _mm256_andnot_ps(bit, self.0[0]);
            let high = _mm256_andnot_ps(bit, self.0[1]);
            Self([
                _mm256_or_ps(low, _mm256_and_ps(bit, sign.0[0])),
                _mm256_or_ps(high, _mm256_and_ps(bit, sign.0[1])),
            ])
        }
    }
    #[inline(always)]
    unsafe fn round(self) -> Self {
        const NEAREST: i32 = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
        // SAFETY: the trait's contract.
        Self(unsafe {
            [_mm256_round_ps::<NEAREST>(self.0[0]), _mm256_round_ps::<NEAREST>(self.0[1])]
        })
    }
    #[inline(always)]
    unsafe fn exp2_integral(self) -> Self {
        // SAFETY: the trait's contract.
        unsafe {
            let bias = _mm256_set1_epi32(127);
            let low = _mm256_add_epi32(_mm256_cvtps_epi32(self.0[0]), bias);
            let high = _mm256_add_epi32(_mm256_cvtps_epi32(self.0[1]), bias);
            Self([
                _mm256_castsi256_ps(_mm256_slli_epi32::<23>(low)),
                _mm256_castsi256_ps(_mm256_slli_epi32::<23>(high)),
            ])
        }
    }
}
