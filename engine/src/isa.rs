//! Which instruction set runs: the best one the machine has, or the one that `POCHADE_ISA` names.

use std::fmt;
use std::str::FromStr;

use crate::kernels::{self, Kernels};

/// Names of the environment variable that forces an instruction set.
pub const ISA_VARIABLE: &str = "POCHADE_ISA";

/// An instruction set that there are kernels for. All give the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Isa {
    /// Plain Rust.
    Portable,
    /// AVX2 with fused multiply-add and half-precision conversion.
    Avx2,
    /// AVX2 with AVX-VNNI.
    AvxVnni,
    /// AVX-512 (F and DQ).
    Avx512,
    /// AVX-512 with VNNI.
    Avx512Vnni,
    /// AVX-512 with AMX.
    Amx,
    /// Advanced SIMD of every 64-bit Arm.
    Neon,
    /// Advanced SIMD with dot products of bytes: Cortex-A76 (Raspberry Pi 5) and its like.
    NeonDotprod,
    /// Advanced SIMD with products of byte matrices.
    NeonI8mm,
}

impl Isa {
    /// All, best first.
    pub const ALL: [Self; 9] = [
        Self::Amx,
        Self::Avx512Vnni,
        Self::AvxVnni,
        Self::Avx512,
        Self::Avx2,
        Self::NeonI8mm,
        Self::NeonDotprod,
        Self::Neon,
        Self::Portable,
    ];

    /// Those that this machine has, best first.
    pub fn available() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(|isa| isa.kernels().is_some())
    }

    /// The best of this machine, or the one that the environment names.
    ///
    /// # Errors
    /// When the variable names an instruction set that is unknown or not there.
    pub fn choose() -> Result<Self, IsaError> {
        match std::env::var(ISA_VARIABLE) {
            Ok(name) if !name.is_empty() => {
                let isa: Self = name.parse()?;
                if isa.kernels().is_none() {
                    return Err(IsaError::Missing(isa));
                }
                Ok(isa)
            }
            _ => Ok(Self::available().next().unwrap_or(Self::Portable)),
        }
    }

    /// The kernels, if this machine can run them.
    pub(crate) fn kernels(self) -> Option<&'static Kernels> {
        match self {
            Self::Portable => Some(&kernels::portable::KERNELS),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => crate::simd::avx2::is_available().then_some(&kernels::avx2::KERNELS),
            #[cfg(target_arch = "x86_64")]
            Self::AvxVnni => (crate::simd::avx2::is_available()
                && kernels::int::avxvnni::is_available())
            .then_some(&kernels::AVX_VNNI),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => {
                crate::simd::avx512::is_available().then_some(&kernels::avx512::KERNELS)
            }
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Vnni => (crate::simd::avx512::is_available()
                && kernels::int::avx512vnni::is_available())
            .then_some(&kernels::AVX512_VNNI),
            #[cfg(target_arch = "x86_64")]
            Self::Amx => (crate::simd::avx512::is_available() && kernels::int::amx::is_available())
                .then_some(&kernels::AMX),
            #[cfg(target_arch = "aarch64")]
            Self::Neon => crate::simd::neon::is_available().then_some(&kernels::neon::KERNELS),
            #[cfg(target_arch = "aarch64")]
            Self::NeonDotprod => (crate::simd::neon::is_available()
                && kernels::int::neon_dot::is_available())
            .then_some(&kernels::NEON_DOTPROD),
            #[cfg(target_arch = "aarch64")]
            Self::NeonI8mm => (crate::simd::neon::is_available()
                && kernels::int::neon_i8mm::is_available())
            .then_some(&kernels::NEON_I8MM),
            #[allow(unreachable_patterns, reason = "which arms exist depends on the architecture")]
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Avx2 => "avx2",
            Self::AvxVnni => "avxvnni",
            Self::Avx512 => "avx512",
            Self::Avx512Vnni => "avx512vnni",
            Self::Amx => "amx",
            Self::Neon => "neon",
            Self::NeonDotprod => "neon-dotprod",
            Self::NeonI8mm => "neon-i8mm",
        }
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Isa {
    type Err = IsaError;

    fn from_str(name: &str) -> Result<Self, IsaError> {
        let known = Self::ALL.into_iter().find(|isa| isa.name() == name);
        known.ok_or_else(|| IsaError::Unknown(name.to_owned()))
    }
}

/// Why an instruction set cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IsaError {
    /// No kernels of that name.
    Unknown(String),
    /// This machine does not have it.
    Missing(Isa),
}

impl fmt::Display for IsaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(name) => {
                let known = Isa::ALL.map(Isa::name).join(", ");
                write!(f, "{ISA_VARIABLE}={name}: choose one of {known}")
            }
            Self::Missing(isa) => {
                write!(f, "{ISA_VARIABLE}={isa}: this machine does not have it; unset the variable")
            }
        }
    }
}

impl std::error::Error for IsaError {}
