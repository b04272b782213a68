//! What can go wrong with a screen, in sentences for the one who hangs it on the wall.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::paint::write::WriteError;

/// Why a screen cannot be opened, or does not show a frame.
#[derive(Debug)]
pub enum ScreenError {
    /// A frame of another size.
    Size {
        /// Width and height of the frame.
        frame: (u32, u32),
        /// Width and height of the screen.
        screen: (u32, u32),
    },
    /// The settings make no sense.
    Settings(String),
    /// The frame cannot be written as PNG.
    Encode {
        /// The file that was to hold it.
        path: PathBuf,
        /// What the encoder said.
        reason: String,
    },
    /// The file of a frame cannot be written.
    Write(WriteError),
    /// A device cannot be used.
    Device {
        /// The device, or a file that tells about it.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
        /// What may help.
        remedy: &'static str,
    },
    /// A pin cannot be used.
    Pin {
        /// The chip's device.
        chip: PathBuf,
        /// The pin's number on it.
        offset: u32,
        /// What the system said.
        reason: String,
    },
    /// A panel cannot be talked to.
    Bus {
        /// The panel.
        name: String,
        /// What the bus or pin said.
        reason: String,
    },
    /// A panel does not become ready.
    Busy {
        /// The panel.
        name: String,
        /// How long it was waited for.
        seconds: u32,
    },
    /// The terminal took nothing.
    Terminal(io::Error),
    /// Standard output is no terminal that shows colours.
    NoTerminal,
    /// This program was built without a kind of screen.
    NotBuilt {
        /// The screen.
        kind: &'static str,
        /// The feature of the crate that has it.
        feature: &'static str,
    },
}

impl fmt::Display for ScreenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Size { frame, screen } => write!(
                f,
                "a frame of {}x{} pixels was meant for a screen of {}x{}; arrange it for that size \
                 first",
                frame.0, frame.1, screen.0, screen.1
            ),
            Self::Settings(sentence) => f.write_str(sentence),
            Self::Encode { path, reason } => {
                write!(f, "a frame cannot be written as PNG to '{}': {reason}", path.display())
            }
            Self::Write(error) => error.fmt(f),
            Self::Device { path, source, remedy } => {
                write!(f, "'{}' cannot be used: {source}; {remedy}", path.display())
            }
            Self::Pin { chip, offset, reason } => write!(
                f,
                "pin {offset} of '{}' cannot be used: {reason}; check its number, that nothing \
                 else uses it, and that this user is in the group 'gpio'",
                chip.display()
            ),
            Self::Bus { name, reason } => write!(
                f,
                "the {name} cannot be talked to: {reason}; check that it sits firmly on its pins"
            ),
            Self::Busy { name, seconds } => write!(
                f,
                "the {name} is still busy after {seconds} s; check that it sits firmly on its pins \
                 and that the power supply is strong enough"
            ),
            Self::Terminal(error) => {
                write!(f, "the terminal cannot be written to: {error}; is it still open?")
            }
            Self::NoTerminal => f.write_str(
                "the standard output is no terminal that shows colours; run in one, or show the \
                 pictures in a file with the screen 'png'",
            ),
            Self::NotBuilt { kind, feature } => write!(
                f,
                "this program was built without the screen '{kind}'; build it with `--features \
                 {feature}`"
            ),
        }
    }
}

/// The messages have the causes' words in them, so there is no source to be told beside them.
impl std::error::Error for ScreenError {}
