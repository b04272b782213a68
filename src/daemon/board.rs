//! What everybody may see of a kiosk: what it does, what waits, what hangs on its screen.
//!
//! The kiosk and its desk write here; pages and messages are made from copies. Whoever wants to hear
//! of changes is called after each of them, and looks for itself at what there is by then.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use image::RgbImage;
use jiff::Zoned;
use serde::Serialize;

/// Who asked for a picture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// The kiosk's own time-table.
    #[default]
    Schedule,
    /// Somebody over HTTP.
    Web,
    /// Somebody over MQTT.
    Mqtt,
    /// The fleet's common queue.
    Fleet,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Schedule => "schedule",
            Self::Web => "web",
            Self::Mqtt => "mqtt",
            Self::Fleet => "fleet",
        })
    }
}

/// An order that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// Its number.
    pub id: u64,
    /// What should be seen.
    pub prompt: String,
    /// Who wants it.
    pub source: Source,
}

/// The picture that is being painted.
#[derive(Clone, Debug, Default)]
pub struct Work {
    /// The order's number; none for the kiosk's own pictures.
    pub id: Option<u64>,
    /// What should be seen.
    pub prompt: String,
    /// Who wants it.
    pub source: Source,
    /// Steps of the stage that are done.
    pub step: usize,
    /// Steps of the stage; 0 as long as the words are being read.
    pub steps: usize,
    /// How much of all stages' steps is done, from 0 to 1.
    pub share: f64,
    /// How long it will take from now on, once a step was done.
    pub left: Option<Duration>,
    /// The picture as it can be guessed now.
    pub preview: Option<Arc<RgbImage>>,
}

/// What was done since the kiosk was started.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Counts {
    /// Pictures that were painted, those between the stops of a walk aside.
    pub painted: u64,
    /// Pictures that could not be painted.
    pub failed: u64,
    /// Pictures that somebody stopped.
    pub interrupted: u64,
    /// Seconds that painting took in all.
    pub seconds: f64,
}

/// All that can be seen of a kiosk at one moment.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// Grows with every change.
    pub version: u64,
    /// What the kiosk does, in a few words.
    pub status: String,
    /// The model's name.
    pub model: String,
    /// What is being painted.
    pub work: Option<Work>,
    /// What waits to be painted, the next one first.
    pub waiting: Vec<Ticket>,
    /// The name in the gallery of the picture on the screen.
    pub shown: Option<String>,
    /// The screen as people see it.
    pub frame: Option<Arc<RgbImage>>,
    /// What is wrong, until it is mended.
    pub trouble: Option<String>,
    /// When the picture changes.
    pub next_change: Option<Zoned>,
    /// The playlist of this part of the day.
    pub playlist: String,
    /// Whether these are quiet hours.
    pub quiet: bool,
    /// What was done so far.
    pub counts: Counts,
    /// Degrees Celsius of the machine, where it has a thermometer.
    pub temperature: Option<f64>,
    /// Whether the model is in memory.
    pub loaded: bool,
}

type Listener = Box<dyn Fn() + Send + Sync>;

/// The board, which may be handed out by cloning it.
#[derive(Clone, Default)]
pub struct Board {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    listeners: Mutex<Vec<Arc<Listener>>>,
}

impl fmt::Debug for Board {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Board").field(&self.state()).finish()
    }
}

impl Board {
    /// What there is to see now.
    pub fn state(&self) -> State {
        self.lock().clone()
    }

    /// From now on, calls `listener` after every change, from the thread that made it; it must be
    /// quick and give no orders itself.
    pub fn on_change(&self, listener: impl Fn() + Send + Sync + 'static) {
        let mut listeners = self.shared.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        listeners.push(Arc::new(Box::new(listener)));
    }

    /// Whether anybody listens.
    pub fn is_watched(&self) -> bool {
        !self.listeners().is_empty()
    }

    /// Writes something on it.
    pub(super) fn write(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        change(&mut state);
        state.version += 1;
        drop(state);
        self.listeners().iter().for_each(|listener| listener());
    }

    fn listeners(&self) -> Vec<Arc<Listener>> {
        self.shared.listeners.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    #[test]
    fn listeners_find_what_was_written() {
        let (board, seen) = (Board::default(), Arc::new(AtomicU64::new(0)));
        board.write(|state| state.status = "unheard".to_owned());
        assert!(!board.is_watched());
        let (other, heard) = (board.clone(), seen.clone());
        board.on_change(move || heard.store(other.state().version, Ordering::Relaxed));
        board.write(|state| state.counts.painted += 1);
        assert_eq!(seen.load(Ordering::Relaxed), 2);
        assert_eq!((board.state().status.as_str(), board.state().counts.painted), ("unheard", 1));
    }
}
