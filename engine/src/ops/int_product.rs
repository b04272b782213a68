//! An integer product: what it reads and what becomes of its values, apart from how it is computed.

use std::ops::Range;

use super::int_matmul::{self, Codes, Input};
use super::matmul::Call;
use super::output::Output;
use super::source::Lines;
use super::winograd_form::Form;
use super::{Context, Operand, Operands, int_bands, int_winograd, int8_rows};
use crate::int_weights::IntPanels;
use crate::kernels::Kernels;
use crate::tensor::Shape;
use crate::weights::Panels;

/// One convolution or matrix product and all it touches.
#[derive(Clone, Copy)]
pub(super) struct Product<'a> {
    pub kernels: &'static Kernels,
    pub call: &'a Call<'a>,
    pub panels: &'a IntPanels,
    /// How it is computed with fewer products, if it is.
    pub form: Option<Form>,
    pub input: Input<'a>,
    pub to: Shape,
    pub vector: Option<&'a [f32]>,
    pub summand: Option<Lines<'a>>,
    pub out: Output,
    /// The output pixel whose values go to the start of `out`.
    pub first: usize,
}

impl<'a> Product<'a> {
    /// The product of a call, without its first input.
    pub fn new(
        call: &'a Call<'a>,
        form: Option<Form>,
        inputs: &[Operand<'a>],
        to: Shape,
        out: Output,
        kernels: &'static Kernels,
    ) -> Self {
        let Panels::Int(panels) = &call.filter.panels else {
            unreachable!("only a filter of integers comes here");
        };
        let vector = call.epilogue.vector.then(|| inputs[call.vector_input()].data);
        let summand = call.epilogue.residual.then(|| Lines::all(inputs[call.summand_input()]));
        let (input, first) = (Input::NONE, 0);
        Self { kernels, call, panels, form, input, to, vector, summand, out, first }
    }

    /// The product of `input`, with outputs that are seen as `to`.
    pub fn with_input<'b>(self, input: Input<'b>, to: Shape) -> Product<'b>
    where
        'a: 'b,
    {
        Product { input, to, ..self }
    }

    /// The product of int8 activations that are in memory as a whole.
    pub fn of_all<'b>(self, x: Operand<'b>) -> Product<'b>
    where
        'a: 'b,
    {
        let Some(layout) = int8_rows(x.shape, x.format) else {
            unreachable!("the plan gives integer products int8 activations");
        };
        let (steps, bytes) = layout.split(x.data);
        let (shape, stride) = (x.shape, layout.stride());
        let codes = Codes::Rows { steps, cycle: steps.len() };
        let input = Input { bytes, shape, lines: shape.n * shape.h, stride, codes };
        self.with_input(input, self.to)
    }

    /// Shared scratch memory, in f32.
    pub fn scratch(&self) -> usize {
        self.form.map_or(0, int_winograd::scratch)
    }

    /// Computes some output pixels on all threads, in scratch memory that all of them share.
    pub fn run(&self, rows: Range<usize>, space: &mut [f32], c: &mut Context<'_>) {
        match self.form {
            Some(form) => int_winograd::run(form, self, rows, space, c),
            None => int_matmul::run(self, rows, c),
        }
    }
}

/// Computes a step.
pub(super) fn conv(form: Option<Form>, call: &Call<'_>, o: Operands<'_>, c: &mut Context<'_>) {
    let out = Output::of(o.out, o.shape, o.format);
    let product = Product::new(call, form, &o.inputs, o.shape, out, c.kernels);
    match *call.prologue {
        Some(prologue) => int_bands::conv(product, prologue, &o.inputs, o.scratch, c),
        None => product.of_all(o.inputs[0]).run(0..o.shape.rows(), o.scratch, c),
    }
}
