//! `/sdapi/v1`: the interface of AUTOMATIC1111's web UI, as far as programs that talk to it need
//! it.

mod batches;
mod lists;
mod paint;
mod png_info;
mod progress;

use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::json;

use super::Reception;
use super::problem::Problem;

pub(super) use batches::Batches;

pub(super) fn routes() -> Router<Arc<Reception>> {
    Router::new()
        .route("/txt2img", post(paint::txt2img))
        .route("/img2img", post(paint::img2img))
        .route("/progress", get(progress::progress))
        .route("/interrupt", post(progress::interrupt))
        .route("/skip", post(progress::skip))
        .route("/png-info", post(png_info::png_info))
        .merge(lists::routes())
        .fallback(|| async { Failure(Problem::not_found("Not Found")) })
}

/// What went wrong, in this interface's shape.
#[derive(Debug)]
pub(super) struct Failure(Problem);

impl<P: Into<Problem>> From<P> for Failure {
    fn from(problem: P) -> Self {
        Self(problem.into())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let Self(problem) = self;
        let body = json!({
            "error": "HTTPException",
            "detail": problem.message,
            "body": "",
            "errors": problem.message,
        });
        (problem.status, problem.headers(), Json(body)).into_response()
    }
}
