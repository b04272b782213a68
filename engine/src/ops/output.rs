//! Where an integer product's values go, and the summand that they are added to.

use super::{Operands, SharedBytes, SharedMut, SharedPlace, int8_rows};
use crate::graph::Epilogue;
use crate::kernels::Kernels;
use crate::kernels::rest::Rest;

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
    /// The output among `o`, and the residual if there is one. The planner lets a sum take the place
    /// of a summand that no one else reads.
    pub fn of(epilogue: &Epilogue, o: &mut Operands<'_>) -> (Self, Option<SharedPlace>) {
        let (start, last) = (o.out.as_mut_ptr(), o.inputs[o.count - 1]);
        let output = match int8_rows(o.shape, o.format) {
            None => Self::Direct(SharedPlace::new(start, o.format)),
            Some(layout) => {
                let (steps, bytes) = layout.split_mut(o.out);
                let (steps, bytes) = (steps.as_mut_ptr(), bytes.as_mut_ptr());
                let (steps, bytes) = (SharedMut(steps), SharedBytes(bytes));
                Self::Rounded(Rounded { steps, bytes, stride: layout.stride() })
            }
        };
        let residual = if last.data.is_empty() { start } else { last.data.as_ptr().cast_mut() };
        (output, epilogue.residual.then(|| SharedPlace::new(residual, last.format)))
    }

    /// Where the output's values begin.
    pub fn start(&self) -> *const u8 {
        match self {
            Self::Direct(place) => place.start.cast(),
            Self::Rounded(rows) => rows.bytes.0,
        }
    }
}
