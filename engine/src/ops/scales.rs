//! What a product's prologue does to its input on the way to integers: `x * scale + shift` per channel,
//! perhaps SiLU, and the rounding of a whole picture, whose range is known by then. A group norm comes
//! to such scales ([`super::norm`]); where there is none, they leave the values as they are.

use super::{Context, Operands, for_chunks};
use crate::kernels::code::{Code, wide_step};
use crate::kernels::rows::ScaleShift;
use crate::tensor::Shape;
use crate::weights::LANES;

/// The scales of one picture: `scale[c], shift[c]`, and what its values stand for in int8 and in int16.
#[derive(Clone, Copy)]
pub(super) struct Scales<'a> {
    pub scale: &'a [f32],
    pub shift: &'a [f32],
    pub code: Code,
    /// What a step of int16 is worth.
    pub wide_step: f32,
}

impl<'a> Scales<'a> {
    /// Length of the scales of one picture of `width` channels.
    pub const fn len(width: usize) -> usize {
        2 * width + LANES
    }

    /// Those of picture `n` among `all`.
    pub fn of(all: &'a [f32], width: usize, n: usize) -> Self {
        let (scale, rest) = all[n * Self::len(width)..][..Self::len(width)].split_at(width);
        let (shift, rest) = rest.split_at(width);
        let code = Code { step: rest[0], zero: rest[1] as i32 };
        Self { scale, shift, code, wide_step: rest[2] }
    }

    pub fn affine(&self, silu: bool) -> ScaleShift<'a> {
        ScaleShift { scale: self.scale, shift: self.shift, silu }
    }
}

/// Sets what the values of a picture stand for by their range.
pub(super) fn set_range(scales: &mut [f32], width: usize, [low, high]: [f32; 2]) {
    let Code { step, zero } = Code::spanning(low, high);
    scales[2 * width..][..3].copy_from_slice(&[step, zero as f32, wide_step(low, high)]);
}

/// The shape of the scales of all pictures of `shape`.
pub(crate) fn scales_shape(shape: Shape) -> Shape {
    Shape::vector(shape.n, Scales::len(shape.c))
}

/// Rows per task.
const ROWS: usize = 64;

/// The ranges of all tasks.
pub(super) fn scratch(shape: Shape) -> usize {
    2 * shape.n * shape.positions().div_ceil(ROWS)
}

/// Computes the [`Scales`] that leave all pictures as they are.
pub(super) fn of_range(o: Operands<'_>, c: &mut Context<'_>) {
    let (k, x, width) = (c.kernels, o.inputs[0], o.inputs[0].shape.c);
    let rest = x.rest(k);
    let positions = x.shape.positions();
    let tasks = positions.div_ceil(ROWS);
    for_chunks(c.pool, o.scratch, 2, |_, task, out| {
        let (n, first) = (task / tasks, task % tasks * ROWS);
        let rows = n * positions + first..n * positions + (first + ROWS).min(positions);
        out.copy_from_slice(&k.range(&rest, rows));
    });
    let ranges = o.scratch.as_chunks::<2>().0.chunks_exact(tasks);
    for (ranges, scales) in ranges.zip(o.out.chunks_exact_mut(Scales::len(width))) {
        scales[..width].fill(1.0);
        scales[width..2 * width].fill(0.0);
        set_range(scales, width, ranges.iter().copied().reduce(union).unwrap_or_default());
    }
}

/// The range that holds two ranges.
fn union(a: [f32; 2], b: [f32; 2]) -> [f32; 2] {
    [a[0].min(b[0]), a[1].max(b[1])]
}
