//! One warm-up, then as many runs as fit in the seconds given; the twin of `harness/timing.py`.

use crate::engine::Engine;
use anyhow::Result;
use cpu_time::ProcessTime;
use serde_json::{Value, json};
use std::time::Instant;

const MOST_RUNS: usize = 50;

/// Wall and processor seconds since it was started.
pub struct Stopwatch {
    wall: Instant,
    cpu: ProcessTime,
}

impl Stopwatch {
    /// Starts now.
    pub fn start() -> Self {
        Self { wall: Instant::now(), cpu: ProcessTime::now() }
    }

    /// Wall seconds, and processor seconds of all threads of this process.
    pub fn read(&self) -> (f64, f64) {
        (self.wall.elapsed().as_secs_f64(), self.cpu.elapsed().as_secs_f64())
    }
}

/// Seconds of every run.
#[derive(Default)]
pub struct Runs {
    wall: Vec<f64>,
    cpu: Vec<f64>,
}

impl Runs {
    /// Best, median and every run.
    pub fn figures(&self) -> Value {
        let (wall, cpu) = (sorted(&self.wall), sorted(&self.cpu));
        json!({
            "wall_best": wall[0],
            "wall_median": median(&wall),
            "cpu_best": cpu[0],
            "cpu_median": median(&cpu),
            "runs": { "wall": self.wall, "cpu": self.cpu },
        })
    }
}

fn sorted(seconds: &[f64]) -> Vec<f64> {
    let mut seconds = seconds.to_vec();
    seconds.sort_by(f64::total_cmp);
    seconds
}

fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 }
}

/// At least one run after the warm-up. Answers with the last output too.
pub fn measure(engine: &dyn Engine, seconds: f64) -> Result<(Runs, Vec<f32>)> {
    engine.run()?;
    let (mut runs, total) = (Runs::default(), Stopwatch::start());
    loop {
        let watch = Stopwatch::start();
        let answer = engine.run()?;
        let (wall, cpu) = watch.read();
        runs.wall.push(wall);
        runs.cpu.push(cpu);
        if total.read().0 >= seconds || runs.wall.len() >= MOST_RUNS {
            return Ok((runs, answer));
        }
    }
}

/// Root mean square of the difference over that of the reference.
pub fn relative_rmse(answer: &[f32], reference: &[f32]) -> f64 {
    assert_eq!(answer.len(), reference.len(), "the model's output has another size");
    let square = |x: f64| x * x;
    let pairs = answer.iter().zip(reference);
    let error: f64 = pairs.map(|(a, r)| square(f64::from(*a) - f64::from(*r))).sum();
    let whole: f64 = reference.iter().map(|r| square(f64::from(*r))).sum();
    (error / whole).sqrt()
}
