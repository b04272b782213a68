//! A picture as it emerges: previews on the way, then the picture, as server-sent events.

use std::convert::Infallible;
use std::sync::Arc;

use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use image::RgbImage;
use image::imageops::{self, FilterType};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::super::orders::{self, Pending};
use super::super::problem::Problem;
use super::super::{Reception, aside};
use super::Failure;
use super::picture::{Asked, Format, now, usage};
use crate::daemon::{Finished, Work};
use crate::paint::Request;

/// Pixels per latent pixel of most models, and so how much larger than its preview a picture is.
const FACTOR: u32 = 8;

/// One picture on its way to a client.
struct Stream {
    reception: Arc<Reception>,
    pending: Pending,
    sender: mpsc::Sender<Event>,
    /// What the events are called before the dot.
    kind: &'static str,
    format: Format,
    /// Previews that are wanted, and sent.
    partial: usize,
    sent: usize,
    /// How many would have been sent by now if none had been missed.
    due: usize,
}

/// Starts one; refusals come before the stream.
pub(super) fn stream(
    reception: &Arc<Reception>,
    asked: &Asked,
    kind: &'static str,
    requests: Vec<Request>,
) -> Result<Response, Failure> {
    let Ok([request]) = <[Request; 1]>::try_from(requests) else {
        return Err(Problem::bad("with stream, n is 1").into());
    };
    let (format, partial) = (asked.format()?, asked.partial_images()?);
    let pending = reception.orders.place(request, reception.show)?;
    let (sender, receiver) = mpsc::channel(4);
    let reception = reception.clone();
    let stream = Stream { reception, pending, sender, kind, format, partial, sent: 0, due: 0 };
    tokio::spawn(stream.run());
    let events = stream::unfold(receiver, |mut receiver| async {
        let event = receiver.recv().await?;
        Some((Ok::<_, Infallible>(event), receiver))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::default()).into_response())
}

impl Stream {
    /// Follows the painting to its end. Without a client, it is taken back.
    async fn run(mut self) {
        let mut changes = self.reception.events.changes();
        let outcome = loop {
            tokio::select! {
                outcome = self.pending.outcome() => break outcome,
                _ = changes.changed() => self.partial().await,
                () = self.sender.closed() => return,
            }
        };
        let told = match orders::picture(outcome) {
            Ok(finished) => self.completed(finished).await,
            Err(problem) => Err(problem),
        };
        if let Err(problem) = told {
            self.send("error", &Failure::from(problem).body()).await;
        }
    }

    /// Sends a preview if one is due.
    async fn partial(&mut self) {
        let work = self.reception.handle.board.state().work;
        let Some(work) = work.filter(|work| work.id == Some(self.pending.id)) else { return };
        let due = due(&work, self.partial);
        let Some(preview) = work.preview.filter(|_| due > self.due) else { return };
        self.due = due;
        let format = self.format;
        let encode = move || {
            let picture = full_size(&preview);
            let size = format!("{}x{}", picture.width(), picture.height());
            Ok((format.encoded(&picture)?, size))
        };
        if let Ok((picture, size)) = aside(encode).await {
            let mut event = self.event("partial_image", picture, &size);
            event["partial_image_index"] = self.sent.into();
            self.sent += 1;
            self.send_as("partial_image", &event).await;
        }
    }

    async fn completed(&self, finished: Arc<Finished>) -> Result<(), Problem> {
        let (format, size) = (self.format, finished.request.size.to_string());
        let picture = aside(move || format.finished(&finished)).await?;
        let mut event = self.event("completed", picture, &size);
        event["usage"] = usage();
        self.send_as("completed", &event).await;
        Ok(())
    }

    /// The fields that both have.
    fn event(&self, name: &str, picture: String, size: &str) -> Value {
        json!({
            "type": format!("{}.{name}", self.kind),
            "b64_json": picture,
            "background": "opaque",
            "created_at": now(),
            "output_format": self.format.name(),
            "quality": "auto",
            "size": size,
        })
    }

    async fn send_as(&self, name: &str, event: &Value) {
        self.send(&format!("{}.{name}", self.kind), event).await;
    }

    /// A client that has gone away is noticed elsewhere.
    async fn send(&self, name: &str, data: &Value) {
        let _ = self.sender.send(Event::default().event(name).data(data.to_string())).await;
    }
}

/// How many of `wanted` previews, spread evenly over the steps, are due by now.
fn due(work: &Work, wanted: usize) -> usize {
    ((work.share * (wanted + 1) as f64) as usize).min(wanted)
}

/// A preview about as large as its picture.
fn full_size(preview: &RgbImage) -> RgbImage {
    let [width, height] = [preview.width(), preview.height()].map(|side| side * FACTOR);
    imageops::resize(preview, width, height, FilterType::CatmullRom)
}
