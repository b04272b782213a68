//! The plan: the steps of a graph in order, and the place of every intermediate: in one arena, or in
//! an entry of the table that holds what a schedule computes.

use std::collections::HashMap;

use crate::activations::{Format, Rows};
use crate::arena::{self, Span};
use crate::fuse::{self, Fused, Operand};
use crate::graph::{ConvSpec, Graph, GraphError, Op, Prologue, Rate, Value};
use crate::lower;
use crate::ops;
use crate::profile::StepInfo;
use crate::prologues;
use crate::recompute;
use crate::storage::{self, LargeMaps};
use crate::tensor::Shape;

/// Which memory a value lies in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Home {
    Arena,
    /// Of [`Rate::Schedule`]: every entry of the table has a place for it.
    Table,
}

impl Home {
    fn of(rate: Rate) -> Self {
        if rate == Rate::Schedule { Self::Table } else { Self::Arena }
    }
}

/// Where a value lies: an offset in f32 into its home, its shape, and how it is stored.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot {
    pub home: Home,
    pub offset: usize,
    pub shape: Shape,
    pub format: Format,
}

impl Slot {
    /// Length in f32.
    pub fn len(&self) -> usize {
        self.format.len(self.shape)
    }
}

/// One operation with everything it touches.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub op: Op,
    pub inputs: Vec<Slot>,
    pub out: Slot,
    /// Room that only this step uses, in f32: offset and length.
    pub scratch: (usize, usize),
    /// Inputs that it computes itself, a few lines at a time: which, and how. Their slots, and what a
    /// maker writes to, are nowhere in the arena.
    pub makers: Vec<(usize, Step)>,
}

/// What a plan may choose. The default suits all who have the memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PlanOptions {
    /// Changes results.
    pub large_maps: LargeMaps,
    /// Whether large values are computed anew by all that read them, where that takes less memory.
    /// Changes no result.
    pub recompute: bool,
}

/// A fused and placed graph. See [`Plan::new`].
#[derive(Clone, Debug)]
pub struct Plan {
    /// The steps of each rate.
    steps: [Vec<Step>; Rate::ALL.len()],
    pub(crate) inputs: HashMap<Value, (Rate, Slot)>,
    pub(crate) outputs: HashMap<Value, Slot>,
    /// Length of the arena in f32.
    pub(crate) arena: usize,
    /// Length of an entry of the table in f32.
    pub(crate) entry: usize,
    /// Room that each thread needs for itself, in f32.
    pub(crate) thread: usize,
    weights: usize,
    streamable: Streamable,
    name: &'static str,
}

impl Plan {
    /// Fuses `graph`, orders it by rate (what depends on [`Rate::Setup`] inputs alone comes first)
    /// and places every intermediate.
    ///
    /// # Errors
    /// When the graph was built from parts that do not fit together.
    pub fn new(graph: &Graph) -> Result<Self, GraphError> {
        Self::with(graph, &PlanOptions::default())
    }

    /// As [`Plan::new`], with choices.
    ///
    /// # Errors
    /// As [`Plan::new`].
    pub fn with(graph: &Graph, options: &PlanOptions) -> Result<Self, GraphError> {
        if let Some(error) = &graph.broken {
            return Err(error.clone());
        }
        let outputs: Vec<_> = graph.outputs.iter().map(|o| fuse::resolve(graph, *o)).collect();
        let (mut steps, mut next) = (fuse::fuse(graph), graph.nodes.len() as u32);
        prologues::join_norms(&mut steps, &outputs, &options.large_maps);
        steps = lower::lower(prologues::join_ranges(steps, &mut next), &outputs, next);
        prologues::join_roundings(&mut steps);
        storage::choose(&mut steps, &outputs, &options.large_maps);
        // A stable sort keeps every step behind its inputs: rates never fall along an edge.
        steps.sort_by_key(|s| s.rate);
        let weights = steps.iter().map(|s| ops::weight_bytes(&s.op)).sum();
        let all = steps.iter().map(|s| ops::streamable(&s.op)).sum();
        if options.recompute {
            let arena = |steps: &[Fused]| Layout::of(graph, steps).arena();
            steps = recompute::choose(steps, &outputs, arena);
        }
        let most = steps.iter().map(streamable).max().unwrap_or(0);
        let plan = Layout::of(graph, &steps).into_plan(graph, steps);
        Ok(Self { weights, streamable: Streamable { all, most }, ..plan })
    }

    /// Bytes of intermediates and scratch memory with `threads` threads: all that a session
    /// allocates beside its table.
    pub fn activation_bytes(&self, threads: usize) -> usize {
        (self.arena + self.thread * threads) * size_of::<f32>()
    }

    /// Bytes of a table of `entries` entries.
    pub fn table_bytes(&self, entries: usize) -> usize {
        self.entry * entries * size_of::<f32>()
    }

    /// Bytes of the weights that the plan reads.
    pub fn weight_bytes(&self) -> usize {
        self.weights
    }

    /// The graph's name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The steps of `rate`, in the order they are computed.
    pub(crate) fn of_rate(&self, rate: Rate) -> &[Step] {
        &self.steps[rate as usize]
    }

    /// All steps in the order they are computed: setup, then schedule, then run.
    pub fn steps(&self) -> Vec<StepInfo> {
        let of_rate = |rate| self.of_rate(rate).iter().map(move |step| StepInfo::new(step, rate));
        Rate::ALL.into_iter().flat_map(of_rate).collect()
    }

    /// Bytes of the integer weights of all steps, and of the step that has most: what a session that
    /// streams does not keep, and what it holds at a time.
    pub fn streamable_bytes(&self) -> Streamable {
        self.streamable
    }

    /// Multiply-accumulate operations of matrix products, convolutions and attention in one run.
    pub fn macs(&self) -> u64 {
        self.of_rate(Rate::Run).iter().map(ops::macs).sum()
    }
}

/// Weights that may be read as they are needed, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Streamable {
    /// Of all steps.
    pub all: usize,
    /// Of the step with most.
    pub most: usize,
}

/// Bytes of the integer weights of a step and its makers.
fn streamable(step: &Fused) -> usize {
    let makers = step.makers.iter().map(|(_, maker)| streamable(maker));
    ops::streamable(&step.op) + makers.sum::<usize>()
}

/// The last step that reads each value; beyond all steps for those that the caller reads, or that
/// one rate leaves to a faster one, which reads them again and again.
fn last_uses(graph: &Graph, steps: &[Fused]) -> HashMap<Value, usize> {
    let mut last = HashMap::new();
    let rates: HashMap<Value, Rate> = steps.iter().map(|s| (s.value, s.rate)).collect();
    for (at, step) in steps.iter().enumerate() {
        last.insert(step.value, at);
        for input in step.reads() {
            let left = rates[&input.value] < step.rate;
            last.insert(input.value, if left { steps.len() } else { at });
        }
    }
    for &output in &graph.outputs {
        last.insert(fuse::resolve(graph, output), steps.len());
    }
    last
}

/// Life spans on the way to offsets.
struct Layout {
    /// Of the arena, then of a table's entry.
    spans: [Vec<Span>; 2],
    /// Where every computed value lies.
    places: HashMap<Value, Place>,
    /// Index into the arena's spans of every step's scratch memory.
    scratch: Vec<usize>,
}

/// An offset in a span.
#[derive(Clone, Copy)]
struct Place {
    home: Home,
    span: usize,
    offset: usize,
}

impl Layout {
    fn of(graph: &Graph, steps: &[Fused]) -> Self {
        let mut layout =
            Self { spans: Default::default(), places: HashMap::new(), scratch: Vec::new() };
        let last = last_uses(graph, steps);
        for (at, step) in steps.iter().enumerate() {
            // Inputs are written before the first step of their rate.
            let first = match step.op {
                Op::Input { rate } => steps.partition_point(|s| s.rate < rate),
                _ => at,
            };
            let place = layout.in_place(step, at, &last).unwrap_or_else(|| {
                let span = Span { len: step.format.len(step.shape), first, last: at };
                layout.push(Home::of(step.rate), span)
            });
            layout.places.insert(step.value, place);
            let scratch = Span { len: ops::scratch(step), first: at, last: at };
            let scratch = layout.push(Home::Arena, scratch);
            layout.scratch.push(scratch.span);
        }
        for (value, until) in last {
            let Place { home, span, .. } = layout.places[&value];
            let span = &mut layout.spans[home as usize][span];
            span.last = span.last.max(until);
        }
        layout
    }

    /// Length of the arena in f32.
    fn arena(&self) -> usize {
        arena::place(&self.spans[Home::Arena as usize]).1
    }

    fn push(&mut self, home: Home, span: Span) -> Place {
        let spans = &mut self.spans[home as usize];
        spans.push(span);
        Place { home, span: spans.len() - 1, offset: 0 }
    }

    /// The place of an input that the step's output can take, since no one reads it later.
    fn in_place(&self, step: &Fused, at: usize, last: &HashMap<Value, usize>) -> Option<Place> {
        let Op::Conv { filter, spec, prologue, epilogue } = &step.op else { return None };
        let dies = |o: &Operand| filter.is_integer() && last.get(&o.value) == Some(&at);
        let place = |o: &Operand| self.places.get(&o.value).copied();
        let (x, summand) = (step.inputs.first()?, step.inputs.last()?);
        if epilogue.residual {
            // Its makers are ahead of the lines that the step writes.
            let alone = step.inputs.iter().filter(|o| o.value == summand.value).count() == 1;
            let alike = summand.format == step.format && summand.shape.len() == step.shape.len();
            if alone && alike && dies(summand) {
                return place(summand);
            }
        }
        if let Some(Prologue::Normalise { .. }) = prologue
            && *spec == ConvSpec::same(filter.kernel().0)
        {
            // A band's input is in the ring when its output is written, and is not read again.
            let alone = step.reads().iter().filter(|o| o.value == x.value).count() == 1;
            let alike = (x.format, x.shape) == (step.format, step.shape);
            return if alone && alike && dies(x) { place(x) } else { None };
        }
        if epilogue.residual {
            return None;
        }
        let (Format::Int8, Some(Prologue::Round)) = (x.format, prologue) else {
            return None;
        };
        // Rows of as many bytes, which the product copies band by band before it writes there.
        let rows = Rows { shape: x.shape };
        let alike =
            step.format.len(step.shape) * size_of::<f32>() == x.shape.rows() * rows.stride();
        let place = place(x)?;
        (alike && dies(x)).then(|| Place { offset: place.offset + rows.step_count(), ..place })
    }

    fn into_plan(self, graph: &Graph, steps: Vec<Fused>) -> Plan {
        let [(arena_offsets, arena), (table_offsets, entry)] =
            self.spans.each_ref().map(|spans| arena::place(spans));
        let slot = |o: &Operand| {
            let place = Place { home: Home::Arena, span: 0, offset: 0 };
            let Place { home, span, offset } = self.places.get(&o.value).copied().unwrap_or(place);
            let offsets = if home == Home::Arena { &arena_offsets } else { &table_offsets };
            Slot { home, offset: offsets[span] + offset, shape: o.shape, format: o.format }
        };
        let own = |value: Value, shape, format| slot(&Operand { value, shape, format });
        let mut plan = Plan {
            steps: Default::default(),
            inputs: HashMap::new(),
            outputs: HashMap::new(),
            arena,
            entry,
            thread: steps.iter().map(ops::thread_scratch).max().unwrap_or(0),
            name: graph.name,
            weights: 0,
            streamable: Streamable::default(),
        };
        for (at, step) in steps.into_iter().enumerate() {
            if let Op::Input { rate } = step.op {
                let out = own(step.value, step.shape, step.format);
                plan.inputs.insert(step.value, (rate, out));
                continue;
            }
            let scratch = self.scratch[at];
            let length = self.spans[Home::Arena as usize][scratch].len;
            let scratch = (arena_offsets[scratch], length);
            plan.steps[step.rate as usize].push(Step { scratch, ..placed(step, &slot) });
        }
        for &output in &graph.outputs {
            let slot = own(fuse::resolve(graph, output), graph.shape(output), Format::F32);
            plan.outputs.insert(output, slot);
        }
        plan
    }
}

/// A step and its makers with the slots that `slot` gives, without scratch memory.
fn placed(step: Fused, slot: &impl Fn(&Operand) -> Slot) -> Step {
    let Fused { value, shape, format, .. } = step;
    let makers = step.makers.into_iter().map(|(i, maker)| (i, placed(maker, slot))).collect();
    Step {
        op: step.op,
        inputs: step.inputs.iter().map(slot).collect(),
        out: slot(&Operand { value, shape, format }),
        scratch: (0, 0),
        makers,
    }
}
