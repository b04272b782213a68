//! Integer products that make their own input, in [`Bands`]: int8 or int16 of a whole picture, perhaps
//! behind a group norm, or rows of int8.

use std::ops::Range;

use super::bands::{Bands, Granules, PIXELS};
use super::int_matmul::{Codes, Input};
use super::int_product::Product;
use super::scales::Scales;
use super::source::{self, Lines, Source};
use super::winograd_form::Form;
use super::{Context, Operand, SharedBytes, SharedMut, as_bytes, int_winograd};
use crate::fuse::Fused;
use crate::graph::{ConvSpec, Prologue};
use crate::kernels::code::{Code, inverse};
use crate::kernels::int::BLOCK;
use crate::kernels::rest::{Rest, RestValues};
use crate::kernels::rows::Quantise;
use crate::tensor::Shape;
use crate::weights::Filter;

/// The steps of the ring's pixels and the ring, in f32.
pub(super) fn ring_scratch(bands: &Bands, form: Option<Form>) -> usize {
    let pixels = bands.ring_pixels();
    pixels.next_multiple_of(BLOCK) + (pixels + 1) * stride(bands.from, form) / size_of::<f32>()
}

/// Lines of its output that a product computes together.
pub(super) fn granule(form: Option<Form>) -> usize {
    if form.is_some() { 2 } else { 1 }
}

/// Bytes of a value in the ring: a product in tiles transforms int16.
pub(super) fn value_bytes(form: Option<Form>) -> usize {
    if form.is_some() { size_of::<i16>() } else { 1 }
}

/// Bytes of a pixel.
fn stride(shape: Shape, form: Option<Form>) -> usize {
    shape.c.next_multiple_of(BLOCK) * value_bytes(form)
}

/// The bands of a product, of which each is one block of tiles if there are any.
fn bands(
    filter: &Filter,
    spec: ConvSpec,
    shapes: [Shape; 2],
    form: Option<Form>,
    granules: Granules,
) -> Bands {
    let bands = Bands::with_granules(filter, spec, shapes, value_bytes(form), granules);
    form.map_or(bands, |form| bands.no_higher(form.lines()))
}

/// Scratch memory of a product in bands, in f32.
pub(super) fn scratch(step: &Fused, filter: &Filter, spec: ConvSpec) -> usize {
    let form = Form::of(&step.op, step.shape, step.format);
    let last = step.inputs.len() - 1;
    let [from, to] = [0, last].map(|i| source::granule_of(step, i));
    let granules = Granules { from, to: granule(form).max(if last > 0 { to } else { 1 }) };
    let shapes = [step.inputs[0].shape, step.shape];
    let bands = bands(filter, spec, shapes, form, granules);
    let summand = if last > 0 { source::scratch(step, last, bands.height()) } else { 0 };
    let sources = source::scratch(step, 0, bands.ring) + summand;
    ring_scratch(&bands, form) + sources + form.map_or(0, int_winograd::scratch)
}

/// Computes all bands of an integer product.
pub(super) fn conv(
    product: Product<'_>,
    prologue: Prologue,
    inputs: &[Operand<'_>],
    space: &mut [f32],
    c: &mut Context<'_>,
) {
    let call = product.call;
    let [x, scales, summand] = [0, 1, call.summand_input()].map(|i| inputs[i]);
    let granules = Granules { from: x.granule(), to: granule(product.form).max(summand.granule()) };
    let shapes = [x.shape, product.to];
    let bands = bands(call.filter, *call.spec, shapes, product.form, granules);
    let (mut ring, space) = Ring::new(&bands, product.form, space);
    source::open(x, bands.ring, space, c, &mut |x, space, c| {
        let mut walk = Walk::new(prologue, scales.data, bands, &mut ring, x);
        if !call.epilogue.residual {
            return bands.each_output(|out| walk.next(product, out, space, c));
        }
        source::open(summand, bands.height(), space, c, &mut |summand, space, c| {
            bands.each_output(|out| {
                summand.advance(out.clone(), c);
                walk.next(Product { summand: Some(summand.lines()), ..product }, out, space, c);
            });
        });
    });
}

/// A walk through the bands of a product.
pub(super) struct Walk<'a, 'b> {
    prologue: Prologue,
    /// The [`Scales`] of all pictures, where the prologue is not a rounding of rows.
    scales: &'a [f32],
    bands: Bands,
    ring: &'a mut Ring<'b>,
    x: &'a mut dyn Source,
    /// Pixels of the input that came before.
    ready: usize,
}

impl<'a, 'b> Walk<'a, 'b> {
    pub fn new(
        prologue: Prologue,
        scales: &'a [f32],
        bands: Bands,
        ring: &'a mut Ring<'b>,
        x: &'a mut dyn Source,
    ) -> Self {
        Self { prologue, scales, bands, ring, x, ready: 0 }
    }

    /// Computes the output pixels of whole lines that follow those before.
    pub fn next(
        &mut self,
        product: Product<'_>,
        out: Range<usize>,
        space: &mut [f32],
        c: &mut Context<'_>,
    ) {
        let (n, pixels) = self.bands.next(&out, &mut self.ready);
        self.x.advance(pixels.clone(), c);
        let x = self.x.lines();
        let codes = match self.prologue {
            Prologue::Normalise { silu } => {
                let scales = Scales::of(self.scales, self.bands.from.c, n);
                let kind = (silu, product.form);
                Codes::Picture(self.ring.normalise(x, &scales, kind, pixels, c))
            }
            Prologue::Round => {
                self.ring.round(x, pixels, c);
                Codes::Rows { steps: self.ring.steps, cycle: self.ring.pixels }
            }
        };
        let (ring, bands) = (&self.ring, &self.bands);
        let (bytes, stride) = (&*ring.bytes, ring.stride);
        let input = Input { bytes, shape: bands.from, lines: bands.ring, stride, codes };
        product.with_input(input, bands.to).run(out, space, c);
    }
}

/// Lines of activations, of which the last few written are there.
pub(super) struct Ring<'a> {
    steps: &'a mut [f32],
    bytes: &'a mut [u8],
    pixels: usize,
    stride: usize,
}

impl<'a> Ring<'a> {
    /// A ring for some bands in the first of the scratch memory, and the rest of that.
    pub fn new(bands: &Bands, form: Option<Form>, space: &'a mut [f32]) -> (Self, &'a mut [f32]) {
        let (own, rest) = space.split_at_mut(ring_scratch(bands, form));
        let (pixels, stride) = (bands.ring_pixels(), stride(bands.from, form));
        let (steps, bytes) = own.split_at_mut(pixels.next_multiple_of(BLOCK));
        (Self { steps, bytes: as_bytes(bytes), pixels, stride }, rest)
    }

    /// Fills pixels with int8 of a picture, or with int16 that a product in tiles transforms, and the
    /// row that padding reads with zeros. Says what the values stand for.
    fn normalise(
        &mut self,
        x: Lines<'_>,
        scales: &Scales<'_>,
        (silu, form): (bool, Option<Form>),
        pixels: Range<usize>,
        c: &mut Context<'_>,
    ) -> Code {
        let (k, offset) = (c.kernels, c.kernels.int.offset);
        let (code, quantise, zero) = match form {
            None => {
                let (code, rounding) = (scales.code, scales.code.rounding());
                let zero = offset.wrapping_add_signed(code.zero as i8);
                (code, Quantise::Int8 { rounding, offset }, zero)
            }
            Some(_) => {
                let (step, inverse) = (scales.wide_step, inverse(scales.wide_step));
                (Code { step, zero: 0 }, Quantise::Int16 { inverse }, 0)
            }
        };
        let affine = scales.affine(silu);
        self.bytes[self.pixels * self.stride..].fill(zero);
        self.fill(x, pixels, c, |x, rows, y, _| k.normalise(x, rows, &affine, quantise, y));
        code
    }

    /// Rounds pixels of `x`, or copies those that are int8 already.
    fn round(&mut self, x: Lines<'_>, pixels: Range<usize>, c: &mut Context<'_>) {
        let k = c.kernels;
        self.fill(x, pixels, c, |x, rows, y, to| match x.values {
            RestValues::Int8 { steps, bytes, .. } => {
                to.copy_from_slice(steps);
                y.copy_from_slice(bytes);
            }
            _ => k.round(x, rows, y, to),
        });
    }

    /// Calls `f(x, its rows, their bytes, their steps)` for all of some pixels, on all threads.
    fn fill(
        &mut self,
        x: Lines<'_>,
        pixels: Range<usize>,
        c: &mut Context<'_>,
        f: impl Fn(&Rest<'_>, Range<usize>, &mut [u8], &mut [f32]) + Sync,
    ) {
        let (bytes, steps) =
            (SharedBytes(self.bytes.as_mut_ptr()), SharedMut(self.steps.as_mut_ptr()));
        let (ring, stride, k) = (self.pixels, self.stride, c.kernels);
        c.pool.run(pixels.len().div_ceil(PIXELS), &|_, task| {
            let mut first = pixels.start + task * PIXELS;
            let end = (first + PIXELS).min(pixels.end);
            while first < end {
                let at = first % ring;
                let count = (end - first).min(ring - at);
                // SAFETY: inside the ring; no more pixels are filled at a time than it has, so that no
                // other task has these. The source has the rows, and a product whose output lies
                // there writes over them only when their band is done.
                let (x, y, steps) = unsafe {
                    (
                        x.rows(k, first..first + count),
                        bytes.slice(at * stride, count * stride),
                        steps.slice(at, count),
                    )
                };
                f(&x, 0..count, y, steps);
                first += count;
            }
        });
    }
}
