//! A button on a pin.

use std::path::Path;
use std::sync::mpsc::{SyncSender, TrySendError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use gpiocdev::line::{Bias, EdgeDetection, Offset};
use gpiocdev::request::Request;

use super::ScreenError;
use super::pins::{Line, header_chip};

/// Contacts bounce for a few milliseconds; no finger presses twice within these.
const DEBOUNCE: Duration = Duration::from_millis(30);

/// A button that connects a pin to ground, such as the four at the side of an Inky Impression (pins
/// 5, 6, 16 and 24).
#[derive(Debug)]
pub struct Button {
    watcher: JoinHandle<()>,
}

impl Button {
    /// Watches a pin of a chip, or of the board's header, and sends its number at every press. A
    /// press while the channel is full is lost: it has been pressed often enough. The watching ends
    /// with the first press after nobody listens any more.
    ///
    /// # Errors
    /// When the pin is not there, or in use.
    pub fn watch(
        chip: Option<&Path>,
        pin: Offset,
        pressed: SyncSender<Offset>,
    ) -> Result<Self, ScreenError> {
        let chip = chip.map_or_else(header_chip, Path::to_owned);
        let mut request = Request::builder();
        request.as_input().with_bias(Bias::PullUp).with_debounce_period(DEBOUNCE);
        request.with_edge_detection(EdgeDetection::FallingEdge);
        let line = Line::requested(&chip, pin, &mut request)?;
        let watcher = thread::Builder::new().name(format!("button {pin}"));
        let watcher = watcher
            .spawn(move || watch(&line, pin, &pressed))
            .map_err(|error| ScreenError::Pin { chip, offset: pin, reason: error.to_string() })?;
        Ok(Self { watcher })
    }

    /// Whether the pin is still watched.
    pub fn is_watched(&self) -> bool {
        !self.watcher.is_finished()
    }
}

fn watch(line: &Line, pin: Offset, pressed: &SyncSender<Offset>) {
    loop {
        match line.request().read_edge_event() {
            Ok(_) => {
                log::debug!("button {pin} pressed");
                if let Err(TrySendError::Disconnected(_)) = pressed.try_send(pin) {
                    return;
                }
            }
            Err(error) => {
                log::warn!("button {pin} is watched no more: {error}");
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chip_that_is_not_there_is_named() {
        let (sender, _receiver) = std::sync::mpsc::sync_channel(1);
        let error = Button::watch(Some(Path::new("/dev/gpiochip99")), 5, sender).unwrap_err();
        assert!(
            error.to_string().starts_with("pin 5 of '/dev/gpiochip99' cannot be used"),
            "{error}"
        );
    }
}
