//! What becomes of a model's tensors in a packed file: one encoding for all weights, or a choice for
//! every layer.

use pochade_engine::{DType, Encoding as Integers, Filter, TensorView, WeightError};

use super::gguf::Value;
use super::{Component, TensorInfo, precision};

/// The encoding of the weights in a packed model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WeightEncoding {
    /// Every tensor as it is stored in the source.
    #[default]
    Keep,
    /// Every tensor in f32.
    F32,
    /// Filters and matrices in f16; vectors (norms, biases), which are small, as they are stored.
    F16,
    /// Layers that work in integers in int8, one step per output; other matrices in blocks of 32
    /// int8, which are read as floating point, other filters in f16, vectors in f32.
    Int8,
    /// The same in int4, with a multiplier per 32 channels, and the table of tokens in blocks of int4.
    Int4,
}

/// The table that tokens are looked up in: much of a text encoder, and read a row at a time.
const TOKENS: &str = "embeddings.token_embedding.weight";

/// The encoding of one packed tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TensorEncoding {
    /// Not in the file at all.
    LeftOut,
    /// As it is stored in the source.
    Keep,
    /// Numbers, perhaps in blocks.
    Float(DType),
    /// Panels of integers with their steps: the weights of a layer that works in integers.
    Integers(Integers),
}

/// Says what becomes of every tensor of a model, and rounds layers to integers.
pub trait Packing {
    /// The encoding of a tensor; asked more than once, with the same answer.
    fn encoding(&self, part: Component, tensor: &TensorInfo<'_>) -> TensorEncoding;

    /// The weights of a layer, `[out, in, kh, kw]` or `[out, in]`, in integers.
    ///
    /// # Errors
    /// When they cannot be.
    fn filter(
        &mut self,
        _part: Component,
        _name: &str,
        weight: &TensorView<'_>,
        integers: Integers,
    ) -> Result<Filter, WeightError> {
        Filter::rounded(weight, None, integers)
    }

    /// Metadata for the file, beside what every packed model has.
    fn metadata(&self) -> Vec<(String, Value)> {
        Vec::new()
    }
}

impl Packing for WeightEncoding {
    fn encoding(&self, _part: Component, tensor: &TensorInfo<'_>) -> TensorEncoding {
        let integers = match self {
            Self::Keep => return TensorEncoding::Keep,
            Self::F32 => return TensorEncoding::Float(DType::F32),
            Self::F16 => None,
            Self::Int8 => Some(Integers::Int8),
            Self::Int4 => Some(Integers::Int4),
        };
        match integers.filter(|_| is_integer_layer(tensor)) {
            Some(integers) => TensorEncoding::Integers(integers),
            None if *self == Self::Int4
                && tensor.name == TOKENS
                && is_in_rows_of_blocks(tensor.shape) =>
            {
                TensorEncoding::Float(DType::Q4_0)
            }
            None if *self != Self::F16 && is_in_rows_of_blocks(tensor.shape) => {
                TensorEncoding::Float(DType::Q8_0)
            }
            None if tensor.shape.len() > 1 => TensorEncoding::Float(DType::F16),
            None if *self == Self::F16 => TensorEncoding::Keep,
            None => TensorEncoding::Float(DType::F32),
        }
    }
}

/// Whether a tensor is a matrix whose rows are whole blocks of ggml's types.
pub(super) fn is_in_rows_of_blocks(shape: &[usize]) -> bool {
    matches!(*shape, [_, columns] if columns.is_multiple_of(DType::Q8_0.block()))
}

/// Whether a tensor is the weight of a layer that may work in integers.
pub fn is_integer_layer(tensor: &TensorInfo<'_>) -> bool {
    precision::size(tensor.shape).is_some() && precision::is_integer(tensor.name, tensor.shape)
}
