//! Safetensors: a length, a JSON header, and the tensors' bytes back to back.
//!
//! ```text
//! u64 n | n bytes of JSON | data
//! JSON: {"name": {"dtype": "F16", "shape": [..], "data_offsets": [begin, end]}, ..}
//! ```
//! The rules are those of the format's reference reader: the header has at most 100 MB, the tensors
//! tile the data without gap or overlap, and nothing lies behind the last one.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Write;
use std::ops::Range;
use std::path::Path;

use pochade_engine::{DType, TensorView};
use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, Visitor};

use super::table::{Encoding, StoredTensor, TensorFile, count};
use super::{FileBytes, FileError, NewFile};

/// The largest header that is read, in bytes.
const HEADER_CAP: u64 = 100_000_000;
/// What the header is padded to with spaces, so that the data begins aligned.
const ALIGNMENT: usize = 8;

/// Reads the safetensors file at `path`; the data stays on disk until it is looked at.
///
/// # Errors
/// When the file cannot be mapped, is cut short, or contradicts itself.
pub fn open(path: &Path) -> Result<TensorFile, FileError> {
    parse(&path.display().to_string(), FileBytes::map(path)?)
}

/// Reads safetensors `bytes`; `origin` names them in messages.
///
/// # Errors
/// When they are cut short or contradict themselves.
pub fn parse(origin: &str, bytes: FileBytes) -> Result<TensorFile, FileError> {
    let wrong = |problem: String| FileError::malformed(origin, problem);
    let header_end = header_end(&bytes).map_err(wrong)?;
    let header: Header = serde_json::from_slice(&bytes[8..header_end])
        .map_err(|e| wrong(format!("the safetensors header is not valid: {e}")))?;
    check_tiling(&header.tensors, bytes.len() - header_end).map_err(wrong)?;
    let tensors = header.tensors.into_iter().map(|t| t.into_stored(header_end)).collect();
    TensorFile::new(origin, bytes, tensors)
}

/// Where the data begins: behind the length and the header.
fn header_end(bytes: &[u8]) -> Result<usize, String> {
    let Some(length) = bytes.first_chunk::<8>() else {
        return Err(format!("{} bytes are too few for a safetensors file", bytes.len()));
    };
    let length = u64::from_le_bytes(*length);
    if length > HEADER_CAP {
        return Err(format!("claims a header of {length} bytes; this is not a safetensors file"));
    }
    usize::try_from(length + 8).ok().filter(|&end| end <= bytes.len()).ok_or_else(|| {
        format!(
            "the header takes {length} bytes, the file has only {}: it is cut short",
            bytes.len()
        )
    })
}

/// Tensors must follow one another without gap or overlap and end with the data.
fn check_tiling(tensors: &[Entry], len: usize) -> Result<(), String> {
    let mut spans: Vec<_> = tensors.iter().map(|t| (t.span.start, t.span.end, &t.name)).collect();
    spans.sort_unstable();
    let mut end = 0;
    for (start, stop, name) in spans {
        if start != end || stop < start {
            return Err(format!(
                "tensor '{name}' claims bytes {start} to {stop} of the data where {end} is next"
            ));
        }
        end = stop;
    }
    if end == len {
        return Ok(());
    }
    let (less, hint) = if len < end { ("only ", ": it is cut short") } else { ("", "") };
    Err(format!("the tensors take {end} bytes, the file has {less}{len} behind its header{hint}"))
}

/// The parsed JSON header.
struct Header {
    tensors: Vec<Entry>,
}

/// One tensor of the header; `span` counts from the end of the header.
struct Entry {
    name: String,
    dtype: String,
    shape: Vec<usize>,
    span: Range<usize>,
}

impl Entry {
    fn into_stored(self, header_end: usize) -> StoredTensor {
        let encoding = match self.dtype.as_str() {
            "F32" => Encoding::Plain(DType::F32),
            "F16" => Encoding::Plain(DType::F16),
            "BF16" => Encoding::Plain(DType::BF16),
            _ => Encoding::Other(self.dtype),
        };
        let range = header_end + self.span.start..header_end + self.span.end;
        StoredTensor { name: self.name, encoding, shape: self.shape, range }
    }
}

#[derive(Deserialize)]
struct RawEntry {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: (usize, usize),
}

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(HeaderVisitor)
    }
}

struct HeaderVisitor;

impl<'de> Visitor<'de> for HeaderVisitor {
    type Value = Header;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header, A::Error> {
        let mut tensors = Vec::new();
        while let Some(name) = map.next_key::<String>()? {
            if name == "__metadata__" {
                map.next_value::<BTreeMap<String, String>>()?;
                continue;
            }
            let raw: RawEntry = map.next_value()?;
            check_length(&raw).map_err(|e| de::Error::custom(format!("tensor '{name}' {e}")))?;
            let span = raw.data_offsets.0..raw.data_offsets.1;
            tensors.push(Entry { name, dtype: raw.dtype, shape: raw.shape, span });
        }
        Ok(Header { tensors })
    }
}

/// The bytes of a tensor must be what its type and shape take, also for types that are only listed.
fn check_length(raw: &RawEntry) -> Result<(), String> {
    let (begin, end) = raw.data_offsets;
    let found = end.checked_sub(begin).ok_or("ends before it begins")?;
    let values = count(&raw.shape).ok_or("has a shape whose product overflows")?;
    let Some(bits) = bits(&raw.dtype) else { return Ok(()) };
    let wanted = values.checked_mul(bits).ok_or("has a size that overflows")?;
    if found.checked_mul(8) == Some(wanted) {
        return Ok(());
    }
    Err(format!("has {found} bytes, which is not what {} {:?} takes", raw.dtype, raw.shape))
}

/// Bits of one value of a type, `None` for types that appeared after this was written.
fn bits(dtype: &str) -> Option<usize> {
    Some(match dtype {
        "F4" => 4,
        "F6_E2M3" | "F6_E3M2" => 6,
        "BOOL" | "U8" | "I8" | "F8_E5M2" | "F8_E4M3" | "F8_E8M0" => 8,
        "I16" | "U16" | "F16" | "BF16" => 16,
        "I32" | "U32" | "F32" => 32,
        "I64" | "U64" | "F64" | "C64" => 64,
        _ => return None,
    })
}

/// Writes `tensors` to `path`, replacing what was there only when all of it is on the disk.
///
/// # Errors
/// When two tensors share a name, one is in blocks, or the file cannot be written.
pub fn write(path: &Path, tensors: &[(&str, TensorView<'_>)]) -> Result<(), FileError> {
    let file = path.display().to_string();
    let failed = |e: std::io::Error| FileError::io(&file, "write", &e);
    if let Some((name, tensor)) = tensors.iter().find(|(_, t)| t.dtype().block() > 1) {
        let problem =
            format!("'{name}' is {}, which safetensors files do not have", tensor.dtype());
        return Err(FileError::malformed(&file, problem));
    }
    let header = header_of(tensors)
        .ok_or_else(|| FileError::malformed(&file, "two tensors would have the same name"))?;
    let mut out = NewFile::create(path).map_err(failed)?;
    out.write_all(&(header.len() as u64).to_le_bytes()).map_err(failed)?;
    out.write_all(&header).map_err(failed)?;
    for (_, tensor) in tensors {
        out.write_all(tensor.bytes()).map_err(failed)?;
    }
    out.commit().map_err(failed)
}

/// The JSON header, padded; `None` when a name occurs twice.
fn header_of(tensors: &[(&str, TensorView<'_>)]) -> Option<Vec<u8>> {
    let mut entries = serde_json::Map::new();
    let mut begin = 0;
    for (name, tensor) in tensors {
        let end = begin + tensor.bytes().len();
        let dtype = tensor.dtype().to_string().to_uppercase();
        let entry = serde_json::json!({
            "dtype": dtype, "shape": tensor.shape(), "data_offsets": [begin, end],
        });
        if entries.insert((*name).to_owned(), entry).is_some() {
            return None;
        }
        begin = end;
    }
    let mut header = serde_json::Value::Object(entries).to_string().into_bytes();
    header.resize(header.len().next_multiple_of(ALIGNMENT), b' ');
    Some(header)
}
