//! The kiosk's daemon: paints to a screen for months.
//!
//! A [`Kiosk`] stands at a [`Site`], takes what is put on its [`Desk`] and does as its [`Config`] says.

mod board;
pub mod buttons;
mod config;
mod desk;
mod exhibit;
mod gallery;
mod gate;
mod guard;
mod kiosk;
#[cfg(feature = "mqtt")]
mod mqtt;
mod pace;
mod rules;
pub mod signals;
mod site;
mod studio;
mod system;
mod times;
mod way;
#[cfg(feature = "web")]
pub mod web;
mod words;

pub use board::{Board, Counts, Source, State, Ticket, Work};
pub use config::{Button, Config, ConfigError, DEFAULT_PLAYLIST, Display, Press, Quiet, Schedule};
pub use desk::{Call, Desk, Finished, Order, Outcome, Wish};
pub use gallery::{Entry, FreeSpace, Gallery, Keep, free_space};
pub use gate::{Gate, GateError};
pub use guard::Guard;
pub use kiosk::{Handle, Kiosk};
#[cfg(feature = "mqtt")]
pub use mqtt::{FleetSettings, Mqtt, MqttSettings};
pub use rules::{Refusal, Rules};
pub use site::{Notice, Site, SiteError};
pub use system::System;
pub use times::{Between, Span};
pub use words::{Moment, Template, Words, WordsError};
