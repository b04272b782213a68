//! Sixteen lanes as four NEON registers.

use std::arch::aarch64::*;

use super::Simd;

#[derive(Clone, Copy)]
pub(crate) struct Neon([float32x4_t; 4]);

/// The features that [`Neon`] needs: every 64-bit Arm has them.
pub(crate) fn is_available() -> bool {
    std::arch::is_aarch64_feature_detected!("neon")
}

/// Stamps a lane-wise operation of one or two operands over the four registers.
macro_rules! each {
    ($op:expr, $a:expr) => {
        Neon([$op($a.0[0]), $op($a.0[1]), $op($a.0[2]), $op($a.0[3])])
    };
    ($op:expr, $a:expr, $b:expr) => {
        Neon([
            $op($a.0[0], $b.0[0]),
            $op($a.0[1], $b.0[1]),
            $op($a.0[2], $b.0[2]),
            $op($a.0[3], $b.0[3]),
        ])
    };
}

/// Lanes of `a` where they are greater, else those of `b` (`vmaxq_f32` would hand on a NaN of
/// either side).
#[inline(always)]
unsafe fn greater(a: float32x4_t, b: float32x4_t) -> float32x4_t {
    // SAFETY: the caller's contract.
    unsafe { vbslq_f32(vcgtq_f32(a, b), a, b) }
}

/// Lanes of `a` where they are smaller, else those of `b`.
#[inline(always)]
unsafe fn smaller(a: float32x4_t, b: float32x4_t) -> float32x4_t {
    // SAFETY: the caller's contract.
    unsafe { vbslq_f32(vcltq_f32(a, b), a, b) }
}

#[inline(always)]
unsafe fn with_sign(a: float32x4_t, sign: float32x4_t) -> float32x4_t {
    // SAFETY: the caller's contract.
    unsafe { vbslq_f32(vdupq_n_u32(0x8000_0000), sign, a) }
}

#[inline(always)]
unsafe fn power_of_two(n: float32x4_t) -> float32x4_t {
    // SAFETY: the caller's contract.
    unsafe {
        let biased = vaddq_s32(vcvtnq_s32_f32(n), vdupq_n_s32(127));
        vreinterpretq_f32_s32(vshlq_n_s32::<23>(biased))
    }
}

#[inline(always)]
unsafe fn with_exponent(a: float32x4_t, n: float32x4_t) -> float32x4_t {
    // SAFETY: the caller's contract.
    unsafe {
        let n = vshlq_n_s32::<23>(vreinterpretq_s32_f32(n));
        vreinterpretq_f32_s32(vaddq_s32(vreinterpretq_s32_f32(a), n))
    }
}

#[inline(always)]
unsafe fn larger_integer(a: float32x4_t, b: float32x4_t) -> float32x4_t {
    // SAFETY: the caller's contract.
    unsafe { vreinterpretq_f32_s32(vmaxq_s32(vreinterpretq_s32_f32(a), vreinterpretq_s32_f32(b))) }
}

#[inline(always)]
unsafe fn nearest(v: float32x4_t) -> float32x4_t {
    // SAFETY: the caller's contract.
    unsafe { vreinterpretq_f32_s32(vcvtnq_s32_f32(v)) }
}

#[inline(always)]
unsafe fn fraction(v: float32x4_t) -> float32x4_t {
    // SAFETY: the caller's contract.
    unsafe { vbslq_f32(vdupq_n_u32(0x007f_ffff), v, vdupq_n_f32(1.0)) }
}

#[inline(always)]
unsafe fn widen(p: *const u16) -> float32x4_t {
    // SAFETY: the caller's contract.
    unsafe { vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p))) }
}

impl Simd for Neon {
    const TILE_ROWS: usize = 6;
    const TILE_PANELS: usize = 1;

    #[inline(always)]
    unsafe fn splat(v: f32) -> Self {
        // SAFETY: the trait's contract.
        Self(unsafe { [vdupq_n_f32(v); 4] })
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> Self {
        // SAFETY: the trait's contract.
        Self(unsafe {
            [vld1q_f32(p), vld1q_f32(p.add(4)), vld1q_f32(p.add(8)), vld1q_f32(p.add(12))]
        })
    }
    #[inline(always)]
    unsafe fn load_f16(p: *const u16) -> Self {
        // SAFETY: the trait's contract.
        Self(unsafe { [widen(p), widen(p.add(4)), widen(p.add(8)), widen(p.add(12))] })
    }
    #[inline(always)]
    unsafe fn store_f16(self, p: *mut u16) {
        // SAFETY: the trait's contract.
        unsafe {
            for (i, v) in self.0.into_iter().enumerate() {
                vst1_u16(p.add(4 * i), vreinterpret_u16_f16(vcvt_f16_f32(v)));
            }
        }
    }
    #[inline(always)]
    unsafe fn load_i8(p: *const u8, offset: u8) -> Self {
        // SAFETY: the trait's contract.
        Self(unsafe {
            let bytes = vreinterpretq_s8_u8(vsubq_u8(vld1q_u8(p), vdupq_n_u8(offset)));
            let (low, high) = (vmovl_s8(vget_low_s8(bytes)), vmovl_high_s8(bytes));
            [
                vcvtq_f32_s32(vmovl_s16(vget_low_s16(low))),
                vcvtq_f32_s32(vmovl_high_s16(low)),
                vcvtq_f32_s32(vmovl_s16(vget_low_s16(high))),
                vcvtq_f32_s32(vmovl_high_s16(high)),
            ]
        })
    }
    #[inline(always)]
    unsafe fn load_i32_less_times(p: *const i32, times: i32, q: *const i32) -> Self {
        // SAFETY: the trait's contract.
        Self(unsafe {
            [0, 4, 8, 12].map(|i| {
                let q = vld1q_s32(q.add(i));
                vcvtq_f32_s32(vmlsq_s32(vld1q_s32(p.add(i)), q, vdupq_n_s32(times)))
            })
        })
    }
    #[inline(always)]
    unsafe fn load_i32(p: *const i32) -> Self {
        // SAFETY: the trait's contract.
        Self(unsafe { [0, 4, 8, 12].map(|i| vcvtq_f32_s32(vld1q_s32(p.add(i)))) })
    }
    #[inline(always)]
    unsafe fn store_i8(self, p: *mut u8, offset: u8) {
        // SAFETY: the trait's contract.
        unsafe {
            let [a, b, c, d] = self.0.map(|v| vmovn_s32(vcvtnq_s32_f32(v)));
            let (low, high) = (vmovn_s16(vcombine_s16(a, b)), vmovn_s16(vcombine_s16(c, d)));
            let bytes = vreinterpretq_u8_s8(vcombine_s8(low, high));
            vst1q_u8(p, vaddq_u8(bytes, vdupq_n_u8(offset)));
        }
    }
    #[inline(always)]
    unsafe fn store_i16(self, p: *mut i16) {
        // SAFETY: the trait's contract.
        unsafe {
            let [a, b, c, d] = self.0.map(|v| vmovn_s32(vcvtnq_s32_f32(v)));
            vst1q_s16(p, vcombine_s16(a, b));
            vst1q_s16(p.add(8), vcombine_s16(c, d));
        }
    }
    #[inline(always)]
    unsafe fn max_i32(self, p: *const i32) -> Self {
        // SAFETY: the trait's contract.
        unsafe {
            let v = Self::load(p.cast());
            each!(larger_integer, self, v)
        }
    }
    #[inline(always)]
    unsafe fn round_bits(self) -> Self {
        // SAFETY: the trait's contract.
        unsafe { each!(nearest, self) }
    }
    #[inline(always)]
    unsafe fn mantissa(self) -> Self {
        // SAFETY: the trait's contract.
        unsafe { each!(fraction, self) }
    }
    #[inline(always)]
    unsafe fn store_bytes(v: [Self; 4], p: *mut u8, sums: Self) -> Self {
        // SAFETY: the trait's contract.
        unsafe {
            let mut sums = sums.0;
            for (quarter, sums) in sums.iter_mut().enumerate() {
                let a = vreinterpretq_u16_u32(vcvtnq_u32_f32(v[0].0[quarter]));
                let b = vreinterpretq_u16_u32(vcvtnq_u32_f32(v[1].0[quarter]));
                let c = vreinterpretq_u16_u32(vcvtnq_u32_f32(v[2].0[quarter]));
                let d = vreinterpretq_u16_u32(vcvtnq_u32_f32(v[3].0[quarter]));
                let (low, high) = (vuzp1q_u16(a, b), vuzp1q_u16(c, d));
                let bytes = vuzp1q_u8(vreinterpretq_u8_u16(low), vreinterpretq_u8_u16(high));
                vst1q_u8(p.add(16 * quarter), bytes);
                let sum = vpadalq_u16(vreinterpretq_u32_f32(*sums), vpaddlq_u8(bytes));
                *sums = vreinterpretq_f32_u32(sum);
            }
            Self(sums)
        }
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f32) {
        // SAFETY: the trait's contract.
        unsafe {
            vst1q_f32(p, self.0[0]);
            vst1q_f32(p.add(4), self.0[1]);
            vst1q_f32(p.add(8), self.0[2]);
            vst1q_f32(p.add(12), self.0[3]);
        }
    }
    #[inline(always)]
    unsafe fn fma(self, b: Self, c: Self) -> Self {
        // SAFETY: the trait's contract.
        Self(unsafe {
            [
                vfmaq_f32(c.0[0], self.0[0], b.0[0]),
                vfmaq_f32(c.0[1], self.0[1], b.0[1]),
                vfmaq_f32(c.0[2], self.0[2], b.0[2]),
                vfmaq_f32(c.0[3], self.0[3], b.0[3]),
            ]
        })
    }
    #[inline(always)]
    unsafe fn add(self, b: Self) -> Self {
        // SAFETY: the trait's contract.
        unsafe { each!(vaddq_f32, self, b) }
    }
    #[inline(always)]
    unsafe fn sub(self, b: Self) -> Self {
        // SAFETY: the trait's contract.
        unsafe { each!(vsubq_f32, self, b) }
    }
    #[inline(always)]
    unsafe fn mul(self, b: Self) -> Self {
        // SAFETY: the trait's contract.
        unsafe { each!(vmulq_f32, self, b) }
    }
    #[inline(always)]
    unsafe fn div(self, b: Self) -> Self {
        // SAFETY: the trait's contract.
        unsafe { each!(vdivq_f32, self, b) }
    }
    #[inline(always)]
    unsafe fn max(self, b: Self) -> Self {
        // SAFETY: the trait's contract.
        unsafe { each!(greater, self, b) }
    }
    #[inline(always)]
    unsafe fn min(self, b: Self) -> Self {
        // SAFETY: the trait's contract.
        unsafe { each!(smaller, self, b) }
    }
    #[inline(always)]
    unsafe fn copysign(self, sign: Self) -> Self {
        // SAFETY: the trait's contract.
        unsafe { each!(with_sign, self, sign) }
    }
    #[inline(always)]
    unsafe fn round(self) -> Self {
        // SAFETY: the trait's contract.
        unsafe { each!(vrndnq_f32, self) }
    }
    #[inline(always)]
    unsafe fn exp2_integral(self) -> Self {
        // SAFETY: the trait's contract.
        unsafe { each!(power_of_two, self) }
    }
    #[inline(always)]
    unsafe fn times_exp2(self, bits: Self) -> Self {
        // SAFETY: the trait's contract.
        unsafe { each!(with_exponent, self, bits) }
    }
}
