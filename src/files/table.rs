//! The tensors of one file: where each lies, in which encoding and shape.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;

use pochade_engine::{DType, TensorView};

use super::{FileBytes, FileError, TensorSource};

/// How a file stores the values of a tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// One that is read here.
    Plain(DType),
    /// Any other, by the file's name for it. Such a tensor is listed; asking for its values is an
    /// error.
    Other(String),
}

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(dtype) => dtype.fmt(f),
            Self::Other(name) => f.write_str(name),
        }
    }
}

/// One tensor of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredTensor {
    /// Name in the file.
    pub name: String,
    /// Encoding of its values.
    pub encoding: Encoding,
    /// Dimensions, outermost first.
    pub shape: Vec<usize>,
    /// Where its bytes lie in the file.
    pub range: Range<usize>,
}

impl StoredTensor {
    /// Number of values; the readers have checked that the product fits.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether the tensor holds no value.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A file of named tensors, whatever its format. Every range has been checked to lie inside the
/// bytes.
#[derive(Clone, Debug)]
pub struct TensorFile {
    origin: String,
    bytes: FileBytes,
    tensors: Vec<StoredTensor>,
    by_name: HashMap<String, usize>,
}

impl TensorFile {
    /// Takes the tensors a reader has found in `bytes`.
    ///
    /// # Errors
    /// When a name occurs twice, a range reaches past the end, or a length disagrees with encoding
    /// and shape.
    pub fn new(
        origin: &str,
        bytes: FileBytes,
        tensors: Vec<StoredTensor>,
    ) -> Result<Self, FileError> {
        let mut by_name = HashMap::with_capacity(tensors.len());
        for (i, tensor) in tensors.iter().enumerate() {
            check_extent(tensor, bytes.len()).map_err(|problem| {
                FileError::malformed(origin, format!("tensor '{}' {problem}", tensor.name))
            })?;
            if by_name.insert(tensor.name.clone(), i).is_some() {
                let problem = format!("tensor '{}' is listed twice", tensor.name);
                return Err(FileError::malformed(origin, problem));
            }
        }
        Ok(Self { origin: origin.to_owned(), bytes, tensors, by_name })
    }

    /// The same tensors with another file in messages: the one that they were copied from.
    pub fn renamed(&self, origin: &str) -> Self {
        Self { origin: origin.to_owned(), ..self.clone() }
    }

    /// The file, for messages.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// All tensors, in the order of the header.
    pub fn tensors(&self) -> &[StoredTensor] {
        &self.tensors
    }

    /// The tensor stored as `name`.
    pub fn find(&self, name: &str) -> Option<&StoredTensor> {
        self.by_name.get(name).map(|&i| &self.tensors[i])
    }

    /// All bytes of the file.
    pub fn bytes(&self) -> &FileBytes {
        &self.bytes
    }

    /// The bytes of `tensor`, which is one of [`Self::tensors`].
    pub fn bytes_of(&self, tensor: &StoredTensor) -> &[u8] {
        self.bytes.get(tensor.range.clone()).unwrap_or(&[])
    }

    /// The values of the tensor stored as `name`, `None` where there is no such tensor.
    ///
    /// # Errors
    /// When its encoding is not read here.
    pub fn view(&self, name: &str) -> Result<Option<TensorView<'_>>, FileError> {
        self.find(name).map(|tensor| self.view_of(tensor)).transpose()
    }

    /// The values of `tensor`, which is one of [`Self::tensors`].
    ///
    /// # Errors
    /// When its encoding is not read here.
    pub fn view_of<'a>(&'a self, tensor: &'a StoredTensor) -> Result<TensorView<'a>, FileError> {
        let refused = || FileError::Encoding {
            file: self.origin.clone(),
            tensor: tensor.name.clone(),
            encoding: tensor.encoding.to_string(),
        };
        match tensor.encoding {
            Encoding::Plain(dtype) => {
                TensorView::new(dtype, &tensor.shape, self.bytes_of(tensor)).ok_or_else(refused)
            }
            Encoding::Other(_) => Err(refused()),
        }
    }
}

impl TensorSource for TensorFile {
    fn tensor(&self, name: &str) -> Option<TensorView<'_>> {
        self.view(name).ok().flatten()
    }

    fn origin(&self) -> &str {
        &self.origin
    }

    fn refusal(&self, name: &str) -> Option<FileError> {
        self.view(name).err()
    }
}

/// Number of values of `shape`, `None` when it does not fit a `usize`.
pub(super) fn count(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d))
}

fn check_extent(tensor: &StoredTensor, len: usize) -> Result<(), String> {
    let Range { start, end } = tensor.range;
    if start > end || end > len {
        return Err(format!(
            "claims bytes {start} to {end} of a file of {len}; it is cut short or damaged"
        ));
    }
    let values = count(&tensor.shape).ok_or("has a shape whose product overflows")?;
    if let Encoding::Plain(dtype) = tensor.encoding
        && dtype.bytes_of(values) != Some(end - start)
    {
        return Err(format!(
            "has {} bytes, which is not what {dtype} {:?} takes",
            end - start,
            tensor.shape
        ));
    }
    Ok(())
}
