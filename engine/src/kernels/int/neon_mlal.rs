//! The integer tile for every 64-bit Arm, laid out for Cortex-A53 and A72.
//!
//! Without dot products the widest way from bytes to 32-bit sums is `smull` and `smlal2`, which
//! bring sixteen depths of one row and one output to eight 16-bit sums of two products each
//! (`2 * 127 * 127 < 2^15`), and `sadalp`, which adds pairs of those to four 32-bit sums. Four rows by
//! four outputs are sixteen registers of sums; eight hold 16-bit sums, four activations and four
//! weights.
//!
//! The A53 starts its instructions in order, and a product is ready six cycles after its start: so
//! the loop is one piece of assembly in which eight independent instructions of a kind follow each
//! other, and the operands of the next block are loaded as soon as their registers are free.

use std::arch::aarch64::*;
use std::arch::asm;

use super::gathered::{self, Gathered, Product, Rows};
use super::{BLOCK, IntKernels, IntTile};
use crate::int_weights::BLOCK_BYTES;
use crate::kernels::winograd::transforms;
use crate::weights::LANES;

pub(crate) static KERNELS: IntKernels = IntKernels {
    rows: 12,
    panels: 3,
    offset: 0,
    step: BLOCK,
    rearrange: Some(rearrange),
    tile,
    int4: Some(&super::neon_int4::KERNELS),
    transforms: transforms!(Neon, "neon"),
    release: None,
};

static GATHERED: Gathered = Gathered {
    rows: ROWS,
    unit: BLOCK,
    row_bytes: ROWS * BLOCK,
    weight_bytes: BLOCK_BYTES,
    chunk: 32,
    gather,
    multiply,
};

const ROWS: usize = 4;

/// # Safety
/// The tile's pointers must be valid for what its fields say.
unsafe fn tile(t: &IntTile) {
    // SAFETY: the caller's contract.
    unsafe { gathered::tile(&GATHERED, t) }
}

/// From `[k / 4][o][k % 4]` to `[o][k]`.
///
/// # Safety
/// None: every 64-bit Arm has NEON.
#[target_feature(enable = "neon")]
unsafe fn rearrange(weights: &mut [i8]) {
    for block in weights.as_chunks_mut::<BLOCK_BYTES>().0 {
        let rest = *block;
        for (o, depths) in block.as_chunks_mut::<BLOCK>().0.iter_mut().enumerate() {
            *depths = std::array::from_fn(|k| rest[k / 4 * (4 * LANES) + 4 * o + k % 4]);
        }
    }
}

/// Rows as `[block][row][16 k]`.
///
/// # Safety
/// The pointers must be valid for what the fields say.
#[target_feature(enable = "neon")]
unsafe fn gather(rows: &Rows) {
    for k in (0..rows.depths).step_by(BLOCK) {
        for i in 0..ROWS {
            // SAFETY: the caller's contract.
            unsafe { vst1q_s8(rows.to.add(ROWS * k + i * BLOCK), vld1q_s8(rows.starts[i].add(k))) }
        }
    }
}

/// # Safety
/// The pointers must be valid for what the fields say.
#[target_feature(enable = "neon")]
unsafe fn multiply(p: &Product) {
    for o in (0..LANES).step_by(4) {
        // SAFETY: the caller's contract.
        unsafe {
            let sums = four_by_four(p.rows, p.weights.add(o * BLOCK), p.units);
            for (i, [a, b, c, d]) in sums.into_iter().enumerate().take(p.height) {
                let to = p.sums.add(i * p.sum_stride + o);
                let four = vpaddq_s32(vpaddq_s32(a, b), vpaddq_s32(c, d));
                vst1q_s32(to, vaddq_s32(vld1q_s32(to), four));
            }
        }
    }
}

/// Eight independent instructions of a kind on 16-bit sums.
macro_rules! eight {
    ($op:literal $half:literal $x:literal $y:literal) => {
        eight!($op $half: 16 $x 28, 17 $x 29, 18 $x 30, 19 $x 31,
            20 $y 28, 21 $y 29, 22 $y 30, 23 $y 31)
    };
    ($op:literal $half:literal: $($wide:literal $x:literal $w:literal),*) => {
        concat!($($op, " v", $wide, ".8h, v", $x, $half, ", v", $w, $half, "\n",)*)
    };
}

/// `$sum` takes the pairs of 16-bit sums of `$wide`.
macro_rules! add_pairs {
    ($($sum:literal $wide:literal),*) => {
        concat!($("sadalp v", $sum, ".4s, v", $wide, ".8h\n",)*)
    };
}

/// Two rows, whose activations are in `$x` and `$y`, by four outputs; loads follow as soon as their
/// registers are free, four cycles apart.
macro_rules! two_rows {
    ($x:literal $y:literal: $a:literal $b:literal $c:literal $d:literal
     $e:literal $f:literal $g:literal $h:literal, $first:literal, $second:literal) => {
        concat!(
            eight!("smull" ".8b" $x $y),
            eight!("smlal2" ".16b" $x $y),
            $first,
            "\n",
            add_pairs!($a 16, $b 17, $c 18, $d 19),
            $second,
            "\n",
            add_pairs!($e 20, $f 21, $g 22, $h 23),
        )
    };
}

/// The sums of four rows by four outputs, each in four parts. Rows are `[block][4 rows][16]`,
/// weights `[block][4 of 16 outputs][16]`.
///
/// # Safety
/// Both pointers must be valid for `blocks` blocks, of which there must be one.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn four_by_four(
    rows: *const i8,
    weights: *const i8,
    blocks: usize,
) -> [[int32x4_t; 4]; ROWS] {
    let zero = vdupq_n_s32(0);
    let mut s = [[zero; 4]; ROWS];
    // SAFETY: reads as many blocks as the caller's contract allows; all that is written is named.
    unsafe {
        asm!(
            "ld1 {{v24.16b-v27.16b}}, [{rows}]",
            "ld1 {{v28.16b-v31.16b}}, [{weights}]",
            "add {rows}, {rows}, #64",
            "add {later}, {rows}, #32",
            "add {weights}, {weights}, #256",
            "subs {blocks}, {blocks}, #1",
            "b.eq 3f",
            "2:",
            two_rows!(24 25: 0 1 2 3 4 5 6 7, "ld1 {{v24.16b-v25.16b}}, [{rows}]", ""),
            two_rows!(26 27: 8 9 10 11 12 13 14 15,
                "ld1 {{v28.16b-v31.16b}}, [{weights}]", "ld1 {{v26.16b-v27.16b}}, [{later}]"),
            "add {rows}, {rows}, #64",
            "add {later}, {later}, #64",
            "add {weights}, {weights}, #256",
            "subs {blocks}, {blocks}, #1",
            "b.ne 2b",
            "3:",
            two_rows!(24 25: 0 1 2 3 4 5 6 7, "", ""),
            two_rows!(26 27: 8 9 10 11 12 13 14 15, "", ""),
            rows = inout(reg) rows => _,
            weights = inout(reg) weights => _,
            blocks = inout(reg) blocks => _,
            later = out(reg) _,
            inout("v0") s[0][0], inout("v1") s[0][1], inout("v2") s[0][2], inout("v3") s[0][3],
            inout("v4") s[1][0], inout("v5") s[1][1], inout("v6") s[1][2], inout("v7") s[1][3],
            inout("v8") s[2][0], inout("v9") s[2][1], inout("v10") s[2][2], inout("v11") s[2][3],
            inout("v12") s[3][0], inout("v13") s[3][1], inout("v14") s[3][2], inout("v15") s[3][3],
            out("v16") _, out("v17") _, out("v18") _, out("v19") _,
            out("v20") _, out("v21") _, out("v22") _, out("v23") _,
            out("v24") _, out("v25") _, out("v26") _, out("v27") _,
            out("v28") _, out("v29") _, out("v30") _, out("v31") _,
            options(readonly, nostack)
        );
    }
    s
}
