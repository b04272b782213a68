//! Orders that came over HTTP: waiting for them, and what became of them.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use axum::http::StatusCode;
use serde::Serialize;
use tokio::sync::oneshot;

use super::problem::Problem;
use crate::daemon::{Desk, Finished, Outcome, Refusal, Source, State, Wish};
use crate::paint::Request;

/// Orders that are remembered after their end.
const REMEMBERED: usize = 256;

/// The desk, and what was put on it from here.
pub(super) struct Orders {
    desk: Desk,
    records: Mutex<VecDeque<Record>>,
}

#[derive(Clone)]
struct Record {
    id: u64,
    prompt: String,
    end: Arc<OnceLock<End>>,
}

/// What became of an order.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub(super) enum End {
    /// It was painted.
    Finished {
        /// In the gallery, if there was room.
        name: Option<String>,
        seed: u64,
        steps: usize,
        guidance: f32,
        width: usize,
        height: usize,
        sampler: &'static str,
        seconds: f64,
        warnings: Vec<String>,
    },
    /// Somebody stopped the painting.
    Interrupted,
    /// It was taken back before its turn.
    Cancelled,
    /// It could not be painted.
    Failed {
        /// A sentence.
        problem: String,
    },
}

/// What is known of an order.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Told {
    id: u64,
    prompt: String,
    #[serde(flatten)]
    now: Now,
}

#[derive(Debug, PartialEq, Serialize)]
#[serde(untagged)]
enum Now {
    Open(Open),
    Ended(End),
}

#[derive(Debug, PartialEq, Serialize)]
#[serde(tag = "state", rename_all = "lowercase")]
enum Open {
    /// So many are before it, the one being painted not counted.
    Waiting { before: usize },
    Painting {
        step: usize,
        steps: usize,
        /// Seconds.
        left: Option<f64>,
    },
}

/// An order that somebody waits for: it is taken back when they go away.
pub(super) struct Pending {
    pub id: u64,
    outcome: oneshot::Receiver<Outcome>,
    desk: Desk,
    settled: bool,
}

impl Orders {
    pub fn new(desk: Desk) -> Self {
        Self { desk, records: Mutex::default() }
    }

    /// Puts an order on the desk.
    pub fn place(&self, request: Request, show: bool) -> Result<Pending, Refusal> {
        let (sender, outcome) = oneshot::channel();
        let end = Arc::new(OnceLock::new());
        let (prompt, noted) = (request.prompt.clone(), end.clone());
        let id = self.desk.order(Wish { request, source: Source::Web, show }, move |outcome| {
            // Ends once, and whoever waited may have gone away.
            let _ = noted.set(End::of(&outcome));
            let _ = sender.send(outcome);
        })?;
        let mut records = self.records();
        records.push_back(Record { id, prompt, end });
        let surplus = records.len().saturating_sub(REMEMBERED);
        records.drain(..surplus);
        Ok(Pending { id, outcome, desk: self.desk.clone(), settled: false })
    }

    /// What is known of an order that came from here.
    pub fn tell(&self, id: u64, state: &State) -> Option<Told> {
        let record = self.records().iter().find(|record| record.id == id)?.clone();
        let now = match record.end.get() {
            Some(end) => Now::Ended(end.clone()),
            None => Now::Open(Open::of(id, state)),
        };
        Some(Told { id, prompt: record.prompt, now })
    }

    fn records(&self) -> MutexGuard<'_, VecDeque<Record>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    fn of(id: u64, state: &State) -> Self {
        match state.work.as_ref().filter(|work| work.id == Some(id)) {
            Some(work) => Self::Painting {
                step: work.step,
                steps: work.steps,
                left: work.left.map(|left| left.as_secs_f64()),
            },
            None => {
                let before = state.waiting.iter().position(|ticket| ticket.id == id);
                Self::Waiting { before: before.unwrap_or(0) }
            }
        }
    }
}

impl End {
    fn of(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Finished(finished) => {
                let Finished { name, request, warnings, timings, .. } = &**finished;
                Self::Finished {
                    name: name.clone(),
                    seed: request.seed,
                    steps: request.steps,
                    guidance: request.guidance,
                    width: request.size.width,
                    height: request.size.height,
                    sampler: request.sampler.name(),
                    seconds: timings.total().as_secs_f64(),
                    warnings: warnings.clone(),
                }
            }
            Outcome::Interrupted(_) => Self::Interrupted,
            Outcome::Cancelled => Self::Cancelled,
            Outcome::Failed(problem) => Self::Failed { problem: problem.clone() },
        }
    }
}

impl Pending {
    /// Waits for its end.
    pub async fn outcome(&mut self) -> Outcome {
        let outcome = (&mut self.outcome).await.unwrap_or(Outcome::Cancelled);
        self.settled = true;
        outcome
    }

    /// Lets it be painted though nobody waits.
    pub fn leave(mut self) -> u64 {
        self.settled = true;
        self.id
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if !self.settled {
            self.desk.cancel(self.id);
        }
    }
}

/// The picture, or why there is none.
pub(super) fn picture(outcome: Outcome) -> Result<Arc<Finished>, Problem> {
    match outcome {
        Outcome::Finished(finished) => Ok(finished),
        Outcome::Interrupted(_) => {
            Err(Problem::new(StatusCode::CONFLICT, "somebody stopped this painting"))
        }
        Outcome::Cancelled => {
            let message = "the order was taken back before its turn";
            Err(Problem::new(StatusCode::CONFLICT, message))
        }
        Outcome::Failed(problem) => Err(Problem::internal(problem)),
    }
}
