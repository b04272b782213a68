//! Pochade paints pictures from words on small computers, offline.
#![forbid(unsafe_code)]

pub mod bench;
pub mod boards;
pub mod cli;
#[cfg(feature = "kiosk")]
pub mod daemon;
pub mod diffusion;
#[cfg(feature = "kiosk")]
pub mod display;
#[cfg(feature = "eval")]
pub mod eval;
pub mod explain;
pub mod files;
pub mod nets;
pub mod page;
pub mod paint;
pub mod text;
