//! Model files: safetensors, GGUF and diffusers folders, read without trust.

mod error;
mod weights;

pub use error::FileError;
pub use weights::{TensorSource, Weights};
