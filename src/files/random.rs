//! Weights of any shape, made in memory as a network asks for them: for measuring a network's speed
//! and memory without its model.

use pochade_engine::{DType, Encoding, Filter, Norm, Storage, TensorView};

use super::{TensorSource, precision};

/// How filters are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FilterEncoding {
    /// One byte, one step per output.
    Int8,
    /// Four bits in groups of 32.
    Int4,
    /// Half precision.
    F16,
    /// Single precision.
    F32,
}

/// Makes up the weights of a network. The same names always get the same values.
#[derive(Clone, Copy, Debug)]
pub struct RandomWeights {
    encoding: FilterEncoding,
}

impl RandomWeights {
    /// Weights kept as `encoding` says; where that is integers, the layers that stay in floating
    /// point in a model's file are in f16 here too.
    pub fn new(encoding: FilterEncoding) -> Self {
        Self { encoding }
    }

    /// The filter `[out, in, kh, kw]` of the layer of this canonical name.
    pub(super) fn filter(&self, layer: &str, shape: [usize; 4], bias: bool) -> Filter {
        let float = !precision::is_integer(&format!("{layer}.weight"), &shape);
        let storage = match self.encoding {
            FilterEncoding::F32 => Storage::F32,
            FilterEncoding::Int8 if !float => Storage::Int(Encoding::Int8),
            FilterEncoding::Int4 if !float => Storage::Int(Encoding::Int4),
            FilterEncoding::F16 | FilterEncoding::Int8 | FilterEncoding::Int4 => Storage::F16,
        };
        Filter::random(shape, storage, bias, hash(layer))
    }

    /// A normalisation, which is the same for all names.
    pub(super) fn norm(&self, channels: usize) -> Norm {
        Norm::identity(channels)
    }

    /// The encoding and bytes of a table of zeros: what is looked up by row takes memory, not time.
    pub(super) fn table(&self, shape: [usize; 2]) -> (DType, Vec<u8>) {
        (DType::F16, vec![0; shape[0] * shape[1] * DType::F16.bytes()])
    }
}

/// It holds no tensors; [`Weights`](super::Weights) asks it for filters, norms and tables.
impl TensorSource for RandomWeights {
    fn tensor(&self, _name: &str) -> Option<TensorView<'_>> {
        None
    }

    fn origin(&self) -> &str {
        "random weights"
    }
}

/// FNV-1a.
fn hash(text: &str) -> u64 {
    let step = |h: u64, byte: u8| (h ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    text.bytes().fold(0xcbf2_9ce4_8422_2325, step)
}
