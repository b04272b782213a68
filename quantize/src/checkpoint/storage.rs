//! From the tensors that a pickle describes to tables of tensors in a file.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use pochade::files::{Encoding, FileBytes, FileError, StoredTensor, TensorFile};
use pochade_engine::DType;

/// The most bytes that are copied because tensors are not contiguous.
const COPY_CAP: usize = 256 << 20;

/// What a storage holds: the name of its class, with what that means here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kind {
    encoding: Encoding,
    bytes: usize,
}

impl Kind {
    /// By the class, `HalfStorage`; `None` where it is not a storage of numbers.
    pub fn of(class: &str) -> Option<Self> {
        let (plain, name, bytes) = match class {
            "FloatStorage" => (Some(DType::F32), "f32", 4),
            "HalfStorage" => (Some(DType::F16), "f16", 2),
            "BFloat16Storage" => (Some(DType::BF16), "bf16", 2),
            "DoubleStorage" => (None, "f64", 8),
            "LongStorage" => (None, "int64", 8),
            "IntStorage" => (None, "int32", 4),
            "ShortStorage" => (None, "int16", 2),
            "CharStorage" => (None, "signed bytes", 1),
            "ByteStorage" => (None, "bytes", 1),
            "BoolStorage" => (None, "bool", 1),
            _ => return None,
        };
        let encoding = plain.map_or_else(|| Encoding::Other(name.to_owned()), Encoding::Plain);
        Some(Self { encoding, bytes })
    }

    /// Bytes of one value.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

/// A storage as the pickle names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Storage {
    pub kind: Kind,
    pub key: String,
}

/// A tensor as the pickle describes it: a view of a storage, in values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tensor {
    pub name: String,
    pub storage: Storage,
    pub offset: usize,
    pub shape: Vec<usize>,
    pub strides: Vec<usize>,
}

/// What was found in a checkpoint: its tensors, and where its storages lie.
#[derive(Debug)]
pub(super) struct Found {
    pub tensors: Vec<Tensor>,
    pub storages: HashMap<String, Range<usize>>,
}

/// The tables of a checkpoint: what lies in `bytes` as it is, and copies of what does not.
pub(super) fn tables(
    origin: &str,
    bytes: FileBytes,
    found: Found,
) -> Result<Vec<TensorFile>, FileError> {
    let (mut stored, mut copies, mut copied) = (Vec::new(), Vec::new(), Vec::new());
    for tensor in found.tensors {
        let wrong = |problem: &str| FileError::Malformed {
            file: origin.to_owned(),
            problem: format!("tensor '{}' {problem}", tensor.name),
        };
        let storage = found.storages.get(&tensor.storage.key);
        let storage = storage.ok_or_else(|| wrong("is in a storage that the file lacks"))?.clone();
        match tensor.place(storage.len()).map_err(wrong)? {
            Place::Whole(inner) => {
                stored.push(tensor.at(storage.start + inner.start..storage.start + inner.end));
            }
            Place::Scattered(len) => {
                let start = copied.len();
                if start.checked_add(len).is_none_or(|end| end > COPY_CAP) {
                    return Err(wrong("is not contiguous, nor are many others; save a copy"));
                }
                tensor.gather(bytes.get(storage).unwrap_or_default(), &mut copied);
                copies.push(tensor.at(start..copied.len()));
            }
        }
    }
    let mut tables = vec![TensorFile::new(origin, bytes, stored)?];
    if !copies.is_empty() {
        tables.push(TensorFile::new(origin, FileBytes::Owned(Arc::from(copied)), copies)?);
    }
    Ok(tables)
}

/// Where a tensor's values lie in its storage, in bytes.
#[derive(Debug)]
enum Place {
    Whole(Range<usize>),
    /// In another order, or apart: so many bytes in all.
    Scattered(usize),
}

impl Tensor {
    /// The tensor as a table has it.
    fn at(self, range: Range<usize>) -> StoredTensor {
        let encoding = self.storage.kind.encoding;
        StoredTensor { name: self.name, encoding, shape: self.shape, range }
    }

    /// Checks the tensor against a storage of `len` bytes.
    fn place(&self, len: usize) -> Result<Place, &'static str> {
        let size = self.storage.kind.bytes();
        let product = |n: usize, d: &usize| n.checked_mul(*d);
        let values = self.shape.iter().try_fold(1, product).and_then(|n| n.checked_mul(size));
        let values = values.ok_or("has a shape whose product overflows")?;
        let start = self.offset.checked_mul(size).filter(|&start| start <= len);
        let start = start.ok_or("begins behind the end of its storage")?;
        if self.strides.len() != self.shape.len() {
            return Err("has not as many strides as dimensions");
        }
        let reach = self.reach().and_then(|n| n.checked_mul(size)?.checked_add(start));
        if values > 0 && reach.is_none_or(|end| end > len) {
            return Err("reaches past the end of its storage");
        }
        match values == 0 || self.is_contiguous() {
            true => Ok(Place::Whole(start..start + values)),
            false => Ok(Place::Scattered(values)),
        }
    }

    /// Values from the first to the last, both included.
    fn reach(&self) -> Option<usize> {
        let axes = self.shape.iter().zip(&self.strides);
        axes.into_iter().try_fold(1usize, |sum, (extent, stride)| {
            sum.checked_add(extent.saturating_sub(1).checked_mul(*stride)?)
        })
    }

    fn is_contiguous(&self) -> bool {
        let mut next = 1;
        let axes = self.shape.iter().zip(&self.strides).rev();
        axes.filter(|(extent, _)| **extent != 1).all(|(extent, stride)| {
            let fits = *stride == next;
            next *= extent;
            fits
        })
    }

    /// Appends the values in the order of the shape; the place has been checked.
    fn gather(&self, storage: &[u8], out: &mut Vec<u8>) {
        let size = self.storage.kind.bytes();
        let mut index = vec![0; self.shape.len()];
        loop {
            let steps = index.iter().zip(&self.strides).map(|(i, stride)| i * stride);
            let at = (self.offset + steps.sum::<usize>()) * size;
            out.extend_from_slice(&storage[at..at + size]);
            // The next index, the last dimension first.
            let Some(axis) = (0..index.len()).rev().find(|&a| index[a] + 1 < self.shape[a]) else {
                return;
            };
            index[axis] += 1;
            index[axis + 1..].fill(0);
        }
    }
}
