//! Where the time goes: how long each step of a plan took, for engines that were asked to keep
//! count.
//!
//! [`Engine::start_profile`](crate::Engine::start_profile) opens a ledger. Sessions that are made
//! afterwards each keep a log in it, allocated with the session, and add the time of every step as
//! it ends. The ledger outlives its sessions, so that parts which take turns in memory are all
//! counted.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::activations::Format;
use crate::graph::{ConvSpec, Op, Prologue, Rate};
use crate::int_weights::{Encoding, Values};
use crate::layer::LayerSize;
use crate::ops;
use crate::plan::{Plan, Slot, Step};
use crate::weights::{Filter, Panels};

/// One step of a plan, in words and numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepInfo {
    /// What kind of operation it is, such as `conv 3x3 int8`.
    pub kind: String,
    /// The shape of its first input and of its output, `[n, h, w, c] -> [n, h, w, c]`; of
    /// attention also that of the keys.
    pub shapes: String,
    /// Whether it is computed once per setup, once per entry of a schedule's table or by every run.
    pub rate: Rate,
    /// Multiply-accumulate operations of one call.
    pub macs: u64,
    /// The arithmetic that they are in.
    pub arithmetic: Arithmetic,
    /// How many of them are computed: fewer than `macs` where a form with fewer products is used.
    pub products: u64,
    /// Bytes of weights that one call reads.
    pub weight_bytes: usize,
    /// Bytes of activations that one call reads and writes.
    pub activation_bytes: usize,
}

/// What a step multiplies, as far as its speed depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Arithmetic {
    /// Nothing that is worth counting: it goes over its values once or twice.
    Values,
    /// A layer in f32, whatever its weights are kept in.
    Float,
    /// A layer in int8.
    Int8,
    /// A layer whose int4 weights kernels may multiply as they are.
    Int4,
    /// Attention in f32.
    Attention,
    /// Attention in int8.
    AttentionInt8,
}

/// One step of a plan and the time it took.
#[derive(Clone, Debug, PartialEq)]
pub struct StepProfile {
    /// The step.
    pub step: StepInfo,
    /// How often it was computed.
    pub calls: u64,
    /// The time of all calls together.
    pub time: Duration,
}

/// The steps of one session, in the order they are computed: setup, then schedule, then run.
#[derive(Clone, Debug, PartialEq)]
pub struct SessionProfile {
    /// The name of the session's graph.
    pub name: String,
    /// Its steps.
    pub steps: Vec<StepProfile>,
}

/// The logs of all sessions of an engine.
#[derive(Debug, Default)]
pub(crate) struct Ledger(Mutex<Vec<Arc<Log>>>);

impl Ledger {
    /// A log for a session of `plan`.
    pub fn open(&self, plan: &Plan) -> Arc<Log> {
        let log = Arc::new(Log::new(plan));
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(log.clone());
        log
    }

    /// Forgets all times, and the sessions that are no more.
    pub fn restart(&self) {
        let mut logs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        logs.retain(|log| Arc::strong_count(log) > 1);
        logs.iter().for_each(|log| log.restart());
    }

    pub fn profiles(&self) -> Vec<SessionProfile> {
        let logs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        logs.iter().map(|log| log.profile()).collect()
    }
}

/// How often the step was computed, and the time of all calls.
type Entry = (u64, Duration);

/// The times of one session's steps.
#[derive(Debug)]
pub(crate) struct Log {
    name: &'static str,
    infos: Vec<StepInfo>,
    /// The first step of each rate.
    first: [usize; Rate::ALL.len()],
    entries: Mutex<Vec<Entry>>,
}

impl Log {
    fn new(plan: &Plan) -> Self {
        let infos = plan.steps();
        let entries = Mutex::new(vec![Entry::default(); infos.len()]);
        let first = Rate::ALL.map(|rate| infos.partition_point(|step| step.rate < rate));
        Self { name: plan.name(), infos, first, entries }
    }

    /// A stopwatch for one replay of the steps of `rate`.
    pub fn watch(&self, rate: Rate) -> Watch<'_> {
        Watch { log: self, next: self.first[rate as usize], last: Instant::now() }
    }

    fn restart(&self) {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).fill(Entry::default());
    }

    fn profile(&self) -> SessionProfile {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let steps = self
            .infos
            .iter()
            .zip(entries.iter())
            .map(|(step, &(calls, time))| StepProfile { step: step.clone(), calls, time });
        SessionProfile { name: self.name.to_owned(), steps: steps.collect() }
    }
}

/// Adds the time since the last lap to one step after the other.
pub(crate) struct Watch<'a> {
    log: &'a Log,
    next: usize,
    last: Instant,
}

impl Watch<'_> {
    /// The step at hand was computed `times` times.
    pub fn lap(&mut self, times: usize) {
        let now = Instant::now();
        let mut entries = self.log.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let (calls, time) = &mut entries[self.next];
        *calls += times as u64;
        *time += now - self.last;
        (self.next, self.last) = (self.next + 1, now);
    }
}

impl StepInfo {
    pub(crate) fn new(step: &Step, rate: Rate) -> Self {
        Self {
            kind: kind(step),
            shapes: shapes(step),
            rate,
            macs: ops::macs(step),
            arithmetic: arithmetic(step),
            products: products(step),
            weight_bytes: ops::weight_bytes(&step.op),
            activation_bytes: activation_bytes(step),
        }
    }
}

fn arithmetic(step: &Step) -> Arithmetic {
    match &step.op {
        Op::Conv { filter, spec, .. } => match &filter.panels {
            Panels::F32(_) | Panels::F16(_) => Arithmetic::Float,
            Panels::Int(panels) => match panels.encoding() {
                // Transformed taps are in int8.
                Encoding::Int4
                    if !LayerSize::of(filter, *spec, step.out.shape).has_fewer_products() =>
                {
                    Arithmetic::Int4
                }
                _ => Arithmetic::Int8,
            },
        },
        Op::Attention { .. } => Arithmetic::Attention,
        Op::IntAttention { .. } => Arithmetic::AttentionInt8,
        _ => Arithmetic::Values,
    }
}

fn products(step: &Step) -> u64 {
    let makers: u64 = step.makers.iter().map(|(_, maker)| products(maker)).sum();
    makers
        + match &step.op {
            Op::Conv { filter, spec, .. } => {
                LayerSize::of(filter, *spec, step.out.shape).products(filter.is_integer())
            }
            _ => ops::macs(step),
        }
}

/// Inputs and output; what a step makes for itself is never in memory.
fn activation_bytes(step: &Step) -> usize {
    let made = |i: &usize| step.makers.iter().any(|(made, _)| made == i);
    let read = step.inputs.iter().enumerate().filter(|(i, _)| !made(i)).map(|(_, slot)| slot.len());
    let makers: usize = step.makers.iter().flat_map(|(_, m)| &m.inputs).map(Slot::len).sum();
    (read.sum::<usize>() + makers + step.out.len()) * size_of::<f32>()
}

fn shapes(step: &Step) -> String {
    let first = step.inputs.first().map(|x| x.shape.to_string()).unwrap_or_default();
    let keys = match step.op {
        Op::Attention { .. } | Op::IntAttention { .. } => format!(" over {}", step.inputs[1].shape),
        _ => String::new(),
    };
    format!("{first}{keys} -> {}", step.out.shape)
}

fn kind(step: &Step) -> String {
    let name = match &step.op {
        Op::Conv { filter, spec, prologue, .. } => {
            let norm = match prologue {
                Some(Prologue::Normalise { .. }) => "norm + ",
                _ => "",
            };
            return format!("{norm}{}", product(filter, *spec, &step.out));
        }
        Op::Input { .. } => "input",
        Op::GroupNorm { .. } => "group norm",
        Op::GroupScales { .. } => "group norm statistics",
        Op::RangeScales => "range",
        Op::LayerNorm { .. } => "layer norm",
        Op::Attention { .. } => "attention",
        Op::PackQueries => "pack queries",
        Op::PackKeys => "pack keys",
        Op::IntAttention { .. } => "attention int8",
        Op::Pointwise(_) => "pointwise",
        Op::Geglu => "geglu",
        Op::Add => "add",
        Op::AddVector => "add vector",
        Op::ScaleShift => "scale and shift",
        Op::Concat => "concat",
        Op::ConcatTokens => "concat tokens",
        Op::MeanTokens => "mean",
        Op::Upsample => "upsample",
        Op::AvgPool => "average pool",
        Op::NearestCode { .. } => "nearest code",
        Op::Quantise => "quantise",
        Op::View => "view",
    };
    match (&step.op, step.out.format) {
        (Op::Quantise, _) => name.to_owned(),
        (_, Format::Int8) => format!("{name} + quantise"),
        _ => name.to_owned(),
    }
}

/// A convolution or linear layer, such as `conv 3x3 /2 int8` for stride 2 or `conv 3x3 x2 f16`
/// behind a doubling.
fn product(filter: &Filter, spec: ConvSpec, out: &Slot) -> String {
    let (kh, kw) = filter.kernel();
    let layer = match (kh, kw) {
        (1, 1) if out.shape.h == 1 => "linear".to_owned(),
        _ => format!("conv {kh}x{kw}"),
    };
    let moves = match (spec.upsample, spec.stride) {
        (true, _) => " x2".to_owned(),
        (false, 1) => String::new(),
        (false, stride) => format!(" /{stride}"),
    };
    let weights = match &filter.panels {
        Panels::F32(_) => "f32",
        Panels::F16(_) => "f16",
        Panels::Int(panels) => match panels.values {
            Values::Int8(_) => "int8",
            Values::Int4 { .. } => "int4",
        },
    };
    format!("{layer}{moves} {weights}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Encoding, Engine, Graph, Session, Shape, Storage, Value};

    /// Two products, of which one is computed once, and their inputs.
    fn graph() -> (Graph, [Value; 2]) {
        let filter = |storage| Arc::new(Filter::random([32, 32, 1, 1], storage, true, 1));
        let mut g = Graph::named("pair");
        let once = g.input(Shape::tokens(1, 4, 32), Rate::Setup);
        let often = g.input(Shape::tokens(1, 4, 32), Rate::Run);
        let a = g.linear(once, &filter(Storage::F16));
        let b = g.linear(often, &filter(Storage::Int(Encoding::Int8)));
        let c = g.concat(a, b);
        g.output(c);
        (g, [once, often])
    }

    /// Runs the pair `runs` times and gives its output.
    fn run(engine: &mut Engine, runs: usize) -> Vec<f32> {
        let (g, [once, often]) = graph();
        let mut session = Session::new(engine, Plan::new(&g).unwrap());
        let data = [0.25; 4 * 32];
        session.setup(engine, &[(once, &data)]);
        (0..runs).for_each(|_| session.run(engine, &[(often, &data)]));
        session.output(g.outputs[0]).to_vec()
    }

    #[test]
    fn an_engine_counts_every_step_once_it_is_asked_to_and_results_stay_the_same() {
        let mut engine = Engine::new(Some(1)).unwrap();
        let quiet = run(&mut engine, 1);
        assert_eq!(engine.profile(), Vec::new());
        engine.start_profile();
        assert_eq!(run(&mut engine, 3), quiet);
        let profile = engine.profile();
        assert_eq!(profile.len(), 1);
        let counted: Vec<_> =
            profile[0].steps.iter().map(|s| (s.step.kind.as_str(), s.calls)).collect();
        let expected = [("linear f16", 1), ("linear int8", 3), ("concat", 3)];
        assert_eq!((profile[0].name.as_str(), &counted[..]), ("pair", &expected[..]));
        assert!(profile[0].steps.iter().all(|s| s.time > Duration::ZERO));
        // The session is no more: a new start forgets it.
        engine.start_profile();
        assert_eq!(engine.profile(), Vec::new());
    }

    #[test]
    fn a_step_tells_its_shapes_and_its_work() {
        let steps = Plan::new(&graph().0).unwrap().steps();
        assert_eq!(steps[1].shapes, "[1, 1, 4, 32] -> [1, 1, 4, 32]");
        assert_eq!((steps[1].macs, steps[2].macs), (4 * 32 * 32, 0));
        assert_eq!((steps[0].rate, steps[2].rate), (Rate::Setup, Rate::Run));
    }
}
