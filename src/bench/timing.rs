//! Repeating a graph and keeping its times.

use std::time::{Duration, Instant};

use pochade_engine::{Engine, Plan, Session, Value};

use super::network::Subject;
use super::{BenchError, Outcome};

/// How a subject is timed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stopwatch {
    /// How long it is repeated.
    pub patience: Duration,
    /// Whether to note the time of every step.
    pub profile: bool,
}

impl Stopwatch {
    /// Plans and runs a subject: once untimed, then again and again.
    pub fn time(&self, subject: Subject, engine: &mut Engine) -> Result<Outcome, BenchError> {
        let Subject { name, graph, setup, schedule, run } = subject;
        if self.profile {
            engine.start_profile();
        }
        let plan = Plan::new(&graph)?;
        drop(graph);
        let (gmac, weight_bytes) = (plan.macs() as f64 / 1e9, plan.weight_bytes());
        let arena_bytes = plan.activation_bytes(engine.threads()) + plan.table_bytes(1);
        let mut session = Session::new(engine, plan);
        let start = Instant::now();
        session.setup(engine, &feeds(&setup));
        let setup_seconds = start.elapsed().as_secs_f64();
        let start = Instant::now();
        session.reserve_table(1);
        session.tabulate(engine, 0, &feeds(&schedule));
        let schedule_seconds = start.elapsed().as_secs_f64();
        let feeds = feeds(&run);
        session.run(engine, &feeds);
        if self.profile {
            engine.start_profile();
        }
        let times = repeat(self.patience, || session.run(engine, &feeds));
        let (seconds, median_seconds) = best_and_median(times.clone());
        Ok(Outcome {
            name,
            seconds,
            median_seconds,
            runs: times.len(),
            setup_seconds,
            schedule_seconds,
            gmac,
            gmac_per_s: gmac / seconds,
            arena_bytes,
            weight_bytes,
            profile: self.profile.then(|| engine.profile().pop()).flatten(),
            ..Outcome::default()
        })
    }
}

fn feeds(inputs: &[(Value, Vec<f32>)]) -> Vec<(Value, &[f32])> {
    inputs.iter().map(|(value, data)| (*value, &data[..])).collect()
}

/// Seconds of every run until `patience` is at an end; at least one.
pub(super) fn repeat(patience: Duration, mut run: impl FnMut()) -> Vec<f64> {
    let (start, mut times) = (Instant::now(), Vec::new());
    while times.is_empty() || start.elapsed() < patience {
        let one = Instant::now();
        run();
        times.push(one.elapsed().as_secs_f64());
    }
    times
}

/// The shortest and the middle one of some times; of an even number the lower middle.
pub(super) fn best_and_median(mut times: Vec<f64>) -> (f64, f64) {
    times.sort_by(f64::total_cmp);
    let at = |i: usize| times.get(i).copied().unwrap_or(0.0);
    (at(0), at(times.len().saturating_sub(1) / 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_least_one_run_is_timed() {
        let mut runs = 0;
        assert_eq!(repeat(Duration::ZERO, || runs += 1).len(), 1);
        assert_eq!(runs, 1);
    }

    #[test]
    fn the_best_is_the_shortest_and_the_median_stands_in_the_middle() {
        assert_eq!(best_and_median(vec![3.0, 1.0, 2.0]), (1.0, 2.0));
        assert_eq!(best_and_median(vec![3.0, 1.0, 2.0, 9.0]), (1.0, 2.0));
        assert_eq!(best_and_median(vec![5.0]), (5.0, 5.0));
    }
}
