//! What the board says, as JSON.

use image::RgbImage;
use serde::Serialize;
use serde_json::{Value as Json, json};

use crate::daemon::{Source, State, Ticket, Work};
use crate::page;

/// The board. Spans are seconds, times are UTC.
#[derive(Debug, Serialize)]
struct StateJson<'a> {
    version: u64,
    status: &'a str,
    model: &'a str,
    loaded: bool,
    painting: Option<WorkJson<'a>>,
    waiting: Vec<TicketJson<'a>>,
    shown: Option<&'a str>,
    trouble: Option<&'a str>,
    #[serde(flatten)]
    schedule: Json,
    counts: Json,
    temperature: Option<f64>,
}

#[derive(Debug, Serialize)]
struct WorkJson<'a> {
    id: Option<u64>,
    prompt: &'a str,
    source: Source,
    step: usize,
    steps: usize,
    share: f64,
    left: Option<f64>,
    /// The address of an image.
    preview: Option<String>,
}

#[derive(Debug, Serialize)]
struct TicketJson<'a> {
    id: u64,
    prompt: &'a str,
    source: Source,
}

/// The board with its preview.
pub(super) fn state(state: &State) -> Json {
    let json = StateJson {
        version: state.version,
        status: &state.status,
        model: &state.model,
        loaded: state.loaded,
        painting: state.work.as_ref().map(work),
        waiting: state.waiting.iter().map(ticket).collect(),
        shown: state.shown.as_deref(),
        trouble: state.trouble.as_deref(),
        schedule: schedule(state),
        counts: counts(state),
        temperature: state.temperature,
    };
    // Structs of strings and numbers are always JSON.
    serde_json::to_value(json).unwrap_or_default()
}

/// When the next picture comes, and what of.
pub(super) fn schedule(state: &State) -> Json {
    let next = state.next_change.as_ref().map(|next| next.timestamp().to_string());
    json!({ "playlist": state.playlist, "next_change": next, "quiet": state.quiet })
}

/// Pictures since the start.
pub(super) fn counts(state: &State) -> Json {
    let counts = &state.counts;
    json!({
        "painted": counts.painted,
        "failed": counts.failed,
        "interrupted": counts.interrupted,
        "seconds": counts.seconds,
    })
}

fn work(work: &Work) -> WorkJson<'_> {
    WorkJson {
        id: work.id,
        prompt: &work.prompt,
        source: work.source,
        step: work.step,
        steps: work.steps,
        share: work.share,
        left: work.left.map(|left| left.as_secs_f64()),
        preview: work.preview.as_deref().and_then(preview),
    }
}

fn preview(picture: &RgbImage) -> Option<String> {
    page::data(picture).ok()
}

fn ticket(ticket: &Ticket) -> TicketJson<'_> {
    TicketJson { id: ticket.id, prompt: &ticket.prompt, source: ticket.source }
}
