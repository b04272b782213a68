//! The CPU engine under Pochade: tensors, kernels, graph and plan. It knows nothing of diffusion.
//!
//! Model code builds a [`Graph`] once per set of shapes. [`Plan::new`] fuses it and gives every
//! intermediate a place in one arena, so that the memory is known before the first multiplication.
//! A [`Session`] owns that arena and replays the plan.

mod activations;
mod aligned;
mod arena;
mod fuse;
pub mod graph;
mod heap;
mod int_weights;
mod isa;
mod kernels;
mod layer;
mod lower;
mod machine;
pub mod mapped;
mod ops;
mod packed;
mod plan;
mod pool;
mod prefetch;
mod profile;
mod prologues;
mod random;
mod recompute;
mod session;
mod simd;
mod storage;
pub mod tensor;
pub mod weights;

pub use graph::{
    AttentionTap, ConvSpec, Graph, GraphError, Mask, Padding, Pointwise, Rate, Tap, Value,
};
pub use heap::release_freed_memory;
pub use int_weights::{Encoding, Integers, PanelBytes, PanelShape, StoredPanels};
pub use isa::{ISA_VARIABLE, Isa, IsaError};
pub use layer::LayerSize;
pub use machine::{Peak, PeakSource};
pub use mapped::{MappedBytes, MappedFile};
pub use plan::{Plan, PlanOptions, Streamable};
pub use pool::Pool;
pub use profile::{Arithmetic, SessionProfile, StepInfo, StepProfile};
pub use random::Storage;
pub use session::{Engine, Session};
pub use storage::LargeMaps;
pub use tensor::{DType, Shape, TensorView};
pub use weights::{Codebook, Filter, Norm, WeightError};
