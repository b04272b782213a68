//! Writing GGUF one tensor at a time: the table is written from shapes alone, the hashes are filled
//! in at the end.

use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::Path;

use pochade_engine::{DType, TensorView};

use super::{
    ALIGNMENT_KEY, HASH_KEY, MAGIC, VERSION, Value, ValueType, WRITTEN_ALIGNMENT, hash_bytes,
};
use crate::files::table::count;
use crate::files::{FileError, NewFile};

/// What the table says of a tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorSpec {
    /// Name in the file.
    pub name: String,
    /// Encoding of the values.
    pub dtype: DType,
    /// Dimensions, outermost first.
    pub shape: Vec<usize>,
}

impl TensorSpec {
    /// Bytes of the values, `None` where the product overflows or is no whole number of blocks.
    pub fn bytes(&self) -> Option<usize> {
        self.dtype.bytes_of(count(&self.shape)?)
    }
}

/// A GGUF file being written. Dropped before [`GgufWriter::finish`], it leaves nothing behind.
#[derive(Debug)]
pub struct GgufWriter {
    file: String,
    out: BufWriter<NewFile>,
    specs: Vec<TensorSpec>,
    hashes: Vec<u64>,
    hashes_at: u64,
}

impl GgufWriter {
    /// Writes the header of what will become `path`. The keys for alignment and hashes are added
    /// here.
    ///
    /// # Errors
    /// When the file cannot be written, or a tensor is larger than any file.
    pub fn create(
        path: &Path,
        metadata: &[(String, Value)],
        specs: Vec<TensorSpec>,
    ) -> Result<Self, FileError> {
        let file = path.display().to_string();
        let (header, hashes_at) = header(metadata, &specs)
            .ok_or_else(|| FileError::malformed(&file, "a tensor would be too large to write"))?;
        let failed = |e: io::Error| FileError::io(&file, "write", &e);
        let mut out = BufWriter::new(NewFile::create(path).map_err(failed)?);
        out.write_all(&header).map_err(failed)?;
        Ok(Self { file, out, specs, hashes: Vec::new(), hashes_at })
    }

    /// Writes the next tensor of the table.
    ///
    /// # Errors
    /// When it is not what the table says there, or the disk is full.
    pub fn tensor(&mut self, tensor: &TensorView<'_>) -> Result<(), FileError> {
        let spec = self.specs.get(self.hashes.len());
        if spec.is_none_or(|s| s.dtype != tensor.dtype() || s.shape != tensor.shape()) {
            let name = spec.map_or("none", |s| s.name.as_str());
            let problem = format!(
                "the table has '{name}' next, which is not a {} {:?}",
                tensor.dtype(),
                tensor.shape()
            );
            return Err(FileError::malformed(&self.file, problem));
        }
        self.hashes.push(hash_bytes(tensor.bytes()));
        self.write(tensor.bytes())?;
        let len = tensor.bytes().len();
        self.write(&[0; WRITTEN_ALIGNMENT][..padding(len)])
    }

    /// Fills in the hashes and puts the file in its place.
    ///
    /// # Errors
    /// When tensors of the table are missing, or the file cannot be written.
    pub fn finish(mut self) -> Result<(), FileError> {
        if let Some(missing) = self.specs.get(self.hashes.len()) {
            let problem = format!("tensor '{}' was never written", missing.name);
            return Err(FileError::malformed(&self.file, problem));
        }
        let failed = |e: io::Error| FileError::io(&self.file, "write", &e);
        let hashes: Vec<u8> = self.hashes.iter().flat_map(|hash| hash.to_le_bytes()).collect();
        self.out.seek(SeekFrom::Start(self.hashes_at)).map_err(failed)?;
        self.out.write_all(&hashes).map_err(failed)?;
        let file = self.out.into_inner().map_err(|e| failed(e.into_error()))?;
        file.commit().map_err(failed)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), FileError> {
        self.out.write_all(bytes).map_err(|e| FileError::io(&self.file, "write", &e))
    }
}

/// Bytes of a file of these tensors, `None` where they are more than any file has.
pub(in crate::files) fn file_bytes(
    metadata: &[(String, Value)],
    specs: &[TensorSpec],
) -> Option<u64> {
    let (header, _) = header(metadata, specs)?;
    let data = |sum: u64, spec: &TensorSpec| {
        let bytes = spec.bytes()?.checked_next_multiple_of(WRITTEN_ALIGNMENT)?;
        sum.checked_add(bytes as u64)
    };
    specs.iter().try_fold(header.len() as u64, data)
}

fn padding(len: usize) -> usize {
    len.next_multiple_of(WRITTEN_ALIGNMENT) - len
}

/// Everything in front of the data, and where in it the hashes lie. `None` when an offset
/// overflows.
fn header(metadata: &[(String, Value)], specs: &[TensorSpec]) -> Option<(Vec<u8>, u64)> {
    let mut out = Vec::new();
    let alignment = Value::U32(WRITTEN_ALIGNMENT as u32);
    out.extend(MAGIC);
    out.extend(VERSION.to_le_bytes());
    out.extend((specs.len() as u64).to_le_bytes());
    out.extend((metadata.len() as u64 + 2).to_le_bytes());
    for (key, value) in metadata {
        put_entry(&mut out, key, value);
    }
    put_entry(&mut out, ALIGNMENT_KEY, &alignment);
    let hashes = Value::Array(ValueType::U64, vec![Value::U64(0); specs.len()]);
    put_entry(&mut out, HASH_KEY, &hashes);
    let hashes_at = out.len() - 8 * specs.len();
    let mut offset = 0usize;
    for spec in specs {
        put_tensor(&mut out, spec, offset);
        offset = offset.checked_add(spec.bytes()?)?.checked_next_multiple_of(WRITTEN_ALIGNMENT)?;
    }
    out.resize(out.len() + padding(out.len()), 0);
    Some((out, hashes_at as u64))
}

fn put_entry(out: &mut Vec<u8>, key: &str, value: &Value) {
    put_string(out, key);
    out.extend((value.kind() as u32).to_le_bytes());
    put_value(out, value);
}

fn put_string(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

fn put_value(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::U8(n) => out.extend(n.to_le_bytes()),
        Value::I8(n) => out.extend(n.to_le_bytes()),
        Value::U16(n) => out.extend(n.to_le_bytes()),
        Value::I16(n) => out.extend(n.to_le_bytes()),
        Value::U32(n) => out.extend(n.to_le_bytes()),
        Value::I32(n) => out.extend(n.to_le_bytes()),
        Value::F32(n) => out.extend(n.to_le_bytes()),
        Value::Bool(b) => out.push(u8::from(*b)),
        Value::String(text) => put_string(out, text),
        Value::Array(kind, items) => {
            out.extend((*kind as u32).to_le_bytes());
            out.extend((items.len() as u64).to_le_bytes());
            items.iter().for_each(|item| put_value(out, item));
        }
        Value::U64(n) => out.extend(n.to_le_bytes()),
        Value::I64(n) => out.extend(n.to_le_bytes()),
        Value::F64(n) => out.extend(n.to_le_bytes()),
    }
}

fn put_tensor(out: &mut Vec<u8>, spec: &TensorSpec, offset: usize) {
    let number: u32 = match spec.dtype {
        DType::F32 => 0,
        DType::F16 => 1,
        DType::Q4_0 => 2,
        DType::Q8_0 => 8,
        DType::I8 => 24,
        DType::BF16 => 30,
    };
    put_string(out, &spec.name);
    out.extend((spec.shape.len() as u32).to_le_bytes());
    for &extent in spec.shape.iter().rev() {
        out.extend((extent as u64).to_le_bytes());
    }
    out.extend(number.to_le_bytes());
    out.extend((offset as u64).to_le_bytes());
}
