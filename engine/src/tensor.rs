//! Shapes and views of tensors.
//!
//! Activations are NHWC, f32: an image of `n` pictures, `h` rows, `w` columns and `c` channels. A
//! sequence of tokens is an image of one row (`h == 1`, `w == tokens`), so that flattening a
//! feature map into tokens moves nothing.

use std::fmt;

/// The shape of an activation, NHWC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Shape {
    /// Batch.
    pub n: usize,
    /// Rows.
    pub h: usize,
    /// Columns, or tokens where `h == 1`.
    pub w: usize,
    /// Channels, contiguous in memory.
    pub c: usize,
}

impl Shape {
    /// A batch of feature maps `[n, h, w, c]`.
    pub const fn image(n: usize, h: usize, w: usize, c: usize) -> Self {
        Self { n, h, w, c }
    }

    /// A batch of token sequences `[n, tokens, c]`.
    pub const fn tokens(n: usize, tokens: usize, c: usize) -> Self {
        Self { n, h: 1, w: tokens, c }
    }

    /// A batch of vectors `[n, c]`.
    pub const fn vector(n: usize, c: usize) -> Self {
        Self { n, h: 1, w: 1, c }
    }

    /// Positions of one picture: `h * w`.
    pub const fn positions(&self) -> usize {
        self.h * self.w
    }

    /// Rows of the activation seen as a matrix of `c` columns: `n * h * w`.
    pub const fn rows(&self) -> usize {
        self.n * self.h * self.w
    }

    /// Number of values.
    pub const fn len(&self) -> usize {
        self.rows() * self.c
    }

    /// Whether the shape holds no value at all.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The same positions with other channels.
    pub const fn with_channels(&self, c: usize) -> Self {
        Self { c, ..*self }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}, {}, {}, {}]", self.n, self.h, self.w, self.c)
    }
}

/// How the values of a stored tensor are encoded, little-endian. The last two are ggml's: blocks of
/// 32 values that share a step in f16.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DType {
    /// IEEE binary32.
    F32,
    /// IEEE binary16.
    F16,
    /// The upper half of a binary32.
    BF16,
    /// Bytes whose meaning another tensor gives, such as integer panels.
    I8,
    /// Blocks of a step and 32 int8.
    Q8_0,
    /// Blocks of a step and 32 int4, the first half of the values in the low bits.
    Q4_0,
}

/// Values of a block of the types in blocks.
const BLOCK: usize = 32;

impl DType {
    /// Values of one block: 1 where each value stands alone.
    pub const fn block(&self) -> usize {
        match self {
            Self::F32 | Self::F16 | Self::BF16 | Self::I8 => 1,
            Self::Q8_0 | Self::Q4_0 => BLOCK,
        }
    }

    /// Bytes of one block: of one value where each stands alone.
    pub const fn bytes(&self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::BF16 => 2,
            Self::I8 => 1,
            Self::Q8_0 => 2 + BLOCK,
            Self::Q4_0 => 2 + BLOCK / 2,
        }
    }

    /// Bytes of `values` values; `None` when they are no whole number of blocks, or too many.
    pub const fn bytes_of(&self, values: usize) -> Option<usize> {
        if !values.is_multiple_of(self.block()) {
            return None;
        }
        (values / self.block()).checked_mul(self.bytes())
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::BF16 => "bf16",
            Self::I8 => "i8",
            Self::Q8_0 => "q8_0",
            Self::Q4_0 => "q4_0",
        })
    }
}

/// A stored tensor, borrowed from a file or from the binary. The bytes need no alignment.
#[derive(Clone, Copy, Debug)]
pub struct TensorView<'a> {
    dtype: DType,
    shape: &'a [usize],
    bytes: &'a [u8],
}

impl<'a> TensorView<'a> {
    /// Wraps `bytes`; `None` when their number is not what `dtype` and `shape` ask for.
    pub fn new(dtype: DType, shape: &'a [usize], bytes: &'a [u8]) -> Option<Self> {
        let values = shape.iter().try_fold(1usize, |len, &d| len.checked_mul(d))?;
        (dtype.bytes_of(values)? == bytes.len()).then_some(Self { dtype, shape, bytes })
    }

    /// Encoding of the values.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Dimensions, outermost first.
    pub fn shape(&self) -> &'a [usize] {
        self.shape
    }

    /// The stored bytes.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Number of values.
    pub fn len(&self) -> usize {
        self.bytes.len() / self.dtype.bytes() * self.dtype.block()
    }

    /// Whether the tensor holds no value.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The values as f32, in storage order.
    pub fn to_f32(&self) -> Vec<f32> {
        let mut values = vec![0.0; self.len()];
        self.read_f32(0, &mut values);
        values
    }

    /// The bytes of a matrix with rows and columns exchanged; `None` of what is no matrix of single
    /// values.
    pub fn transposed(&self) -> Option<Vec<u8>> {
        let [rows, columns] = *self.shape else { return None };
        if self.dtype.block() > 1 {
            return None;
        }
        let size = self.dtype.bytes();
        let mut out = Vec::with_capacity(self.bytes.len());
        for column in 0..columns {
            for row in 0..rows {
                let at = (row * columns + column) * size;
                out.extend_from_slice(&self.bytes[at..at + size]);
            }
        }
        Some(out)
    }

    /// Decodes `out.len()` values from index `start` on. Every stored encoding widens to f32
    /// exactly.
    ///
    /// # Panics
    /// When the range reaches past the end.
    pub fn read_f32(&self, start: usize, out: &mut [f32]) {
        match self.dtype {
            DType::F32 => self.read_each(start, out, f32::from_le_bytes),
            DType::F16 => self.read_each(start, out, |b| half::f16::from_le_bytes(b).to_f32()),
            DType::BF16 => self.read_each(start, out, |b| half::bf16::from_le_bytes(b).to_f32()),
            DType::I8 => self.read_each(start, out, |b| f32::from(i8::from_le_bytes(b))),
            DType::Q8_0 => self.read_blocks(start, out, q8_0),
            DType::Q4_0 => self.read_blocks(start, out, q4_0),
        }
    }

    fn read_each<const N: usize>(
        &self,
        start: usize,
        out: &mut [f32],
        decode: impl Fn([u8; N]) -> f32,
    ) {
        let values = &self.bytes.as_chunks::<N>().0[start..start + out.len()];
        out.iter_mut().zip(values).for_each(|(o, b)| *o = decode(*b));
    }

    fn read_blocks<const N: usize>(
        &self,
        start: usize,
        mut out: &mut [f32],
        decode: fn(&[u8; N]) -> [f32; BLOCK],
    ) {
        let (blocks, mut at) = (self.bytes.as_chunks::<N>().0, start);
        while !out.is_empty() {
            let values = &decode(&blocks[at / BLOCK])[at % BLOCK..];
            let (now, later) = out.split_at_mut(values.len().min(out.len()));
            now.copy_from_slice(&values[..now.len()]);
            (out, at) = (later, at + now.len());
        }
    }
}

/// The step in front of a block's values.
fn step(block: &[u8]) -> f32 {
    half::f16::from_le_bytes([block[0], block[1]]).to_f32()
}

fn q8_0(block: &[u8; DType::Q8_0.bytes()]) -> [f32; BLOCK] {
    std::array::from_fn(|i| step(block) * f32::from(block[2 + i].cast_signed()))
}

fn q4_0(block: &[u8; DType::Q4_0.bytes()]) -> [f32; BLOCK] {
    std::array::from_fn(|i| {
        let pair = block[2 + i % (BLOCK / 2)];
        let bits = if i < BLOCK / 2 { pair & 15 } else { pair >> 4 };
        step(block) * f32::from(bits.cast_signed() - 8)
    })
}
