//! Lanes of 16-bit integers, as many as a register holds: for sums of a few bytes.
//!
//! All arithmetic wraps; every instruction set gives the same numbers, whatever its number of
//! lanes.

#[cfg(target_arch = "aarch64")]
use std::arch::aarch64::*;
#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

/// A register of 16-bit integers.
///
/// # Safety
/// As [`super::Simd`]: every method may only be called on a machine that has the implementation's
/// instructions, from a function compiled for them; pointers must be valid for [`Shorts::LANES`]
/// values, none needs alignment.
pub(crate) trait Shorts: Copy {
    /// At most 32, a power of two.
    const LANES: usize;

    /// All lanes `v`.
    unsafe fn splat(v: i16) -> Self;
    /// Values in memory.
    unsafe fn load(p: *const i16) -> Self;
    /// Writes the values.
    unsafe fn store(self, p: *mut i16);
    /// Bytes less 128 where `offset` is 128, and as they are where it is 0, as signed numbers.
    unsafe fn load_bytes(p: *const u8, offset: u8) -> Self;
    /// Writes the low byte of each lane.
    unsafe fn store_bytes(self, p: *mut u8);
    unsafe fn add(self, b: Self) -> Self;
    unsafe fn sub(self, b: Self) -> Self;
    unsafe fn min(self, b: Self) -> Self;
    unsafe fn max(self, b: Self) -> Self;
    unsafe fn abs(self) -> Self;
    /// `self * b / 2^13`, rounded to the nearest, halves up, for `self` within -8192 and 8191.
    unsafe fn scale(self, b: Self) -> Self;
    /// The low 16 bits of the products.
    unsafe fn mul(self, b: Self) -> Self;
}

/// Eight lanes in plain Rust.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Portable([i16; 8]);

impl Portable {
    fn with(self, b: Self, f: impl Fn(i16, i16) -> i16) -> Self {
        Self(std::array::from_fn(|i| f(self.0[i], b.0[i])))
    }
}

impl Shorts for Portable {
    const LANES: usize = 8;

    unsafe fn splat(v: i16) -> Self {
        Self([v; 8])
    }

    unsafe fn load(p: *const i16) -> Self {
        // SAFETY: the caller's contract.
        Self(unsafe { p.cast::<[i16; 8]>().read_unaligned() })
    }

    unsafe fn store(self, p: *mut i16) {
        // SAFETY: the caller's contract.
        unsafe { p.cast::<[i16; 8]>().write_unaligned(self.0) }
    }

    unsafe fn load_bytes(p: *const u8, offset: u8) -> Self {
        // SAFETY: the caller's contract.
        let bytes = unsafe { p.cast::<[u8; 8]>().read() };
        Self(bytes.map(|byte| i16::from((byte ^ offset).cast_signed())))
    }

    unsafe fn store_bytes(self, p: *mut u8) {
        // SAFETY: the caller's contract.
        unsafe { p.cast::<[u8; 8]>().write(self.0.map(|v| v as u8)) }
    }

    unsafe fn add(self, b: Self) -> Self {
        self.with(b, i16::wrapping_add)
    }

    unsafe fn sub(self, b: Self) -> Self {
        self.with(b, i16::wrapping_sub)
    }

    unsafe fn min(self, b: Self) -> Self {
        self.with(b, i16::min)
    }

    unsafe fn max(self, b: Self) -> Self {
        self.with(b, i16::max)
    }

    unsafe fn abs(self) -> Self {
        Self(self.0.map(i16::wrapping_abs))
    }

    unsafe fn scale(self, b: Self) -> Self {
        self.with(b, |a, b| ((((i32::from(a) * i32::from(b)) >> 12) + 1) >> 1) as i16)
    }

    unsafe fn mul(self, b: Self) -> Self {
        self.with(b, i16::wrapping_mul)
    }
}

/// Thirty-two lanes with the byte and word instructions of AVX-512.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Avx512(__m512i);

#[cfg(target_arch = "x86_64")]
impl Shorts for Avx512 {
    const LANES: usize = 32;

    #[inline(always)]
    unsafe fn splat(v: i16) -> Self {
        // SAFETY: the caller's contract.
        Self(unsafe { _mm512_set1_epi16(v) })
    }

    #[inline(always)]
    unsafe fn load(p: *const i16) -> Self {
        // SAFETY: the caller's contract.
        Self(unsafe { _mm512_loadu_si512(p.cast()) })
    }

    #[inline(always)]
    unsafe fn store(self, p: *mut i16) {
        // SAFETY: the caller's contract.
        unsafe { _mm512_storeu_si512(p.cast(), self.0) }
    }

    #[inline(always)]
    unsafe fn load_bytes(p: *const u8, offset: u8) -> Self {
        // SAFETY: the caller's contract.
        unsafe {
            let flip = _mm256_set1_epi8(offset.cast_signed());
            let bytes = _mm256_xor_si256(_mm256_loadu_si256(p.cast()), flip);
            Self(_mm512_cvtepi8_epi16(bytes))
        }
    }

    #[inline(always)]
    unsafe fn store_bytes(self, p: *mut u8) {
        // SAFETY: the caller's contract.
        unsafe { _mm256_storeu_si256(p.cast(), _mm512_cvtepi16_epi8(self.0)) }
    }

    #[inline(always)]
    unsafe fn add(self, b: Self) -> Self {
        // SAFETY: the caller's contract.
        Self(unsafe { _mm512_add_epi16(self.0, b.0) })
    }

    #[inline(always)]
    unsafe fn sub(self, b: Self) -> Self {
        // SAFETY: the caller's contract.
        Self(unsafe { _mm512_sub_epi16(self.0, b.0) })
    }

    #[inline(always)]
    unsafe fn min(self, b: Self) -> Self {
        // SAFETY: the caller's contract.
        Self(unsafe { _mm512_min_epi16(self.0, b.0) })
    }

    #[inline(always)]
    unsafe fn max(self, b: Self) -> Self {
        // SAFETY: the caller's contract.
        Self(unsafe { _mm512_max_epi16(self.0, b.0) })
    }

    #[inline(always)]
    unsafe fn abs(self) -> Self {
        // SAFETY: the caller's contract.
        Self(unsafe { _mm512_abs_epi16(self.0) })
    }

    #[inline(always)]
    unsafe fn scale(self, b: Self) -> Self {
        // SAFETY: the caller's contract.
        Self(unsafe { _mm512_mulhrs_epi16(_mm512_slli_epi16::<2>(self.0), b.0) })
    }

    #[inline(always)]
    unsafe fn mul(self, b: Self) -> Self {
        // SAFETY: the caller's contract.
        Self(unsafe { _mm512_mullo_epi16(self.0, b.0) })
    }
}

/// Sixteen lanes with AVX2.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Avx2(__m256i);

#[cfg(target_arch = "x86_64")]
impl Shorts for Avx2 {
    const LANES: usize = 16;

    #[inline(always)]
    unsafe fn splat(v: i16) -> Self {
        // SAFETY: the caller's contract.
        Self(unsafe { _mm256_set1_epi16(v) })
    }

    #[inline(always)]
    unsafe fn load(p: *const i16) -> Self {
        // SAFETY: the caller's contract.
        Self(unsafe { _mm256_loadu_si256(p.cast()) })
    }

    #[inline(always)]
    unsafe fn store(self, p: *mut i16) {
        // SAFETY: the caller's contract.
        unsafe { _mm256_storeu_si256(p.cast(), self.0) }
    }

    #[inline(always)]
    unsafe fn load_bytes(p: *const u8, offset: u8) -> Self {
        // SAFETY: the caller's contract.
        unsafe {
            let flip = _mm_set1_epi8(offset.cast_signed());
            Self(_mm256_cvtepi8_epi16(_mm_xor_si128(_mm_loadu_si128(p.cast()), flip)))
        }
    }

    #[inline(always)]
    unsafe fn store_bytes(self, p: *mut u8) {
        // SAFETY: the caller's contract.
        unsafe {
            let low = _mm256_and_si256(self.0, _mm256_set1_epi16(255));
            let packed = _mm256_permute4x64_epi64::<0b1000>(_mm256_packus_epi16(low, low));
            _mm_storeu_si128(p.cast(), _mm256_castsi256_si128(packed));
        }
    }

    #[inline(always)]
    unsafe fn add(self, b: Self) -> Self {
        // SAFETY: the caller's contract.
        Self(unsafe { _mm256_add_epi16(self.0, b.0) })
    }

    #[inline(always)]
    unsafe fn sub(self, b: Self) -> Self {
        // SAFETY: the caller's contract.
        Self(unsafe { _mm256_sub_epi16(self.0, b.0) })
    }

    #[inline(always)]
    unsafe fn min(self, b: Self) -> Self {
        // SAFETY: the caller's contract.
        Self(unsafe { _mm256_min_epi16(self.0, b.0) })
    }

    #[inline(always)]
    unsafe fn max(self, b: Self) -> Self {
        // SAFETY: the caller's contract.
        Self(unsafe { _mm256_max_epi16(self.0, b.0) })
    }

    #[inline(always)]
    unsafe fn abs(self) -> Self {
        // SAFETY: the caller's contract.
        Self(unsafe { _mm256_abs_epi16(self.0) })
    }

    #[inline(always)]
    unsafe fn scale(self, b: Self) -> Self {
        // SAFETY: the caller's contract.
        Self(unsafe { _mm256_mulhrs_epi16(_mm256_slli_epi16::<2>(self.0), b.0) })
    }

    #[inline(always)]
    unsafe fn mul(self, b: Self) -> Self {
        // SAFETY: the caller's contract.
        Self(unsafe { _mm256_mullo_epi16(self.0, b.0) })
    }
}

/// Eight lanes with NEON.
#[cfg(target_arch = "aarch64")]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Neon(int16x8_t);

#[cfg(target_arch = "aarch64")]
impl Shorts for Neon {
    const LANES: usize = 8;

    #[inline(always)]
    unsafe fn splat(v: i16) -> Self {
        // SAFETY: the caller's contract.
        Self(unsafe { vdupq_n_s16(v) })
    }

    #[inline(always)]
    unsafe fn load(p: *const i16) -> Self {
        // SAFETY: the caller's contract.
        Self(unsafe { vld1q_s16(p) })
    }

    #[inline(always)]
    unsafe fn store(self, p: *mut i16) {
        // SAFETY: the caller's contract.
        unsafe { vst1q_s16(p, self.0) }
    }

    #[inline(always)]
    unsafe fn load_bytes(p: *const u8, offset: u8) -> Self {
        // SAFETY: the caller's contract.
        unsafe {
            let bytes = veor_u8(vld1_u8(p), vdup_n_u8(offset));
            Self(vmovl_s8(vreinterpret_s8_u8(bytes)))
        }
    }

    #[inline(always)]
    unsafe fn store_bytes(self, p: *mut u8) {
        // SAFETY: the caller's contract.
        unsafe { vst1_u8(p, vmovn_u16(vreinterpretq_u16_s16(self.0))) }
    }

    #[inline(always)]
    unsafe fn add(self, b: Self) -> Self {
        // SAFETY: the caller's contract.
        Self(unsafe { vaddq_s16(self.0, b.0) })
    }

    #[inline(always)]
    unsafe fn sub(self, b: Self) -> Self {
        // SAFETY: the caller's contract.
        Self(unsafe { vsubq_s16(self.0, b.0) })
    }

    #[inline(always)]
    unsafe fn min(self, b: Self) -> Self {
        // SAFETY: the caller's contract.
        Self(unsafe { vminq_s16(self.0, b.0) })
    }

    #[inline(always)]
    unsafe fn max(self, b: Self) -> Self {
        // SAFETY: the caller's contract.
        Self(unsafe { vmaxq_s16(self.0, b.0) })
    }

    #[inline(always)]
    unsafe fn abs(self) -> Self {
        // SAFETY: the caller's contract.
        Self(unsafe { vabsq_s16(self.0) })
    }

    #[inline(always)]
    unsafe fn scale(self, b: Self) -> Self {
        // SAFETY: the caller's contract.
        Self(unsafe { vqrdmulhq_s16(vshlq_n_s16::<2>(self.0), b.0) })
    }

    #[inline(always)]
    unsafe fn mul(self, b: Self) -> Self {
        // SAFETY: the caller's contract.
        Self(unsafe { vmulq_s16(self.0, b.0) })
    }
}
