//! Values that are computed anew by all that read them (rematerialisation), so that they never exist
//! as a whole.
//!
//! Where memory is short, the largest maps of a decoder are what counts, and most of them are read in
//! order of lines: by a norm's statistics, by the product behind the norm, by the shortcut around
//! both. Then each of these can have the lines computed into a buffer just before it reads them. Three
//! kinds of steps can do that:
//!
//! - a convolution of a doubled map, whose input is a quarter of the size;
//! - a convolution behind a norm, whose input is there anyway as the summand of its residual block;
//! - a shortcut from a map that is itself computed anew.
//!
//! What is computed is the same, so that no bit of any result changes.

use std::collections::HashMap;

use crate::activations::Format;
use crate::fuse::Fused;
use crate::graph::{ConvSpec, Op, Prologue, Rate, Value};
use crate::ops;

/// Embeds some steps in those that read their values, as makers, so that `arena` of the result is
/// least. `outputs` are the values that the caller will read.
pub(crate) fn choose(
    steps: Vec<Fused>,
    outputs: &[Value],
    arena: impl Fn(&[Fused]) -> usize,
) -> Vec<Fused> {
    let mut chosen = candidates(&steps, outputs);
    let mut best = embed(&steps, &chosen);
    let mut least = arena(&best);
    // From those that are all computed anew, back to those for which that saves something.
    for at in (0..chosen.len()).rev() {
        let group = chosen.remove(at);
        let without = embed(&steps, &chosen);
        match arena(&without) {
            fewer if fewer <= least => (best, least) = (without, fewer),
            _ => chosen.insert(at, group),
        }
    }
    best
}

/// A value, and those whose makers read it.
type Group = Vec<Value>;

/// All values that can be computed anew.
fn candidates(steps: &[Fused], outputs: &[Value]) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for step in steps {
        let made = |value: Value| groups.iter().flatten().any(|v| *v == value);
        let possible = step.rate == Rate::Run && step.shape.n == 1;
        let from_memory = step.inputs.first().is_some_and(|x| !made(x.value));
        if !possible || !from_memory || outputs.contains(&step.value) {
            continue;
        }
        if (is_doubling(step) || is_behind_norm(step)) && read_by_lines(steps, step) {
            let shortcuts = shortcuts(steps, step, outputs);
            groups.push([vec![step.value], shortcuts].concat());
        }
    }
    groups
}

/// Whether a step is a product without a summand that writes int8 rows.
fn writes_rows(step: &Fused) -> bool {
    let product = matches!(&step.op, Op::Conv { epilogue, .. } if !epilogue.residual);
    product && step.format == Format::Int8
}

fn is_doubling(step: &Fused) -> bool {
    let doubles = matches!(&step.op, Op::Conv { spec, .. } if spec.upsample);
    writes_rows(step) && doubles && ops::has_winograd_form(&step.op, step.shape)
}

fn is_behind_norm(step: &Fused) -> bool {
    writes_rows(step) && matches!(prologue(step), Some((Prologue::Normalise { .. }, 3)))
}

fn is_shortcut(step: &Fused) -> bool {
    let plain = matches!(&step.op, Op::Conv { epilogue, .. } if !epilogue.residual);
    plain && matches!(prologue(step), Some((Prologue::Round, 1)))
}

/// The prologue and kernel of an integer product in bands that keeps the size of its map.
fn prologue(step: &Fused) -> Option<(Prologue, usize)> {
    let Op::Conv { filter, spec, prologue, .. } = &step.op else { return None };
    let kernel = filter.kernel().0;
    let keeps = filter.is_integer() && *spec == ConvSpec::same(kernel);
    prologue.filter(|_| keeps).map(|prologue| (prologue, kernel))
}

/// Whether all that reads a step's value can do so a few lines at a time.
fn read_by_lines(steps: &[Fused], step: &Fused) -> bool {
    let doubled = is_doubling(step);
    let mut reads = steps.iter().flat_map(|reader| {
        let inputs = reader.inputs.iter().enumerate();
        inputs.filter(|(_, x)| x.value == step.value).map(move |(i, x)| (reader, i, x))
    });
    reads.all(|(reader, i, x)| {
        // Pixels of what is doubled come in pairs of lines, others one by one.
        let pixels = doubled && is_shortcut(reader);
        x.shape == step.shape && (pixels || reads_lines(reader, i))
    })
}

fn reads_lines(reader: &Fused, i: usize) -> bool {
    match &reader.op {
        Op::GroupScales { .. } => ops::reads_lines_of(reader.inputs[i].shape),
        Op::Conv { epilogue, .. } => {
            let summand = epilogue.residual && i + 1 == reader.inputs.len();
            (i == 0 || summand) && matches!(prologue(reader), Some((_, 3)))
        }
        _ => false,
    }
}

/// The shortcuts from a step's value.
fn shortcuts(steps: &[Fused], step: &Fused, outputs: &[Value]) -> Vec<Value> {
    let reads = |s: &&Fused| s.inputs.first().is_some_and(|x| x.value == step.value);
    let anew =
        |s: &&Fused| is_shortcut(s) && !outputs.contains(&s.value) && read_by_lines(steps, s);
    steps.iter().filter(reads).filter(anew).map(|s| s.value).collect()
}

/// The steps without those of the `groups`, which become makers of the others.
fn embed(steps: &[Fused], groups: &[Group]) -> Vec<Fused> {
    let mut makers: HashMap<Value, Fused> = HashMap::new();
    let mut kept = Vec::new();
    for step in steps {
        let inputs = step.inputs.iter().enumerate();
        let own = inputs.filter_map(|(i, x)| Some((i, makers.get(&x.value)?.clone())));
        let step = Fused { makers: own.collect(), ..step.clone() };
        match groups.iter().flatten().any(|value| *value == step.value) {
            true => _ = makers.insert(step.value, step),
            false => kept.push(step),
        }
    }
    kept
}
