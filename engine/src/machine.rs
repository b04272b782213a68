//! What the machine can do at most: multiply-adds per second in int8 and f32, and bytes read per
//! second, on the threads of an engine. Measured, since no table knows a board's clock and cooling.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::graph::{Graph, GraphError, Rate};
use crate::int_weights::Encoding;
use crate::kernels::peak::{self, PeakLoop};
use crate::plan::Plan;
use crate::pool::Pool;
use crate::random::Storage;
use crate::session::{Engine, Session};
use crate::tensor::Shape;
use crate::weights::Filter;

/// A limit of the arithmetic units.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Peak {
    /// Multiply-adds per second of all threads.
    pub macs_per_second: f64,
    /// How it was measured.
    pub source: PeakSource,
}

/// How a peak was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeakSource {
    /// By a loop that touches registers alone.
    Registers,
    /// By a matrix product that lives in the caches, for instruction sets without a loop of their
    /// own.
    CachedProduct,
}

/// Each measurement is the best of many within this time.
const PATIENCE: Duration = Duration::from_millis(300);
/// A run of a loop takes at least so long: far longer than handing out work, and short enough that
/// some runs are not interrupted on a busy machine.
const RUN: Duration = Duration::from_millis(1);
/// Bytes that each thread reads in one run.
const WINDOW: usize = 8 << 20;

impl Engine {
    /// The most multiply-adds per second in f32.
    ///
    /// # Errors
    /// None that a machine can cause; the graph of the cached product is sound.
    pub fn f32_peak(&mut self) -> Result<Peak, GraphError> {
        let found = peak::f32_loop(self.isa());
        self.peak(found, Storage::F32)
    }

    /// The most multiply-adds per second in int8, with exact sums.
    ///
    /// # Errors
    /// As [`Engine::f32_peak`].
    pub fn int8_peak(&mut self) -> Result<Peak, GraphError> {
        let found = peak::int8_loop(self.isa());
        self.peak(found, Storage::Int(Encoding::Int8))
    }

    /// Bytes per second that all threads together read, in order, from a buffer of `bytes`, which
    /// should be larger than the caches.
    pub fn read_bandwidth(&mut self, bytes: usize) -> f64 {
        const LEN: usize = WINDOW / size_of::<u64>();
        let threads = self.threads();
        let runs = (bytes / WINDOW / threads).max(1);
        // Written once, so that every page is there.
        let buffer: Vec<u64> = (0..(runs * threads * LEN) as u64).collect();
        let windows: Vec<&[u64]> = buffer.chunks_exact(LEN).collect();
        let mut turns = (0..runs).cycle();
        let seconds = best(|| {
            let first = turns.next().unwrap_or(0) * threads;
            self.pool_mut().run(threads, &|_, thread| {
                black_box(sum(windows[first + thread]));
            });
        });
        (threads * WINDOW) as f64 / seconds
    }

    fn peak(&mut self, found: Option<PeakLoop>, storage: Storage) -> Result<Peak, GraphError> {
        let (macs_per_second, source) = match found {
            Some(found) => (registers(self.pool_mut(), found), PeakSource::Registers),
            None => (cached_product(self, storage)?, PeakSource::CachedProduct),
        };
        Ok(Peak { macs_per_second, source })
    }
}

fn registers(pool: &mut Pool, found: PeakLoop) -> f64 {
    let threads = pool.threads();
    let time = |rounds| {
        let start = Instant::now();
        found.run(rounds);
        start.elapsed()
    };
    // An interruption makes one run long, hardly three.
    let long_enough = |rounds: &u64| (0..3).all(|_| time(*rounds) >= RUN);
    let rounds = (10..32).map(|power| 1 << power).find(long_enough).unwrap_or(1 << 32);
    let seconds = best(|| pool.run(threads, &|_, _| found.run(rounds)));
    (threads as u64 * rounds * found.macs) as f64 / seconds
}

/// A product whose operands stay in the caches nearest to the core.
fn cached_product(engine: &mut Engine, storage: Storage) -> Result<f64, GraphError> {
    const ROWS: usize = 96;
    const DEPTH: usize = 512;
    let filter = Arc::new(Filter::random([48, DEPTH, 1, 1], storage, false, 0));
    let mut graph = Graph::named("cached product");
    let input = graph.input(Shape::tokens(1, ROWS * engine.threads(), DEPTH), Rate::Run);
    let output = graph.linear(input, &filter);
    graph.output(output);
    let plan = Plan::new(&graph)?;
    let macs = plan.macs() as f64;
    let data = vec![0.5; graph.shape(input).len()];
    let mut session = Session::new(engine, plan);
    Ok(macs / best(|| session.run(engine, &[(input, &data)])))
}

/// Seconds of the fastest of several runs.
fn best(mut run: impl FnMut()) -> f64 {
    let (start, mut best) = (Instant::now(), f64::INFINITY);
    while best.is_infinite() || start.elapsed() < PATIENCE {
        let one = Instant::now();
        run();
        best = best.min(one.elapsed().as_secs_f64());
    }
    best
}

/// Reads everything once; eight sums, so that loads do not wait for additions.
fn sum(values: &[u64]) -> u64 {
    let mut sums = [0_u64; 8];
    for chunk in values.as_chunks::<8>().0 {
        for (sum, value) in sums.iter_mut().zip(chunk) {
            *sum = sum.wrapping_add(*value);
        }
    }
    sums.iter().fold(0, |all, sum| all.wrapping_add(*sum))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_instruction_set_has_peaks_and_says_how_they_were_measured() {
        for isa in crate::Isa::available() {
            let mut engine = Engine::with_isa(isa, Some(1)).unwrap();
            let peaks = [engine.f32_peak().unwrap(), engine.int8_peak().unwrap()];
            for peak in peaks {
                assert!(peak.macs_per_second > 1e6, "{isa}: {peak:?}");
            }
            let expected = match isa {
                crate::Isa::Portable => PeakSource::CachedProduct,
                _ => PeakSource::Registers,
            };
            assert_eq!(peaks[0].source, expected);
        }
    }

    #[test]
    fn a_buffer_is_read_whole() {
        assert_eq!(sum(&(0..1024).collect::<Vec<_>>()), 1024 * 1023 / 2);
        assert!(Engine::new(Some(2)).unwrap().read_bandwidth(40 << 20) > 1e6);
    }
}
