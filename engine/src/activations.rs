//! How activations lie in the arena, whose lengths count in f32.
//!
//! f32 and f16 are plain arrays; f16 counts sixteenths and comes with whole lanes of channels only.
//! int8 is bytes and what one step of each row is worth: first the steps, then the rows, `[rows][channels
//! padded to 16]` bytes, then one row of zeros, which is what padding reads.

use std::ops::Range;

use crate::kernels::int::BLOCK;
use crate::kernels::rest::{Rest, RestValues};
use crate::packed::{PackedKeys, PackedQueries};
use crate::tensor::Shape;

/// How a value is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    F32,
    F16,
    Int8,
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
            Self::Int8 => Rows { shape }.len(),
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
}

impl Rows {
    /// Bytes from one row to the next.
    pub fn stride(&self) -> usize {
        self.shape.c.next_multiple_of(BLOCK)
    }

    /// How many steps there are, padded.
    pub fn step_count(&self) -> usize {
        self.shape.rows().next_multiple_of(BLOCK)
    }

    fn len(&self) -> usize {
        self.step_count() + (self.shape.rows() + 1) * self.stride() / size_of::<f32>()
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

/// The rows of a value of `shape` that lies in `data`.
pub(crate) fn rest(data: &[f32], shape: Shape, format: Format, offset: u8) -> Rest<'_> {
    let values = match format {
        Format::F32 | Format::PackedQueries { .. } | Format::PackedKeys { .. } => {
            RestValues::F32(data)
        }
        Format::F16 => RestValues::F16(halves(data)),
        Format::Int8 => {
            let rows = Rows { shape };
            let (steps, bytes) = rows.split(data);
            RestValues::Int8 { steps, bytes, stride: rows.stride(), offset }
        }
    };
    Rest { values, width: shape.c }
}

/// Some rows alone of a value of `shape` that begins at `start`.
///
/// # Safety
/// They are there, and no one writes them while they are read.
pub(crate) unsafe fn rows<'a>(
    start: *const f32,
    shape: Shape,
    format: Format,
    (rows, offset): (Range<usize>, u8),
) -> Rest<'a> {
    let (width, first, count) = (shape.c, rows.start, rows.len());
    // SAFETY: the caller's contract.
    let slice = |at: usize, len: usize| unsafe { std::slice::from_raw_parts(start.add(at), len) };
    let values = match format {
        Format::F32 | Format::PackedQueries { .. } | Format::PackedKeys { .. } => {
            RestValues::F32(slice(first * width, count * width))
        }
        // Whole lanes of channels, so that no row begins within an f32.
        Format::F16 => RestValues::F16(halves(slice(first * width / 2, count * width / 2))),
        Format::Int8 => {
            let rows = Rows { shape };
            let words = rows.stride() / size_of::<f32>();
            let bytes = slice(rows.step_count() + first * words, count * words);
            // SAFETY: any bytes of an f32 are bytes; the length is that of the same memory.
            let bytes =
                unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast(), size_of_val(bytes)) };
            let steps = slice(first, count);
            RestValues::Int8 { steps, bytes, stride: rows.stride(), offset }
        }
    };
    Rest { values, width }
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
