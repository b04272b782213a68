//! The CPU engine under Pochade: tensors, kernels, graph and plan. It knows nothing of diffusion.
//!
//! Model code builds a [`Graph`] once per set of shapes. [`Plan::new`] fuses it and gives every intermediate a place in one
//! arena, so that the memory is known before the first multiplication. A [`Session`] owns that arena and replays the plan.

pub mod graph;
pub mod mapped;
pub mod tensor;
pub mod weights;

pub use graph::{ConvSpec, Graph, GraphError, Mask, Padding, Pointwise, Rate, Value};
pub use mapped::MappedFile;
pub use tensor::{DType, Shape, TensorView};
pub use weights::{Codebook, Filter, Norm, WeightError};
