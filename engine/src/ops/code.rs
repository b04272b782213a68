//! The vector quantisation layer: each position takes the nearest code (section 3.1 of the LDM
//! paper).

use super::{Context, Operand, for_rows};
use crate::weights::Codebook;

pub(super) fn nearest(codebook: &Codebook, x: Operand<'_>, out: &mut [f32], c: &mut Context<'_>) {
    let width = x.shape.c;
    for_rows(c, out, width, |first, y| {
        for (row, y) in (first..).zip(y.chunks_exact_mut(width)) {
            y.copy_from_slice(nearest_code(codebook, &x.data[row * width..][..width]));
        }
    });
}

/// The code at the smallest Euclidean distance, the first of equals.
fn nearest_code<'a>(codebook: &'a Codebook, x: &[f32]) -> &'a [f32] {
    let mut best = (f32::INFINITY, &codebook.codes[..x.len()]);
    for code in codebook.codes.chunks_exact(x.len()) {
        let distance = code.iter().zip(x).fold(0.0, |sum, (c, x)| (c - x).mul_add(c - x, sum));
        if distance < best.0 {
            best = (distance, code);
        }
    }
    best.1
}
