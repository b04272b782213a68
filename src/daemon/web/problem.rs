//! What goes wrong with a request: a status and a sentence. Every interface has its own shape for
//! it.

use std::fmt;
use std::time::Duration;

use axum::Json;
use axum::http::header::{CACHE_CONTROL, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::access::Denied;
use crate::daemon::Refusal;

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    pub status: StatusCode,
    /// A sentence for people.
    pub message: String,
    /// A word for programs, where there is one.
    pub code: Option<&'static str>,
    /// When asking again makes sense.
    pub retry_after: Option<Duration>,
}

impl Problem {
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), code: None, retry_after: None }
    }

    /// The request makes no sense.
    pub fn bad(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, message)
    }

    /// It is not the client's fault.
    pub fn internal(error: impl fmt::Display) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
    }

    /// Headers that go with it in every shape.
    pub fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(span) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(span.as_secs().max(1)));
        } else {
            // Some clients ask again by themselves, which would paint the same failure again.
            headers.insert("x-should-retry", HeaderValue::from_static("false"));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static("Bearer realm=\"pochade\"");
            headers.insert(WWW_AUTHENTICATE, challenge);
        }
        headers
    }
}

impl IntoResponse for Problem {
    /// As Pochade's own interface says it.
    fn into_response(self) -> Response {
        (self.status, self.headers(), Json(json!({ "error": self.message }))).into_response()
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let message = refusal.to_string();
        match refusal {
            Refusal::Full { patience, .. } => Self {
                status: StatusCode::TOO_MANY_REQUESTS,
                message,
                code: Some("queue_full"),
                retry_after: Some(patience),
            },
            Refusal::Word(_) => Self { code: Some("moderation_blocked"), ..Self::bad(message) },
            Refusal::Wrong(_) => Self::bad(message),
        }
    }
}

impl From<Denied> for Problem {
    fn from(denied: Denied) -> Self {
        let (status, message) = match denied {
            Denied::NoToken => (
                StatusCode::UNAUTHORIZED,
                "this needs the token of [web]: send it as 'Authorization: Bearer', or open the \
                 page with ?token= once",
            ),
            Denied::WrongToken => (StatusCode::UNAUTHORIZED, "this is not the token of [web]"),
            Denied::Host => (
                StatusCode::FORBIDDEN,
                "without a token, only requests to localhost or 127.0.0.1 are answered",
            ),
            Denied::Origin => (StatusCode::FORBIDDEN, "another page may not change anything here"),
        };
        Self::new(status, message)
    }
}
