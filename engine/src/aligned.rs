//! Buffers that start on a cache line, so that no vector load or store crosses one.

use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

/// A cache line of bytes.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; 64]);

/// A fixed number of values, the first on a cache line.
#[derive(Clone)]
pub(crate) struct Aligned<T> {
    lines: Vec<Line>,
    len: usize,
    values: PhantomData<T>,
}

/// Numbers of which any bytes are a value, zero bytes the value zero.
pub(crate) trait Plain: Copy {}
impl Plain for f32 {}
impl Plain for u16 {}
impl Plain for u8 {}
impl Plain for i8 {}
impl Plain for i32 {}

impl<T: Plain> Aligned<T> {
    /// `len` zeros.
    pub fn zeros(len: usize) -> Self {
        let lines = (len * size_of::<T>()).div_ceil(size_of::<Line>());
        Self { lines: vec![Line([0; 64]); lines], len, values: PhantomData }
    }
}

/// Values of one byte.
pub(crate) trait Byte: Plain {}
impl Byte for u8 {}
impl Byte for i8 {}

/// Bytes as values of one byte.
pub(crate) fn of_bytes<T: Byte>(bytes: &[u8]) -> &[T] {
    // SAFETY: the values have one byte each, of which any is a value.
    unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast(), bytes.len()) }
}

impl<T: Byte> Aligned<T> {
    /// A copy of `bytes`.
    pub fn copied(bytes: &[u8]) -> Self {
        let mut copy = Self::zeros(bytes.len());
        // SAFETY: `bytes.len()` values of one byte, of which any bytes are a value.
        unsafe { std::slice::from_raw_parts_mut(copy.as_mut_ptr().cast(), bytes.len()) }
            .copy_from_slice(bytes);
        copy
    }

    /// The values as bytes.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: the values have one byte each.
        unsafe { std::slice::from_raw_parts(self.as_ptr().cast(), self.len) }
    }
}

impl<T: Plain> Deref for Aligned<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: the lines hold at least `len` values in one piece, and any bytes are a value.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.len) }
    }
}

impl<T: Plain> DerefMut for Aligned<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as in `deref`.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.len) }
    }
}

impl<T: Plain> fmt::Debug for Aligned<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{} values]", self.len)
    }
}
