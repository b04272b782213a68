//! What the board says, as it changes: server-sent events.
//!
//! However many pages listen and however often the board changes, its JSON is made a few times a
//! second at most, and not at all where nobody listens.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::stream::{self, Stream};
use tokio::sync::watch;

use super::Reception;
use super::state_json;
use crate::daemon::Board;

/// Changes that come closer together are told as one.
const PAUSE: Duration = Duration::from_millis(250);

/// What is told to all who listen.
pub(super) struct Events {
    /// Counts changes of the board.
    changes: Arc<watch::Sender<u64>>,
    latest: watch::Sender<Arc<str>>,
}

impl Events {
    /// Follows the board from now on; call it within a runtime.
    pub fn follow(board: &Board) -> Self {
        let changes = Arc::new(watch::Sender::new(0));
        let latest = watch::Sender::new(Arc::from(""));
        let noted = changes.clone();
        board.on_change(move || noted.send_modify(|count| *count += 1));
        tokio::spawn(tell(board.clone(), changes.subscribe(), latest.clone()));
        Self { changes, latest }
    }

    /// Hears of every change, or of several at once.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Hears of the board's JSON, at once and after changes.
    fn listen(&self) -> watch::Receiver<Arc<str>> {
        let receiver = self.latest.subscribe();
        // What was told last may be older than this listener.
        self.changes.send_modify(|count| *count += 1);
        receiver
    }
}

/// Tells every change, until the board is gone.
async fn tell(board: Board, mut changes: watch::Receiver<u64>, latest: watch::Sender<Arc<str>>) {
    while changes.changed().await.is_ok() {
        if latest.receiver_count() > 0 {
            latest.send_replace(Arc::from(state_json::state(&board.state()).to_string()));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// `GET /api/events`: an event `state` at once and after every change.
pub(super) async fn events(
    State(reception): State<Arc<Reception>>,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let changes = stream::unfold(reception.events.listen(), |mut receiver| async {
        receiver.changed().await.ok()?;
        let json = receiver.borrow_and_update().clone();
        Some((Ok(Event::default().event("state").data(&*json)), receiver))
    });
    Sse::new(changes).keep_alive(KeepAlive::default())
}
