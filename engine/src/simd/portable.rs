//! Sixteen lanes as an array: the scalar twin of every kernel, and the only path where there is no
//! SIMD.

use super::Simd;
use crate::weights::LANES;

#[derive(Clone, Copy)]
pub(crate) struct Portable([f32; LANES]);

impl Portable {
    #[inline(always)]
    fn zip(self, b: Self, f: impl Fn(f32, f32) -> f32) -> Self {
        let mut lanes = self.0;
        for (lane, &b) in lanes.iter_mut().zip(&b.0) {
            *lane = f(*lane, b);
        }
        Self(lanes)
    }
}

impl Simd for Portable {
    const TILE_ROWS: usize = 4;
    const TILE_PANELS: usize = 1;

    #[inline(always)]
    unsafe fn splat(v: f32) -> Self {
        Self([v; LANES])
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> Self {
        // SAFETY: the caller vouches for sixteen values at `p`.
        Self(unsafe { p.cast::<[f32; LANES]>().read_unaligned() })
    }
    #[inline(always)]
    unsafe fn load_f16(p: *const u16) -> Self {
        // SAFETY: the caller vouches for sixteen values at `p`.
        let bits = unsafe { p.cast::<[u16; LANES]>().read_unaligned() };
        Self(bits.map(|b| half::f16::from_bits(b).to_f32()))
    }
    #[inline(always)]
    unsafe fn store_f16(self, p: *mut u16) {
        // SAFETY: the caller vouches for room for sixteen values at `p`.
        unsafe {
            let halves = self.0.map(|v| half::f16::from_f32(v).to_bits());
            p.cast::<[u16; LANES]>().write_unaligned(halves);
        }
    }
    #[inline(always)]
    unsafe fn load_i8(p: *const u8, offset: u8) -> Self {
        // SAFETY: the caller vouches for sixteen bytes at `p`.
        let bytes = unsafe { p.cast::<[u8; LANES]>().read() };
        Self(bytes.map(|b| f32::from(b.wrapping_sub(offset).cast_signed())))
    }
    #[inline(always)]
    unsafe fn load_i32_less_times(p: *const i32, times: i32, q: *const i32) -> Self {
        // SAFETY: the caller vouches for sixteen values at `p` and at `q`.
        let (p, q) = unsafe {
            (p.cast::<[i32; LANES]>().read_unaligned(), q.cast::<[i32; LANES]>().read_unaligned())
        };
        Self(std::array::from_fn(|i| p[i].wrapping_sub(q[i].wrapping_mul(times)) as f32))
    }
    #[inline(always)]
    unsafe fn load_i32(p: *const i32) -> Self {
        // SAFETY: the caller vouches for sixteen values at `p`.
        Self(unsafe { p.cast::<[i32; LANES]>().read_unaligned() }.map(|v| v as f32))
    }
    #[inline(always)]
    unsafe fn store_i8(self, p: *mut u8, offset: u8) {
        let byte = |v: f32| (v.round_ties_even() as i8).cast_unsigned().wrapping_add(offset);
        // SAFETY: the caller vouches for room for sixteen bytes at `p`.
        unsafe { p.cast::<[u8; LANES]>().write(self.0.map(byte)) }
    }
    #[inline(always)]
    unsafe fn store_i16(self, p: *mut i16) {
        // SAFETY: the caller vouches for room for sixteen values at `p`.
        unsafe {
            p.cast::<[i16; LANES]>().write_unaligned(self.0.map(|v| v.round_ties_even() as i16));
        }
    }
    #[inline(always)]
    unsafe fn max_i32(self, p: *const i32) -> Self {
        // SAFETY: the caller vouches for sixteen values at `p`.
        let v = Self(unsafe { p.cast::<[f32; LANES]>().read_unaligned() });
        let larger = |a: f32, b: f32| a.to_bits().cast_signed().max(b.to_bits().cast_signed());
        self.zip(v, |a, b| f32::from_bits(larger(a, b).cast_unsigned()))
    }
    #[inline(always)]
    unsafe fn round_bits(self) -> Self {
        Self(self.0.map(|v| f32::from_bits((v.round_ties_even() as i32).cast_unsigned())))
    }
    #[inline(always)]
    unsafe fn mantissa(self) -> Self {
        Self(self.0.map(|v| f32::from_bits(v.to_bits() & 0x007f_ffff | 1.0_f32.to_bits())))
    }
    #[inline(always)]
    unsafe fn store_bytes(v: [Self; 4], p: *mut u8, sums: Self) -> Self {
        let mut sums = sums.0;
        for (i, sum) in sums.iter_mut().enumerate() {
            let four = v.map(|v| v.0[i].round_ties_even() as u8);
            for (s, byte) in four.into_iter().enumerate() {
                // SAFETY: the caller vouches for room for 64 bytes at `p`.
                unsafe { p.add(i / 4 * 16 + s * 4 + i % 4).write(byte) }
                *sum = f32::from_bits(sum.to_bits() + u32::from(byte));
            }
        }
        Self(sums)
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f32) {
        // SAFETY: the caller vouches for room for sixteen values at `p`.
        unsafe { p.cast::<[f32; LANES]>().write_unaligned(self.0) }
    }
    #[inline(always)]
    unsafe fn fma(self, b: Self, c: Self) -> Self {
        let mut lanes = c.0;
        for (i, lane) in lanes.iter_mut().enumerate() {
            *lane = self.0[i].mul_add(b.0[i], *lane);
        }
        Self(lanes)
    }
    #[inline(always)]
    unsafe fn add(self, b: Self) -> Self {
        self.zip(b, |a, b| a + b)
    }
    #[inline(always)]
    unsafe fn sub(self, b: Self) -> Self {
        self.zip(b, |a, b| a - b)
    }
    #[inline(always)]
    unsafe fn mul(self, b: Self) -> Self {
        self.zip(b, |a, b| a * b)
    }
    #[inline(always)]
    unsafe fn div(self, b: Self) -> Self {
        self.zip(b, |a, b| a / b)
    }
    #[inline(always)]
    unsafe fn max(self, b: Self) -> Self {
        self.zip(b, |a, b| if a > b { a } else { b })
    }
    #[inline(always)]
    unsafe fn min(self, b: Self) -> Self {
        self.zip(b, |a, b| if a < b { a } else { b })
    }
    #[inline(always)]
    unsafe fn copysign(self, sign: Self) -> Self {
        self.zip(sign, f32::copysign)
    }
    #[inline(always)]
    unsafe fn round(self) -> Self {
        Self(self.0.map(f32::round_ties_even))
    }
    #[inline(always)]
    unsafe fn exp2_integral(self) -> Self {
        Self(self.0.map(|n| f32::from_bits(((n as i32 + 127) as u32) << 23)))
    }
    #[inline(always)]
    unsafe fn times_exp2(self, bits: Self) -> Self {
        let sum = |i: usize| self.0[i].to_bits().wrapping_add(bits.0[i].to_bits() << 23);
        Self(std::array::from_fn(|i| f32::from_bits(sum(i))))
    }
}
