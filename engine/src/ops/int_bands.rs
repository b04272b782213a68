//! Integer products that make their own int8 input, in [`Bands`]: behind a group norm, or from rows
//! that they round.

use std::ops::Range;

use super::bands::{Bands, PIXELS};
use super::int_matmul::{Codes, Input, Product};
use super::norm::Scales;
use super::{Context, Operand, SharedBytes, SharedMut, as_bytes, matmul};
use crate::activations::{Format, Rows, Steps};
use crate::graph::{ConvSpec, Prologue};
use crate::kernels::Kernels;
use crate::kernels::code::Code;
use crate::kernels::int::BLOCK;
use crate::session::scratch_of;
use crate::tensor::Shape;
use crate::weights::Filter;

/// The steps of the ring's pixels and the ring, in f32.
pub(super) fn scratch(filter: &Filter, spec: ConvSpec, shapes: [Shape; 2]) -> usize {
    let pixels = Bands::new(filter, spec, shapes, 1).ring_pixels();
    pixels.next_multiple_of(BLOCK) + (pixels + 1) * stride(shapes[0]) / size_of::<f32>()
}

/// Bytes of a pixel.
fn stride(shape: Shape) -> usize {
    shape.c.next_multiple_of(BLOCK)
}

/// What a product in bands works on.
pub(super) struct Call<'a> {
    /// Without its input.
    pub product: Product<'a>,
    pub x: Operand<'a>,
    pub prologue: Prologue,
    /// The [`Scales`] of all pictures, where the prologue is a norm.
    pub scales: &'a [f32],
}

/// Computes all bands of an integer product, in a ring of as many f32 as [`scratch`] says.
pub(super) fn conv(call: &Call<'_>, space: &mut [f32], c: &mut Context<'_>) {
    let &matmul::Call { filter, spec, .. } = call.product.call;
    let bands = Bands::new(filter, *spec, [call.x.shape, call.product.to], 1);
    let pixels = bands.ring_pixels();
    let (steps, bytes) = space.split_at_mut(pixels.next_multiple_of(BLOCK));
    let mut ring = Ring { steps, bytes: as_bytes(bytes), pixels, stride: stride(bands.from) };
    bands.each(|n, pixels, out| {
        match call.prologue {
            Prologue::Normalise { silu } => {
                let scales = Scales::of(call.scales, bands.from.c, n);
                ring.fill_zeros(scales.code, c.kernels);
                ring.normalise(call.x, &scales, silu, pixels, c);
            }
            Prologue::Round => ring.round(call.x, call.product.out.start(), pixels, c),
        }
        call.product.with_input(ring.input(call, &bands), bands.to).run(out, c);
    });
}

/// Lines of int8 activations, of which the last few written are there.
struct Ring<'a> {
    steps: &'a mut [f32],
    bytes: &'a mut [u8],
    pixels: usize,
    stride: usize,
}

impl Ring<'_> {
    /// Fills the row that padding reads.
    fn fill_zeros(&mut self, code: Code, k: &Kernels) {
        let zero = k.int.offset.wrapping_add_signed(code.zero as i8);
        self.bytes[self.pixels * self.stride..].fill(zero);
    }

    fn normalise(
        &mut self,
        x: Operand<'_>,
        scales: &Scales<'_>,
        silu: bool,
        pixels: Range<usize>,
        c: &mut Context<'_>,
    ) {
        let (k, rest) = (c.kernels, x.rest(c.kernels));
        let (affine, rounding) = (scales.affine(silu), scales.code.rounding());
        self.fill(pixels, c, |row, y, _, _| k.normalise(&rest, row, &affine, rounding, y));
    }

    /// Rounds pixels of `x`, whose bytes may lie where `out` does.
    fn round(&mut self, x: Operand<'_>, out: *const u8, pixels: Range<usize>, c: &mut Context<'_>) {
        let k = c.kernels;
        if let Format::Int8(Steps::PerRow) = x.format {
            return self.copy(x, out, pixels, c);
        }
        let rest = x.rest(k);
        self.fill(pixels, c, |row, y, step, _| *step = k.round(&rest, row, y));
    }

    /// Copies pixels that are int8 already.
    fn copy(&mut self, x: Operand<'_>, out: *const u8, pixels: Range<usize>, c: &mut Context<'_>) {
        let rows = Rows { shape: x.shape, steps: Steps::PerRow };
        let (steps, bytes) = x.data.split_at(rows.step_count());
        // An output that takes the place of the bytes begins where they do.
        let bytes =
            SharedBytes(if bytes.is_empty() { out } else { bytes.as_ptr().cast() }.cast_mut());
        self.fill(pixels, c, |row, y, step, _| {
            *step = steps[row];
            // SAFETY: the buffer has the row, and products write over it only when its band is done.
            y.copy_from_slice(unsafe { bytes.slice(row * y.len(), y.len()) });
        });
    }

    /// Calls `f(pixel, its bytes, its step, scratch)` for some pixels, on all threads.
    fn fill(
        &mut self,
        pixels: Range<usize>,
        c: &mut Context<'_>,
        f: impl Fn(usize, &mut [u8], &mut f32, &mut [f32]) + Sync,
    ) {
        let (bytes, steps) =
            (SharedBytes(self.bytes.as_mut_ptr()), SharedMut(self.steps.as_mut_ptr()));
        let (ring, stride, scratch) = (self.pixels, self.stride, c.scratch);
        c.pool.run(pixels.len().div_ceil(PIXELS), &|worker, task| {
            let mut space = scratch_of(scratch, worker);
            let first = pixels.start + task * PIXELS;
            for pixel in first..(first + PIXELS).min(pixels.end) {
                let at = pixel % ring;
                // SAFETY: inside the ring; no more pixels are filled at a time than it has, so that no
                // other task has this one.
                let (y, step) = unsafe { (bytes.slice(at * stride, stride), steps.slice(at, 1)) };
                f(pixel, y, &mut step[0], &mut space);
            }
        });
    }

    /// The ring as what the product reads.
    fn input<'b>(&'b self, call: &Call<'b>, bands: &Bands) -> Input<'b> {
        let width = bands.from.c;
        let codes = match call.prologue {
            Prologue::Round => Codes::steps(self.steps, self.pixels),
            Prologue::Normalise { .. } => Codes {
                steps: &call.scales[2 * width..],
                zeros: Some(&call.scales[2 * width + 1..]),
                apart: Scales::len(width),
                share: bands.to.positions(),
                cycle: bands.to.n,
            },
        };
        Input {
            bytes: self.bytes,
            shape: bands.from,
            lines: bands.ring,
            zero_rows: 1,
            stride: self.stride,
            codes,
        }
    }
}
