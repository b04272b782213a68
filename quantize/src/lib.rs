//! What `pochade-quantize` reads and writes beside the formats of the `pochade` library: pickled
//! checkpoints, and GGUF in standard blocks. Here and not there, because nothing of it belongs on a
//! board.
#![forbid(unsafe_code)]

pub mod checkpoint;
#[cfg(feature = "onnx")]
pub mod onnx;
