//! `POST /images/generations`: pictures from words.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::HeaderMap;
use axum::http::header::HOST;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::super::problem::Problem;
use super::super::{Reception, aside, orders, read};
use super::picture::{Asked, Format, now, usage};
use super::{Failure, stream};
use crate::daemon::Finished;
use crate::paint::Request;

pub(super) async fn generations(
    State(reception): State<Arc<Reception>>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Failure> {
    let asked: Asked = read::json(&body.map_err(|rejection| read::body(&rejection))?)?;
    let requests = asked.requests(reception.pictures)?;
    answer(&reception, &asked, ("image_generation", &headers), requests).await
}

/// Answers with all pictures at once, or with a stream of one, whose events are of a `kind`.
pub(super) async fn answer(
    reception: &Arc<Reception>,
    asked: &Asked,
    (kind, headers): (&'static str, &HeaderMap),
    requests: Vec<Request>,
) -> Result<Response, Failure> {
    if asked.stream.unwrap_or(false) {
        return stream::stream(reception, asked, kind, requests);
    }
    let (format, by_address) = (asked.format()?, asked.by_address()?);
    let finished = paint(reception, requests).await?;
    let size = finished.first().map(|finished| finished.request.size.to_string());
    let data = if by_address {
        finished.iter().map(|finished| address(finished, headers)).collect::<Result<_, _>>()?
    } else {
        aside(move || encoded(&finished, format)).await?
    };
    Ok(Json(json!({
        "created": now(),
        "data": data,
        "background": "opaque",
        "output_format": format.name(),
        "size": size,
        "usage": usage(),
    }))
    .into_response())
}

/// Paints in turn.
async fn paint(
    reception: &Reception,
    requests: Vec<Request>,
) -> Result<Vec<Arc<Finished>>, Failure> {
    let place = |request| reception.orders.place(request, reception.show);
    // If one is refused, those before it are taken back.
    let mut pending = requests.into_iter().map(place).collect::<Result<Vec<_>, _>>()?;
    let mut finished = Vec::new();
    for pending in &mut pending {
        finished.push(orders::picture(pending.outcome().await)?);
    }
    Ok(finished)
}

fn encoded(finished: &[Arc<Finished>], format: Format) -> Result<Vec<Value>, Problem> {
    let one = |finished| Ok(json!({ "b64_json": format.finished(finished)? }));
    finished.iter().map(one).collect()
}

/// Where the picture is in the gallery, by the name that the client knows this machine by.
fn address(finished: &Finished, headers: &HeaderMap) -> Result<Value, Problem> {
    let name = finished.name.as_deref();
    let name = name.ok_or_else(|| Problem::internal("the gallery had no room for the picture"))?;
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or("localhost");
    Ok(json!({ "url": format!("http://{host}/api/gallery/{name}") }))
}
