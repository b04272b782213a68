//! How far the pictures of this interface are, and stopping them. Pictures of the schedule are none
//! of a client's business: it neither sees nor stops them here.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::Reception;
use super::batches::Batch;
use crate::daemon::{self, Work};
use crate::paint::{png, preview};

#[derive(Debug, Deserialize)]
pub(super) struct Asked {
    #[serde(default)]
    skip_current_image: bool,
}

/// `GET /progress`.
pub(super) async fn progress(
    State(reception): State<Arc<Reception>>,
    Query(asked): Query<Asked>,
) -> Json<Value> {
    let state = reception.handle.board.state();
    let painting = state.work.as_ref().and_then(|work| work.id);
    match reception.batches.current(painting) {
        Some(batch) => Json(busy(&batch, &state, asked.skip_current_image)),
        None => Json(told(0.0, 0.0, &idle(), Value::Null)),
    }
}

fn told(progress: f64, eta: f64, state: &Value, current_image: Value) -> Value {
    json!({
        "progress": progress,
        "eta_relative": eta,
        "state": state,
        "current_image": current_image,
        "textinfo": null,
    })
}

fn idle() -> Value {
    json!({
        "skipped": false,
        "interrupted": false,
        "stopping_generation": false,
        "job": "",
        "job_count": 0,
        "job_timestamp": "0",
        "job_no": 0,
        "sampling_step": 0,
        "sampling_steps": 0,
    })
}

fn busy(batch: &Batch, state: &daemon::State, without_image: bool) -> Value {
    let own = |work: &&Work| work.id.is_some_and(|id| batch.ids.contains(&id));
    let work = state.work.as_ref().filter(own);
    let (step, steps) = work.map_or((0, 0), |work| (work.step, work.steps));
    let share = work.map_or(0.0, |work| work.share);
    let count = batch.ids.len();
    // Zero would mean that nothing is going on.
    let progress = ((batch.done() as f64 + share) / count.max(1) as f64).clamp(0.01, 1.0);
    let left = work.and_then(|work| work.left).map_or(0.0, |left| left.as_secs_f64());
    let picture = work.and_then(|work| work.preview.as_deref()).filter(|_| !without_image);
    let picture = picture.and_then(|picture| png::encode(picture, "").ok());
    let state = json!({
        "skipped": batch.is_skipped(),
        "interrupted": batch.is_interrupted(),
        "stopping_generation": false,
        "job": format!("Batch {} out of {count}", (batch.done() + 1).min(count)),
        "job_count": count,
        "job_timestamp": batch.timestamp,
        "job_no": batch.done(),
        "sampling_step": step,
        "sampling_steps": steps,
    });
    told(progress, left, &state, picture.map_or(Value::Null, |file| preview::base64(&file).into()))
}

/// `POST /interrupt`: what is being painted stops within a step, the rest of its batch is taken
/// back.
pub(super) async fn interrupt(State(reception): State<Arc<Reception>>) -> Json<Value> {
    if let Some(batch) = current(&reception) {
        batch.interrupt();
        // Those that wait first, so that none begins.
        for id in batch.ids.iter().rev() {
            // Those that came to their end are passed over.
            let _ = reception.handle.desk.cancel(*id);
        }
    }
    Json(json!({}))
}

/// `POST /skip`: on to the next picture of the batch.
pub(super) async fn skip(State(reception): State<Arc<Reception>>) -> Json<Value> {
    let painting = reception.handle.board.state().work.and_then(|work| work.id);
    if let Some((batch, id)) = current(&reception).zip(painting)
        && batch.ids.contains(&id)
    {
        batch.skip();
        reception.handle.desk.cancel(id);
    }
    Json(Value::Null)
}

fn current(reception: &Reception) -> Option<Arc<Batch>> {
    let painting = reception.handle.board.state().work.and_then(|work| work.id);
    reception.batches.current(painting)
}
