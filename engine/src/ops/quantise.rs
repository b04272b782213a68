//! From f32 activations to int8.
//!
//! A step is the largest magnitude divided by 127, of each row or of each picture, so no value is
//! clipped and nothing has to be calibrated.

use super::{Context, Operand, Operands, SharedBytes, for_chunks, int8_rows};
use crate::activations::{Format, Rows, Steps};
use crate::kernels::Kernels;
use crate::session::scratch_of;
use crate::tensor::Shape;

/// Rows per task.
const ROWS: usize = 64;

/// The largest magnitudes of the tasks, where a picture shares a step.
pub(super) fn scratch(shape: Shape, format: Format) -> usize {
    match format {
        Format::Int8(Steps::PerImage) => shape.n * shape.positions().div_ceil(ROWS),
        _ => 0,
    }
}

/// What one step is worth, and its inverse, for values of at most `magnitude`.
pub(super) fn step(magnitude: f32) -> (f32, f32) {
    let step = magnitude / 127.0;
    // The inverse of a step this small is not finite; all of its values round to zero.
    if step > 1e-36 { (step, 1.0 / step) } else { (step, 0.0) }
}

pub(super) fn quantise(o: Operands<'_>, c: &mut Context<'_>) {
    let Some(layout) = int8_rows(o.shape, o.format) else { return };
    let (k, x) = (c.kernels, Operand { shape: o.shape, ..o.inputs[0] });
    let (steps, bytes) = layout.split_mut(o.out);
    match layout.steps {
        Steps::PerRow => each_row(&layout, x, steps, bytes, c),
        Steps::PerImage => {
            each_image(&layout, x, steps, o.scratch, c);
            let steps = &*steps;
            for_rows(&layout, bytes, c, |row, y, space| {
                k.quantise(inverse(steps[layout.step_of(row)]), x.row(k, row, space), y);
            });
        }
    }
}

/// The inverse of a step that [`step`] gave.
pub(super) fn inverse(value: f32) -> f32 {
    if value > 1e-36 { 1.0 / value } else { 0.0 }
}

fn each_row(
    layout: &Rows,
    x: Operand<'_>,
    steps: &mut [f32],
    bytes: &mut [u8],
    c: &mut Context<'_>,
) {
    let k = c.kernels;
    let shared = super::SharedMut(steps.as_mut_ptr());
    for_rows(layout, bytes, c, |row, y, space| {
        let x = x.row(k, row, space);
        let (value, inverse) = step(k.magnitude(x));
        k.quantise(inverse, x, y);
        // SAFETY: the row's own step.
        unsafe { *shared.pointer(row) = value }
    });
}

/// The steps of whole pictures.
fn each_image(
    layout: &Rows,
    x: Operand<'_>,
    steps: &mut [f32],
    largest: &mut [f32],
    c: &mut Context<'_>,
) {
    let (k, scratch, positions) = (c.kernels, c.scratch, layout.shape.positions());
    let tasks = positions.div_ceil(ROWS);
    for_chunks(c.pool, largest, 1, |worker, task, out| {
        let mut space = scratch_of(scratch, worker);
        let (n, first) = (task / tasks, task % tasks * ROWS);
        let rows = n * positions + first..n * positions + (first + ROWS).min(positions);
        let largest = rows.map(|row| k.magnitude(x.row(k, row, &mut space)));
        out[0] = largest.fold(0.0, f32::max);
    });
    for (value, largest) in steps.iter_mut().zip(largest.chunks_exact(tasks)) {
        *value = step(largest.iter().fold(0.0, |m, v| m.max(*v))).0;
    }
}

/// Calls `f(row, bytes, scratch)` for every row, on all threads, and fills the row of zeros.
pub(super) fn for_rows(
    layout: &Rows,
    bytes: &mut [u8],
    c: &mut Context<'_>,
    f: impl Fn(usize, &mut [u8], &mut [f32]) + Sync,
) {
    let (stride, count) = (layout.stride(), layout.shape.rows());
    zero_row(layout, bytes, c.kernels);
    let shared = SharedBytes(bytes.as_mut_ptr());
    let scratch = c.scratch;
    c.pool.run(count.div_ceil(ROWS), &|worker, task| {
        let mut scratch = scratch_of(scratch, worker);
        for row in task * ROWS..((task + 1) * ROWS).min(count) {
            // SAFETY: inside the buffer; no other task has this row.
            f(row, unsafe { shared.slice(row * stride, stride) }, &mut scratch);
        }
    });
}

/// Fills the row that a convolution's padding reads.
pub(super) fn zero_row(layout: &Rows, bytes: &mut [u8], k: &Kernels) {
    bytes[layout.shape.rows() * layout.stride()..].fill(k.int.offset);
}
