//! How activations lie in the arena, whose lengths count in f32.
//!
//! f32 and f16 are plain arrays; f16 counts sixteenths and comes with whole lanes of channels only.
//! int8 is bytes and what they stand for: first the step of each row, or the step and the zero point
//! of each picture; then the rows, `[rows][channels padded to 16]` bytes; then a row of zeros, of each
//! picture if that has a zero point, which is what a convolution's padding reads.

use crate::kernels::code::Code;
use crate::kernels::int::BLOCK;
use crate::kernels::rest::{Rest, RestValues};
use crate::packed::{PackedKeys, PackedQueries};
use crate::tensor::Shape;

/// What shares a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Steps {
    /// The channels of one position. Matrix products.
    PerRow,
    /// All positions of a picture, since a convolution's sum runs over several. They share a zero
    /// point too: behind SiLU or ReLU most values are on one side of zero.
    PerImage,
}

/// How a value is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    F32,
    F16,
    Int8(Steps),
    /// Queries of attention.
    PackedQueries {
        heads: usize,
    },
    /// Keys and values of attention, under the shape of either.
    PackedKeys {
        heads: usize,
    },
}

impl Format {
    /// Length of a value in f32.
    pub fn len(self, shape: Shape) -> usize {
        match self {
            Self::F32 => shape.len(),
            Self::F16 => shape.len() / 2,
            Self::Int8(steps) => Rows { shape, steps }.len(),
            Self::PackedQueries { heads } => {
                shape.n * heads * PackedQueries::new(heads, shape).per_head()
            }
            Self::PackedKeys { heads } => {
                shape.n * heads * PackedKeys::new(heads, shape).per_head()
            }
        }
    }
}

/// The parts of a buffer of int8 activations.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rows {
    pub shape: Shape,
    pub steps: Steps,
}

impl Rows {
    /// Bytes from one row to the next.
    pub fn stride(&self) -> usize {
        self.shape.c.next_multiple_of(BLOCK)
    }

    /// How many steps and zero points there are, padded.
    pub fn step_count(&self) -> usize {
        let count = match self.steps {
            Steps::PerRow => self.shape.rows(),
            Steps::PerImage => 2 * self.shape.n,
        };
        count.next_multiple_of(BLOCK)
    }

    /// How many rows of zeros there are.
    pub fn zero_rows(&self) -> usize {
        match self.steps {
            Steps::PerRow => 1,
            Steps::PerImage => self.shape.n,
        }
    }

    fn len(&self) -> usize {
        let rows = self.shape.rows() + self.zero_rows();
        self.step_count() + rows * self.stride() / size_of::<f32>()
    }

    /// What the bytes of row `row` stand for, by the steps of [`Rows::split`].
    pub fn code(&self, steps: &[f32], row: usize) -> Code {
        match self.steps {
            Steps::PerRow => Code { step: steps[row], zero: 0 },
            Steps::PerImage => self.image_code(steps, row / self.shape.positions()),
        }
    }

    /// What the bytes of picture `n` stand for, where its rows share that.
    pub fn image_code(&self, steps: &[f32], n: usize) -> Code {
        Code { step: steps[n], zero: steps[self.shape.n + n] as i32 }
    }

    /// Sets what the bytes of picture `n` stand for.
    pub fn set_image_code(&self, steps: &mut [f32], n: usize, code: Code) {
        (steps[n], steps[self.shape.n + n]) = (code.step, code.zero as f32);
    }

    /// Steps and bytes of a buffer.
    pub fn split<'a>(&self, data: &'a [f32]) -> (&'a [f32], &'a [u8]) {
        let (steps, rows) = data[..self.len()].split_at(self.step_count());
        // SAFETY: any bytes of an f32 are bytes; the length is that of the same memory.
        let bytes = unsafe { std::slice::from_raw_parts(rows.as_ptr().cast(), size_of_val(rows)) };
        (steps, bytes)
    }

    /// Steps and bytes of a buffer, to be filled.
    pub fn split_mut<'a>(&self, data: &'a mut [f32]) -> (&'a mut [f32], &'a mut [u8]) {
        let (steps, rows) = data[..self.len()].split_at_mut(self.step_count());
        let len = size_of_val(rows);
        // SAFETY: any bytes are an f32; the length is that of the same memory.
        let bytes = unsafe { std::slice::from_raw_parts_mut(rows.as_mut_ptr().cast(), len) };
        (steps, bytes)
    }
}

/// The rows of a value of `shape` that lies in `data`. A picture of int8 steps of its own has none: it
/// is read by products alone.
pub(crate) fn rest(data: &[f32], shape: Shape, format: Format, offset: u8) -> Rest<'_> {
    let values = match format {
        Format::F32 | Format::PackedQueries { .. } | Format::PackedKeys { .. } => {
            RestValues::F32(data)
        }
        Format::F16 => RestValues::F16(halves(data)),
        Format::Int8(steps) => {
            let rows = Rows { shape, steps };
            let (steps, bytes) = rows.split(data);
            RestValues::Int8 { steps, bytes, stride: rows.stride(), offset }
        }
    };
    Rest { values, width: shape.c }
}

fn halves(data: &[f32]) -> &[u16] {
    // SAFETY: any bytes are a u16, of half the size and alignment.
    unsafe { std::slice::from_raw_parts(data.as_ptr().cast(), 2 * data.len()) }
}

/// A buffer of f16.
pub(crate) fn halves_mut(data: &mut [f32]) -> &mut [u16] {
    // SAFETY: any bytes are a u16, of half the size and alignment; and any bytes are an f32.
    unsafe { std::slice::from_raw_parts_mut(data.as_mut_ptr().cast(), 2 * data.len()) }
}
