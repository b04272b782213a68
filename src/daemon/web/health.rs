//! `/api/health` for people and `/metrics` for Prometheus: the same figures.

use std::fmt::{Display, Write};
use std::sync::Arc;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

use super::{Reception, state_json};
use crate::daemon;

pub(super) fn routes() -> Router<Arc<Reception>> {
    Router::new().route("/api/health", get(health)).route("/metrics", get(metrics))
}

/// How the machine and the kiosk are.
struct Health {
    state: daemon::State,
    /// Bytes of memory that the process has.
    resident: Option<u64>,
    /// Bytes left on the gallery's disk.
    free: Option<u64>,
    /// Seconds since the start.
    uptime: f64,
    pictures: usize,
    bytes: u64,
}

impl Health {
    fn of(reception: &Reception) -> Self {
        let entries = reception.handle.gallery.list();
        Self {
            state: reception.handle.board.state(),
            resident: resident(),
            free: reception.handle.gallery.free(),
            uptime: reception.started.elapsed().as_secs_f64(),
            pictures: entries.len(),
            bytes: entries.iter().map(|entry| entry.bytes).sum(),
        }
    }
}

/// `VmRSS` of this process, where the system says it.
fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

async fn health(State(reception): State<Arc<Reception>>) -> Json<Value> {
    let health = Health::of(&reception);
    Json(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "model": health.state.model,
        "loaded": health.state.loaded,
        "status": health.state.status,
        "trouble": health.state.trouble,
        "temperature": health.state.temperature,
        "resident_bytes": health.resident,
        "free_bytes": health.free,
        "uptime_seconds": health.uptime,
        "gallery": { "pictures": health.pictures, "bytes": health.bytes },
        "counts": state_json::counts(&health.state),
    }))
}

async fn metrics(State(reception): State<Arc<Reception>>) -> impl IntoResponse {
    (
        [(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
        exposition(&Health::of(&reception)),
    )
}

/// The text that Prometheus reads.
fn exposition(health: &Health) -> String {
    let state = &health.state;
    let counts = &state.counts;
    let mut text = Exposition::default();
    text.family("pochade_build_info", "gauge", "Version and model.");
    let (version, model) = (env!("CARGO_PKG_VERSION"), label(&state.model));
    text.line(&format!("pochade_build_info{{version=\"{version}\",model=\"{model}\"}}"), &1);
    text.family("pochade_pictures_total", "counter", "Pictures by what became of them.");
    for (result, count) in [
        ("painted", counts.painted),
        ("failed", counts.failed),
        ("interrupted", counts.interrupted),
    ] {
        text.line(&format!("pochade_pictures_total{{result=\"{result}\"}}"), &count);
    }
    let name = "pochade_painting_seconds_total";
    text.one(name, "counter", "Seconds spent painting.", Some(counts.seconds));
    let painting = u8::from(state.work.is_some());
    text.one("pochade_painting", "gauge", "Whether a picture is being painted.", Some(painting));
    text.one("pochade_waiting_orders", "gauge", "Orders that wait.", Some(state.waiting.len()));
    let trouble = u8::from(state.trouble.is_some());
    text.one("pochade_trouble", "gauge", "Whether something is wrong.", Some(trouble));
    let loaded = u8::from(state.loaded);
    text.one("pochade_model_loaded", "gauge", "Whether the model is in memory.", Some(loaded));
    let degrees = state.temperature;
    text.one("pochade_temperature_celsius", "gauge", "The hottest thermometer.", degrees);
    let name = "process_resident_memory_bytes";
    text.one(name, "gauge", "Memory that the process has.", health.resident);
    let name = "pochade_disk_free_bytes";
    text.one(name, "gauge", "Space left on the gallery's disk.", health.free);
    text.one("pochade_gallery_pictures", "gauge", "Pictures kept.", Some(health.pictures));
    text.one("pochade_gallery_bytes", "gauge", "Bytes of pictures kept.", Some(health.bytes));
    text.one("pochade_uptime_seconds", "gauge", "Seconds since the start.", Some(health.uptime));
    text.0
}

/// Lines of Prometheus' text format.
#[derive(Default)]
struct Exposition(String);

impl Exposition {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn line(&mut self, name: &str, value: &dyn Display) {
        let _ = writeln!(self.0, "{name} {value}");
    }

    /// A family of one value, if it is known.
    fn one(&mut self, name: &str, kind: &str, help: &str, value: Option<impl Display>) {
        if let Some(value) = value {
            self.family(name, kind, help);
            self.line(name, &value);
        }
    }
}

/// A label's value, in which some characters are escaped.
fn label(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
