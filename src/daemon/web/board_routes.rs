//! `/api/state`, `/api/events`, `/api/schedule`, and calls: the next picture, stop this one, read
//! the settings again.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::Value;

use super::{Reception, events, state_json};

pub(super) fn routes() -> Router<Arc<Reception>> {
    Router::new()
        .route("/api/state", get(state))
        .route("/api/events", get(events::events))
        .route("/api/schedule", get(schedule))
        .route("/api/next", post(next))
        .route("/api/interrupt", post(interrupt))
        .route("/api/reload", post(reload))
}

async fn state(State(reception): State<Arc<Reception>>) -> Json<Value> {
    Json(state_json::state(&reception.handle.board.state()))
}

async fn schedule(State(reception): State<Arc<Reception>>) -> Json<Value> {
    Json(state_json::schedule(&reception.handle.board.state()))
}

async fn next(State(reception): State<Arc<Reception>>) -> StatusCode {
    reception.handle.desk.call_next();
    StatusCode::ACCEPTED
}

async fn interrupt(State(reception): State<Arc<Reception>>) -> StatusCode {
    reception.handle.desk.interrupt();
    StatusCode::ACCEPTED
}

async fn reload(State(reception): State<Arc<Reception>>) -> StatusCode {
    reception.handle.desk.call_reload();
    StatusCode::ACCEPTED
}
