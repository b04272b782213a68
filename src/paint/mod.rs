//! From a request to a picture and its file.

pub mod infotext;
pub mod png;
pub mod preview;
mod request;
pub mod write;

pub use request::{Paint, Painting, Progress, Request, Resolved, Size, Stage, Timings};
