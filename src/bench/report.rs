//! What a benchmark finds, as programs read it.

use pochade_engine::{PeakSource, SessionProfile};
use serde::Serialize;

/// Everything that was measured.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// The machine's limits.
    pub machine: Machine,
    /// Layers and networks, in the order they were run.
    pub results: Vec<Outcome>,
}

/// What the machine can do at most, on the threads that were used.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Machine {
    /// The instruction set in use.
    pub isa: String,
    /// Threads.
    pub threads: usize,
    /// Billions of multiply-adds per second in int8.
    pub int8_gmac_per_s: f64,
    /// `registers` where a loop of multiply-adds was timed, `cached product` where the
    /// instruction set has no such loop.
    pub int8_peak_by: &'static str,
    /// Billions of multiply-adds per second in f32.
    pub f32_gmac_per_s: f64,
    /// As `int8_peak_by`.
    pub f32_peak_by: &'static str,
    /// Billions of bytes per second read from memory in order.
    pub read_gb_per_s: f64,
    /// Size of the buffer that was read; caches larger than this flatter the figure.
    pub read_buffer_bytes: usize,
}

/// One layer or network.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Outcome {
    /// What it is, such as `sd15 unet 512`.
    pub name: String,
    /// The fastest run.
    pub seconds: f64,
    /// The median run.
    pub median_seconds: f64,
    /// How many runs were timed.
    pub runs: usize,
    /// What is computed once per prompt, and is not part of a run: the context's keys and values.
    pub setup_seconds: f64,
    /// What is computed once per timestep of a schedule, and is not part of a run either: the
    /// embedded time.
    pub schedule_seconds: f64,
    /// Billions of multiply-adds in products, convolutions and attention of one run.
    pub gmac: f64,
    /// Of the fastest run.
    pub gmac_per_s: f64,
    /// Which of the machine's peaks `percent_of_peak` refers to: `int8` or `f32`.
    pub peak: &'static str,
    /// Share of that peak; none for work that multiplies nothing.
    pub percent_of_peak: Option<f64>,
    /// Memory for intermediates: the arena and every thread's scratch.
    pub arena_bytes: usize,
    /// Weights as they are kept in memory.
    pub weight_bytes: usize,
    /// The process's peak resident memory while the network was made and run; none where the system
    /// does not tell.
    pub peak_rss_bytes: Option<u64>,
    /// The time of every step, where it was asked for.
    #[serde(skip)]
    pub profile: Option<SessionProfile>,
}

/// How a peak was measured, in a word.
pub(super) fn measured_by(source: PeakSource) -> &'static str {
    match source {
        PeakSource::Registers => "registers",
        PeakSource::CachedProduct => "cached product",
    }
}

impl Machine {
    /// The peak that `gmac_per_s` is compared with.
    pub(super) fn percent(&self, peak: &str, gmac_per_s: f64) -> Option<f64> {
        let limit = if peak == "int8" { self.int8_gmac_per_s } else { self.f32_gmac_per_s };
        (gmac_per_s > 0.0 && limit > 0.0).then(|| 100.0 * gmac_per_s / limit)
    }
}
