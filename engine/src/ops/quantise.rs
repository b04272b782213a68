//! From f32 activations to int8.
//!
//! A step is the largest magnitude divided by 127, of each row, or the range divided by 253, of each
//! picture, so no value is clipped and nothing has to be calibrated.

use super::{Context, Operand, Operands, SharedBytes, for_chunks, int8_rows};
use crate::activations::{Format, Rows, Steps};
use crate::kernels::Kernels;
use crate::kernels::code::{Code, Rounding};
use crate::session::scratch_of;
use crate::tensor::Shape;

/// Rows per task.
const ROWS: usize = 64;

/// The ranges of the tasks, where a picture shares a step.
pub(super) fn scratch(shape: Shape, format: Format) -> usize {
    match format {
        Format::Int8(Steps::PerImage) => 2 * shape.n * shape.positions().div_ceil(ROWS),
        _ => 0,
    }
}

/// What one step is worth, and how values are rounded to steps, for those of at most `magnitude`.
pub(super) fn step(magnitude: f32) -> (f32, Rounding) {
    let code = Code::symmetric(magnitude);
    (code.step, code.rounding())
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
            zero_rows(&layout, steps, bytes, k);
            for_rows(&layout, bytes, c, |row, y, space| {
                k.quantise(layout.code(steps, row).rounding(), x.row(k, row, space), y);
            });
        }
    }
}

fn each_row(
    layout: &Rows,
    x: Operand<'_>,
    steps: &mut [f32],
    bytes: &mut [u8],
    c: &mut Context<'_>,
) {
    let k = c.kernels;
    zero_rows(layout, steps, bytes, k);
    let shared = super::SharedMut(steps.as_mut_ptr());
    let rest = x.rest(k);
    for_rows(layout, bytes, c, |row, y, _| {
        let step = k.round(&rest, row, y);
        // SAFETY: the row's own step.
        unsafe { *shared.pointer(row) = step }
    });
}

/// What the bytes of whole pictures stand for.
fn each_image(
    layout: &Rows,
    x: Operand<'_>,
    steps: &mut [f32],
    ranges: &mut [f32],
    c: &mut Context<'_>,
) {
    let (k, scratch, positions) = (c.kernels, c.scratch, layout.shape.positions());
    let tasks = positions.div_ceil(ROWS);
    for_chunks(c.pool, ranges, 2, |worker, task, out| {
        let mut space = scratch_of(scratch, worker);
        let (n, first) = (task / tasks, task % tasks * ROWS);
        let rows = n * positions + first..n * positions + (first + ROWS).min(positions);
        let ranges = rows.map(|row| k.range(x.row(k, row, &mut space)));
        out.copy_from_slice(&ranges.reduce(union).unwrap_or_default());
    });
    for (n, ranges) in ranges.as_chunks::<2>().0.chunks_exact(tasks).enumerate() {
        let [low, high] = ranges.iter().copied().reduce(union).unwrap_or_default();
        layout.set_image_code(steps, n, Code::spanning(low, high));
    }
}

/// The range that holds two ranges.
fn union(a: [f32; 2], b: [f32; 2]) -> [f32; 2] {
    [a[0].min(b[0]), a[1].max(b[1])]
}

/// Calls `f(row, bytes, scratch)` for every row, on all threads.
pub(super) fn for_rows(
    layout: &Rows,
    bytes: &mut [u8],
    c: &mut Context<'_>,
    f: impl Fn(usize, &mut [u8], &mut [f32]) + Sync,
) {
    let (stride, count) = (layout.stride(), layout.shape.rows());
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

/// Fills the rows that a convolution's padding reads.
pub(super) fn zero_rows(layout: &Rows, steps: &[f32], bytes: &mut [u8], k: &Kernels) {
    let rows = bytes[layout.shape.rows() * layout.stride()..].chunks_exact_mut(layout.stride());
    for (n, row) in rows.enumerate() {
        let zero = match layout.steps {
            Steps::PerRow => 0,
            Steps::PerImage => layout.image_code(steps, n).zero,
        };
        row.fill(k.int.offset.wrapping_add_signed(zero as i8));
    }
}
