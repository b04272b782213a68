//! Convolutions behind a group norm, in bands of lines: the norm's scales are known, so the input is
//! normalised and rounded a few lines at a time into a ring that stays in the second-level cache, and
//! its int8 form never exists as a whole.

use std::ops::Range;

use super::int_matmul::{Input, Product};
use super::quantise::inverse;
use super::norm::Scales;
use super::{Context, Operand, SharedBytes, as_bytes, matmul};
use crate::graph::{ConvSpec, Prologue};
use crate::kernels::int::BLOCK;
use crate::tensor::Shape;
use crate::weights::Filter;

/// Most bytes of a ring, where a kernel's height allows it.
const RING_BYTES: usize = 2 << 20;
/// Pixels per task of the norm.
const PIXELS: usize = 64;

/// How a convolution is cut: output lines of a band, and lines of input in the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bands {
    height: usize,
    ring: usize,
}

impl Bands {
    fn new(filter: &Filter, spec: ConvSpec, from: Shape, to: Shape) -> Self {
        let line = from.w * from.c.next_multiple_of(BLOCK);
        let ring = |height| span(filter, spec, height).min(from.h);
        let fits = |height: &usize| ring(*height) * line <= RING_BYTES;
        let most = (1..=to.h).rev().find(fits).unwrap_or(1);
        // Bands of about one height, so that the last does not leave threads idle.
        let height = to.h.div_ceil(to.h.div_ceil(most));
        Self { height, ring: ring(height) }
    }
}

/// Lines of input behind `height` lines of output.
fn span(filter: &Filter, spec: ConvSpec, height: usize) -> usize {
    let lines = (height - 1) * spec.stride + filter.kernel().0;
    // A pair of lines of a doubled picture is one, and a span may begin and end within a pair.
    if spec.upsample { lines / 2 + 1 } else { lines }
}

/// The ring, in f32.
pub(super) fn scratch(filter: &Filter, spec: ConvSpec, from: Shape, to: Shape) -> usize {
    let bands = Bands::new(filter, spec, from, to);
    (bands.ring * from.w + 1) * from.c.next_multiple_of(BLOCK) / size_of::<f32>()
}

/// What a convolution in bands works on.
pub(super) struct Call<'a> {
    /// Without its input.
    pub product: Product<'a>,
    /// What the norm reads.
    pub x: Operand<'a>,
    pub prologue: Prologue,
    /// The [`Scales`] of all pictures.
    pub scales: &'a [f32],
}

/// Computes all bands of all pictures, in a ring of as many f32 as [`scratch`] says.
pub(super) fn conv(call: &Call<'_>, ring: &mut [f32], c: &mut Context<'_>) {
    let (from, to) = (call.x.shape, call.product.to);
    let &matmul::Call { filter, spec, .. } = call.product.call;
    let bands = Bands::new(filter, *spec, from, to);
    let mut ring = Ring {
        bytes: as_bytes(ring),
        shape: Shape { n: 1, h: bands.ring, ..from },
        stride: from.c.next_multiple_of(BLOCK),
    };
    let zeros = ring.shape.rows() * ring.stride;
    ring.bytes[zeros..].fill(c.kernels.int.offset);
    for n in 0..from.n {
        let mut ready = 0;
        for first in (0..to.h).step_by(bands.height) {
            let end = (first + bands.height).min(to.h);
            let lines = behind(filter, *spec, first..end, from.h);
            ring.fill(call, n, ready.max(lines.start)..lines.end, c);
            ready = lines.end;
            let row = |y: usize| (n * to.h + y) * to.w;
            call.product.with_input(ring.input(call, from)).run(row(first)..row(end), c);
        }
    }
}

/// The input lines behind some output lines.
fn behind(filter: &Filter, spec: ConvSpec, out: Range<usize>, height: usize) -> Range<usize> {
    let shift = usize::from(spec.upsample);
    let line = |padded: usize| padded.saturating_sub(spec.padding.top) >> shift;
    let last = line((out.end - 1) * spec.stride + filter.kernel().0 - 1);
    line(out.start * spec.stride)..(last + 1).min(height)
}

/// Lines of int8 activations, of which the last few written are there.
struct Ring<'a> {
    bytes: &'a mut [u8],
    shape: Shape,
    stride: usize,
}

impl Ring<'_> {
    /// Normalises and rounds lines of picture `n`.
    fn fill(&mut self, call: &Call<'_>, n: usize, lines: Range<usize>, c: &mut Context<'_>) {
        let (k, from, stride) = (c.kernels, call.x.shape, self.stride);
        let (rest, scales) = (call.x.rest(k), Scales::of(call.scales, from.c, n));
        let (affine, inverse) = (scales.affine(call.prologue.silu), inverse(scales.step));
        let (first, count) = ((n * from.h + lines.start) * from.w, lines.len() * from.w);
        let pixels = self.shape.rows();
        let bytes = SharedBytes(self.bytes.as_mut_ptr());
        c.pool.run(count.div_ceil(PIXELS), &|_, task| {
            for row in first + task * PIXELS..first + ((task + 1) * PIXELS).min(count) {
                // SAFETY: inside the ring; fewer lines are filled at a time than it has, so that no
                // other task has this pixel.
                let y = unsafe { bytes.slice(row % pixels * stride, stride) };
                k.normalise(&rest, row, &affine, inverse, y);
            }
        });
    }

    /// The ring as what the product reads.
    fn input<'b>(&'b self, call: &Call<'b>, from: Shape) -> Input<'b> {
        Input {
            bytes: self.bytes,
            shape: from,
            lines: self.shape.h,
            stride: self.stride,
            steps: &call.scales[2 * from.c..],
            step_stride: Scales::len(from.c),
            share: call.product.to.positions(),
        }
    }
}
