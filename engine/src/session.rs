//! Running a plan.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::aligned::Aligned;
use crate::graph::{Rate, Value};
use crate::isa::{Isa, IsaError};
use crate::kernels::Kernels;
use crate::mapped::MappedBytes;
use crate::ops::{self, Context};
use crate::plan::{Plan, Slot, Step};
use crate::pool::Pool;
use crate::profile::{Ledger, Log, SessionProfile};

/// A machine to run plans on: an instruction set and threads.
#[derive(Debug)]
pub struct Engine {
    isa: Isa,
    kernels: &'static Kernels,
    pool: Pool,
    ledger: Option<Ledger>,
}

impl Engine {
    /// Chooses the instruction set (see [`Isa::choose`]) and starts `threads` threads, or one per
    /// core.
    ///
    /// # Errors
    /// When the environment asks for an instruction set that is unknown or not there.
    pub fn new(threads: Option<usize>) -> Result<Self, IsaError> {
        Self::with_isa(Isa::choose()?, threads)
    }

    /// As [`Engine::new`] with a given instruction set.
    ///
    /// # Errors
    /// When this machine does not have it.
    pub fn with_isa(isa: Isa, threads: Option<usize>) -> Result<Self, IsaError> {
        let kernels = isa.kernels().ok_or(IsaError::Missing(isa))?;
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        let pool = Pool::new(threads.unwrap_or_else(cores));
        log::info!("{isa} kernels on {} threads", pool.threads());
        Ok(Self { isa, kernels, pool, ledger: None })
    }

    /// The instruction set in use.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// Number of threads.
    pub fn threads(&self) -> usize {
        self.pool.threads()
    }

    pub(crate) fn pool_mut(&mut self) -> &mut Pool {
        &mut self.pool
    }

    /// From now on, new sessions note the time of their steps. Those that do so already start
    /// afresh.
    pub fn start_profile(&mut self) {
        self.ledger.get_or_insert_default().restart();
    }

    /// New sessions no longer note anything, and what was noted is forgotten.
    pub fn stop_profile(&mut self) {
        self.ledger = None;
    }

    /// What the sessions made since [`Engine::start_profile`] have noted, in the order in which they
    /// were made.
    pub fn profile(&self) -> Vec<SessionProfile> {
        self.ledger.as_ref().map(Ledger::profiles).unwrap_or_default()
    }
}

/// A plan and the memory it runs in. Nothing is allocated after [`Session::new`].
pub struct Session {
    plan: Plan,
    arena: Aligned<f32>,
    scratch: Vec<Mutex<Aligned<f32>>>,
    log: Option<Arc<Log>>,
    /// Whether weights that lie in a file are given back after each step.
    streams: bool,
}

impl Session {
    /// Allocates the arena, and scratch memory for the engine's threads.
    pub fn new(engine: &Engine, plan: Plan) -> Self {
        let scratch =
            (0..engine.threads()).map(|_| Mutex::new(Aligned::zeros(plan.thread))).collect();
        let log = engine.ledger.as_ref().map(|ledger| ledger.open(&plan));
        Self { arena: Aligned::zeros(plan.arena), scratch, plan, log, streams: false }
    }

    /// Makes every step give the memory of its weights back that lie in a mapped file, while the
    /// system reads the next step's ahead. A run then holds the weights of one step at a time.
    pub fn stream(mut self, streams: bool) -> Self {
        self.streams = streams;
        self
    }

    /// The plan.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Takes the inputs of [`Rate::Setup`] and computes all that depends on them alone.
    ///
    /// # Panics
    /// When `inputs` are not exactly those that the graph declared, in their sizes: a mistake of
    /// the calling code.
    pub fn setup(&mut self, engine: &mut Engine, inputs: &[(Value, &[f32])]) {
        self.feed(Rate::Setup, inputs);
        self.replay(engine, Rate::Setup);
    }

    /// Takes the inputs of [`Rate::Run`] and computes the rest.
    ///
    /// # Panics
    /// As [`Session::setup`].
    pub fn run(&mut self, engine: &mut Engine, inputs: &[(Value, &[f32])]) {
        self.feed(Rate::Run, inputs);
        self.replay(engine, Rate::Run);
    }

    /// What the last run left in `value`, which the graph declared as an output.
    ///
    /// # Panics
    /// When it did not.
    pub fn output(&self, value: Value) -> &[f32] {
        let slot = self.plan.outputs[&value];
        &self.arena[slot.offset..slot.offset + slot.shape.len()]
    }

    fn feed(&mut self, rate: Rate, inputs: &[(Value, &[f32])]) {
        let declared = self.plan.inputs.values().filter(|(r, _)| *r == rate).count();
        assert_eq!(declared, inputs.len(), "the graph declares {declared} inputs of {rate:?}");
        for (value, data) in inputs {
            let (declared, Slot { offset, shape, .. }) = self.plan.inputs[value];
            assert_eq!(declared, rate, "an input was given to the wrong call");
            assert_eq!(shape.len(), data.len(), "an input of shape {shape}");
            self.arena[offset..offset + data.len()].copy_from_slice(data);
        }
    }

    fn replay(&mut self, engine: &mut Engine, rate: Rate) {
        let steps = if rate == Rate::Setup { &self.plan.setup } else { &self.plan.run };
        let arena = self.arena.as_mut_ptr();
        let mut context =
            Context { kernels: engine.kernels, pool: &mut engine.pool, scratch: &self.scratch };
        let mut watch = self.log.as_ref().map(|log| log.watch(rate));
        for (at, step) in steps.iter().enumerate() {
            if self.streams {
                let ahead = steps.iter().skip(at + 1).find(|next| ops::has_mapped(next));
                ahead.into_iter().for_each(|next| ops::each_mapped(next, MappedBytes::will_need));
            }
            // SAFETY: the plan placed all slots of the step inside the arena and apart from one
            // another, but for a summand whose place the output takes.
            let operands = unsafe { operands(arena, step) };
            ops::execute(&step.op, operands, &mut context);
            if self.streams {
                ops::each_mapped(step, MappedBytes::release);
            }
            if let Some(watch) = &mut watch {
                watch.lap();
            }
        }
    }
}

/// The slices of one step.
///
/// # Safety
/// All slots lie within the arena; output and scratch memory overlap nothing else of the step, but
/// that an input may lie where the output does.
unsafe fn operands<'a>(arena: *mut f32, step: &'a Step) -> ops::Operands<'a> {
    // SAFETY: the caller's contract.
    let inputs = unsafe { inputs(arena, step, step.out) };
    // SAFETY: the caller's contract.
    let (out, scratch) = unsafe {
        (
            std::slice::from_raw_parts_mut(arena.add(step.out.offset), step.out.len()),
            std::slice::from_raw_parts_mut(arena.add(step.scratch.0), step.scratch.1),
        )
    };
    ops::Operands {
        inputs,
        count: step.inputs.len(),
        out,
        shape: step.out.shape,
        format: step.out.format,
        scratch,
    }
}

/// The inputs of a step, or of a maker of a step that writes to `out`.
///
/// # Safety
/// All slots lie within the arena, which nothing else uses as long as the inputs are there.
pub(crate) unsafe fn inputs<'a>(
    arena: *mut f32,
    step: &'a Step,
    out: Slot,
) -> [ops::Operand<'a>; ops::MAX_INPUTS] {
    let mut inputs = [ops::Operand::EMPTY; ops::MAX_INPUTS];
    for (i, slot) in step.inputs.iter().enumerate() {
        let operand = &mut inputs[i];
        (operand.shape, operand.format) = (slot.shape, slot.format);
        if let Some((_, maker)) = step.makers.iter().find(|(input, _)| *input == i) {
            // SAFETY: the caller's contract.
            operand.maker = Some(unsafe { ops::Maker::new(maker, arena, out) });
            continue;
        }
        // SAFETY: the caller's contract.
        operand.start = ops::SharedMut(unsafe { arena.add(slot.offset) });
        let len = own_part(slot, &out);
        // SAFETY: the caller's contract; what the output takes is not part of the slice.
        operand.data = unsafe { std::slice::from_raw_parts(operand.start.0, len) };
    }
    inputs
}

/// Length of what lies before the output where that takes an input's place, else of all of the input.
fn own_part(slot: &Slot, out: &Slot) -> usize {
    match out.offset.checked_sub(slot.offset) {
        Some(before) if before < slot.len() => before,
        _ => slot.len(),
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("arena", &self.arena.len()).finish_non_exhaustive()
    }
}

/// The scratch memory of one thread.
pub(crate) fn scratch_of(
    scratch: &[Mutex<Aligned<f32>>],
    worker: usize,
) -> MutexGuard<'_, Aligned<f32>> {
    scratch[worker].lock().unwrap_or_else(PoisonError::into_inner)
}
