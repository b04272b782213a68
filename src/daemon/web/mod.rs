//! The kiosk over HTTP: its page, its own interface, and those of programs that are there already.
//!
//! All of it is served by one thread of its own, beside the one that paints: it looks at the board
//! and puts orders on the desk, and never paints, opens a model or fetches an address.

mod access;
mod automatic1111;
mod base64;
mod board_routes;
mod events;
mod gallery_routes;
mod health;
mod openai;
mod order_routes;
mod orders;
mod page;
mod pictures;
mod problem;
mod read;
mod serve;
mod settings;
mod state_json;
mod uploads;
mod wanted;

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderName, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
    X_FRAME_OPTIONS,
};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};

pub use serve::Server;
pub use settings::{Listen, Token, WebSettings};

use super::Handle;
use access::{Access, Denied};
use automatic1111::Batches;
use events::Events;
use orders::Orders;
use problem::Problem;

/// The most bytes of a request.
const MOST_BODY: usize = 1 << 20;
/// The most bytes of a request that may carry pictures.
const MOST_UPLOAD: usize = 24 << 20;
/// How long somebody who tries tokens waits for each answer.
const DELAY: Duration = Duration::from_millis(500);

/// What all routes share.
struct Reception {
    handle: Handle,
    access: Access,
    orders: Orders,
    events: Events,
    batches: Batches,
    pictures: usize,
    show: bool,
    started: Instant,
}

impl Reception {
    /// The model's name, which is known when it has painted.
    fn model(&self) -> String {
        Some(self.handle.board.state().model)
            .filter(|name| !name.is_empty())
            .unwrap_or("pochade".to_owned())
    }
}

/// Serves a kiosk from now on, until the server is dropped.
///
/// # Errors
/// A sentence, when the address cannot be listened on or the token not be read.
pub fn start(settings: &WebSettings, handle: Handle) -> Result<Server, String> {
    let token = settings.read_token()?;
    let listen = settings.listen;
    let settings = settings.clone();
    let routes = move || routes(&settings, token.as_ref(), handle);
    let server = Server::start(listen.0, routes)
        .map_err(|error| format!("[web] listen = \"{listen}\": {error}; choose another address"))?;
    log::info!("serving http://{}", server.address());
    Ok(server)
}

/// All routes; call it within a runtime.
pub fn routes(settings: &WebSettings, token: Option<&Token>, handle: Handle) -> Router {
    let reception = Arc::new(Reception {
        access: Access::new(token),
        orders: Orders::new(handle.desk.clone()),
        events: Events::follow(&handle.board),
        batches: Batches::default(),
        pictures: settings.pictures,
        show: settings.show,
        started: Instant::now(),
        handle,
    });
    let guarded = Router::new()
        .merge(board_routes::routes())
        .merge(gallery_routes::routes())
        .merge(health::routes())
        .layer(DefaultBodyLimit::max(MOST_BODY))
        .merge(with_pictures().layer(DefaultBodyLimit::max(MOST_UPLOAD)))
        .layer(middleware::from_fn_with_state(reception.clone(), admit));
    page::routes()
        .merge(guarded)
        .fallback(|| async { Problem::not_found("there is nothing here") })
        .layer(middleware::from_fn(seal))
        .with_state(reception)
}

/// What requests may carry pictures to.
fn with_pictures() -> Router<Arc<Reception>> {
    Router::new()
        .merge(order_routes::routes())
        .nest("/sdapi/v1", automatic1111::routes())
        .nest("/v1", openai::routes())
}

/// Lets in who may.
async fn admit(State(reception): State<Arc<Reception>>, request: Request, next: Next) -> Response {
    match reception.access.check(request.method(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(denied) => refuse(denied, request.uri().path()).await,
    }
}

/// Says no, in the words of the interface that was asked.
async fn refuse(denied: Denied, path: &str) -> Response {
    if denied == Denied::WrongToken {
        tokio::time::sleep(DELAY).await;
    }
    let problem = Problem::from(denied);
    match path {
        path if path.starts_with("/v1/") => openai::Failure::from(problem).into_response(),
        path if path.starts_with("/sdapi/") => {
            automatic1111::Failure::from(problem).into_response()
        }
        _ => problem.into_response(),
    }
}

/// What every answer says to browsers: nothing is run, framed or fetched that is not from here, and
/// no other page reads it.
async fn seal(request: Request, next: Next) -> Response {
    const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
        img-src 'self' data: blob:; connect-src 'self'; manifest-src 'self'; base-uri 'none'; \
        form-action 'self'; frame-ancestors 'none'";
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in [
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        (REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// Does what takes long for a thread that has others to serve.
async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|_| {
        Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "this could not be done"))
    })
}
