//! Buttons on pins: what a press does.

use super::config::{Button, Press};
use super::kiosk::Handle;
use super::site::SiteError;

/// Listens to all buttons from now on, each on a thread of its own.
///
/// # Errors
/// When a pin is not there, or this program was built without panels.
pub fn listen(buttons: &[Button], handle: &Handle) -> Result<(), SiteError> {
    buttons.iter().try_for_each(|button| listen_to(button, handle.clone()))
}

#[cfg(feature = "panels")]
fn listen_to(button: &Button, handle: Handle) -> Result<(), SiteError> {
    let (presses, pressed) = std::sync::mpsc::sync_channel(1);
    crate::display::Button::watch(button.chip.as_deref(), button.pin, presses)?;
    let does = button.does;
    let answer = move || pressed.iter().for_each(|_| press(does, &handle));
    std::thread::Builder::new().name(format!("press {}", button.pin)).spawn(answer)?;
    Ok(())
}

#[cfg(not(feature = "panels"))]
fn listen_to(button: &Button, _handle: Handle) -> Result<(), SiteError> {
    let pin = button.pin;
    Err(format!("[[button]] pin = {pin}: this pochade was built without its feature `panels`")
        .into())
}

/// Does what a button is for.
#[cfg_attr(not(feature = "panels"), allow(dead_code, reason = "there are no pins"))]
fn press(does: Press, handle: &Handle) {
    match does {
        Press::Next => handle.desk.call_next(),
        Press::Interrupt => handle.desk.interrupt(),
        Press::Favourite => favour(handle),
    }
}

/// Keeps the picture on the screen.
fn favour(handle: &Handle) {
    let Some(name) = handle.board.state().shown else { return };
    match handle.gallery.favour(&name, true) {
        Ok(true) => log::info!("{name} is a favourite"),
        Ok(false) => log::warn!("{name} is not in the gallery any more"),
        Err(error) => log::error!("{name} cannot be made a favourite: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::{Call, Desk, Gallery, Keep, free_space};
    use std::fs;
    use std::time::Duration;

    #[test]
    fn a_press_does_what_the_button_is_for() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a.png"), b"a picture").unwrap();
        let keep = Keep { pictures: 9, bytes: 1 << 20, free: 0 };
        let gallery = Gallery::open(folder.path(), keep, Box::new(free_space)).unwrap();
        let desk = Desk::default();
        let handle = Handle { board: desk.board().clone(), desk, gallery };
        press(Press::Favourite, &handle);
        assert!(!handle.gallery.list()[0].favourite, "nothing is shown");
        handle.board.write(|state| state.shown = Some("a.png".to_owned()));
        press(Press::Favourite, &handle);
        assert!(handle.gallery.list()[0].favourite);
        press(Press::Next, &handle);
        assert!(matches!(handle.desk.take(), Some(Call::Next)));
        handle.desk.begin(None);
        press(Press::Interrupt, &handle);
        assert!(handle.desk.end(Duration::ZERO));
    }

    #[test]
    fn a_button_on_a_pin_that_is_not_there_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let keep = Keep { pictures: 9, bytes: 1 << 20, free: 0 };
        let gallery = Gallery::open(folder.path(), keep, Box::new(free_space)).unwrap();
        let desk = Desk::default();
        let handle = Handle { board: desk.board().clone(), desk, gallery };
        let chip = Some("/dev/gpiochip99".into());
        let button = Button { pin: 5, chip, does: Press::Next };
        let error = listen(&[button], &handle).unwrap_err().to_string();
        assert!(error.contains("pin"), "{error}");
    }
}
