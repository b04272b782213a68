//! Operations that treat every row, or every value, alike.

use super::{Context, Operand, for_rows};
use crate::graph::Pointwise;

pub(super) fn pointwise(f: Pointwise, x: Operand<'_>, out: &mut [f32], c: &mut Context<'_>) {
    let k = c.kernels;
    for_rows(c, out, 1, |at, y| k.pointwise(f, &x.data[at..at + y.len()], y));
}

pub(super) fn geglu(x: Operand<'_>, out: &mut [f32], c: &mut Context<'_>) {
    let (k, width) = (c.kernels, x.shape.c / 2);
    for_rows(c, out, width, |first, y| {
        let x = x.data[2 * first * width..].chunks_exact(2 * width);
        y.chunks_exact_mut(width).zip(x).for_each(|(y, x)| k.geglu(x, y));
    });
}

pub(super) fn add(a: Operand<'_>, b: Operand<'_>, out: &mut [f32], c: &mut Context<'_>) {
    let k = c.kernels;
    for_rows(c, out, 1, |at, y| {
        let range = at..at + y.len();
        k.add(&a.data[range.clone()], &b.data[range], y);
    });
}

pub(super) fn add_vector(x: Operand<'_>, e: Operand<'_>, out: &mut [f32], c: &mut Context<'_>) {
    let (k, width, positions) = (c.kernels, x.shape.c, x.shape.positions());
    for_rows(c, out, width, |first, y| {
        for (row, y) in (first..).zip(y.chunks_exact_mut(width)) {
            let x = &x.data[row * width..][..width];
            k.add(x, &e.data[row / positions * width..][..width], y);
        }
    });
}

pub(super) fn scale_shift(x: Operand<'_>, e: Operand<'_>, out: &mut [f32], c: &mut Context<'_>) {
    let (k, width, positions) = (c.kernels, x.shape.c, x.shape.positions());
    for_rows(c, out, width, |first, y| {
        for (row, y) in (first..).zip(y.chunks_exact_mut(width)) {
            let x = &x.data[row * width..][..width];
            let (scale, shift) = e.data[row / positions * 2 * width..][..2 * width].split_at(width);
            // x * scale + (x + shift) is x * (1 + scale) + shift without a buffer for 1 + scale.
            k.add(x, shift, y);
            k.multiply_accumulate(x, scale, y);
        }
    });
}

pub(super) fn mean_tokens(x: Operand<'_>, out: &mut [f32], c: &mut Context<'_>) {
    let (k, width, positions) = (c.kernels, x.shape.c, x.shape.positions());
    for_rows(c, out, width, |first, y| {
        for (n, y) in (first..).zip(y.chunks_exact_mut(width)) {
            y.fill(0.0);
            let rows = x.data[n * positions * width..][..positions * width].chunks_exact(width);
            rows.for_each(|row| k.accumulate(row, y));
            k.scale(1.0 / positions as f32, y);
        }
    });
}
