//! Where a step that walks its input in order of lines gets them: from memory, or from a maker, a step
//! of its own that computes them into a buffer just before they are read. A maker walks its input in
//! the same way, so that makers may have makers.

use std::ops::Range;

use super::bands::{Bands, Granules};
use super::int_bands::{self, Ring, Walk, granule};
use super::int_product::Product;
use super::output::Output;
use super::winograd_form::Form;
use super::{Context, Operand, SharedMut, int_winograd, matmul};
use crate::activations::{self, Format};
use crate::fuse::Fused;
use crate::graph::{ConvSpec, Op};
use crate::kernels::Kernels;
use crate::kernels::rest::Rest;
use crate::kernels::rows::Place;
use crate::tensor::Shape;
use crate::weights::Filter;

/// Consecutive rows of a value.
#[derive(Clone, Copy)]
pub(super) struct Lines<'a> {
    x: Operand<'a>,
    /// The pixel that lies first.
    first: usize,
}

impl<'a> Lines<'a> {
    /// All rows of a value in memory.
    pub fn all(x: Operand<'a>) -> Self {
        Self { x, first: 0 }
    }

    /// The rows of some pixels, alone.
    ///
    /// # Safety
    /// They are there, and no one writes them while they are read.
    pub unsafe fn rows(&self, k: &Kernels, pixels: Range<usize>) -> Rest<'a> {
        let Operand { start, shape, format, .. } = self.x;
        let rows = pixels.start - self.first..pixels.end - self.first;
        // SAFETY: the caller's contract.
        unsafe { activations::rows(start.0, shape, format, (rows, k.int.offset)) }
    }

    /// All rows that are there.
    ///
    /// # Safety
    /// No one writes them while they are read.
    pub unsafe fn rest(&self, k: &Kernels) -> Rest<'a> {
        let Operand { start, shape, format, .. } = self.x;
        // SAFETY: the caller's contract.
        let data = unsafe { std::slice::from_raw_parts(start.0, format.len(shape)) };
        activations::rest(data, shape, format, k.int.offset)
    }

    /// Where the row of a pixel begins; nowhere that a product could add it from if it is int8.
    pub fn place(&self, pixel: usize) -> Option<Place> {
        let at = (pixel - self.first) * self.x.shape.c;
        (!self.is_int8()).then(|| self.x.place().offset(at))
    }

    pub fn is_int8(&self) -> bool {
        matches!(self.x.format, Format::Int8)
    }
}

/// Rows in order of pixels.
pub(super) trait Source {
    /// Makes some pixels be there, in whole granules of lines that follow those before.
    fn advance(&mut self, pixels: Range<usize>, c: &mut Context<'_>);

    /// The rows that are there.
    fn lines(&self) -> Lines<'_>;
}

/// A value in memory.
struct Stored<'a>(Operand<'a>);

impl Source for Stored<'_> {
    fn advance(&mut self, _: Range<usize>, _: &mut Context<'_>) {}

    fn lines(&self) -> Lines<'_> {
        Lines::all(self.0)
    }
}

/// Lines that are made.
struct Made<'a, 'b> {
    product: Product<'a>,
    /// How the product gets its input, if that is not in memory as a whole.
    walk: Option<Walk<'a, 'b>>,
    /// What the product computes in.
    space: &'a mut [f32],
    buffer: Operand<'a>,
    first: usize,
}

impl Source for Made<'_, '_> {
    fn advance(&mut self, pixels: Range<usize>, c: &mut Context<'_>) {
        self.first = pixels.start;
        let product = Product { first: pixels.start, ..self.product };
        match &mut self.walk {
            Some(walk) => walk.next(product, pixels, self.space, c),
            None => product.run(pixels, self.space, c),
        }
    }

    fn lines(&self) -> Lines<'_> {
        Lines { x: self.buffer, first: self.first }
    }
}

/// What goes on once a source is there, with the scratch memory that it leaves.
pub(super) type With<'a> = &'a mut dyn FnMut(&mut dyn Source, &mut [f32], &mut Context<'_>);

/// Calls `with` with a source of the rows of `x`, of which at most `most` lines are asked for at a
/// time.
pub(super) fn open(
    x: Operand<'_>,
    most: usize,
    space: &mut [f32],
    c: &mut Context<'_>,
    with: With<'_>,
) {
    let Some(maker) = x.maker else { return with(&mut Stored(x), space, c) };
    let Op::Conv { filter, spec, prologue, epilogue } = maker.op() else {
        unreachable!("makers are products");
    };
    let call = matmul::Call { filter, spec, prologue, epilogue };
    let form = Form::of(maker.op(), x.shape, x.format);
    let shape = lines_of(x.shape, most);
    let (out, space) = space.split_at_mut(x.format.len(shape));
    let buffer = Operand { data: &[], start: SharedMut(out.as_mut_ptr()), shape, maker: None, ..x };
    let inputs = maker.inputs();
    let [input, scales, ..] = inputs;
    let out = Output::of(out, shape, x.format);
    let product = Product::new(&call, form, &inputs, x.shape, out, c.kernels);
    let (own, space) = space.split_at_mut(product.scratch());
    let Some(prologue) = *prologue else {
        let product = product.of_all(input);
        let made = &mut Made { product, walk: None, space: own, buffer, first: 0 };
        return with(made, space, c);
    };
    let bands = bands(filter, *spec, [input.shape, x.shape], (most, input.granule()));
    let (mut ring, space) = Ring::new(&bands, form, space);
    open(input, bands.ring, space, c, &mut |input, space, c| {
        let walk = Some(Walk::new(prologue, scales.data, bands, &mut ring, input));
        with(&mut Made { product, walk, space: own, buffer, first: 0 }, space, c);
    });
}

/// What [`open`] needs for input `i` of a step.
pub(super) fn scratch(step: &Fused, i: usize, most: usize) -> usize {
    let Some(maker) = step.maker(i) else { return 0 };
    let form = Form::of(&maker.op, maker.shape, maker.format);
    let own = maker.format.len(lines_of(maker.shape, most)) + form.map_or(0, int_winograd::scratch);
    let Op::Conv { filter, spec, prologue: Some(_), .. } = &maker.op else { return own };
    let shapes = [maker.inputs[0].shape, maker.shape];
    let bands = bands(filter, *spec, shapes, (most, granule_of(maker, 0)));
    own + int_bands::ring_scratch(&bands, form) + scratch(maker, 0, bands.ring)
}

/// How many lines of input `i` of a step come together.
pub(super) fn granule_of(step: &Fused, i: usize) -> usize {
    let form = |m: &Fused| Form::of(&m.op, m.shape, m.format);
    step.maker(i).map_or(1, |maker| granule(form(maker)))
}

/// The bands of a maker that is asked for `most` lines at a time, of an input that comes in granules.
fn bands(
    filter: &Filter,
    spec: ConvSpec,
    shapes: [Shape; 2],
    (most, granule): (usize, usize),
) -> Bands {
    Bands::of_height(filter, spec, shapes, most, Granules { from: granule, to: 1 })
}

/// What holds `most` lines of a value.
fn lines_of(shape: Shape, most: usize) -> Shape {
    Shape { n: 1, h: most.min(shape.h), ..shape }
}
