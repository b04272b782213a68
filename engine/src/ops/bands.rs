//! Products that make their own int8 input, in bands: a few lines at a time are normalised and
//! rounded into a ring that stays in the second-level cache, so that the input's int8 form never
//! exists as a whole.
//!
//! Behind a group norm, whose scales are known by then, a band is some lines of a picture. Matrix
//! products that round their rows have bands of rows.

use std::ops::Range;

use super::int_matmul::{Input, Product, StepsOfRows};
use super::norm::Scales;
use super::quantise::{self, inverse};
use super::{Context, Operand, SharedBytes, SharedMut, as_bytes, matmul};
use crate::activations::{Format, Rows, Steps};
use crate::graph::{ConvSpec, Prologue};
use crate::kernels::int::BLOCK;
use crate::kernels::rows::ScaleShift;
use crate::session::scratch_of;
use crate::tensor::Shape;
use crate::weights::Filter;

/// Most bytes of a ring, where a kernel's height allows it.
const RING_BYTES: usize = 2 << 20;
/// Pixels per task of the prologue.
const PIXELS: usize = 64;

/// How a product is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bands {
    /// Input and output. Where a pixel sees no other, every pixel is a line.
    pub from: Shape,
    pub to: Shape,
    /// Output lines of a band.
    pub height: usize,
    /// Input lines in the ring.
    pub ring: usize,
}

impl Bands {
    /// For activations of `size` bytes.
    pub fn new(filter: &Filter, spec: ConvSpec, [from, to]: [Shape; 2], size: usize) -> Self {
        let pointwise = filter.kernel() == (1, 1) && spec == ConvSpec::same(1);
        let [from, to] = [from, to].map(|s| if pointwise { column(s) } else { s });
        let fits = (RING_BYTES / (from.w * from.c * size)).max(1);
        let most = match span(filter, spec, to.h).min(from.h) <= fits {
            true => to.h,
            false => lines_of(filter, spec, fits).clamp(1, to.h),
        };
        // Bands of about one height, so that the last does not leave threads idle.
        let height = to.h.div_ceil(to.h.div_ceil(most));
        Self { from, to, height, ring: span(filter, spec, height).min(from.h) }
    }
}

/// All pixels below one another.
fn column(s: Shape) -> Shape {
    Shape::image(s.n, s.positions(), 1, s.c)
}

/// Lines of input behind `height` lines of output.
fn span(filter: &Filter, spec: ConvSpec, height: usize) -> usize {
    let lines = (height - 1) * spec.stride + filter.kernel().0;
    // A pair of lines of a doubled picture is one, and a span may begin and end within a pair.
    if spec.upsample { lines / 2 + 1 } else { lines }
}

/// Most lines of output that have at most `span` lines of input behind them, or fewer.
fn lines_of(filter: &Filter, spec: ConvSpec, span: usize) -> usize {
    let span = if spec.upsample { 2 * (span - 1) } else { span };
    span.saturating_sub(filter.kernel().0) / spec.stride + 1
}

impl Bands {
    /// Calls `f(picture, input lines that are new, output pixels)` for all bands in order.
    pub fn each(
        &self,
        filter: &Filter,
        spec: ConvSpec,
        mut f: impl FnMut(usize, Range<usize>, Range<usize>),
    ) {
        for n in 0..self.from.n {
            let mut ready = 0;
            for first in (0..self.to.h).step_by(self.height) {
                let end = (first + self.height).min(self.to.h);
                let lines = behind(filter, spec, first..end, self.from.h);
                let pixel = |line: usize| (n * self.to.h + line) * self.to.w;
                f(n, ready.max(lines.start)..lines.end, pixel(first)..pixel(end));
                ready = lines.end;
            }
        }
    }
}

impl Bands {
    /// Normalises lines of `x`, all pictures below one another, into a ring of f32.
    pub fn normalise(
        &self,
        x: Operand<'_>,
        affine: &ScaleShift<'_>,
        lines: Range<usize>,
        ring: &mut [f32],
        c: &mut Context<'_>,
    ) {
        let (k, scratch, width) = (c.kernels, c.scratch, self.from.c);
        let (pixels, size) =
            (lines.start * self.from.w..lines.end * self.from.w, self.ring * self.from.w);
        let x = Operand { shape: self.from, ..x };
        let ring = SharedMut(ring.as_mut_ptr());
        c.pool.run(pixels.len().div_ceil(PIXELS), &|worker, task| {
            let mut space = scratch_of(scratch, worker);
            let first = pixels.start + task * PIXELS;
            for pixel in first..(first + PIXELS).min(pixels.end) {
                // SAFETY: inside the ring; no more pixels are filled at a time than it has, so that no
                // other task has this one.
                let y = unsafe { ring.slice(pixel % size * width, width) };
                k.scale_shift(affine, x.row(k, pixel, &mut space), y);
            }
        });
    }
}

/// The input lines behind some output lines, of `height` in all.
fn behind(filter: &Filter, spec: ConvSpec, out: Range<usize>, height: usize) -> Range<usize> {
    let shift = usize::from(spec.upsample);
    let line = |padded: usize| padded.saturating_sub(spec.padding.top) >> shift;
    let last = line((out.end - 1) * spec.stride + filter.kernel().0 - 1);
    line(out.start * spec.stride)..(last + 1).min(height)
}

/// The steps of the ring's pixels and the ring, in f32.
pub(super) fn scratch(filter: &Filter, spec: ConvSpec, from: Shape, to: Shape) -> usize {
    if !filter.is_integer() {
        let bands = Bands::new(filter, spec, [from, to], size_of::<f32>());
        return bands.ring * bands.from.w * from.c;
    }
    let bands = Bands::new(filter, spec, [from, to], 1);
    let pixels = bands.ring * bands.from.w;
    pixels.next_multiple_of(BLOCK) + (pixels + 1) * stride(from) / size_of::<f32>()
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
    let pixels = bands.ring * bands.from.w;
    let (steps, bytes) = space.split_at_mut(pixels.next_multiple_of(BLOCK));
    let mut ring = Ring { steps, bytes: as_bytes(bytes), pixels, stride: stride(bands.from) };
    ring.bytes[pixels * ring.stride..].fill(c.kernels.int.offset);
    bands.each(filter, *spec, |n, lines, out| {
        let first = n * bands.from.h;
        let pixels = (first + lines.start) * bands.from.w..(first + lines.end) * bands.from.w;
        match call.prologue {
            Prologue::Normalise { silu } => {
                let scales = Scales::of(call.scales, bands.from.c, n);
                ring.normalise(call.x, &scales, silu, pixels, c);
            }
            Prologue::Round => ring.round(call.x, call.product.out_bytes(), pixels, c),
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
    fn normalise(
        &mut self,
        x: Operand<'_>,
        scales: &Scales<'_>,
        silu: bool,
        pixels: Range<usize>,
        c: &mut Context<'_>,
    ) {
        let (k, rest) = (c.kernels, x.rest(c.kernels));
        let (affine, inverse) = (scales.affine(silu), inverse(scales.step));
        self.fill(pixels, c, |row, y, _, _| k.normalise(&rest, row, &affine, inverse, y));
    }

    /// Rounds pixels of `x`, whose bytes may lie where `out` does.
    fn round(&mut self, x: Operand<'_>, out: *const u8, pixels: Range<usize>, c: &mut Context<'_>) {
        let k = c.kernels;
        if let Format::Int8(Steps::PerRow) = x.format {
            return self.copy(x, out, pixels, c);
        }
        self.fill(pixels, c, |row, y, step, space| {
            let x = x.row(k, row, space);
            let inverse;
            (*step, inverse) = quantise::step(k.magnitude(x));
            k.quantise(inverse, x, y);
        });
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
        let steps = match call.prologue {
            Prologue::Round => {
                StepsOfRows { values: self.steps, apart: 1, share: 1, cycle: self.pixels }
            }
            Prologue::Normalise { .. } => StepsOfRows {
                values: &call.scales[2 * bands.from.c..],
                apart: Scales::len(bands.from.c),
                share: bands.to.positions(),
                cycle: bands.to.n,
            },
        };
        Input {
            bytes: self.bytes,
            shape: bands.from,
            lines: bands.ring,
            stride: self.stride,
            steps,
        }
    }
}
