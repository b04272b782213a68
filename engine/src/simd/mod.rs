//! Sixteen f32 lanes, on every instruction set.
//!
//! A kernel is written once over [`Simd`]; each instruction set is a thin implementation of its
//! dozen operations. Sixteen lanes are one AVX-512 register, two of AVX2, four of NEON, and an
//! array where there is no SIMD. As every lane does the same IEEE operations in the same order
//! everywhere, all instruction sets give the same bits.

#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
#[cfg(target_arch = "aarch64")]
pub(crate) mod neon;
pub(crate) mod portable;
pub(crate) mod shorts;

use crate::weights::LANES;

/// Sixteen f32 lanes.
///
/// # Safety
/// Every method may only be called on a machine that has the implementation's instructions, from a
/// function compiled for them. Pointers must be valid for the lanes that the method names; none
/// needs alignment.
pub(crate) trait Simd: Copy {
    /// Rows of the matrix product's register tile.
    const TILE_ROWS: usize;
    /// Panels (of sixteen columns) of the register tile.
    const TILE_PANELS: usize;

    /// All lanes `v`.
    unsafe fn splat(v: f32) -> Self;
    /// Sixteen values.
    unsafe fn load(p: *const f32) -> Self;
    /// Sixteen binary16 values, widened.
    unsafe fn load_f16(p: *const u16) -> Self;
    /// Writes sixteen lanes as binary16, rounded to nearest, ties to even.
    unsafe fn store_f16(self, p: *mut u16);
    /// Sixteen signed bytes, each stored plus `offset` modulo 256.
    unsafe fn load_i8(p: *const u8, offset: u8) -> Self;
    /// Sixteen 32-bit integers, converted (to nearest, ties to even).
    unsafe fn load_i32(p: *const i32) -> Self;
    /// Sixteen 32-bit integers less `times` those at `q`, converted; integers wrap.
    unsafe fn load_i32_less_times(p: *const i32, times: i32, q: *const i32) -> Self;
    /// The larger of the integers in the lanes' bits and the sixteen at `p`, as bits.
    unsafe fn max_i32(self, p: *const i32) -> Self;
    /// The bits of the nearest integers (ties to even). Lanes are below `2^31`; those below `-2^31`
    /// become that.
    unsafe fn round_bits(self) -> Self;
    /// The lanes' fractions, from 1 to 2: their bits with the sign and exponent of 1.
    unsafe fn mantissa(self) -> Self;
    /// Rounds lanes below 256 (ties to even), negative ones and those that are no number to zero, and
    /// writes them as bytes: lane `4 l + i` of `v[s]` to `p[16 l + 4 s + i]`, the order in which every
    /// instruction set packs quarters of its registers. Adds the bytes to integers in the bits of
    /// `sums`; each instruction set adds other bytes to other lanes.
    unsafe fn store_bytes(v: [Self; 4], p: *mut u8, sums: Self) -> Self;
    /// Writes sixteen values.
    unsafe fn store(self, p: *mut f32);
    /// Writes sixteen lanes of -127 ..= 127, rounded (ties to even), as bytes, each plus `offset`
    /// modulo 256.
    unsafe fn store_i8(self, p: *mut u8, offset: u8);
    /// Writes sixteen lanes of int16, rounded (ties to even).
    unsafe fn store_i16(self, p: *mut i16);
    /// `self * b + c`, rounded once.
    unsafe fn fma(self, b: Self, c: Self) -> Self;
    unsafe fn add(self, b: Self) -> Self;
    unsafe fn sub(self, b: Self) -> Self;
    unsafe fn mul(self, b: Self) -> Self;
    unsafe fn div(self, b: Self) -> Self;
    /// `if self > b { self } else { b }`, lane by lane.
    unsafe fn max(self, b: Self) -> Self;
    /// `if self < b { self } else { b }`, lane by lane.
    unsafe fn min(self, b: Self) -> Self;
    /// The magnitude of `self` with the sign of `sign`.
    unsafe fn copysign(self, sign: Self) -> Self;
    /// To the nearest integer, ties to even.
    unsafe fn round(self) -> Self;
    /// `2^n` for integral lanes `-126 ..= 127`.
    unsafe fn exp2_integral(self) -> Self;
    /// `self * 2^n`, where the lowest nine bits of the lanes of `bits` are `n`, and neither a lane nor
    /// its product is zero, subnormal or infinite.
    unsafe fn times_exp2(self, bits: Self) -> Self;

    /// The first `n < 16` values, the other lanes zero.
    #[inline(always)]
    unsafe fn load_part(p: *const f32, n: usize) -> Self {
        let mut lanes = [0.0_f32; LANES];
        // SAFETY: the caller vouches for `n` values at `p`, fewer than the array holds.
        unsafe {
            std::ptr::copy_nonoverlapping(p, lanes.as_mut_ptr(), n);
            Self::load(lanes.as_ptr())
        }
    }

    /// Writes the first `n < 16` lanes.
    #[inline(always)]
    unsafe fn store_part(self, p: *mut f32, n: usize) {
        // SAFETY: the caller vouches for room for `n` values at `p`, fewer than the array holds.
        unsafe { std::ptr::copy_nonoverlapping(self.lanes().as_ptr(), p, n) }
    }

    /// The lanes in memory.
    #[inline(always)]
    unsafe fn lanes(self) -> [f32; LANES] {
        let mut lanes = [0.0_f32; LANES];
        // SAFETY: the array has room for all lanes.
        unsafe { self.store(lanes.as_mut_ptr()) };
        lanes
    }

    /// Sum of the lanes: halves added to halves, always in this order.
    #[inline(always)]
    unsafe fn sum(self) -> f32 {
        // SAFETY: as the caller's.
        let mut lanes = unsafe { self.lanes() };
        let mut width = LANES / 2;
        while width > 0 {
            for i in 0..width {
                lanes[i] += lanes[i + width];
            }
            width /= 2;
        }
        lanes[0]
    }

    /// Largest lane.
    #[inline(always)]
    unsafe fn largest(self) -> f32 {
        // SAFETY: as the caller's.
        let mut lanes = unsafe { self.lanes() };
        let mut width = LANES / 2;
        while width > 0 {
            for i in 0..width {
                let (a, b) = (lanes[i], lanes[i + width]);
                lanes[i] = if a > b { a } else { b };
            }
            width /= 2;
        }
        lanes[0]
    }
}
