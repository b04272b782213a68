//! `/api/gallery` and what is on the screen: the pictures, smaller ones, favourites.

use std::path::PathBuf;
use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::http::header::CACHE_CONTROL;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, put};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use super::pictures::{self, Picture, QUALITY};
use super::problem::Problem;
use super::{Reception, aside};
use crate::daemon::Entry;

/// Pictures that are listed at once, unless fewer or more are asked for, and at most.
const USUAL: usize = 60;
const MOST: usize = 500;
/// Widths of smaller pictures.
const LEAST_WIDTH: u32 = 16;
const MOST_WIDTH: u32 = 1024;
/// A name stands for the same bytes for ever.
const FOR_EVER: [(axum::http::HeaderName, &str); 1] =
    [(CACHE_CONTROL, "private, max-age=31536000, immutable")];

pub(super) fn routes() -> Router<Arc<Reception>> {
    Router::new()
        .route("/api/gallery", get(list))
        .route("/api/gallery/{name}", get(picture).delete(remove))
        .route("/api/gallery/{name}/favourite", put(favour).delete(unfavour))
        .route("/api/screen.png", get(screen))
        .route("/image/current.png", get(current_png))
        .route("/image/current.jpg", get(current_jpeg))
}

#[derive(Debug, Default, Deserialize)]
struct Search {
    /// Words that all stand in the prompt.
    #[serde(default)]
    search: String,
    /// Favourites alone.
    #[serde(default)]
    favourites: bool,
    /// Older than the picture of this name.
    before: Option<String>,
    limit: Option<usize>,
}

impl Search {
    fn finds(&self, entry: &Entry) -> bool {
        let prompt = entry.prompt.to_lowercase();
        (entry.favourite || !self.favourites)
            && self.search.to_lowercase().split_whitespace().all(|word| prompt.contains(word))
    }
}

/// `GET /api/gallery`: the newest first, and whether there are more.
async fn list(
    State(reception): State<Arc<Reception>>,
    Query(search): Query<Search>,
) -> Json<Value> {
    let limit = search.limit.unwrap_or(USUAL).clamp(1, MOST);
    let entries = reception.handle.gallery.list();
    let start = search.before.as_deref().map_or(0, |before| behind(&entries, before));
    let mut found = entries.iter().skip(start).filter(|entry| search.finds(entry));
    let pictures: Vec<Value> = found.by_ref().take(limit).map(entry).collect();
    Json(json!({ "pictures": pictures, "more": found.next().is_some() }))
}

/// Where the older pictures begin. Of one that was removed meanwhile, the name still says when it
/// was painted.
fn behind(entries: &[Entry], name: &str) -> usize {
    let place = entries.iter().position(|entry| entry.name == name);
    let older = || entries.iter().position(|entry| *entry.name < *name);
    place.map(|place| place + 1).or_else(older).unwrap_or(entries.len())
}

fn entry(entry: &Entry) -> Value {
    json!({
        "name": entry.name,
        "prompt": entry.prompt,
        "seed": entry.seed,
        "width": entry.width,
        "height": entry.height,
        "bytes": entry.bytes,
        "favourite": entry.favourite,
    })
}

#[derive(Debug, Deserialize)]
struct Smaller {
    width: Option<u32>,
}

/// `GET /api/gallery/{name}`: the file, or with `?width=` a smaller picture.
async fn picture(
    State(reception): State<Arc<Reception>>,
    Path(name): Path<String>,
    Query(smaller): Query<Smaller>,
) -> Result<Response, Problem> {
    let path = path(&reception, &name)?;
    let picture = aside(move || match smaller.width {
        Some(width) => pictures::thumbnail(&path, width.clamp(LEAST_WIDTH, MOST_WIDTH)),
        None => Ok(Picture { kind: "image/png", bytes: pictures::read(&path)? }),
    });
    Ok((FOR_EVER, picture.await?).into_response())
}

async fn remove(
    State(reception): State<Arc<Reception>>,
    Path(name): Path<String>,
) -> Result<StatusCode, Problem> {
    let gallery = reception.handle.gallery.clone();
    changed(aside(move || gallery.remove(&name).map_err(Problem::internal)).await?)
}

async fn favour(
    State(reception): State<Arc<Reception>>,
    Path(name): Path<String>,
) -> Result<StatusCode, Problem> {
    set_favourite(&reception, name, true).await
}

async fn unfavour(
    State(reception): State<Arc<Reception>>,
    Path(name): Path<String>,
) -> Result<StatusCode, Problem> {
    set_favourite(&reception, name, false).await
}

async fn set_favourite(
    reception: &Reception,
    name: String,
    favourite: bool,
) -> Result<StatusCode, Problem> {
    let gallery = reception.handle.gallery.clone();
    changed(aside(move || gallery.favour(&name, favourite).map_err(Problem::internal)).await?)
}

fn changed(found: bool) -> Result<StatusCode, Problem> {
    found.then_some(StatusCode::NO_CONTENT).ok_or_else(missing)
}

fn missing() -> Problem {
    Problem::not_found("the gallery has no picture of that name")
}

fn path(reception: &Reception, name: &str) -> Result<PathBuf, Problem> {
    reception.handle.gallery.file(name).ok_or_else(missing)
}

/// `GET /api/screen.png`: the screen as it is seen.
async fn screen(State(reception): State<Arc<Reception>>) -> Result<Picture, Problem> {
    let frame = reception.handle.board.state().frame;
    let frame = frame.ok_or_else(|| Problem::not_found("nothing is on the screen"))?;
    aside(move || pictures::to_png(&frame)).await
}

/// `GET /image/current.png`: the picture on the screen.
async fn current_png(State(reception): State<Arc<Reception>>) -> Result<Picture, Problem> {
    let path = current(&reception)?;
    aside(move || Ok(Picture { kind: "image/png", bytes: pictures::read(&path)? })).await
}

/// `GET /image/current.jpg`: the same for cameras of Home Assistant, which want JPEG.
async fn current_jpeg(State(reception): State<Arc<Reception>>) -> Result<Picture, Problem> {
    let path = current(&reception)?;
    let encode = move || {
        let picture = pictures::decode(&pictures::read(&path)?)?.into_rgb8();
        pictures::to_jpeg(&picture, QUALITY)
    };
    aside(encode).await
}

fn current(reception: &Reception) -> Result<PathBuf, Problem> {
    let shown = reception.handle.board.state().shown;
    path(reception, &shown.ok_or_else(|| Problem::not_found("no picture is shown yet"))?)
}
