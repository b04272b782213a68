//! From f32 activations to int8.
//!
//! A step is the largest magnitude of a row divided by 127, so no value is clipped and nothing has to be
//! calibrated. (Convolutions, whose sums run over several rows, round whole pictures: see
//! [`super::scales`].)

use std::ops::Range;

use super::{Context, Operand, Operands, SharedBytes, SharedMut, int8_rows};
use crate::activations::Rows;
use crate::kernels::Kernels;
use crate::kernels::code::{Code, Rounding};
use crate::session::scratch_of;

/// Rows per task.
const ROWS: usize = 64;

/// What one step is worth, and how values are rounded to steps, for those of at most `magnitude`.
pub(super) fn step(magnitude: f32) -> (f32, Rounding) {
    let code = Code::symmetric(magnitude);
    (code.step, code.rounding())
}

pub(super) fn quantise(o: Operands<'_>, c: &mut Context<'_>) {
    let Some(layout) = int8_rows(o.shape, o.format) else { return };
    let (k, x) = (c.kernels, Operand { shape: o.shape, ..o.inputs[0] });
    let (steps, bytes) = layout.split_mut(o.out);
    zero_row(&layout, bytes, k);
    let (shared, rest) = (SharedMut(steps.as_mut_ptr()), x.rest(k));
    for_rows(&layout, bytes, c, |rows, y, _| {
        // SAFETY: the rows' own steps.
        let steps = unsafe { shared.slice(rows.start, rows.len()) };
        k.round(&rest, rows, y, steps);
    });
}

/// Calls `f(rows, their bytes, scratch)` for all rows, some at a time, on all threads.
pub(super) fn for_rows(
    layout: &Rows,
    bytes: &mut [u8],
    c: &mut Context<'_>,
    f: impl Fn(Range<usize>, &mut [u8], &mut [f32]) + Sync,
) {
    let (stride, count) = (layout.stride(), layout.shape.rows());
    let shared = SharedBytes(bytes.as_mut_ptr());
    let scratch = c.scratch;
    c.pool.run(count.div_ceil(ROWS), &|worker, task| {
        let mut scratch = scratch_of(scratch, worker);
        let rows = task * ROWS..((task + 1) * ROWS).min(count);
        // SAFETY: inside the buffer; no other task has these rows.
        let bytes = unsafe { shared.slice(rows.start * stride, rows.len() * stride) };
        f(rows, bytes, &mut scratch);
    });
}

/// Fills the row that padding reads.
pub(super) fn zero_row(layout: &Rows, bytes: &mut [u8], k: &Kernels) {
    bytes[layout.shape.rows() * layout.stride()..].fill(k.int.offset);
}
