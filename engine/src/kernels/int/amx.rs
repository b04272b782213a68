//! The integer tile with AMX, whose registers are matrices: `tdpbssd` multiplies sixteen rows by 64
//! depths of sixteen outputs.
//!
//! The order at rest of 64 depths of a panel is already the one that a register of weights has, and so
//! are sixteen output pixels of one line, whose inputs lie at equal distances. Other rows, at the ends
//! of lines and of tasks, are copied first. What is left of a depth that 64 does not divide goes
//! through smaller registers, sixteen at a time.
//!
//! Intrinsics are not stable, so instructions are written out; the compiler itself never touches these
//! registers. A thread configures them when it first multiplies, and [`release`] gives them back.

use std::arch::asm;
use std::arch::x86_64::{__cpuid, __cpuid_count};
use std::cell::Cell;
use std::mem::MaybeUninit;
use std::sync::OnceLock;

use super::{BLOCK, IntKernels, IntTile, start};
use crate::int_weights::BLOCK_BYTES;
use crate::kernels::winograd::transforms;
use crate::weights::LANES;

pub(crate) static KERNELS: IntKernels = IntKernels {
    rows: ROWS,
    panels: 4,
    offset: 0,
    step: BLOCK,
    rearrange: None,
    tile,
    int4: None,
    transforms: transforms!(Avx512, "avx512f,avx512bw"),
    release: Some(release),
};

/// Rows of a register.
const ROWS: usize = 16;
/// Bytes of a row of a register.
const ROW_BYTES: usize = 64;
/// Depths of a whole register of rows or weights.
const DEPTHS: usize = 64;

/// What the registers are: sums in the first four, rows and weights of 64 depths, rows and weights of
/// sixteen.
#[repr(C, align(64))]
struct Configuration([u8; 64]);

static CONFIGURATION: Configuration = {
    let mut bytes = [0; 64];
    bytes[0] = 1;
    let mut register = 0;
    while register < 8 {
        let (rows, row_bytes) = match register {
            6 => (ROWS, BLOCK),
            7 => (BLOCK / 4, ROW_BYTES),
            _ => (ROWS, ROW_BYTES),
        };
        bytes[16 + 2 * register] = row_bytes as u8;
        bytes[48 + register] = rows as u8;
        register += 1;
    }
    Configuration(bytes)
};

thread_local! {
    /// Whether the thread's registers are configured.
    static READY: Cell<bool> = const { Cell::new(false) };
}

/// Whether the machine has the instructions and the system lets this process use them, which it asks
/// for.
pub(crate) fn is_available() -> bool {
    static AVAILABLE: OnceLock<bool> = OnceLock::new();
    *AVAILABLE.get_or_init(|| has_instructions() && is_permitted())
}

fn has_instructions() -> bool {
    const AMX_TILE: u32 = 1 << 24;
    const AMX_INT8: u32 = 1 << 25;
    let wanted = AMX_TILE | AMX_INT8;
    __cpuid(0).eax >= 7 && __cpuid_count(7, 0).edx & wanted == wanted
}

/// Asks Linux for the registers, which make a thread's saved state larger by eight kilobytes.
#[cfg(target_os = "linux")]
fn is_permitted() -> bool {
    const ARCH_PRCTL: usize = 158;
    const ARCH_REQ_XCOMP_PERM: usize = 0x1023;
    const XFEATURE_XTILEDATA: usize = 18;
    let answer: isize;
    // SAFETY: a system call that reads and writes no memory; kernels that do not know it refuse.
    unsafe {
        asm!("syscall", inlateout("rax") ARCH_PRCTL => answer, in("rdi") ARCH_REQ_XCOMP_PERM,
            in("rsi") XFEATURE_XTILEDATA, out("rcx") _, out("r11") _, options(nostack));
    }
    answer == 0
}

#[cfg(not(target_os = "linux"))]
fn is_permitted() -> bool {
    false
}

/// Configures the thread's registers.
///
/// # Safety
/// [`is_available`].
#[inline]
pub(crate) unsafe fn configure() {
    if !READY.get() {
        // SAFETY: the caller's contract; a configuration is 64 bytes.
        unsafe {
            asm!("ldtilecfg [{}]", in(reg) &raw const CONFIGURATION, options(nostack, readonly));
        }
        READY.set(true);
    }
}

/// Gives the thread's registers back.
///
/// # Safety
/// [`is_available`].
pub(crate) unsafe fn release() {
    if READY.replace(false) {
        // SAFETY: the caller's contract.
        unsafe { asm!("tilerelease", options(nostack, nomem)) }
    }
}

/// # Safety
/// The machine has the features; the tile's pointers must be valid for what its fields say.
unsafe fn tile(t: &IntTile) {
    // SAFETY: the caller's contract.
    unsafe {
        configure();
        match t.panels {
            1 => fixed::<1>(t),
            2 => fixed::<2>(t),
            3 => fixed::<3>(t),
            4 => fixed::<4>(t),
            panels => unreachable!("an integer tile of {panels} panels"),
        }
    }
}

/// Runs an instruction on the sums of panel `$p`, a constant once loops are unrolled.
macro_rules! on_sums {
    ($p:expr, $before:literal, $after:literal $(, $($operand:tt)*)?) => {
        match $p {
            0 => asm!(concat!($before, "tmm0", $after) $(, $($operand)*)?),
            1 => asm!(concat!($before, "tmm1", $after) $(, $($operand)*)?),
            2 => asm!(concat!($before, "tmm2", $after) $(, $($operand)*)?),
            _ => asm!(concat!($before, "tmm3", $after) $(, $($operand)*)?),
        }
    };
}

/// Rows that were copied, or sums of a tile that has fewer rows than a register. Both are written
/// before they are of any use: no one asks for the sums of rows that a tile lacks.
#[repr(align(64))]
struct Buffer<T>([MaybeUninit<T>; ROWS * ROW_BYTES]);

impl<T: Copy> Buffer<T> {
    fn new() -> Self {
        Self([MaybeUninit::uninit(); ROWS * ROW_BYTES])
    }

    fn first(&mut self) -> *mut T {
        self.0.as_mut_ptr().cast()
    }
}

/// # Safety
/// As [`tile`].
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn fixed<const PANELS: usize>(t: &IntTile) {
    if t.height == ROWS {
        // SAFETY: the caller's contract.
        return unsafe { whole::<PANELS>(t, t.sums, t.sum_stride) };
    }
    let (mut buffer, width) = (Buffer::<i32>::new(), PANELS * LANES);
    let sums = buffer.first();
    // SAFETY: the caller's contract; the buffer has room for all rows of four panels.
    unsafe {
        let rows = || (0..t.height).map(|i| (t.sums.add(i * t.sum_stride), sums.add(i * width)));
        if t.accumulate {
            rows().for_each(|(own, row)| row.copy_from_nonoverlapping(own, width));
        }
        whole::<PANELS>(t, sums, width);
        rows().for_each(|(own, row)| own.copy_from_nonoverlapping(row, width));
    }
}

/// Computes sixteen rows of sums, of which the tile may have fewer.
///
/// # Safety
/// As [`tile`]; there is room for the sums.
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn whole<const PANELS: usize>(t: &IntTile, sums: *mut i32, stride: usize) {
    let stride = stride * size_of::<i32>();
    // SAFETY: the caller's contract. Where a tile starts from given values all rows are one.
    unsafe {
        for p in 0..PANELS {
            match start(&IntTile { sums, sum_stride: stride / size_of::<i32>(), ..*t }) {
                None => on_sums!(p, "tilezero ", "", options(nostack, nomem)),
                Some(start) => on_sums!(p, "tileloadd ", ", [{from} + {stride}]",
                    from = in(reg) start.of(0, p),
                    stride = in(reg) if t.accumulate { stride } else { 0 },
                    options(nostack, readonly)),
            }
        }
        let mut buffer = Buffer::<u8>::new();
        let mut weights = t.weights;
        for tap in 0..t.taps {
            let rows = Rows { offsets: t.offsets.add(tap * t.height), tile: t };
            let distance = rows.distance();
            let mut k = 0;
            while k < t.depth {
                let depths = if t.depth - k >= DEPTHS { DEPTHS } else { BLOCK };
                let (from, apart) = match distance {
                    Some(distance) => (t.base.add(*rows.offsets as usize + k), distance),
                    None => (rows.copy(k, depths, &mut buffer), depths),
                };
                if depths == DEPTHS {
                    multiply::<PANELS>(from, apart, weights, t.weight_stride);
                } else {
                    multiply_block::<PANELS>(from, apart, weights, t.weight_stride);
                }
                weights = weights.add(depths / BLOCK * BLOCK_BYTES);
                k += depths;
            }
        }
        for p in 0..PANELS {
            on_sums!(p, "tilestored [{to} + {stride}], ", "",
                to = in(reg) sums.add(p * LANES), stride = in(reg) stride, options(nostack));
        }
    }
}

/// Adds the products of 64 depths.
///
/// # Safety
/// Sixteen rows lie `apart` from one another; panels hold as many depths.
#[inline(always)]
unsafe fn multiply<const PANELS: usize>(
    rows: *const u8,
    apart: usize,
    weights: *const i8,
    weight_stride: usize,
) {
    // SAFETY: the caller's contract.
    unsafe {
        asm!("tileloadd tmm4, [{rows} + {apart}]", rows = in(reg) rows, apart = in(reg) apart,
            options(nostack, readonly));
        for p in 0..PANELS {
            asm!("tileloadd tmm5, [{weights} + {row}]", row = in(reg) ROW_BYTES,
                weights = in(reg) weights.add(p * weight_stride), options(nostack, readonly));
            on_sums!(p, "tdpbssd ", ", tmm4, tmm5", options(nostack, nomem));
        }
    }
}

/// Adds the products of sixteen depths.
///
/// # Safety
/// As [`multiply`].
#[inline(always)]
unsafe fn multiply_block<const PANELS: usize>(
    rows: *const u8,
    apart: usize,
    weights: *const i8,
    weight_stride: usize,
) {
    // SAFETY: the caller's contract.
    unsafe {
        asm!("tileloadd tmm6, [{rows} + {apart}]", rows = in(reg) rows, apart = in(reg) apart,
            options(nostack, readonly));
        for p in 0..PANELS {
            asm!("tileloadd tmm7, [{weights} + {row}]", row = in(reg) ROW_BYTES,
                weights = in(reg) weights.add(p * weight_stride), options(nostack, readonly));
            on_sums!(p, "tdpbssd ", ", tmm6, tmm7", options(nostack, nomem));
        }
    }
}

/// The rows of a tile, for one tap.
struct Rows<'a> {
    offsets: *const u32,
    tile: &'a IntTile,
}

impl Rows<'_> {
    /// How far the rows of a whole tile lie apart, if that is the same for all.
    ///
    /// # Safety
    /// As [`tile`].
    #[inline(always)]
    unsafe fn distance(&self) -> Option<usize> {
        if self.tile.height < ROWS {
            return None;
        }
        // SAFETY: the caller's contract.
        let offsets = unsafe { self.offsets.cast::<[u32; ROWS]>().read() };
        let distance = offsets[1].wrapping_sub(offsets[0]);
        let mut same = true;
        for (i, offset) in offsets.iter().enumerate() {
            same &= *offset == offsets[0].wrapping_add((i as u32).wrapping_mul(distance));
        }
        (same && distance < i32::MAX as u32).then_some(distance as usize)
    }

    /// Copies some depths of all rows; those that the tile lacks stay what they were.
    ///
    /// # Safety
    /// As [`tile`]; the rows have the depths.
    #[inline(always)]
    unsafe fn copy(&self, k: usize, depths: usize, to: &mut Buffer<u8>) -> *const u8 {
        // SAFETY: the caller's contract; a buffer has room for sixteen rows.
        unsafe {
            for i in 0..self.tile.height {
                let from = self.tile.base.add(*self.offsets.add(i) as usize + k);
                let to = to.first().add(i * depths);
                match depths {
                    DEPTHS => to.cast::<[u8; DEPTHS]>().write(from.cast::<[u8; DEPTHS]>().read()),
                    _ => to.cast::<[u8; BLOCK]>().write(from.cast::<[u8; BLOCK]>().read()),
                }
            }
        }
        to.first()
    }
}

/// Multiplies registers by registers, four sums in turn.
///
/// # Safety
/// [`is_available`].
pub(crate) unsafe fn peak(rounds: u64) {
    // SAFETY: the caller's contract; nothing but registers is touched.
    unsafe {
        configure();
        asm!("tilezero tmm4", "tilezero tmm5", options(nostack, nomem));
        for _ in 0..rounds {
            asm!(
                "tdpbssd tmm0, tmm4, tmm5",
                "tdpbssd tmm1, tmm4, tmm5",
                "tdpbssd tmm2, tmm4, tmm5",
                "tdpbssd tmm3, tmm4, tmm5",
                options(nostack, nomem)
            );
        }
        release();
    }
}

/// Multiply-adds of a round of [`peak`].
pub(crate) const PEAK_MACS: u64 = 4 * (ROWS * LANES * DEPTHS) as u64;
