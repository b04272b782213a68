//! The kiosk's daemon: paints to a screen for months.
//!
//! A [`Kiosk`] stands at a [`Site`], takes what is put on its [`Desk`] and does as its [`Config`] says.

mod config;
mod desk;
mod exhibit;
mod gallery;
mod guard;
mod kiosk;
mod pace;
pub mod signals;
mod site;
mod system;
mod times;
mod words;

pub use config::{Config, ConfigError, DEFAULT_PLAYLIST, Display, Quiet, Schedule};
pub use desk::{Call, Desk, Full, Order};
pub use gallery::{FreeSpace, Gallery, Keep, free_space};
pub use guard::Guard;
pub use kiosk::Kiosk;
pub use site::{Notice, Site, SiteError};
pub use system::System;
pub use times::{Between, Span};
pub use words::{Moment, Template, Words, WordsError};
