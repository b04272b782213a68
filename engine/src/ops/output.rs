//! Where an integer product's values go.

use super::{SharedBytes, SharedMut, SharedPlace, int8_rows};
use crate::activations::Format;
use crate::kernels::Kernels;
use crate::kernels::rest::Rest;
use crate::tensor::Shape;

/// The output of a product.
#[derive(Clone, Copy)]
pub(super) enum Output {
    Direct(SharedPlace),
    /// To int8 as soon as a row is whole, each with a step of its own.
    Rounded(Rounded),
}

/// Rows of int8 to be filled.
#[derive(Clone, Copy)]
pub(super) struct Rounded {
    steps: SharedMut,
    bytes: SharedBytes,
    stride: usize,
}

impl Rounded {
    /// Rounds a row.
    ///
    /// # Safety
    /// The output has it, and no other task writes it.
    pub unsafe fn put(&self, k: &Kernels, row: usize, x: &[f32]) {
        // SAFETY: the caller's contract.
        unsafe {
            let bytes = self.bytes.slice(row * self.stride, self.stride);
            *self.steps.pointer(row) = k.round(&Rest::row(x), 0, bytes);
        }
    }
}

impl Output {
    /// An output of `shape` in `out`.
    pub fn of(out: &mut [f32], shape: Shape, format: Format) -> Self {
        match int8_rows(shape, format) {
            None => Self::Direct(SharedPlace::new(out.as_mut_ptr(), format)),
            Some(layout) => {
                let (steps, bytes) = layout.split_mut(out);
                let (steps, bytes) = (steps.as_mut_ptr(), bytes.as_mut_ptr());
                let (steps, bytes) = (SharedMut(steps), SharedBytes(bytes));
                Self::Rounded(Rounded { steps, bytes, stride: layout.stride() })
            }
        }
    }
}
