//! Painting: from a request to a picture and its file.
//!
//! A [`Painter`] opens a model and runs its parts in turn: text encoder, denoiser (in some models a
//! second one), decoder. The formats of pictures, their metadata and their preview in a terminal are
//! here too.

pub mod apng;
mod beginning;
mod decode;
mod default_model;
mod denoise;
mod encode;
mod error;
mod hints;
pub mod infotext;
mod latent_preview;
mod limits;
mod listen;
mod memory;
mod name;
mod painter;
pub mod png;
mod predict;
pub mod preview;
mod request;
mod seed;
mod text_stage;
mod upscale;
mod walk;
mod watch;
pub mod write;

pub use beginning::Beginning;
pub use default_model::default_model;
pub use error::{MAX_SIDE, PaintError};
pub use latent_preview::{LatentMap, LatentPreview};
pub use limits::sizes;
pub use listen::{AttentionInput, LayerInput, LayerListener};
pub use memory::{Memory, MemoryPlan, PartMemory};
pub use name::file_name;
pub use painter::Painter;
pub use predict::{PlannedLayer, Prediction, layers, predict, predict_as};
pub use request::{
    Look, Paint, Painting, Progress, Request, Resolved, Size, Sizes, Stage, Timings, Toward,
};
pub use seed::random_seed;
pub use walk::{Stop, Walk, WalkError};
