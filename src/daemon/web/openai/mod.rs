//! `/v1`: OpenAI's interface for pictures, with a few fields more (`seed`, `steps`,
//! `guidance_scale`, `negative_prompt`).

mod edits;
mod generations;
mod picture;
mod stream;

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};

use super::Reception;
use super::problem::Problem;

pub(super) fn routes() -> Router<Arc<Reception>> {
    Router::new()
        .route("/images/generations", post(generations::generations))
        .route("/images/edits", post(edits::edits))
        .route("/models", get(models))
        .route("/models/{id}", get(model))
        .fallback(|| async { Failure(Problem::not_found("there is nothing here")) })
}

/// `GET /models`: the one that paints.
async fn models(State(reception): State<Arc<Reception>>) -> Json<Value> {
    let model = described(&reception.model());
    Json(json!({ "object": "list", "data": [model] }))
}

async fn model(
    State(reception): State<Arc<Reception>>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Failure> {
    let model = reception.model();
    if id != model {
        let message = format!("there is no model '{id}' here, only '{model}'");
        let problem = Problem { code: Some("model_not_found"), ..Problem::not_found(message) };
        return Err(problem.into());
    }
    Ok(Json(described(&model)))
}

/// The date must be there, and is not known.
fn described(model: &str) -> Value {
    json!({ "id": model, "object": "model", "created": 0, "owned_by": "pochade" })
}

/// What went wrong, in this interface's shape.
#[derive(Debug)]
pub(super) struct Failure(Problem);

impl Failure {
    /// As it stands in an answer and in a stream.
    fn body(&self) -> Value {
        let Self(problem) = self;
        let kind = match problem.status {
            StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
            status if status.is_server_error() => "server_error",
            _ => "invalid_request_error",
        };
        let code = match problem.status {
            StatusCode::UNAUTHORIZED => Some("invalid_api_key"),
            _ => problem.code,
        };
        json!({ "error": {
            "message": problem.message, "type": kind, "param": null, "code": code,
        } })
    }
}

impl<P: Into<Problem>> From<P> for Failure {
    fn from(problem: P) -> Self {
        Self(problem.into())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.0.status, self.0.headers(), Json(self.body())).into_response()
    }
}
