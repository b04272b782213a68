//! What integer products need around them: where activations become int8.
//!
//! A convolution rounds a whole picture on its own, in bands; what it needs for that is the range of
//! the values: that of the group norm before it, or one found by a step of its own. A matrix product
//! reads rows of int8. If they come from a layer norm that only such products read, the norm writes
//! them itself; otherwise a [`Op::Quantise`] step goes before the first product, and all that read the
//! same value share it. Attention between the results
//! of integer products is computed in integers too: its queries, and its keys with their values, are
//! packed by steps of their own, at the rate of what they are made from.

use std::collections::HashMap;

use crate::activations::Format;
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
    /// By integer matrix products.
    int8: bool,
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
            match i == 0 && reads_rows(step) {
                true => entry.int8 = true,
                false => entry.f32 = true,
            }
        }
    }
    outputs.iter().for_each(|value| wanted.entry(*value).or_default().f32 = true);
    wanted
}

/// Whether a step is a matrix product that reads rows of int8.
fn reads_rows(step: &Fused) -> bool {
    let Op::Conv { filter, prologue: None, .. } = &step.op else { return false };
    filter.is_integer() && filter.kernel() == (1, 1)
}

/// Whether a step is an integer product.
fn is_integer(step: &Fused) -> bool {
    matches!(&step.op, Op::Conv { filter, .. } if filter.is_integer())
}

/// A value as pictures of channels, however its positions are arranged.
fn key(value: Value, shape: Shape) -> (Value, Shape) {
    (value, Shape::tokens(shape.n, shape.positions(), shape.c))
}

struct Lowering {
    wanted: HashMap<Value, Wanted>,
    /// The int8 form of values, by the pictures and channels they are seen with.
    made: HashMap<(Value, Shape), Value>,
    next: u32,
}

impl Lowering {
    fn visit(&mut self, mut step: Fused, lowered: &mut Vec<Fused>) {
        if reads_rows(&step) {
            step.inputs[0] = self.int8(step.inputs[0], lowered);
        }
        if let Op::Attention { heads, mask: Mask::None } = step.op {
            let product = |o: &Operand| lowered.iter().any(|s| s.value == o.value && is_integer(s));
            if step.inputs.iter().all(product) {
                step.op = Op::IntAttention { heads };
                let keys = step.inputs.split_off(1);
                let queries = Format::PackedQueries { heads };
                let queries = self.pack(Op::PackQueries, step.inputs, queries, lowered);
                let keys = self.pack(Op::PackKeys, keys, Format::PackedKeys { heads }, lowered);
                step.inputs = vec![queries, keys];
            }
        }
        if self.is_norm_of_products(&step) {
            step.format = Format::Int8;
            self.made.insert(key(step.value, step.shape), step.value);
        }
        lowered.push(step);
    }

    /// Whether a step is a layer norm that only integer products read.
    fn is_norm_of_products(&self, step: &Fused) -> bool {
        let only = self.wanted.get(&step.value).is_some_and(|wanted| wanted.int8 && !wanted.f32);
        only && matches!(step.op, Op::LayerNorm { .. })
    }

    /// `operand` in int8.
    fn int8(&mut self, operand: Operand, lowered: &mut Vec<Fused>) -> Operand {
        let key = key(operand.value, operand.shape);
        let format = Format::Int8;
        if let Some(&value) = self.made.get(&key) {
            return Operand { value, format, ..operand };
        }
        let value = Value(self.next);
        self.next += 1;
        self.made.insert(key, value);
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
