//! The benchmark: the machine's own peaks, then layers and whole networks of a known architecture
//! beside them. Weights are random and made in memory, so nothing has to be downloaded.

mod arch;
mod layers;
mod network;
mod report;
mod resident;
mod timing;

use std::fmt;
use std::ops::ControlFlow;
use std::time::Duration;

use pochade_engine::{Engine, GraphError, IsaError};

pub use arch::{Arch, Part};
pub use report::{Machine, Outcome, Report};

use crate::files::{FileError, FilterEncoding};
use crate::nets::ConfigError;
use network::Wanted;
use timing::Stopwatch;

/// What to measure.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Whose networks.
    pub arch: Arch,
    /// Which of them.
    pub parts: Vec<Part>,
    /// Width and height of the picture.
    pub size: usize,
    /// How filters are kept.
    pub weights: FilterEncoding,
    /// Threads; one per core if none is given.
    pub threads: Option<usize>,
    /// Pictures in one run.
    pub batch: usize,
    /// How long each network is repeated; at least one run is timed, behind one that is not.
    pub patience: Duration,
    /// Whether to time single layers first.
    pub layers: bool,
    /// Whether to note the time of every step.
    pub profile: bool,
}

/// What becomes known while a benchmark runs.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// The machine's limits.
    Machine(&'a Machine),
    /// One more result.
    Outcome(&'a Outcome),
}

/// Why a benchmark stopped.
#[derive(Debug)]
pub enum BenchError {
    /// The instruction set that the environment asks for is not there.
    Isa(IsaError),
    /// A network's config is not supported.
    Config(ConfigError),
    /// A network could not be built.
    File(FileError),
    /// A network could not be planned.
    Graph(GraphError),
    /// The caller said break.
    Interrupted,
}

impl fmt::Display for BenchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Isa(error) => error.fmt(f),
            Self::Config(error) => error.fmt(f),
            Self::File(error) => error.fmt(f),
            Self::Graph(error) => write!(f, "the network cannot be planned: {error}"),
            Self::Interrupted => f.write_str("interrupted"),
        }
    }
}

impl std::error::Error for BenchError {}

impl From<IsaError> for BenchError {
    fn from(error: IsaError) -> Self {
        Self::Isa(error)
    }
}

impl From<ConfigError> for BenchError {
    fn from(error: ConfigError) -> Self {
        Self::Config(error)
    }
}

impl From<FileError> for BenchError {
    fn from(error: FileError) -> Self {
        Self::File(error)
    }
}

impl From<GraphError> for BenchError {
    fn from(error: GraphError) -> Self {
        Self::Graph(error)
    }
}

/// Told what becomes known; breaking stops the benchmark.
pub type Observer<'a> = dyn FnMut(Event<'_>) -> ControlFlow<()> + 'a;

/// Measures what `settings` ask for.
///
/// # Errors
/// When the instruction set is not there, or the observer says break.
pub fn run(settings: &Settings, observer: &mut Observer<'_>) -> Result<Report, BenchError> {
    let mut engine = Engine::new(settings.threads)?;
    let machine = measure(&mut engine)?;
    tell(observer, Event::Machine(&machine))?;
    let mut report = Report { machine, results: Vec::new() };
    if settings.layers {
        layers::run(settings, &mut engine, &mut report, observer)?;
    }
    networks(settings, &mut engine, &mut report, observer)?;
    Ok(report)
}

/// The machine's peaks on the engine's threads.
fn measure(engine: &mut Engine) -> Result<Machine, BenchError> {
    let (int8, f32) = (engine.int8_peak()?, engine.f32_peak()?);
    let buffer = read_buffer();
    Ok(Machine {
        isa: engine.isa().to_string(),
        threads: engine.threads(),
        int8_gmac_per_s: int8.macs_per_second / 1e9,
        int8_peak_by: report::measured_by(int8.source),
        f32_gmac_per_s: f32.macs_per_second / 1e9,
        f32_peak_by: report::measured_by(f32.source),
        read_gb_per_s: engine.read_bandwidth(buffer) / 1e9,
        read_buffer_bytes: buffer,
    })
}

/// Bytes of the buffer that is read: larger than most caches, a fraction of what is free.
fn read_buffer() -> usize {
    const MOST: u64 = 1 << 30;
    const LEAST: u64 = 16 << 20;
    let fraction = resident::available().unwrap_or(MOST) / 4;
    fraction.clamp(LEAST, MOST) as usize
}

fn networks(
    settings: &Settings,
    engine: &mut Engine,
    report: &mut Report,
    observer: &mut Observer<'_>,
) -> Result<(), BenchError> {
    let Settings { arch, size, batch, weights, .. } = *settings;
    let networks = arch.networks()?;
    let wanted = Wanted { arch, size, batch, weights };
    for &part in &settings.parts {
        for index in 0..network::count(&networks, part) {
            let peak_is_known = resident::reset_peak();
            let Some(subject) = network::build(wanted, &networks, (part, index))? else { continue };
            let watch = Stopwatch { patience: settings.patience, profile: settings.profile };
            let mut outcome = watch.time(subject, engine)?;
            outcome.peak = if is_integer(weights) { "int8" } else { "f32" };
            outcome.percent_of_peak = report.machine.percent(outcome.peak, outcome.gmac_per_s);
            outcome.peak_rss_bytes = resident::peak().filter(|_| peak_is_known);
            tell(observer, Event::Outcome(&outcome))?;
            report.results.push(outcome);
        }
    }
    Ok(())
}

fn is_integer(weights: FilterEncoding) -> bool {
    matches!(weights, FilterEncoding::Int8 | FilterEncoding::Int4)
}

fn tell(observer: &mut Observer<'_>, event: Event<'_>) -> Result<(), BenchError> {
    match observer(event) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(BenchError::Interrupted),
    }
}
