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

/// How the values of a stored tensor are encoded, little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DType {
    /// IEEE binary32.
    F32,
    /// IEEE binary16.
    F16,
    /// The upper half of a binary32.
    BF16,
}

impl DType {
    /// Bytes of one value.
    pub const fn bytes(&self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::BF16 => 2,
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::BF16 => "bf16",
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
        let len = shape.iter().try_fold(dtype.bytes(), |len, &d| len.checked_mul(d))?;
        (len == bytes.len()).then_some(Self { dtype, shape, bytes })
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
        self.bytes.len() / self.dtype.bytes()
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

    /// Decodes `out.len()` values from index `start` on. Every stored encoding widens to f32
    /// exactly.
    ///
    /// # Panics
    /// When the range reaches past the end.
    pub fn read_f32(&self, start: usize, out: &mut [f32]) {
        let size = self.dtype.bytes();
        let bytes = &self.bytes[start * size..(start + out.len()) * size];
        match self.dtype {
            DType::F32 => {
                for (o, b) in out.iter_mut().zip(bytes.as_chunks::<4>().0) {
                    *o = f32::from_le_bytes(*b);
                }
            }
            DType::F16 => {
                for (o, b) in out.iter_mut().zip(bytes.as_chunks::<2>().0) {
                    *o = half::f16::from_le_bytes(*b).to_f32();
                }
            }
            DType::BF16 => {
                for (o, b) in out.iter_mut().zip(bytes.as_chunks::<2>().0) {
                    *o = half::bf16::from_le_bytes(*b).to_f32();
                }
            }
        }
    }
}
