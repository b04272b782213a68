//! The page: three files in the binary, open to all, since they hold nothing but the page; and the
//! cookie by which it is known afterwards.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::to_bytes;
use axum::extract::{Query, Request, State};
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, LOCATION, SET_COOKIE};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::json;

use super::access::Denied;
use super::problem::Problem;
use super::read;
use super::{DELAY, Reception};

const INDEX: &str = include_str!("page/index.html");
const SCRIPT: &str = include_str!("page/app.js");
const STYLE: &str = include_str!("page/style.css");

/// The most bytes of a login, and how long it may take.
const MOST_LOGIN: usize = 4096;
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) fn routes() -> Router<Arc<Reception>> {
    Router::new()
        .route("/", get(index))
        .route("/app.js", get(|| async { file("text/javascript; charset=utf-8", SCRIPT) }))
        .route("/style.css", get(|| async { file("text/css; charset=utf-8", STYLE) }))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/api/login", post(login))
}

fn file(kind: &'static str, text: &'static str) -> Response {
    // Small, and another one after an update.
    ([(CONTENT_TYPE, kind), (CACHE_CONTROL, "no-cache")], text).into_response()
}

#[derive(Deserialize)]
struct Visit {
    token: Option<String>,
}

/// The page; with `?token=`, the token is taken out of the address again.
async fn index(State(reception): State<Arc<Reception>>, Query(visit): Query<Visit>) -> Response {
    let Some(token) = visit.token.filter(|_| reception.access.is_guarded()) else {
        return file("text/html; charset=utf-8", INDEX);
    };
    match reception.access.cookie(&token) {
        Some(cookie) => (StatusCode::SEE_OTHER, [(SET_COOKIE, cookie.as_str()), (LOCATION, "/")])
            .into_response(),
        None => wrong_token().await.into_response(),
    }
}

#[derive(Deserialize)]
struct Login {
    token: String,
}

/// `POST /api/login`: the same for a form.
async fn login(
    State(reception): State<Arc<Reception>>,
    request: Request,
) -> Result<Response, Problem> {
    // From anybody, so that nobody may keep a connection busy with it.
    let body = tokio::time::timeout(PATIENCE, to_bytes(request.into_body(), MOST_LOGIN)).await;
    let body = body
        .ok()
        .and_then(Result::ok)
        .ok_or_else(|| Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "this is more than a token"))?;
    let login: Login = read::json(&body)?;
    match reception.access.cookie(login.token.trim()) {
        Some(cookie) => {
            Ok(([(SET_COOKIE, cookie)], axum::Json(json!({ "known": true }))).into_response())
        }
        None if !reception.access.is_guarded() => {
            Ok(axum::Json(json!({ "known": true })).into_response())
        }
        None => Err(wrong_token().await),
    }
}

async fn wrong_token() -> Problem {
    tokio::time::sleep(DELAY).await;
    Problem::from(Denied::WrongToken)
}
