//! GGUF version 3: a header of typed metadata, a table of tensors, and their aligned bytes, all
//! little-endian.
//!
//! ```text
//! "GGUF" | u32 version | u64 tensors | u64 entries
//! entries: string key | u32 type | value
//! table:   string name | u32 n | n x u64 extents, innermost first | u32 type | u64 offset in data
//! padding to general.alignment | data
//! ```
//! A string is a u64 length and UTF-8 bytes; an array is a u32 type, a u64 count and the items.
//!
//! Files written here align tensors to 64 bytes: a cache line, and the widest vector any kernel
//! loads, so that weights can be used where they are mapped. Whole pages would cost a small model a
//! tenth of its size for its many short norms, and gain nothing: tensors stand in the order of
//! execution, so a stream reads across them. An array `pochade.hash.xxh3` holds the 64-bit XXH3 of
//! every tensor's bytes, in table order; it is there to notice a worn memory card, not an attacker,
//! hence the fastest well-spread hash and not a cryptographic one.

mod read;
mod write;

use std::fmt;
use std::path::Path;

use twox_hash::XxHash3_64;

use super::table::{StoredTensor, TensorFile};
use super::{FileBytes, FileError};

pub(super) use write::file_bytes;
pub use write::{GgufWriter, TensorSpec};

/// The first four bytes.
const MAGIC: [u8; 4] = *b"GGUF";
/// The version read and written.
const VERSION: u32 = 3;
/// The alignment of files that state none.
const DEFAULT_ALIGNMENT: usize = 32;
/// The alignment of files written here.
const WRITTEN_ALIGNMENT: usize = 64;
const ALIGNMENT_KEY: &str = "general.alignment";
const HASH_KEY: &str = "pochade.hash.xxh3";

/// A metadata value.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)] // Each variant is named after its type.
pub enum Value {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    F32(f32),
    Bool(bool),
    String(String),
    /// Items of one type, which is stated because there may be no items.
    Array(ValueType, Vec<Value>),
    U64(u64),
    I64(i64),
    F64(f64),
}

/// The type of a metadata value, by its number in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // As above.
#[repr(u32)]
pub enum ValueType {
    U8 = 0,
    I8 = 1,
    U16 = 2,
    I16 = 3,
    U32 = 4,
    I32 = 5,
    F32 = 6,
    Bool = 7,
    String = 8,
    Array = 9,
    U64 = 10,
    I64 = 11,
    F64 = 12,
}

impl Value {
    /// The type of this value.
    pub fn kind(&self) -> ValueType {
        match self {
            Self::U8(_) => ValueType::U8,
            Self::I8(_) => ValueType::I8,
            Self::U16(_) => ValueType::U16,
            Self::I16(_) => ValueType::I16,
            Self::U32(_) => ValueType::U32,
            Self::I32(_) => ValueType::I32,
            Self::F32(_) => ValueType::F32,
            Self::Bool(_) => ValueType::Bool,
            Self::String(_) => ValueType::String,
            Self::Array(..) => ValueType::Array,
            Self::U64(_) => ValueType::U64,
            Self::I64(_) => ValueType::I64,
            Self::F64(_) => ValueType::F64,
        }
    }

    /// An array of strings.
    pub fn strings<S: Into<String>>(items: impl IntoIterator<Item = S>) -> Self {
        let items = items.into_iter().map(|s| Self::String(s.into())).collect();
        Self::Array(ValueType::String, items)
    }

    /// The string, where this is one.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// The whole number, where this is one of any width and not negative.
    pub fn as_u64(&self) -> Option<u64> {
        match *self {
            Self::U8(n) => Some(n.into()),
            Self::U16(n) => Some(n.into()),
            Self::U32(n) => Some(n.into()),
            Self::U64(n) => Some(n),
            Self::I8(n) => n.try_into().ok(),
            Self::I16(n) => n.try_into().ok(),
            Self::I32(n) => n.try_into().ok(),
            Self::I64(n) => n.try_into().ok(),
            _ => None,
        }
    }

    /// The items, where this is an array.
    pub fn as_array(&self) -> Option<&[Self]> {
        match self {
            Self::Array(_, items) => Some(items),
            _ => None,
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::U8(n) => n.fmt(f),
            Self::I8(n) => n.fmt(f),
            Self::U16(n) => n.fmt(f),
            Self::I16(n) => n.fmt(f),
            Self::U32(n) => n.fmt(f),
            Self::I32(n) => n.fmt(f),
            Self::F32(n) => n.fmt(f),
            Self::Bool(b) => b.fmt(f),
            Self::String(text) => text.fmt(f),
            Self::Array(_, items) => write!(f, "[{} items]", items.len()),
            Self::U64(n) => n.fmt(f),
            Self::I64(n) => n.fmt(f),
            Self::F64(n) => n.fmt(f),
        }
    }
}

/// A GGUF file.
#[derive(Clone, Debug)]
pub struct Gguf {
    metadata: Vec<(String, Value)>,
    tensors: TensorFile,
    hashes: Option<Vec<u64>>,
}

impl Gguf {
    /// Reads the file at `path`; the data stays on disk until it is looked at.
    ///
    /// # Errors
    /// When the file cannot be mapped, is cut short, or contradicts itself.
    pub fn open(path: &Path) -> Result<Self, FileError> {
        Self::parse(&path.display().to_string(), FileBytes::map(path)?)
    }

    /// Reads GGUF `bytes`; `origin` names them in messages.
    ///
    /// # Errors
    /// When they are cut short or contradict themselves.
    pub fn parse(origin: &str, bytes: FileBytes) -> Result<Self, FileError> {
        let wrong = |problem| FileError::malformed(origin, problem);
        let (metadata, tensors) = read::parse(&bytes).map_err(wrong)?;
        let hashes = hashes_of(&metadata, tensors.len()).map_err(wrong)?;
        Ok(Self { metadata, tensors: TensorFile::new(origin, bytes, tensors)?, hashes })
    }

    /// The metadata, in the order of the file.
    pub fn metadata(&self) -> &[(String, Value)] {
        &self.metadata
    }

    /// The value of a metadata key.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.metadata.iter().find(|(k, _)| k == key).map(|(_, value)| value)
    }

    /// The tensors.
    pub fn tensors(&self) -> &TensorFile {
        &self.tensors
    }

    /// The hash the file states for the tensor number `index` of the table, where it states any.
    pub fn hash(&self, index: usize) -> Option<u64> {
        self.hashes.as_ref().and_then(|hashes| hashes.get(index)).copied()
    }

    /// Compares every tensor with its hash; without hashes there is nothing to compare.
    ///
    /// # Errors
    /// When a tensor's bytes are not those that were written.
    pub fn verify(&self) -> Result<(), FileError> {
        for (i, tensor) in self.tensors.tensors().iter().enumerate() {
            if self.is_intact(i) == Some(false) {
                return Err(damaged(self.tensors.origin(), tensor));
            }
        }
        Ok(())
    }

    /// Whether the bytes of the tensor number `index` are those that were written; `None` where the
    /// file does not state its hash.
    pub fn is_intact(&self, index: usize) -> Option<bool> {
        let (hash, tensor) = self.hash(index).zip(self.tensors.tensors().get(index))?;
        Some(hash_bytes(self.tensors.bytes_of(tensor)) == hash)
    }
}

/// The hash of a tensor's bytes.
pub(super) fn hash_bytes(bytes: &[u8]) -> u64 {
    XxHash3_64::oneshot(bytes)
}

/// The error for a tensor that differs from its hash.
pub(super) fn damaged(origin: &str, tensor: &StoredTensor) -> FileError {
    let problem = format!(
        "tensor '{}' differs from its checksum: the file is damaged, copy it again",
        tensor.name
    );
    FileError::malformed(origin, problem)
}

fn hashes_of(metadata: &[(String, Value)], tensors: usize) -> Result<Option<Vec<u64>>, String> {
    let Some((_, value)) = metadata.iter().find(|(key, _)| key == HASH_KEY) else {
        return Ok(None);
    };
    let hashes: Option<Vec<u64>> =
        value.as_array().and_then(|items| items.iter().map(Value::as_u64).collect());
    match hashes {
        Some(hashes) if hashes.len() == tensors => Ok(Some(hashes)),
        _ => Err(format!("'{HASH_KEY}' must have a number for each of the {tensors} tensors")),
    }
}
