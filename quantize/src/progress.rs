//! What is seen of the work, and how it is stopped.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use indicatif::{ProgressBar, ProgressStyle};
use signal_hook::consts::{SIGINT, SIGTERM};

/// Bytes of a file.
pub(crate) const BYTES: &str = "{msg:14} [{bar:30}] {bytes}/{total_bytes} {eta}";
/// Anything that is counted.
pub(crate) const COUNT: &str = "{msg:14} [{bar:30}] {pos}/{len} {eta}";

/// A progress bar, drawn on standard error where that is a terminal, and a flag that Ctrl-C or a
/// polite kill raises, so that temporary files are removed on the way out.
#[derive(Clone, Debug)]
pub(crate) struct Watch {
    bar: ProgressBar,
    stop: Arc<AtomicBool>,
}

impl Watch {
    /// Listens for signals from now on.
    pub fn start() -> std::io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            signal_hook::flag::register(signal, Arc::clone(&stop))?;
        }
        Ok(Self { bar: ProgressBar::hidden(), stop })
    }

    /// The same flag with a new bar.
    pub fn bar(&self, template: &str, len: usize) -> Self {
        let style = ProgressStyle::with_template(template);
        let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
        Self { bar: ProgressBar::new(len as u64).with_style(style), stop: self.stop.clone() }
    }

    /// Says what is being done.
    pub fn says(&self, what: &'static str) {
        self.bar.set_message(what);
    }

    /// Says how far it has come.
    pub fn at(&self, done: u64, len: u64) {
        self.bar.set_length(len);
        self.bar.set_position(done);
    }

    /// One more is done; an error where the work is to stop.
    pub fn step(&self) -> anyhow::Result<()> {
        self.bar.inc(1);
        anyhow::ensure!(!self.stopped(), "stopped; nothing was written");
        Ok(())
    }

    /// Whether the work is to stop.
    pub fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Takes the bar off the screen.
    pub fn clear(&self) {
        self.bar.finish_and_clear();
    }
}
