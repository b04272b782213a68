//! How intermediates are stored between integer products.
//!
//! A group norm that one integer product reads becomes its scales, which the product applies to its
//! input on the way to int8 (see [`crate::ops`]' bands). What integer products write is kept in f16 as
//! long as all that read it can take that; so a step moves half the bytes.

use std::collections::HashMap;

use crate::activations::{Format, Steps};
use crate::fuse::Fused;
use crate::graph::{Op, Prologue, Value};
use crate::ops::scales_shape;
use crate::weights::LANES;

/// Chooses for all `steps`; `outputs` are the values that the caller will read, in f32.
pub(crate) fn choose(steps: &mut [Fused], outputs: &[Value]) {
    join_norms(steps);
    let readers = readers(steps);
    for at in 0..steps.len() {
        let step = &steps[at];
        let readers = readers.get(&step.value).map_or(&[][..], |r| r);
        let takes = |&(reader, input): &(usize, usize)| takes_f16(&steps[reader], input);
        if gives_f16(step) && !outputs.contains(&step.value) && readers.iter().all(takes) {
            steps[at].format = Format::F16;
            for &(reader, input) in readers {
                steps[reader].inputs[input].format = Format::F16;
            }
        }
    }
}

/// The steps that read each value, and as which input.
fn readers(steps: &[Fused]) -> HashMap<Value, Vec<(usize, usize)>> {
    let mut readers: HashMap<Value, Vec<_>> = HashMap::new();
    for (at, step) in steps.iter().enumerate() {
        for (i, input) in step.inputs.iter().enumerate() {
            readers.entry(input.value).or_default().push((at, i));
        }
    }
    readers
}

/// Whether a step can write f16: an integer product, or what joins such.
fn gives_f16(step: &Fused) -> bool {
    let possible = match &step.op {
        Op::Conv { filter, .. } => filter.is_integer(),
        Op::Concat => step.inputs.iter().any(|i| i.format == Format::F16),
        _ => false,
    };
    possible && step.format == Format::F32 && step.shape.c.is_multiple_of(LANES)
}

/// Whether a step can read its input `i` in f16.
fn takes_f16(step: &Fused, i: usize) -> bool {
    match &step.op {
        Op::Conv { filter, prologue, epilogue, .. } if filter.is_integer() => {
            let normalised = i == 0 && prologue.is_some();
            normalised || (epilogue.residual && i + 1 == step.inputs.len())
        }
        Op::GroupNorm { .. } | Op::GroupScales { .. } | Op::LayerNorm { .. } => true,
        Op::Quantise | Op::Concat => true,
        _ => false,
    }
}

/// Lets every integer product that alone reads a group norm normalise its input itself.
fn join_norms(steps: &mut [Fused]) {
    let readers = readers(steps);
    for at in 0..steps.len() {
        let (Op::GroupNorm { norm, groups, eps, silu }, Format::Int8(Steps::PerImage)) =
            (steps[at].op.clone(), steps[at].format)
        else {
            continue;
        };
        let Some(&[(reader, 0)]) = readers.get(&steps[at].value).map(Vec::as_slice) else {
            continue;
        };
        let x = steps[at].inputs[0];
        let shape = scales_shape(steps[at].shape);
        steps[at].op = Op::GroupScales { norm, groups, eps, silu };
        (steps[at].shape, steps[at].format) = (shape, Format::F32);
        let product = &mut steps[reader];
        if let Op::Conv { prologue, .. } = &mut product.op {
            *prologue = Some(Prologue { silu });
        }
        let seen = product.inputs[0].shape;
        let mut scales = product.inputs[0];
        (scales.shape, scales.format) = (shape, Format::F32);
        product.inputs[0] = x;
        product.inputs[0].shape = seen;
        product.inputs.insert(1, scales);
    }
}
