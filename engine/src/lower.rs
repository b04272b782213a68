//! What integer products need around them: where activations become int8.
//!
//! A product with an integer filter reads int8 activations. If its input comes from a norm that
//! only such products read, the norm writes int8 itself; otherwise a [`Op::Quantise`] step goes
//! before the first of them, and all that read the same value share it. Attention between the results
//! of integer products is computed in integers too: its queries, and its keys with their values, are
//! packed by steps of their own, at the rate of what they are made from.

use std::collections::HashMap;

use crate::activations::{Format, Steps};
use crate::fuse::{Fused, Operand};
use crate::graph::{Mask, Op, Rate, Value};
use crate::tensor::Shape;

/// Makes every integer product read int8. `outputs` are the values that the caller will read;
/// `next` is the first value that the graph does not use.
pub(crate) fn lower(steps: Vec<Fused>, outputs: &[Value], next: u32) -> Vec<Fused> {
    let mut lowering = Lowering { wanted: wanted(&steps, outputs), made: HashMap::new(), next };
    let mut lowered = Vec::with_capacity(steps.len());
    for step in steps {
        lowering.visit(step, &mut lowered);
    }
    lowered
}

/// How a value is read.
#[derive(Clone, Copy, Default)]
struct Wanted {
    /// By integer products, with a step per picture if any of them is a convolution.
    int8: Option<Steps>,
    /// By anything else.
    f32: bool,
}

fn wanted(steps: &[Fused], outputs: &[Value]) -> HashMap<Value, Wanted> {
    let mut wanted: HashMap<Value, Wanted> = HashMap::new();
    let shapes: HashMap<Value, Shape> = steps.iter().map(|s| (s.value, s.shape)).collect();
    // A norm writes rows and pictures of its own shape; views may only regroup positions.
    let same = |o: &Operand| (o.shape.n, o.shape.c) == (shapes[&o.value].n, shapes[&o.value].c);
    for step in steps {
        for (i, input) in step.inputs.iter().enumerate() {
            let entry = wanted.entry(input.value).or_default();
            entry.f32 |= !same(input);
            match need(step).filter(|_| i == 0) {
                Some(Steps::PerImage) => entry.int8 = Some(Steps::PerImage),
                Some(Steps::PerRow) => entry.int8 = entry.int8.or(Some(Steps::PerRow)),
                None => entry.f32 = true,
            }
        }
    }
    outputs.iter().for_each(|value| wanted.entry(*value).or_default().f32 = true);
    wanted
}

/// The steps that an integer product needs in its input.
fn need(step: &Fused) -> Option<Steps> {
    match &step.op {
        Op::Conv { filter, .. } if filter.is_integer() => {
            let pointwise = filter.kernel() == (1, 1);
            Some(if pointwise { Steps::PerRow } else { Steps::PerImage })
        }
        _ => None,
    }
}

/// A value as pictures of channels, however its positions are arranged.
fn key(value: Value, shape: Shape) -> (Value, Shape) {
    (value, Shape::tokens(shape.n, shape.positions(), shape.c))
}

struct Lowering {
    wanted: HashMap<Value, Wanted>,
    /// The int8 form of values, by the pictures and channels they are seen with.
    made: HashMap<(Value, Shape), (Value, Format)>,
    next: u32,
}

impl Lowering {
    fn visit(&mut self, mut step: Fused, lowered: &mut Vec<Fused>) {
        if need(&step).is_some() {
            step.inputs[0] = self.int8(step.inputs[0], lowered);
        }
        if let Op::Attention { heads, mask: Mask::None } = step.op {
            let product =
                |o: &Operand| lowered.iter().any(|s| s.value == o.value && need(s).is_some());
            if step.inputs.iter().all(product) {
                step.op = Op::IntAttention { heads };
                let keys = step.inputs.split_off(1);
                let queries = Format::PackedQueries { heads };
                let queries = self.pack(Op::PackQueries, step.inputs, queries, lowered);
                let keys = self.pack(Op::PackKeys, keys, Format::PackedKeys { heads }, lowered);
                step.inputs = vec![queries, keys];
            }
        }
        if let Some(format) = self.norm_format(&step) {
            step.format = format;
            self.made.insert(key(step.value, step.shape), (step.value, format));
        }
        lowered.push(step);
    }

    /// The format of a norm that only integer products read.
    fn norm_format(&self, step: &Fused) -> Option<Format> {
        let wanted = self.wanted.get(&step.value)?;
        let steps = wanted.int8.filter(|_| !wanted.f32)?;
        match step.op {
            Op::GroupNorm { .. } => Some(Format::Int8(Steps::PerImage)),
            Op::LayerNorm { .. } if steps == Steps::PerRow => Some(Format::Int8(steps)),
            _ => None,
        }
    }

    /// `operand` in int8.
    fn int8(&mut self, operand: Operand, lowered: &mut Vec<Fused>) -> Operand {
        let key = key(operand.value, operand.shape);
        if let Some(&(value, format)) = self.made.get(&key) {
            return Operand { value, format, ..operand };
        }
        let steps = self.wanted[&operand.value].int8.unwrap_or(Steps::PerRow);
        let (value, format) = (Value(self.next), Format::Int8(steps));
        self.next += 1;
        self.made.insert(key, (value, format));
        push(value, Op::Quantise, vec![operand], format, lowered);
        Operand { value, format, ..operand }
    }

    /// Queries, or keys and values, of attention, packed.
    fn pack(
        &mut self,
        op: Op,
        inputs: Vec<Operand>,
        format: Format,
        lowered: &mut Vec<Fused>,
    ) -> Operand {
        let (value, shape) = (Value(self.next), inputs[0].shape);
        self.next += 1;
        push(value, op, inputs, format, lowered);
        Operand { value, format, shape }
    }
}

/// Adds a step that computes another form of its inputs, at the rate at which all of them are known.
fn push(value: Value, op: Op, inputs: Vec<Operand>, format: Format, lowered: &mut Vec<Fused>) {
    let computed = |o: &Operand| lowered.iter().find(|s| s.value == o.value).map(|s| s.rate);
    let rate = inputs.iter().map(|o| computed(o).unwrap_or(Rate::Run)).max().unwrap_or(Rate::Run);
    let shape = inputs[0].shape;
    lowered.push(Fused { value, op, inputs, shape, format, rate, makers: Vec::new() });
}
