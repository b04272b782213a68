//! How intermediates are stored between integer products.
//!
//! What integer products write is kept in f16 as long as all that read it can take that, so that a step moves half
//! the bytes, and the largest maps in int8. What depends on the size of a map is the same on every
//! machine, since it changes results.

use std::collections::HashMap;

use crate::activations::Format;
use crate::fuse::{Fused, Operand};
use crate::graph::{Op, Value};
use crate::ops::{has_few_outputs, has_winograd_form, is_doubled};
use crate::prologues::readers;
use crate::weights::LANES;

/// From how many pixels on maps are kept as small as they can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LargeMaps {
    /// Those that norms and roundings alone read are kept in int8.
    pub int8: usize,
    /// So are sums of a residual stream. One that is but doubled counts as what it becomes.
    pub int8_sums: usize,
}

impl Default for LargeMaps {
    /// Sums from 1536 x 640 on, the least of the sizes of about a million pixels that Stable
    /// Diffusion XL was trained on.
    fn default() -> Self {
        Self { int8: 256 * 256, int8_sums: 1536 * 640 }
    }
}

/// Chooses for all `steps`; `outputs` are the values that the caller will read, in f32.
pub(crate) fn choose(steps: &mut [Fused], outputs: &[Value], large: &LargeMaps) {
    let readers = readers(steps);
    // Whether a sum can be int8 rows depends on the sums behind it.
    for at in (0..steps.len()).rev() {
        let read_by = readers.get(&steps[at].value).map_or(&[][..], |r| r);
        let doubled = read_by.iter().all(|&(reader, _)| prepares_doubling(&steps[reader]));
        let can = gives_rows(&steps[at], doubled, large);
        store(steps, at, &readers, outputs, can.then_some((Format::Int8, takes_rows)));
    }
    for at in 0..steps.len() {
        let can = gives_f16(&steps[at], large);
        store(steps, at, &readers, outputs, can.then_some((Format::F16, takes_f16)));
    }
}

/// Whether a step can read its input `i` in some format.
type Takes = fn(&Fused, usize) -> bool;

/// Lets step `at` write a format, if all that read it can take that.
fn store(
    steps: &mut [Fused],
    at: usize,
    readers: &HashMap<Value, Vec<(usize, usize)>>,
    outputs: &[Value],
    wanted: Option<(Format, Takes)>,
) {
    let Some((format, takes)) = wanted.filter(|_| !outputs.contains(&steps[at].value)) else {
        return;
    };
    let readers = readers.get(&steps[at].value).map_or(&[][..], |r| r);
    let width = steps[at].shape.c;
    // Rows of int8 have a step each, which a view with other rows would not find.
    let alike = |x: &Operand| format == Format::F16 || x.shape.c == width;
    let can =
        |&(reader, i): &(usize, usize)| takes(&steps[reader], i) && alike(&steps[reader].inputs[i]);
    if readers.iter().all(can) {
        steps[at].format = format;
        for &(reader, input) in readers {
            steps[reader].inputs[input].format = format;
        }
    }
}

/// Whether a step writes a value so large that it should be int8, and can. Not what sees one pixel at
/// a time: in f16 it takes the place of a map twice as wide.
fn gives_rows(step: &Fused, doubled: bool, large: &LargeMaps) -> bool {
    let Op::Conv { filter, prologue, epilogue, .. } = &step.op else { return false };
    let positions = step.shape.positions();
    let is_large = match epilogue.residual {
        true if prologue.is_none() || has_winograd_form(&step.op, step.shape) => false,
        true if doubled => 4 * positions >= large.int8_sums,
        true => positions >= large.int8_sums,
        false => positions >= large.int8,
    };
    let can = filter.is_integer() && filter.kernel() != (1, 1);
    can && is_large && step.shape.c.is_multiple_of(LANES)
}

/// Whether a step doubles its input, or finds what that needs.
fn prepares_doubling(step: &Fused) -> bool {
    match &step.op {
        Op::Conv { spec, .. } => spec.upsample,
        op => matches!(op, Op::RangeScales),
    }
}

/// Whether a step can read its input `i` as int8 rows: to norm or round them, or to add to them and
/// write them as such again.
fn takes_rows(step: &Fused, i: usize) -> bool {
    match &step.op {
        Op::GroupNorm { .. } | Op::GroupScales { .. } | Op::RangeScales => i == 0,
        Op::Conv { prologue: Some(_), .. } if i == 0 => true,
        Op::Conv { epilogue, .. } => {
            let sum = epilogue.residual && i + 1 == step.inputs.len();
            sum && step.format == Format::Int8
        }
        _ => false,
    }
}

/// Whether a step can write f16: an integer product, or what joins such. The stream of a network
/// that has functions of sums in place of norms, and doublings in f32, stays in f32 until its maps are
/// large: nothing evens out what rounding adds to it.
fn gives_f16(step: &Fused, large: &LargeMaps) -> bool {
    let possible = match &step.op {
        Op::Conv { filter, epilogue, .. } => {
            let small = step.shape.positions() < large.int8;
            match filter.is_integer() {
                true => !small || epilogue.last.is_none(),
                false => !small && is_doubled(step),
            }
        }
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
            let sum = filter.is_integer() && epilogue.residual && i + 1 == step.inputs.len();
            sum || has_few_outputs(step)
        }
        Op::GroupNorm { .. } | Op::GroupScales { .. } | Op::LayerNorm { .. } => true,
        Op::Quantise | Op::RangeScales | Op::Concat | Op::PackQueries | Op::PackKeys => true,
        _ => false,
    }
}
