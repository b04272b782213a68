//! Operations that move values: concatenation and resampling.

use super::{Context, Operand, Operands, for_chunks, for_rows, rows_per_task};
use crate::activations::{Format, halves_mut};
use crate::session::scratch_of;

pub(super) fn concat(o: Operands<'_>, c: &mut Context<'_>) {
    let ([a, b, ..], k, scratch) = (o.inputs, c.kernels, c.scratch);
    let (ca, width) = (a.shape.c, o.shape.c);
    let f16 = o.format == Format::F16;
    let rows = rows_per_task(width);
    let per_row = if f16 { width / 2 } else { width };
    for_chunks(c.pool, o.out, rows * per_row, |worker, task, y| {
        let mut space = scratch_of(scratch, worker);
        for (row, y) in (task * rows..).zip(y.chunks_exact_mut(per_row)) {
            let joined = if f16 { &mut space[..width] } else { &mut *y };
            let (ya, yb) = joined.split_at_mut(ca);
            k.read(&a.rest(k), row, 0, ya);
            k.read(&b.rest(k), row, 0, yb);
            if f16 {
                k.narrow(&space[..width], halves_mut(y));
            }
        }
    });
}

pub(super) fn concat_tokens(a: Operand<'_>, b: Operand<'_>, out: &mut [f32]) {
    let (la, lb) = (a.shape.positions() * a.shape.c, b.shape.positions() * b.shape.c);
    for (n, y) in out.chunks_exact_mut(la + lb).enumerate() {
        let (ya, yb) = y.split_at_mut(la);
        ya.copy_from_slice(&a.data[n * la..][..la]);
        yb.copy_from_slice(&b.data[n * lb..][..lb]);
    }
}

/// Each output row of pixels repeats the pixels of the input row at half its height.
pub(super) fn upsample(x: Operand<'_>, out: &mut [f32], c: &mut Context<'_>) {
    let (ch, line) = (x.shape.c, x.shape.w * x.shape.c);
    for_rows(c, out, 2 * line, |first, y| {
        for (row, y) in (first..).zip(y.chunks_exact_mut(2 * line)) {
            let source = &x.data[row / 2 * line..][..line];
            for (pixel, pair) in source.chunks_exact(ch).zip(y.chunks_exact_mut(2 * ch)) {
                let (left, right) = pair.split_at_mut(ch);
                left.copy_from_slice(pixel);
                right.copy_from_slice(pixel);
            }
        }
    });
}

pub(super) fn avg_pool(x: Operand<'_>, out: &mut [f32], c: &mut Context<'_>) {
    let (k, ch, line) = (c.kernels, x.shape.c, x.shape.w * x.shape.c);
    for_rows(c, out, line / 2, |first, y| {
        for (row, y) in (first..).zip(y.chunks_exact_mut(line / 2)) {
            let (upper, lower) = x.data[2 * row * line..][..2 * line].split_at(line);
            let pixels = upper.chunks_exact(2 * ch).zip(lower.chunks_exact(2 * ch));
            for ((upper, lower), y) in pixels.zip(y.chunks_exact_mut(ch)) {
                k.add(&upper[..ch], &upper[ch..], y);
                k.accumulate(&lower[..ch], y);
                k.accumulate(&lower[ch..], y);
                k.scale(0.25, y);
            }
        }
    });
}
