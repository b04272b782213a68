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
    /// Rounds all rows of `x`, which become those from `first` on.
    ///
    /// # Safety
    /// The output has them, and no other task writes them.
    pub unsafe fn put(&self, k: &Kernels, first: usize, x: &Rest<'_>) {
        let rows = x.rows_there();
        // SAFETY: the caller's contract.
        let (bytes, steps) = unsafe {
            (
                self.bytes.slice(first * self.stride, rows * self.stride),
                self.steps.slice(first, rows),
            )
        };
        k.round(x, 0..rows, bytes, steps);
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
