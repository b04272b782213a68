//! Tiles that first gather their rows: the walk that the Arm kernels share which read several rows
//! with one load.
//!
//! A tile's rows lie apart and every tap moves them. Here a few rows at a time are copied, in the
//! order in which the products read them, into a buffer that stays in the first-level cache, and
//! each copy serves all panels of the tile. The depth of all taps together is cut into chunks, so
//! that the buffer is small and the weights of a chunk stay in the first-level cache while the
//! tile's rows pass. Sums wait in the tile's memory between chunks.

use std::mem::MaybeUninit;

use super::{IntTile, MAX_ROWS};
use crate::weights::LANES;

/// Bytes of the buffer.
const BUFFER: usize = 6 << 10;

/// A kernel over gathered rows.
#[derive(Debug)]
pub(super) struct Gathered {
    /// Rows that are multiplied at once.
    pub rows: usize,
    /// Depths of a unit. A tap ends with a whole unit.
    pub unit: usize,
    /// Bytes of a unit of gathered rows.
    pub row_bytes: usize,
    /// Bytes of a unit of a panel.
    pub weight_bytes: usize,
    /// Units of a chunk: as many as leave the weights of three panels in the first-level cache.
    pub chunk: usize,
    pub gather: unsafe fn(&Rows),
    pub multiply: unsafe fn(&Product),
}

/// Rows to gather: a range of depths of one tap.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rows {
    /// Where the range starts in each row; rows that a tile lacks repeat its last one.
    pub starts: [*const i8; MAX_ROWS],
    /// Depths, a multiple of 16.
    pub depths: usize,
    /// Room for the range in whole units.
    pub to: *mut i8,
}

/// A product of gathered rows with one panel.
#[derive(Clone, Copy, Debug)]
pub(super) struct Product {
    /// Gathered rows.
    pub rows: *const i8,
    /// One unit of the panel after the other.
    pub weights: *const i8,
    /// How many units, at least one.
    pub units: usize,
    /// Rows whose sums are kept.
    pub height: usize,
    /// Sums to add to, rows of sixteen.
    pub sums: *mut i32,
    /// Values from one row of sums to the next.
    pub sum_stride: usize,
}

#[repr(align(64))]
struct Buffer([MaybeUninit<i8>; BUFFER]);

/// Computes a tile.
///
/// # Safety
/// The machine has the features of the kernel; the tile's pointers must be valid for what its fields
/// say.
// One walk for all kernels, around their products as functions of their own.
#[inline(never)]
pub(super) unsafe fn tile(g: &Gathered, t: &IntTile) {
    let mut buffer = Buffer([MaybeUninit::uninit(); BUFFER]);
    let rows: *mut i8 = buffer.0.as_mut_ptr().cast();
    assert!(g.chunk * g.row_bytes <= BUFFER);
    let units = t.taps * t.depth.div_ceil(g.unit);
    // SAFETY: the caller's contract; a chunk of `g.rows` rows fits the buffer.
    unsafe {
        begin(t);
        for first in (0..units).step_by(g.chunk) {
            let count = g.chunk.min(units - first);
            for row in (0..t.height).step_by(g.rows) {
                gather(g, t, row, first..first + count, rows);
                for p in 0..t.panels {
                    (g.multiply)(&Product {
                        rows,
                        weights: t.weights.add(p * t.weight_stride + first * g.weight_bytes),
                        units: count,
                        height: g.rows.min(t.height - row),
                        sums: t.sums.add(row * t.sum_stride + p * LANES),
                        sum_stride: t.sum_stride,
                    });
                }
            }
        }
    }
}

/// Brings the sums to what they start from.
///
/// # Safety
/// As [`tile`].
unsafe fn begin(t: &IntTile) {
    if t.accumulate {
        return;
    }
    for p in 0..t.panels {
        // SAFETY: the caller's contract.
        unsafe {
            let start = match t.start.is_null() {
                true => [0; LANES],
                false => t.start.add(p * t.start_stride).cast::<[i32; LANES]>().read(),
            };
            for i in 0..t.height {
                t.sums.add(i * t.sum_stride + p * LANES).cast::<[i32; LANES]>().write(start);
            }
        }
    }
}

/// Gathers the units `units` of the rows from `row` on.
///
/// # Safety
/// As [`tile`]; `to` must have room for the units.
unsafe fn gather(
    g: &Gathered,
    t: &IntTile,
    row: usize,
    units: std::ops::Range<usize>,
    to: *mut i8,
) {
    let per_tap = t.depth.div_ceil(g.unit);
    let mut unit = units.start;
    while unit < units.end {
        let (tap, within) = (unit / per_tap, unit % per_tap);
        let count = (per_tap - within).min(units.end - unit);
        let from = within * g.unit;
        // SAFETY: the caller's contract: offsets of all taps and rows, rows of `depth` bytes.
        unsafe {
            let offsets = t.offsets.add(tap * t.height);
            let start = |i: usize| {
                let offset = *offsets.add((row + i).min(t.height - 1)) as usize;
                t.base.add(offset + from).cast::<i8>()
            };
            (g.gather)(&Rows {
                starts: std::array::from_fn(start),
                depths: (count * g.unit).min(t.depth - from),
                to: to.add((unit - units.start) * g.row_bytes),
            });
        }
        unit += count;
    }
}
