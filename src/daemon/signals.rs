//! Signals as calls: SIGTERM and Ctrl-C stop, SIGHUP reads the configuration again, SIGUSR1 shows
//! another picture.

use std::io;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;

use super::desk::Desk;

/// Turns signals into calls from now on, on a thread of its own.
///
/// # Errors
/// When the system does not let signals be handled.
pub fn listen(desk: Desk) -> io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP, SIGUSR1])?;
    let answer = move || {
        for signal in signals.forever() {
            match signal {
                SIGHUP => desk.call_reload(),
                SIGUSR1 => desk.call_next(),
                _ => desk.call_stop(),
            }
        }
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(answer)?;
    Ok(())
}
