//! GGUF for other programs: ggml's own types alone, under latent diffusion's names.
//!
//! Matrices whose rows are whole blocks of 32 are Q8_0 or Q4_0. Filters are f16: ggml's blocks run
//! along a tensor's innermost dimension, which of a filter `[out, in, kh, kw]` is its width of 3,
//! and a filter flattened to a matrix is one that no other reader expects. Vectors are f32; what is
//! looked up, or makes the time, is f16.

use pochade::files::gguf::Value;
use pochade::files::{Component, Encoding, Packing, TensorEncoding, TensorInfo, WeightEncoding};
use pochade_engine::DType;

/// Matrices that other programs keep in floating point: tables, and the embedding of the time.
const FLOAT: [&str; 3] = ["embeddings.", "time_embed.", "label_emb."];

/// The version of ggml's block types.
const QUANTIZATION_VERSION: u32 = 2;

/// Writes standard types; integers mean blocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plain(pub WeightEncoding);

impl Plain {
    /// The type of the matrices, where all are to become one.
    fn matrices(self) -> Option<DType> {
        match self.0 {
            WeightEncoding::Keep => None,
            WeightEncoding::F32 => Some(DType::F32),
            WeightEncoding::F16 => Some(DType::F16),
            WeightEncoding::Int8 => Some(DType::Q8_0),
            WeightEncoding::Int4 => Some(DType::Q4_0),
        }
    }
}

impl Packing for Plain {
    fn encoding(&self, _part: Component, tensor: &TensorInfo<'_>) -> TensorEncoding {
        let Some(wanted) = self.matrices() else {
            return match tensor.encoding {
                // Asked to become anything, panels are refused.
                Encoding::Plain(DType::I8) => TensorEncoding::Float(DType::F16),
                _ => TensorEncoding::Keep,
            };
        };
        let float = FLOAT.iter().any(|start| tensor.name.starts_with(start));
        TensorEncoding::Float(match *tensor.shape {
            [_, columns] if columns.is_multiple_of(wanted.block()) && !float => wanted,
            [] | [_] => DType::F32,
            _ if wanted == DType::F32 => DType::F32,
            _ => DType::F16,
        })
    }

    fn metadata(&self) -> Vec<(String, Value)> {
        // The numbers that llama.cpp gives to files that are mostly of one type.
        let file_type = match self.0 {
            WeightEncoding::F32 => 0,
            WeightEncoding::F16 | WeightEncoding::Keep => 1,
            WeightEncoding::Int4 => 2,
            WeightEncoding::Int8 => 7,
        };
        vec![
            ("general.file_type".to_owned(), Value::U32(file_type)),
            ("general.quantization_version".to_owned(), Value::U32(QUANTIZATION_VERSION)),
        ]
    }
}
