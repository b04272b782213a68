//! Model files: safetensors, GGUF, diffusers folders and checkpoints, read without trust.

mod beside;
pub mod blocks;
mod bytes;
mod checkpoint;
mod component;
mod config;
mod diffusers;
mod error;
pub mod gguf;
mod loaded;
pub mod names;
mod pack;
mod package;
mod packing;
mod precision;
mod random;
mod replace;
pub mod safetensors;
mod table;
mod weights;

pub use beside::Beside;
pub use bytes::FileBytes;
pub use checkpoint::{Checkpoint, Predicts};
pub use component::Component;
pub use config::Config;
pub use error::FileError;
pub use loaded::{ComponentWeights, NewTensor, TensorInfo};
pub use pack::{Packed, Progress, pack, pack_with, packed_bytes};
pub use package::ModelFiles;
pub use packing::{Packing, TensorEncoding, WeightEncoding, is_integer_layer};
pub use random::{FilterEncoding, RandomWeights};
pub use replace::NewFile;
pub use table::{Encoding, StoredTensor, TensorFile};
pub use weights::{PlannedEncodings, TableBytes, TensorSource, Weights};

/// Bytes in hexadecimal.
fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;

    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        write!(text, "{byte:02x}").ok();
        text
    })
}
