//! `/api/orders`: asking for pictures, and taking that back.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::header::LOCATION;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::Number;

use super::orders::Told;
use super::problem::Problem;
use super::uploads::Upload;
use super::wanted::{Wanted, sampler, size};
use super::{Reception, aside, read};

pub(super) fn routes() -> Router<Arc<Reception>> {
    Router::new()
        .route("/api/orders", post(order))
        .route("/api/orders/{id}", get(told).delete(cancel))
}

/// What is asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Order {
    prompt: String,
    #[serde(default)]
    negative: String,
    seed: Option<Number>,
    steps: Option<usize>,
    guidance: Option<f32>,
    /// Such as `128x128`.
    size: Option<String>,
    sampler: Option<String>,
    /// A picture to begin with.
    from: Option<Upload>,
    /// Whether the picture goes on the screen.
    #[serde(default = "yes")]
    show: bool,
}

fn yes() -> bool {
    true
}

/// `POST /api/orders`: the order's number at once; it is painted when its turn comes.
async fn order(State(reception): State<Arc<Reception>>, body: Bytes) -> Result<Response, Problem> {
    let order: Order = aside(move || read::json(&body)).await?;
    let from = order.from.map(|upload| aside(move || upload.beginning()));
    let from = match from {
        Some(from) => Some(from.await?),
        None => None,
    };
    let wanted = Wanted {
        from,
        seed: read::seed(order.seed.as_ref())?,
        size: order.size.as_deref().map(size).transpose()?,
        sampler: order.sampler.as_deref().map(sampler).transpose()?,
        prompt: order.prompt,
        negative: order.negative,
        steps: order.steps,
        guidance: order.guidance,
    };
    let id = reception.orders.place(wanted.request()?, order.show)?.leave();
    let told = tell(&reception, id)?;
    let place = [(LOCATION, format!("/api/orders/{id}"))];
    Ok((StatusCode::ACCEPTED, place, told).into_response())
}

/// `GET /api/orders/{id}`: what is known of it.
async fn told(
    State(reception): State<Arc<Reception>>,
    Path(id): Path<u64>,
) -> Result<Json<Told>, Problem> {
    tell(&reception, id)
}

fn tell(reception: &Reception, id: u64) -> Result<Json<Told>, Problem> {
    let told = reception.orders.tell(id, &reception.handle.board.state());
    told.map(Json).ok_or_else(|| unknown(id))
}

/// `DELETE /api/orders/{id}`: taken back, or stopped within a step.
async fn cancel(
    State(reception): State<Arc<Reception>>,
    Path(id): Path<u64>,
) -> Result<StatusCode, Problem> {
    let cancelled = reception.handle.desk.cancel(id);
    cancelled.then_some(StatusCode::NO_CONTENT).ok_or_else(|| unknown(id))
}

fn unknown(id: u64) -> Problem {
    Problem::not_found(format!("there is no order {id} any more"))
}
