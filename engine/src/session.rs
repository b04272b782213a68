//! Running a plan.

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::aligned::Aligned;
use crate::graph::{Rate, Value};
use crate::isa::{Isa, IsaError};
use crate::kernels::Kernels;
use crate::mapped::MappedBytes;
use crate::ops::{self, Context};
use crate::plan::{Home, Plan, Slot, Step};
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

/// A plan and the memory it runs in. Nothing is allocated after [`Session::new`] and
/// [`Session::reserve_table`].
pub struct Session {
    plan: Plan,
    arena: Aligned<f32>,
    /// What [`Rate::Schedule`] computes, entry by entry.
    table: Aligned<f32>,
    entries: usize,
    /// The entry that was read last.
    entry: usize,
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
        Self {
            arena: Aligned::zeros(plan.arena),
            table: Aligned::zeros(0),
            entries: 0,
            entry: 0,
            scratch,
            plan,
            log,
            streams: false,
        }
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

    /// Takes the inputs of [`Rate::Setup`] and computes all that depends on them alone. Entries of
    /// the table stay as they are, even where they were computed from other inputs of this rate.
    ///
    /// # Panics
    /// When `inputs` are not exactly those that the graph declared, in their sizes: a mistake of
    /// the calling code.
    pub fn setup(&mut self, engine: &mut Engine, inputs: &[(Value, &[f32])]) {
        self.replay(engine, Rate::Setup, self.entry..self.entry + 1, inputs);
    }

    /// Makes room for a table of `entries` entries. A table of as many stays as it is.
    pub fn reserve_table(&mut self, entries: usize) {
        if self.entries != entries {
            self.table = Aligned::zeros(0);
            self.table = Aligned::zeros(entries * self.plan.entry);
            self.entries = entries;
        }
    }

    /// Takes the inputs of [`Rate::Schedule`], each for several entries one behind the other, and
    /// computes the entries of the table from `first` on, with what the last setup left. The
    /// weights of each step are read once for all entries.
    ///
    /// # Panics
    /// As [`Session::setup`], and when the table has no room for the entries.
    pub fn tabulate(&mut self, engine: &mut Engine, first: usize, inputs: &[(Value, &[f32])]) {
        let count = inputs.first().map_or(0, |(value, data)| {
            let (_, slot) = self.plan.inputs[value];
            data.len() / slot.shape.len()
        });
        let (entries, end) = (self.entries, first + count);
        assert!(end <= entries, "entry {end} of a table of {entries}");
        self.replay(engine, Rate::Schedule, first..end, inputs);
    }

    /// Takes the inputs of [`Rate::Run`] and computes the rest, for a graph without a schedule.
    ///
    /// # Panics
    /// As [`Session::setup`].
    pub fn run(&mut self, engine: &mut Engine, inputs: &[(Value, &[f32])]) {
        self.run_entry(engine, 0, inputs);
    }

    /// As [`Session::run`], with what entry `entry` of the table holds.
    ///
    /// # Panics
    /// As [`Session::setup`], and when there is no such entry.
    pub fn run_entry(&mut self, engine: &mut Engine, entry: usize, inputs: &[(Value, &[f32])]) {
        let entries = self.entries;
        let there = entry < entries || self.plan.entry == 0;
        assert!(there, "entry {entry} of a table of {entries}");
        self.entry = entry;
        self.replay(engine, Rate::Run, entry..entry + 1, inputs);
    }

    /// What the last run left in `value`, which the graph declared as an output.
    ///
    /// # Panics
    /// When it did not.
    pub fn output(&self, value: Value) -> &[f32] {
        let Slot { home, offset, shape, .. } = self.plan.outputs[&value];
        let home = match home {
            Home::Arena => &self.arena[..],
            Home::Table => &self.table[self.entry * self.plan.entry..],
        };
        &home[offset..offset + shape.len()]
    }

    /// Writes the inputs of `rate`, each for all `entries` one behind the other, to their places.
    fn feed(&mut self, rate: Rate, entries: Range<usize>, inputs: &[(Value, &[f32])]) {
        let declared = self.plan.inputs.values().filter(|(r, _)| *r == rate).count();
        assert_eq!(declared, inputs.len(), "the graph declares {declared} inputs of {rate:?}");
        for (value, data) in inputs {
            let (declared, Slot { home, offset, shape, .. }) = self.plan.inputs[value];
            assert_eq!(declared, rate, "an input was given to the wrong call");
            assert_eq!(entries.len() * shape.len(), data.len(), "an input of shape {shape}");
            for (entry, data) in entries.clone().zip(data.chunks(shape.len())) {
                let home = match home {
                    Home::Arena => &mut self.arena[..],
                    Home::Table => &mut self.table[entry * self.plan.entry..],
                };
                home[offset..offset + data.len()].copy_from_slice(data);
            }
        }
    }

    /// Computes the steps of `rate`, each for all `entries` of the table.
    fn replay(
        &mut self,
        engine: &mut Engine,
        rate: Rate,
        entries: Range<usize>,
        inputs: &[(Value, &[f32])],
    ) {
        self.feed(rate, entries.clone(), inputs);
        let steps = self.plan.of_rate(rate);
        let (arena, table) = (self.arena.as_mut_ptr(), self.table.as_mut_ptr());
        let mut context =
            Context { kernels: engine.kernels, pool: &mut engine.pool, scratch: &self.scratch };
        let mut watch = self.log.as_ref().map(|log| log.watch(rate));
        for (at, step) in steps.iter().enumerate() {
            if self.streams {
                let ahead = steps.iter().skip(at + 1).find(|next| ops::has_mapped(next));
                ahead.into_iter().for_each(|next| ops::each_mapped(next, MappedBytes::will_need));
            }
            for entry in entries.clone() {
                let homes = Homes { arena, entry: table.wrapping_add(entry * self.plan.entry) };
                // SAFETY: the plan placed all slots of the step inside the arena and the entry,
                // which is one of the table's if the step has slots there, and apart from one
                // another, but for a summand whose place the output takes.
                let operands = unsafe { operands(homes, step) };
                ops::execute(&step.op, operands, &mut context);
            }
            if self.streams {
                ops::each_mapped(step, MappedBytes::release);
            }
            if let Some(watch) = &mut watch {
                watch.lap(entries.len());
            }
        }
        // The caller's thread; those of the pool are its own.
        engine.kernels.release();
    }
}

/// The memory that a step works in: the arena and one entry of the table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Homes {
    arena: *mut f32,
    entry: *mut f32,
}

impl Homes {
    fn place(self, slot: &Slot) -> *mut f32 {
        let home = match slot.home {
            Home::Arena => self.arena,
            Home::Table => self.entry,
        };
        home.wrapping_add(slot.offset)
    }
}

/// The slices of one step.
///
/// # Safety
/// All slots lie within their homes; output and scratch memory overlap nothing else of the step, but
/// that an input may lie where the output does.
unsafe fn operands<'a>(homes: Homes, step: &'a Step) -> ops::Operands<'a> {
    // SAFETY: the caller's contract.
    let inputs = unsafe { inputs(homes, step, step.out) };
    // SAFETY: the caller's contract.
    let (out, scratch) = unsafe {
        (
            std::slice::from_raw_parts_mut(homes.place(&step.out), step.out.len()),
            std::slice::from_raw_parts_mut(homes.arena.add(step.scratch.0), step.scratch.1),
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
/// All slots lie within their homes, which nothing else uses as long as the inputs are there.
pub(crate) unsafe fn inputs<'a>(
    homes: Homes,
    step: &'a Step,
    out: Slot,
) -> [ops::Operand<'a>; ops::MAX_INPUTS] {
    let mut inputs = [ops::Operand::EMPTY; ops::MAX_INPUTS];
    for (i, slot) in step.inputs.iter().enumerate() {
        let operand = &mut inputs[i];
        (operand.shape, operand.format) = (slot.shape, slot.format);
        if let Some((_, maker)) = step.makers.iter().find(|(input, _)| *input == i) {
            // SAFETY: the caller's contract.
            operand.maker = Some(unsafe { ops::Maker::new(maker, homes, out) });
            continue;
        }
        operand.start = ops::SharedMut(homes.place(slot));
        let len = own_part(slot, &out);
        // SAFETY: the caller's contract; what the output takes is not part of the slice.
        operand.data = unsafe { std::slice::from_raw_parts(operand.start.0, len) };
    }
    inputs
}

/// Length of what lies before the output where that takes an input's place, else of all of the input.
fn own_part(slot: &Slot, out: &Slot) -> usize {
    match out.offset.checked_sub(slot.offset) {
        Some(before) if slot.home == out.home && before < slot.len() => before,
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
