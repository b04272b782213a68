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
    unsafe fn store_f16(self, p: *mut u16) {
        // SAFETY: the trait's contract.
        unsafe {
            for (i, v) in self.0.into_iter().enumerate() {
                let halves = _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(v);
                _mm_storeu_si128(p.add(8 * i).cast(), halves);
            }
        }
    }
    #[inline(always)]
    unsafe fn load_i8(p: *const u8, offset: u8) -> Self {
        // SAFETY: the trait's contract.
        Self(unsafe {
            let bytes = _mm_sub_epi8(_mm_loadu_si128(p.cast()), _mm_set1_epi8(offset as i8));
            let high = _mm_unpackhi_epi64(bytes, bytes);
            [bytes, high].map(|half| _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(half)))
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
    unsafe fn store_i16(self, p: *mut i16) {
        // SAFETY: the trait's contract. Packing works within halves of 128 bits; the permutation
        // puts the quarters back in order.
        unsafe {
            let [a, b] = self.0.map(|v| _mm256_cvtps_epi32(v));
            let words = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packs_epi32(a, b));
            _mm256_storeu_si256(p.cast(), words);
        }
    }
    #[inline(always)]
    unsafe fn max_i32(self, p: *const i32) -> Self {
        // SAFETY: the trait's contract.
        Self(unsafe {
            let (a, b) = (_mm256_loadu_si256(p.cast()), _mm256_loadu_si256(p.add(8).cast()));
            [
                _mm256_castsi256_ps(_mm256_max_epi32(_mm256_castps_si256(self.0[0]), a)),
                _mm256_castsi256_ps(_mm256_max_epi32(_mm256_castps_si256(self.0[1]), b)),
            ]
        })
    }
    #[inline(always)]
    unsafe fn round_bits(self) -> Self {
        // SAFETY: the trait's contract.
        Self(unsafe {
            [
                _mm256_castsi256_ps(_mm256_cvtps_epi32(self.0[0])),
                _mm256_castsi256_ps(_mm256_cvtps_epi32(self.0[1])),
            ]
        })
    }
    #[inline(always)]
    unsafe fn mantissa(self) -> Self {
        // SAFETY: the trait's contract.
        Self(unsafe {
            let mantissa = _mm256_castsi256_ps(_mm256_set1_epi32(0x007f_ffff));
            let one = _mm256_set1_ps(1.0);
            [
                _mm256_or_ps(_mm256_and_ps(self.0[0], mantissa), one),
                _mm256_or_ps(_mm256_and_ps(self.0[1], mantissa), one),
            ]
        })
    }
    #[inline(always)]
    unsafe fn store_bytes(v: [Self; 4], p: *mut u8, sums: Self) -> Self {
        // SAFETY: the trait's contract. Packing works within 128 bits, as the order of bytes does.
        unsafe {
            let mut sums = sums.0;
            for (half, sums) in sums.iter_mut().enumerate() {
                let a = _mm256_cvtps_epi32(v[0].0[half]);
                let b = _mm256_cvtps_epi32(v[1].0[half]);
                let c = _mm256_cvtps_epi32(v[2].0[half]);
                let d = _mm256_cvtps_epi32(v[3].0[half]);
                let bytes = _mm256_packus_epi16(_mm256_packs_epi32(a, b), _mm256_packs_epi32(c, d));
                _mm256_storeu_si256(p.add(32 * half).cast(), bytes);
                let sum = _mm256_sad_epu8(bytes, _mm256_setzero_si256());
                let sum = _mm256_add_epi32(_mm256_castps_si256(*sums), sum);
                *sums = _mm256_castsi256_ps(sum);
            }
            Self(sums)
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
    #[inline(always)]
    unsafe fn times_exp2(self, bits: Self) -> Self {
        // SAFETY: the trait's contract.
        unsafe {
            let low = _mm256_slli_epi32::<23>(_mm256_castps_si256(bits.0[0]));
            let high = _mm256_slli_epi32::<23>(_mm256_castps_si256(bits.0[1]));
            Self([
                _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(self.0[0]), low)),
                _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(self.0[1]), high)),
            ])
        }
    }
}
