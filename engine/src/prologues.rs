//! What products do to their input before they multiply it, so that it never exists as a whole in
//! another form.
//!
//! A group norm that one product alone reads becomes its scales, which the product applies to its
//! input in bands. So does any other integer convolution with scales that change nothing, for the range
//! that they come with. A product of rows joins with its rounding.

use std::collections::HashMap;

use crate::activations::Format;
use crate::fuse::{Fused, Operand};
use crate::graph::{Op, Prologue, Rate, Value};
use crate::ops::scales_shape;
use crate::storage::LargeMaps;
use crate::tensor::Shape;

/// The steps that read each value, and as which input.
pub(crate) fn readers(steps: &[Fused]) -> HashMap<Value, Vec<(usize, usize)>> {
    let mut readers: HashMap<Value, Vec<_>> = HashMap::new();
    for (at, step) in steps.iter().enumerate() {
        for (i, input) in step.inputs.iter().enumerate() {
            readers.entry(input.value).or_default().push((at, i));
        }
    }
    readers
}

/// Lets every integer product, and every one of a large map, that alone reads a group norm normalise
/// its input itself. `outputs` are the values that the caller will read.
pub(crate) fn join_norms(steps: &mut [Fused], outputs: &[Value], large: &LargeMaps) {
    let readers = readers(steps);
    for at in 0..steps.len() {
        let Some(&[(reader, 0)]) = readers.get(&steps[at].value).map(Vec::as_slice) else {
            continue;
        };
        let Op::GroupNorm { norm, groups, eps, silu } = steps[at].op.clone() else { continue };
        let (normed, own) = (steps[reader].inputs[0], steps[at].shape);
        let alike = (normed.shape.n, normed.shape.c) == (own.n, own.c);
        let can = alike && !outputs.contains(&steps[at].value);
        if !can || !takes_norm(&steps[reader], large) {
            continue;
        }
        let (x, shape) = (steps[at].inputs[0], scales_shape(own));
        steps[at].op = Op::GroupScales { norm, groups, eps, silu };
        steps[at].shape = shape;
        let scales = Operand { shape, ..normed };
        set_prologue(&mut steps[reader], Operand { shape: normed.shape, ..x }, scales, silu);
    }
}

/// Whether a step can normalise its input itself and had better.
fn takes_norm(step: &Fused, large: &LargeMaps) -> bool {
    let Op::Conv { filter, prologue: None, .. } = &step.op else { return false };
    filter.is_integer() || step.inputs[0].shape.positions() >= large.int8
}

fn set_prologue(product: &mut Fused, x: Operand, scales: Operand, silu: bool) {
    if let Op::Conv { prologue, .. } = &mut product.op {
        *prologue = Some(Prologue::Normalise { silu });
    }
    product.inputs[0] = x;
    product.inputs.insert(1, scales);
}

/// Finds the range of what the other integer convolutions read. `next` is the first value that is not
/// used yet.
pub(crate) fn join_ranges(steps: Vec<Fused>, next: &mut u32) -> Vec<Fused> {
    let mut found: HashMap<(Value, Shape), Operand> = HashMap::new();
    let mut rates: HashMap<Value, Rate> = HashMap::new();
    let mut joined = Vec::with_capacity(steps.len());
    for mut step in steps {
        if rounds_pictures(&step) {
            let x = step.inputs[0];
            let scales = *found.entry((x.value, x.shape)).or_insert_with(|| {
                let (value, shape, format) = (Value(*next), scales_shape(x.shape), Format::F32);
                *next += 1;
                let (op, inputs, rate) = (Op::RangeScales, vec![x], rates[&x.value]);
                let makers = Vec::new();
                joined.push(Fused { value, op, inputs, shape, format, rate, makers });
                Operand { value, shape, format }
            });
            set_prologue(&mut step, x, scales, false);
        }
        rates.insert(step.value, step.rate);
        joined.push(step);
    }
    joined
}

/// Whether a step is an integer convolution whose sums run over several pixels, and has no prologue.
fn rounds_pictures(step: &Fused) -> bool {
    let Op::Conv { filter, prologue: None, .. } = &step.op else { return false };
    filter.is_integer() && filter.kernel() != (1, 1)
}

/// Lets every integer product that alone reads rounded rows round them itself.
pub(crate) fn join_roundings(steps: &mut Vec<Fused>) {
    let readers = readers(steps);
    let mut joined = Vec::new();
    for at in 0..steps.len() {
        let Op::Quantise = &steps[at].op else { continue };
        let Some(&[(reader, 0)]) = readers.get(&steps[at].value).map(Vec::as_slice) else {
            continue;
        };
        let (x, rate) = (steps[at].inputs[0], steps[at].rate);
        let product = &mut steps[reader];
        if let Op::Conv { prologue, .. } = &mut product.op
            && product.rate == rate
        {
            *prologue = Some(Prologue::Round);
            product.inputs[0] = Operand { shape: product.inputs[0].shape, ..x };
            joined.push(steps[at].value);
        }
    }
    steps.retain(|step| !joined.contains(&step.value));
}
