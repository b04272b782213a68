//! int4 weights on Arm cores without dot products: the values themselves are multiplied, and the
//! multiplier of a group comes in when its sums widen.
//!
//! An int4 times an int8 is at most `8 * 127`, so 32 such products fit 16 bits: a group of 32 depths
//! needs one `smlal` per eight products and is widened once, where int8 weights pay a `sadalp` for
//! every sixteen. For that a register must hold several outputs: it has four, by two depths, and
//! activations are gathered as pairs of depths repeated four times. The two partial sums of an output
//! meet in `addp`, and `smlal` by the group's multipliers brings eight outputs to 32 bits. The sums
//! are the same integers as through int8.
//!
//! Two rows by sixteen outputs take eight registers of 16-bit and eight of 32-bit sums; the other
//! sixteen are operands in two sets, one of which is loaded while the other is multiplied. An A53
//! starts in order, so the order of the assembly is the schedule: addresses are all advanced at the
//! end of a group, since every load has a pointer of its own.

use std::arch::aarch64::*;
use std::arch::asm;

use super::gathered::{self, Gathered, Product, Rows};
use super::{BLOCK, Int4Kernels, IntTile};
use crate::int_weights::{BLOCK_BYTES, GROUP};
use crate::weights::LANES;

pub(crate) static KERNELS: Int4Kernels = Int4Kernels { group_bytes: GROUP_BYTES, unpack, tile };

static GATHERED: Gathered = Gathered {
    rows: ROWS,
    unit: GROUP,
    row_bytes: ROW_BYTES,
    weight_bytes: GROUP_BYTES,
    chunk: 12,
    gather,
    multiply,
};

const ROWS: usize = 2;
/// Bytes of a group of gathered rows.
const ROW_BYTES: usize = 4 * ROWS * GROUP;
/// Bytes of a group of a panel: values, and multipliers in 16 bits.
const GROUP_BYTES: usize = GROUP * LANES + 2 * LANES;
/// Bytes of one step of four depths of a panel.
const STEP: usize = 4 * LANES;

/// # Safety
/// The tile's pointers must be valid for what its fields say.
unsafe fn tile(t: &IntTile) {
    // SAFETY: the caller's contract.
    unsafe { gathered::tile(&GATHERED, t) }
}

/// A group as `[k / 4][o / 4][k / 2 % 2][o % 4][k % 2]` bytes, then `[o]` multipliers of 16 bits. The
/// second block of a group that has but one is zeros.
///
/// # Safety
/// None: every 64-bit Arm has NEON.
#[target_feature(enable = "neon")]
unsafe fn unpack(pairs: &[u8], multipliers: &[i8; LANES], out: &mut [i8]) {
    let (values, wide) = out[..GROUP_BYTES].split_at_mut(GROUP * LANES);
    values[pairs.len() * 2..].fill(0);
    let blocks = pairs.as_chunks::<{ BLOCK_BYTES / 2 }>().0;
    for (pairs, out) in blocks.iter().zip(values.as_chunks_mut::<BLOCK_BYTES>().0) {
        unpack_block(pairs, out);
    }
    for (m, bytes) in multipliers.iter().zip(wide.as_chunks_mut::<2>().0) {
        *bytes = i16::from(*m).to_le_bytes().map(u8::cast_signed);
    }
}

/// One block of [`unpack`].
#[inline]
#[target_feature(enable = "neon")]
fn unpack_block(pairs: &[u8; BLOCK_BYTES / 2], out: &mut [i8; BLOCK_BYTES]) {
    const ORDER: [u8; 16] = [0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15];
    // SAFETY: sixteen bytes each, inside the arrays.
    unsafe {
        let order = vld1q_u8(ORDER.as_ptr());
        for at in (0..BLOCK_BYTES / 2).step_by(16) {
            let pair = vld1q_u8(pairs.as_ptr().add(at));
            let low = vqtbl1q_u8(vandq_u8(pair, vdupq_n_u8(15)), order);
            let high = vqtbl1q_u8(vshrq_n_u8::<4>(pair), order);
            let eight = vdupq_n_u8(8);
            let to = out.as_mut_ptr().cast::<u8>().add(at);
            vst1q_u8(to, vsubq_u8(low, eight));
            vst1q_u8(to.add(BLOCK_BYTES / 2), vsubq_u8(high, eight));
        }
    }
}

/// Rows as `[k / 4][row][k / 2 % 2][four times][k % 2]`, the second block of a group that has but
/// one as zeros.
///
/// # Safety
/// The pointers must be valid for what the fields say.
#[target_feature(enable = "neon")]
unsafe fn gather(rows: &Rows) {
    const PAIRS: [u8; 16] = [0, 1, 0, 1, 0, 1, 0, 1, 2, 3, 2, 3, 2, 3, 2, 3];
    // SAFETY: the caller's contract.
    unsafe {
        let pairs = vld1q_u8(PAIRS.as_ptr());
        for k in (0..rows.depths.next_multiple_of(GROUP)).step_by(BLOCK) {
            for i in 0..ROWS {
                let x = match k < rows.depths {
                    true => vld1q_s8(rows.starts[i].add(k)),
                    false => vdupq_n_s8(0),
                };
                for step in 0..4 {
                    let four = vqtbl1q_s8(x, vaddq_u8(pairs, vdupq_n_u8(4 * step)));
                    let at = (k / 4 + usize::from(step)) * ROWS + i;
                    vst1q_s8(rows.to.add(at * 16), four);
                }
            }
        }
    }
}

/// # Safety
/// The pointers must be valid for what the fields say.
#[target_feature(enable = "neon")]
unsafe fn multiply(p: &Product) {
    // SAFETY: the caller's contract.
    unsafe {
        let sums = two_by_sixteen(p.rows, p.weights, p.units);
        for (i, sums) in sums.into_iter().enumerate().take(p.height) {
            for (four, sums) in sums.into_iter().enumerate() {
                let to = p.sums.add(i * p.sum_stride + 4 * four);
                vst1q_s32(to, vaddq_s32(vld1q_s32(to), sums));
            }
        }
    }
}

/// Four depths of both rows, whose activations are in `$x` and `$y`, by sixteen outputs. The first
/// load is for the next step's weights, whose registers are set `a` or `b`, the second for the activations of the next two steps.
macro_rules! step {
    ($op:literal a $x:literal $y:literal, $first:literal, $second:literal) => {
        step!($op 16 17 18 19 $x $y, $first, $second)
    };
    ($op:literal b $x:literal $y:literal, $first:literal, $second:literal) => {
        step!($op 20 21 22 23 $x $y, $first, $second)
    };
    ($op:literal $a:literal $b:literal $c:literal $d:literal $x:literal $y:literal,
     $first:literal, $second:literal) => {
        concat!(
            $op, " v0.8h, v", $a, ".8b, v", $x, ".8b\n", $first, "\n",
            $op, " v1.8h, v", $b, ".8b, v", $x, ".8b\n",
            $op, " v2.8h, v", $c, ".8b, v", $x, ".8b\n",
            $op, " v3.8h, v", $d, ".8b, v", $x, ".8b\n",
            $op, " v4.8h, v", $a, ".8b, v", $y, ".8b\n",
            $op, " v5.8h, v", $b, ".8b, v", $y, ".8b\n",
            $op, " v6.8h, v", $c, ".8b, v", $y, ".8b\n",
            $op, " v7.8h, v", $d, ".8b, v", $y, ".8b\n", $second, "\n",
            "smlal2 v0.8h, v", $a, ".16b, v", $x, ".16b\n",
            "smlal2 v1.8h, v", $b, ".16b, v", $x, ".16b\n",
            "smlal2 v2.8h, v", $c, ".16b, v", $x, ".16b\n",
            "smlal2 v3.8h, v", $d, ".16b, v", $x, ".16b\n",
            "smlal2 v4.8h, v", $a, ".16b, v", $y, ".16b\n",
            "smlal2 v5.8h, v", $b, ".16b, v", $y, ".16b\n",
            "smlal2 v6.8h, v", $c, ".16b, v", $y, ".16b\n",
            "smlal2 v7.8h, v", $d, ".16b, v", $y, ".16b\n",
        )
    };
}

/// The 32 depths of a group, in eight steps, and its multipliers. The last two steps load for the
/// next group, if there is one.
macro_rules! group {
    ($next_rows:literal, $next_weights:literal) => {
        concat!(
            step!("smull" a 24 25,
                "ld1 {{v20.16b-v23.16b}}, [{w1}]", "ld1 {{v28.16b-v31.16b}}, [{x1}]"),
            step!("smlal" b 26 27, "ld1 {{v16.16b-v19.16b}}, [{w2}]", ""),
            step!("smlal" a 28 29,
                "ld1 {{v20.16b-v23.16b}}, [{w3}]", "ld1 {{v24.16b-v27.16b}}, [{x2}]"),
            step!("smlal" b 30 31, "ld1 {{v16.16b-v19.16b}}, [{w4}]", ""),
            step!("smlal" a 24 25,
                "ld1 {{v20.16b-v23.16b}}, [{w5}]", "ld1 {{v28.16b-v31.16b}}, [{x3}]"),
            step!("smlal" b 26 27, "ld1 {{v16.16b-v19.16b}}, [{w6}]", ""),
            step!("smlal" a 28 29, "ld1 {{v20.16b-v23.16b}}, [{w7}]", $next_rows),
            step!("smlal" b 30 31, $next_weights, "ld1 {{v28.8h-v29.8h}}, [{m}]"),
            "addp v0.8h, v0.8h, v1.8h\n",
            "addp v2.8h, v2.8h, v3.8h\n",
            "addp v4.8h, v4.8h, v5.8h\n",
            "addp v6.8h, v6.8h, v7.8h\n",
            "smlal v8.4s, v0.4h, v28.4h\n",
            "smlal2 v9.4s, v0.8h, v28.8h\n",
            "smlal v10.4s, v2.4h, v29.4h\n",
            "smlal2 v11.4s, v2.8h, v29.8h\n",
            "smlal v12.4s, v4.4h, v28.4h\n",
            "smlal2 v13.4s, v4.8h, v28.8h\n",
            "smlal v14.4s, v6.4h, v29.4h\n",
            "smlal2 v15.4s, v6.8h, v29.8h\n",
        )
    };
}

/// The sums of two gathered rows by the sixteen outputs of an unpacked panel.
///
/// # Safety
/// Both pointers must be valid for `groups` groups, of which there must be one.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn two_by_sixteen(
    rows: *const i8,
    weights: *const i8,
    groups: usize,
) -> [[int32x4_t; 4]; ROWS] {
    let mut s = [[vdupq_n_s32(0); 4]; ROWS];
    // Where each load of a group reads; those that are for the next group are one ahead.
    let x = |i: usize| rows.wrapping_add(i * 4 * ROWS * 8);
    let w = |i: usize| weights.wrapping_add(i * STEP);
    // SAFETY: reads as many groups as the caller's contract allows; all that is written is named.
    unsafe {
        asm!(
            "ld1 {{v16.16b-v19.16b}}, [{w0}]",
            "ld1 {{v24.16b-v27.16b}}, [{x0}]",
            "add {w0}, {w0}, #{weights}",
            "add {x0}, {x0}, #{rows}",
            "subs {groups}, {groups}, #1",
            "b.eq 3f",
            "2:",
            group!("ld1 {{v24.16b-v27.16b}}, [{x0}]", "ld1 {{v16.16b-v19.16b}}, [{w0}]"),
            "add {w0}, {w0}, #{weights}",
            "add {w1}, {w1}, #{weights}",
            "add {w2}, {w2}, #{weights}",
            "add {w3}, {w3}, #{weights}",
            "add {w4}, {w4}, #{weights}",
            "add {w5}, {w5}, #{weights}",
            "add {w6}, {w6}, #{weights}",
            "add {w7}, {w7}, #{weights}",
            "add {m}, {m}, #{weights}",
            "add {x0}, {x0}, #{rows}",
            "add {x1}, {x1}, #{rows}",
            "add {x2}, {x2}, #{rows}",
            "add {x3}, {x3}, #{rows}",
            "subs {groups}, {groups}, #1",
            "b.ne 2b",
            "3:",
            group!("", ""),
            weights = const GROUP_BYTES,
            rows = const ROW_BYTES,
            w0 = inout(reg) w(0) => _, w1 = inout(reg) w(1) => _, w2 = inout(reg) w(2) => _,
            w3 = inout(reg) w(3) => _, w4 = inout(reg) w(4) => _, w5 = inout(reg) w(5) => _,
            w6 = inout(reg) w(6) => _, w7 = inout(reg) w(7) => _, m = inout(reg) w(8) => _,
            x0 = inout(reg) x(0) => _, x1 = inout(reg) x(1) => _, x2 = inout(reg) x(2) => _,
            x3 = inout(reg) x(3) => _,
            groups = inout(reg) groups => _,
            inout("v8") s[0][0], inout("v9") s[0][1], inout("v10") s[0][2], inout("v11") s[0][3],
            inout("v12") s[1][0], inout("v13") s[1][1], inout("v14") s[1][2], inout("v15") s[1][3],
            out("v0") _, out("v1") _, out("v2") _, out("v3") _,
            out("v4") _, out("v5") _, out("v6") _, out("v7") _,
            out("v16") _, out("v17") _, out("v18") _, out("v19") _,
            out("v20") _, out("v21") _, out("v22") _, out("v23") _,
            out("v24") _, out("v25") _, out("v26") _, out("v27") _,
            out("v28") _, out("v29") _, out("v30") _, out("v31") _,
            options(readonly, nostack)
        );
    }
    s
}
