//! How intermediates are stored between integer products.
//!
//! A group norm that one integer product reads becomes its scales, which the product applies to its
//! input on the way to int8, in bands; so does a product of rows with its rounding. What integer
//! products write is kept in f16 as long as all that read it can take that, so that a step moves half
//! the bytes, and the largest maps in int8.

use std::collections::HashMap;

use crate::activations::{Format, Steps};
use crate::fuse::{Fused, Operand};
use crate::graph::{Op, Prologue, Value};
use crate::ops::{has_winograd_form, scales_shape};
use crate::weights::LANES;

/// Chooses for all `steps`; `outputs` are the values that the caller will read, in f32.
pub(crate) fn choose(steps: &mut Vec<Fused>, outputs: &[Value]) {
    join_norms(steps);
    join_roundings(steps);
    let readers = readers(steps);
    for at in 0..steps.len() {
        let step = &steps[at];
        let readers = readers.get(&step.value).map_or(&[][..], |r| r);
        if outputs.contains(&step.value) {
            continue;
        }
        let takes = |&(reader, input): &(usize, usize)| takes_f16(&steps[reader], input);
        let takes_rows =
            |&(reader, i): &(usize, usize)| takes_rows(&steps[reader], i, step.shape.c);
        let format = if gives_rows(step) && readers.iter().all(takes_rows) {
            Format::Int8(Steps::PerRow)
        } else if gives_f16(step) && readers.iter().all(takes) {
            Format::F16
        } else {
            continue;
        };
        steps[at].format = format;
        for &(reader, input) in readers {
            steps[reader].inputs[input].format = format;
        }
    }
}

/// From this many pixels on, maps are kept as small as they can be: in int8 where norms and roundings
/// alone read them. The same on every machine, since it changes results.
const LARGE: usize = 256 * 256;

/// Whether a step is a convolution of a large map.
fn is_large_conv(step: &Fused) -> bool {
    matches!(step.op, Op::Conv { .. }) && step.inputs[0].shape.positions() >= LARGE
}

/// Whether a step writes a value so large that it should be int8, and can.
fn gives_rows(step: &Fused) -> bool {
    let plain = match &step.op {
        Op::Conv { filter, epilogue, .. } => filter.is_integer() && !epilogue.residual,
        _ => false,
    };
    plain && step.shape.positions() >= LARGE && step.shape.c.is_multiple_of(LANES)
}

/// Whether a step can read its input `i` as int8 rows of `width` channels.
fn takes_rows(step: &Fused, i: usize, width: usize) -> bool {
    let scales = matches!(step.op, Op::GroupNorm { .. } | Op::GroupScales { .. });
    let own = matches!(step.op, Op::Conv { prologue: Some(_), .. });
    i == 0 && (scales || own) && step.inputs[0].shape.c == width
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
        Op::IntAttention { .. } => true,
        Op::Concat => step.inputs.iter().any(|i| i.format == Format::F16),
        _ => false,
    };
    possible && step.format == Format::F32 && step.shape.c.is_multiple_of(LANES)
}

/// Whether a step can read its input `i` in f16.
fn takes_f16(step: &Fused, i: usize) -> bool {
    match &step.op {
        Op::Conv { prologue: Some(_), .. } if i == 0 => true,
        Op::Conv { filter, epilogue, .. } => {
            filter.is_integer() && epilogue.residual && i + 1 == step.inputs.len()
        }
        Op::GroupNorm { .. } | Op::GroupScales { .. } | Op::LayerNorm { .. } => true,
        Op::Quantise | Op::Concat | Op::PackQueries | Op::PackKeys => true,
        _ => false,
    }
}

/// Lets every product that alone reads a group norm normalise its input itself.
fn join_norms(steps: &mut [Fused]) {
    let readers = readers(steps);
    for at in 0..steps.len() {
        let Some(&[(reader, 0)]) = readers.get(&steps[at].value).map(Vec::as_slice) else {
            continue;
        };
        let integer = steps[at].format == Format::Int8(Steps::PerImage);
        let Op::GroupNorm { norm, groups, eps, silu } = steps[at].op.clone() else { continue };
        let reading = &steps[reader];
        if has_winograd_form(&reading.op, reading.shape) || (!integer && !is_large_conv(reading)) {
            continue;
        }
        let (x, shape) = (steps[at].inputs[0], scales_shape(steps[at].shape));
        steps[at].op = Op::GroupScales { norm, groups, eps, silu };
        (steps[at].shape, steps[at].format) = (shape, Format::F32);
        let product = &mut steps[reader];
        if let Op::Conv { prologue, .. } = &mut product.op {
            *prologue = Some(Prologue::Normalise { silu });
        }
        let normed = product.inputs[0];
        product.inputs[0] = Operand { shape: normed.shape, ..x };
        product.inputs.insert(1, Operand { shape, format: Format::F32, ..normed });
    }
}

/// Lets every integer product that alone reads rounded rows round them itself.
fn join_roundings(steps: &mut Vec<Fused>) {
    let readers = readers(steps);
    let mut joined = Vec::new();
    for at in 0..steps.len() {
        let (Op::Quantise, Format::Int8(Steps::PerRow)) = (&steps[at].op, steps[at].format) else {
            continue;
        };
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
