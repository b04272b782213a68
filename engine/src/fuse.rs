//! From a graph to a list of steps: views disappear, pointwise work joins the operation before it.
//!
//! A convolution or linear layer takes along what follows it while no one else reads its result: a
//! vector per batch element (the time embedding), a pointwise function or (in integers) GEGLU, a
//! residual sum, a pointwise function of that. A group norm takes along a SiLU. Fusing changes no bit: the same operations happen in the same order on
//! each value, only without a trip through memory.

use crate::activations::Format;
use crate::graph::{Epilogue, Graph, Node, Op, Pointwise, Rate, Value};
use crate::tensor::Shape;
use crate::weights::LANES;

/// A value as a step reads it: the node that produces it, seen under a shape.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Operand {
    pub value: Value,
    pub shape: Shape,
    pub format: Format,
}

/// A node that is computed, with views resolved.
#[derive(Clone, Debug)]
pub(crate) struct Fused {
    /// The value it defines.
    pub value: Value,
    pub op: Op,
    pub inputs: Vec<Operand>,
    pub shape: Shape,
    pub format: Format,
    pub rate: Rate,
    /// Inputs that this step computes itself, a few lines at a time: which, and how.
    pub makers: Vec<(usize, Fused)>,
}

impl Fused {
    /// How it computes input `i`, if it does.
    pub fn maker(&self, i: usize) -> Option<&Fused> {
        self.makers.iter().find(|(input, _)| *input == i).map(|(_, maker)| maker)
    }

    /// Everything it reads that lies in memory, also what its makers read.
    pub fn reads(&self) -> Vec<&Operand> {
        let own = self.inputs.iter().enumerate().filter(|(i, _)| self.maker(*i).is_none());
        own.map(|(_, x)| x).chain(self.makers.iter().flat_map(|(_, m)| m.reads())).collect()
    }
}

/// Fuses `graph`; the result is in an order in which every step's inputs come before it.
pub(crate) fn fuse(graph: &Graph) -> Vec<Fused> {
    let mut fuser = Fuser::new(graph);
    for (index, node) in graph.nodes.iter().enumerate() {
        fuser.visit(Value(index as u32), node);
    }
    fuser.finish()
}

/// The value that a chain of views shows.
pub(crate) fn resolve(graph: &Graph, mut value: Value) -> Value {
    while let Node { op: Op::View, inputs, .. } = &graph.nodes[value.index()] {
        value = inputs[0];
    }
    value
}

/// Makes a node's work part of the operation before it, if that can take it.
type Change = fn(&mut Op, &Node) -> bool;

struct Fuser<'a> {
    graph: &'a Graph,
    /// How often each value is read, views seen through, outputs counted.
    uses: Vec<usize>,
    /// Where each value now comes from: a fused node defines the last value it swallowed.
    steps: Vec<Option<Fused>>,
}

impl<'a> Fuser<'a> {
    fn new(graph: &'a Graph) -> Self {
        let mut uses = vec![0; graph.nodes.len()];
        let read = graph.nodes.iter().filter(|n| !matches!(n.op, Op::View)).flat_map(|n| &n.inputs);
        for &value in read.chain(&graph.outputs) {
            uses[resolve(graph, value).index()] += 1;
        }
        Self { graph, uses, steps: vec![None; graph.nodes.len()] }
    }

    fn visit(&mut self, value: Value, node: &Node) {
        if matches!(node.op, Op::View) {
            return;
        }
        if let Some(fused) = self.absorb(value, node) {
            self.steps[value.index()] = Some(fused);
            return;
        }
        let inputs: Vec<_> = node.inputs.iter().map(|&i| self.operand(i)).collect();
        let rate = match node.op {
            Op::Input { rate } => rate,
            _ => self.rate(&inputs),
        };
        let op = node.op.clone();
        let (shape, format, makers) = (node.shape, Format::F32, Vec::new());
        self.steps[value.index()] = Some(Fused { value, op, inputs, shape, format, rate, makers });
    }

    fn operand(&self, value: Value) -> Operand {
        Operand {
            value: resolve(self.graph, value),
            shape: self.graph.shape(value),
            format: Format::F32,
        }
    }

    /// The slowest rate at which all of `inputs` are known.
    fn rate(&self, inputs: &[Operand]) -> Rate {
        let rates = inputs.iter().filter_map(|i| self.steps[i.value.index()].as_ref());
        rates.map(|s| s.rate).max().unwrap_or(Rate::Setup)
    }

    /// Tries to make `node` a part of the step that computes one of its inputs.
    fn absorb(&mut self, value: Value, node: &Node) -> Option<Fused> {
        let (from, extra, change): (usize, Option<Value>, Change) = match node.op {
            Op::Pointwise(_) => (0, None, take_pointwise),
            Op::AddVector => (0, Some(node.inputs[1]), take_vector),
            Op::Geglu => (0, None, take_geglu),
            Op::Add => {
                let from = self.later_product(node)?;
                (from, Some(node.inputs[1 - from]), take_residual)
            }
            _ => return None,
        };
        let source = resolve(self.graph, node.inputs[from]);
        let mut fused = self.steps[source.index()].clone()?;
        let inputs: Vec<_> = node.inputs.iter().map(|&i| self.operand(i)).collect();
        // What is known at a slower rate is not computed again at a faster one.
        if self.uses[source.index()] != 1 || fused.rate < self.rate(&inputs) {
            return None;
        }
        if !change(&mut fused.op, node) {
            return None;
        }
        self.steps[source.index()] = None;
        fused.inputs.extend(extra.map(|e| self.operand(e)));
        fused.value = value;
        fused.shape = fused.shape.with_channels(node.shape.c);
        // A product keeps its own view of positions per batch element: the vector is spread by it.
        Some(fused)
    }

    /// Which summand can take the other one along: a matrix product that no one else reads; if both
    /// are, the one of the faster rate, else the later one.
    fn later_product(&self, node: &Node) -> Option<usize> {
        let sources = [0, 1].map(|i| resolve(self.graph, node.inputs[i]));
        let order = |i: usize| {
            let step = self.steps[sources[i].index()].as_ref()?;
            let product = matches!(step.op, Op::Conv { .. });
            (product && self.uses[sources[i].index()] == 1).then_some((step.rate, sources[i]))
        };
        [0, 1].into_iter().filter(|i| order(*i).is_some()).max_by_key(|i| order(*i))
    }

    fn finish(self) -> Vec<Fused> {
        self.steps.into_iter().flatten().collect()
    }
}

fn take_pointwise(op: &mut Op, node: &Node) -> bool {
    let Op::Pointwise(function) = node.op else { return false };
    match op {
        Op::Conv {
            epilogue: Epilogue { pointwise: slot @ None, gated: false, residual: false, .. },
            ..
        } => {
            *slot = Some(function);
            true
        }
        Op::Conv { epilogue: Epilogue { residual: true, last: slot @ None, .. }, .. } => {
            *slot = Some(function);
            true
        }
        Op::GroupNorm { silu, .. } if !*silu && function == Pointwise::Silu => {
            *silu = true;
            true
        }
        _ => false,
    }
}

fn take_vector(op: &mut Op, _: &Node) -> bool {
    match op {
        Op::Conv { epilogue, .. } if *epilogue == Epilogue::default() => {
            epilogue.vector = true;
            true
        }
        _ => false,
    }
}

/// Values and gates of one column must meet in one tile: whole panels of each.
fn take_geglu(op: &mut Op, _: &Node) -> bool {
    match op {
        Op::Conv { filter, epilogue, .. }
            if filter.is_integer()
                && filter.outputs().is_multiple_of(2 * LANES)
                && *epilogue == Epilogue::default() =>
        {
            epilogue.gated = true;
            true
        }
        _ => false,
    }
}

fn take_residual(op: &mut Op, _: &Node) -> bool {
    match op {
        Op::Conv { epilogue, .. } if !epilogue.residual => {
            epilogue.residual = true;
            true
        }
        _ => false,
    }
}
