//! Loops that do nothing but multiply and add, in registers: how fast an instruction set can be at
//! all.
//!
//! Each loop has as many independent sums as it takes to hide an instruction's latency and as fit
//! the registers. Operands pass through `black_box` or an empty piece of assembly, so that no
//! product is computed ahead of the loop.

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
use std::hint::black_box;

use crate::isa::Isa;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
use crate::simd::Simd;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
use crate::weights::LANES;

/// A loop, for machines that have its instructions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PeakLoop {
    /// Multiply-adds of one round.
    pub macs: u64,
    body: unsafe fn(u64),
}

impl PeakLoop {
    /// Runs so many rounds.
    pub fn run(&self, rounds: u64) {
        // SAFETY: `f32_loop` and `int8_loop` hand out loops of instructions that are there.
        unsafe { (self.body)(rounds) }
    }
}

/// The loop in f32 of an instruction set that this machine has, if there is one.
pub(crate) fn f32_loop(isa: Isa) -> Option<PeakLoop> {
    isa.kernels()?;
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 | Isa::Avx512Vnni | Isa::Amx => Some(x86::F32_AVX512),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 | Isa::AvxVnni => Some(x86::F32_AVX2),
        #[cfg(target_arch = "aarch64")]
        Isa::Neon | Isa::NeonDotprod | Isa::NeonI8mm => Some(arm::F32_NEON),
        _ => None,
    }
}

/// The loop in int8 of an instruction set that this machine has, if there is one.
pub(crate) fn int8_loop(isa: Isa) -> Option<PeakLoop> {
    isa.kernels()?;
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512Vnni => Some(x86::INT8_AVX512_VNNI),
        #[cfg(target_arch = "x86_64")]
        Isa::Amx => Some(x86::INT8_AMX),
        #[cfg(target_arch = "x86_64")]
        Isa::AvxVnni => Some(x86::INT8_AVX_VNNI),
        // Without VNNI the integer tile is that of AVX2 under AVX-512 too.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 | Isa::Avx512 => Some(x86::INT8_AVX2),
        #[cfg(target_arch = "aarch64")]
        Isa::Neon => Some(arm::INT8_NEON),
        #[cfg(target_arch = "aarch64")]
        Isa::NeonDotprod => Some(arm::INT8_DOTPROD),
        #[cfg(target_arch = "aarch64")]
        Isa::NeonI8mm => Some(arm::INT8_I8MM),
        _ => None,
    }
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
/// Steps of every sum in one round, so that counting rounds costs nothing.
const STEPS: usize = 4;

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
/// Fused multiply-adds on `SUMS` vectors of sixteen lanes.
///
/// # Safety
/// As [`Simd`].
#[inline(always)]
unsafe fn fused<S: Simd, const SUMS: usize>(rounds: u64) {
    // SAFETY: the caller's contract.
    unsafe {
        let x = S::splat(black_box(0.5));
        let mut sums = [S::splat(black_box(1.0)); SUMS];
        for _ in 0..rounds {
            for _ in 0..STEPS {
                for sum in &mut sums {
                    *sum = x.fma(x, *sum);
                }
            }
        }
        black_box(sums.map(|sum| sum.lanes()));
    }
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
/// Multiply-adds of one round of `sums` vectors of `each`.
const fn macs(sums: usize, each: usize) -> u64 {
    (STEPS * sums * each) as u64
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::asm;
    use std::arch::x86_64::*;

    use super::*;
    use crate::kernels::int::amx;
    use crate::simd::avx2::Avx2;
    use crate::simd::avx512::Avx512;

    pub const F32_AVX512: PeakLoop = PeakLoop { macs: macs(12, LANES), body: f32_avx512 };
    pub const F32_AVX2: PeakLoop = PeakLoop { macs: macs(6, LANES), body: f32_avx2 };
    pub const INT8_AVX512_VNNI: PeakLoop = PeakLoop { macs: macs(12, 64), body: avx512_vnni };
    pub const INT8_AMX: PeakLoop = PeakLoop { macs: amx::PEAK_MACS, body: amx::peak };
    pub const INT8_AVX_VNNI: PeakLoop = PeakLoop { macs: macs(12, 32), body: avx_vnni };
    pub const INT8_AVX2: PeakLoop = PeakLoop { macs: macs(6, 32), body: avx2 };

    #[target_feature(enable = "avx512f,avx512dq")]
    unsafe fn f32_avx512(rounds: u64) {
        // SAFETY: compiled for these instructions; the caller has seen them.
        unsafe { fused::<Avx512, 12>(rounds) }
    }

    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn f32_avx2(rounds: u64) {
        // SAFETY: compiled for these instructions; the caller has seen them.
        unsafe { fused::<Avx2, 6>(rounds) }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    fn avx512_vnni(rounds: u64) {
        let x = _mm512_set1_epi8(black_box(1));
        let mut sums = [_mm512_setzero_si512(); 12];
        for _ in 0..rounds {
            for _ in 0..STEPS {
                for sum in &mut sums {
                    *sum = _mm512_dpbusd_epi32(*sum, x, x);
                }
            }
        }
        black_box(sums);
    }

    #[target_feature(enable = "avx2,avxvnni")]
    fn avx_vnni(rounds: u64) {
        let x = _mm256_set1_epi8(black_box(1));
        let mut sums = [_mm256_setzero_si256(); 12];
        for _ in 0..rounds {
            for _ in 0..STEPS {
                for sum in &mut sums {
                    *sum = _mm256_dpbusd_avx_epi32(*sum, x, x);
                }
            }
        }
        black_box(sums);
    }

    /// Pairs of products, pairs of pairs, and a sum: the least that 32 exact products take.
    #[target_feature(enable = "avx2")]
    fn avx2(rounds: u64) {
        let ones = _mm256_set1_epi16(black_box(1));
        let mut x = _mm256_set1_epi8(black_box(1));
        let mut sums = [_mm256_setzero_si256(); 6];
        for _ in 0..rounds {
            for _ in 0..STEPS {
                for sum in &mut sums {
                    // SAFETY: no instruction at all; the compiler no longer knows what `x` holds.
                    unsafe { asm!("/* {0} */", inout(ymm_reg) x, options(nomem, nostack)) };
                    let pairs = _mm256_maddubs_epi16(x, x);
                    *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(pairs, ones));
                }
            }
        }
        black_box(sums);
    }
}

#[cfg(target_arch = "aarch64")]
mod arm {
    use std::arch::aarch64::*;
    use std::arch::asm;

    use super::*;
    use crate::simd::neon::Neon;

    pub const F32_NEON: PeakLoop = PeakLoop { macs: macs(5, LANES), body: f32_neon };
    pub const INT8_NEON: PeakLoop = PeakLoop { macs: macs(8, 16), body: int8_neon };
    pub const INT8_DOTPROD: PeakLoop = PeakLoop { macs: macs(16, 16), body: int8_dotprod };
    pub const INT8_I8MM: PeakLoop = PeakLoop { macs: macs(16, 32), body: int8_i8mm };

    #[target_feature(enable = "neon")]
    unsafe fn f32_neon(rounds: u64) {
        // SAFETY: compiled for these instructions; the caller has seen them.
        unsafe { fused::<Neon, 5>(rounds) }
    }

    /// SMULL, SMLAL, SADALP: the least that 16 exact products take.
    #[target_feature(enable = "neon")]
    fn int8_neon(rounds: u64) {
        let mut x = vdupq_n_s8(black_box(1));
        let mut sums = [vdupq_n_s32(0); 8];
        for _ in 0..rounds {
            for _ in 0..STEPS {
                for sum in &mut sums {
                    // SAFETY: no instruction at all; the compiler no longer knows what `x` holds.
                    unsafe { asm!("/* {0:q} */", inout(vreg) x, options(nomem, nostack)) };
                    let pairs = vmull_s8(vget_low_s8(x), vget_low_s8(x));
                    *sum = vpadalq_s16(*sum, vmlal_high_s8(pairs, x, x));
                }
            }
        }
        black_box(sums);
    }

    /// Sixteen sums by an instruction that has no stable intrinsic.
    macro_rules! sixteen_sums {
        ($rounds:expr, $instruction:literal) => {
            let x = vdupq_n_s8(black_box(1));
            let mut sums = [vdupq_n_s32(0); 16];
            for _ in 0..$rounds {
                for _ in 0..STEPS {
                    for sum in &mut sums {
                        // SAFETY: the function has the instruction, which touches registers alone.
                        unsafe {
                            asm!($instruction, sum = inout(vreg) *sum, x = in(vreg) x,
                                options(pure, nomem, nostack, preserves_flags));
                        }
                    }
                }
            }
            black_box(sums);
        };
    }

    #[target_feature(enable = "neon,dotprod")]
    fn int8_dotprod(rounds: u64) {
        sixteen_sums!(rounds, "sdot {sum:v}.4s, {x:v}.16b, {x:v}.16b");
    }

    #[target_feature(enable = "neon,i8mm")]
    fn int8_i8mm(rounds: u64) {
        sixteen_sums!(rounds, "smmla {sum:v}.4s, {x:v}.16b, {x:v}.16b");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_loop_of_this_machine_ends() {
        for isa in Isa::available() {
            for peak in [f32_loop(isa), int8_loop(isa)].into_iter().flatten() {
                peak.run(3);
                assert!(peak.macs > 0);
            }
        }
    }
}
