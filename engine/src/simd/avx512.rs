//! Sixteen lanes as one AVX-512 register.

use std::arch::x86_64::*;

use super::Simd;

#[derive(Clone, Copy)]
pub(crate) struct Avx512(__m512);

/// The features that [`Avx512`] needs.
pub(crate) fn is_available() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512bw")
}

impl Simd for Avx512 {
    const TILE_ROWS: usize = 8;
    const TILE_PANELS: usize = 3;

    #[inline(always)]
    unsafe fn splat(v: f32) -> Self {
        // SAFETY: the trait's contract.
        Self(unsafe { _mm512_set1_ps(v) })
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> Self {
        // SAFETY: the trait's contract.
        Self(unsafe { _mm512_loadu_ps(p) })
    }
    #[inline(always)]
    unsafe fn load_f16(p: *const u16) -> Self {
        // SAFETY: the trait's contract.
        Self(unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(p.cast())) })
    }
    #[inline(always)]
    unsafe fn store_f16(self, p: *mut u16) {
        // SAFETY: the trait's contract.
        unsafe {
            let halves =
                _mm512_cvtps_ph::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(self.0);
            _mm256_storeu_si256(p.cast(), halves);
        }
    }
    #[inline(always)]
    unsafe fn load_i8(p: *const u8, offset: u8) -> Self {
        // SAFETY: the trait's contract.
        Self(unsafe {
            let bytes = _mm_sub_epi8(_mm_loadu_si128(p.cast()), _mm_set1_epi8(offset as i8));
            _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes))
        })
    }
    #[inline(always)]
    unsafe fn load_i32_less_times(p: *const i32, times: i32, q: *const i32) -> Self {
        // SAFETY: the trait's contract.
        Self(unsafe {
            let q = _mm512_mullo_epi32(_mm512_loadu_si512(q.cast()), _mm512_set1_epi32(times));
            _mm512_cvtepi32_ps(_mm512_sub_epi32(_mm512_loadu_si512(p.cast()), q))
        })
    }
    #[inline(always)]
    unsafe fn load_i32(p: *const i32) -> Self {
        // SAFETY: the trait's contract.
        Self(unsafe { _mm512_cvtepi32_ps(_mm512_loadu_si512(p.cast())) })
    }
    #[inline(always)]
    unsafe fn store_i8(self, p: *mut u8, offset: u8) {
        // SAFETY: the trait's contract.
        unsafe {
            let bytes = _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(self.0));
            let bytes = _mm_add_epi8(bytes, _mm_set1_epi8(offset.cast_signed()));
            _mm_storeu_si128(p.cast(), bytes);
        }
    }
    #[inline(always)]
    unsafe fn store_i16(self, p: *mut i16) {
        // SAFETY: the trait's contract.
        unsafe {
            let words = _mm512_cvtepi32_epi16(_mm512_cvtps_epi32(self.0));
            _mm256_storeu_si256(p.cast(), words);
        }
    }
    #[inline(always)]
    unsafe fn max_i32(self, p: *const i32) -> Self {
        // SAFETY: the trait's contract.
        Self(unsafe {
            let v = _mm512_loadu_si512(p.cast());
            _mm512_castsi512_ps(_mm512_max_epi32(_mm512_castps_si512(self.0), v))
        })
    }
    #[inline(always)]
    unsafe fn round_bits(self) -> Self {
        // SAFETY: the trait's contract.
        Self(unsafe { _mm512_castsi512_ps(_mm512_cvtps_epi32(self.0)) })
    }
    #[inline(always)]
    unsafe fn mantissa(self) -> Self {
        // SAFETY: the trait's contract. The table is that of `a & b | c`.
        Self(unsafe {
            let (bits, mantissa) = (_mm512_castps_si512(self.0), _mm512_set1_epi32(0x007f_ffff));
            let one = _mm512_castps_si512(_mm512_set1_ps(1.0));
            _mm512_castsi512_ps(_mm512_ternarylogic_epi32::<0b1110_1010>(bits, mantissa, one))
        })
    }
    #[inline(always)]
    unsafe fn store_bytes(v: [Self; 4], p: *mut u8, sums: Self) -> Self {
        // SAFETY: the trait's contract.
        unsafe {
            let (a, b) = (_mm512_cvtps_epi32(v[0].0), _mm512_cvtps_epi32(v[1].0));
            let (c, d) = (_mm512_cvtps_epi32(v[2].0), _mm512_cvtps_epi32(v[3].0));
            let bytes = _mm512_packus_epi16(_mm512_packs_epi32(a, b), _mm512_packs_epi32(c, d));
            _mm512_storeu_si512(p.cast(), bytes);
            let sum = _mm512_sad_epu8(bytes, _mm512_setzero_si512());
            Self(_mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(sums.0), sum)))
        }
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f32) {
        // SAFETY: the trait's contract.
        unsafe { _mm512_storeu_ps(p, self.0) }
    }
    #[inline(always)]
    unsafe fn fma(self, b: Self, c: Self) -> Self {
        // SAFETY: the trait's contract.
        Self(unsafe { _mm512_fmadd_ps(self.0, b.0, c.0) })
    }
    #[inline(always)]
    unsafe fn add(self, b: Self) -> Self {
        // SAFETY: the trait's contract.
        Self(unsafe { _mm512_add_ps(self.0, b.0) })
    }
    #[inline(always)]
    unsafe fn sub(self, b: Self) -> Self {
        // SAFETY: the trait's contract.
        Self(unsafe { _mm512_sub_ps(self.0, b.0) })
    }
    #[inline(always)]
    unsafe fn mul(self, b: Self) -> Self {
        // SAFETY: the trait's contract.
        Self(unsafe { _mm512_mul_ps(self.0, b.0) })
    }
    #[inline(always)]
    unsafe fn div(self, b: Self) -> Self {
        // SAFETY: the trait's contract.
        Self(unsafe { _mm512_div_ps(self.0, b.0) })
    }
    #[inline(always)]
    unsafe fn max(self, b: Self) -> Self {
        // SAFETY: the trait's contract. The instruction returns its second operand where lanes do
        // not compare.
        Self(unsafe { _mm512_max_ps(self.0, b.0) })
    }
    #[inline(always)]
    unsafe fn min(self, b: Self) -> Self {
        // SAFETY: the trait's contract. The instruction returns its second operand where lanes do
        // not compare.
        Self(unsafe { _mm512_min_ps(self.0, b.0) })
    }
    #[inline(always)]
    unsafe fn copysign(self, sign: Self) -> Self {
        // SAFETY: the trait's contract.
        Self(unsafe {
            let bit = _mm512_set1_ps(-0.0);
            _mm512_or_ps(_mm512_andnot_ps(bit, self.0), _mm512_and_ps(bit, sign.0))
        })
    }
    #[inline(always)]
    unsafe fn round(self) -> Self {
        // SAFETY: the trait's contract.
        Self(unsafe {
            _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(self.0)
        })
    }
    #[inline(always)]
    unsafe fn exp2_integral(self) -> Self {
        // SAFETY: the trait's contract.
        Self(unsafe {
            let biased = _mm512_add_epi32(_mm512_cvtps_epi32(self.0), _mm512_set1_epi32(127));
            _mm512_castsi512_ps(_mm512_slli_epi32::<23>(biased))
        })
    }
    #[inline(always)]
    unsafe fn times_exp2(self, bits: Self) -> Self {
        // SAFETY: the trait's contract.
        Self(unsafe {
            let n = _mm512_slli_epi32::<23>(_mm512_castps_si512(bits.0));
            _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(self.0), n))
        })
    }
    #[inline(always)]
    unsafe fn load_part(p: *const f32, n: usize) -> Self {
        // SAFETY: the trait's contract; masked lanes are not touched.
        Self(unsafe { _mm512_maskz_loadu_ps((1u16 << n) - 1, p) })
    }
    #[inline(always)]
    unsafe fn store_part(self, p: *mut f32, n: usize) {
        // SAFETY: the trait's contract; masked lanes are not touched.
        unsafe { _mm512_mask_storeu_ps(p, (1u16 << n) - 1, self.0) }
    }
}
