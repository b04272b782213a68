//! Reading GGUF without trust: nothing is allocated for a count before the bytes behind it are
//! known to exist.

use pochade_engine::DType;

use super::{ALIGNMENT_KEY, DEFAULT_ALIGNMENT, MAGIC, VERSION, Value, ValueType};
use crate::files::table::{Encoding, StoredTensor, count};

/// The most tensors a file may have; Stable Diffusion XL has 2 515.
const TENSOR_CAP: u64 = 1 << 16;
/// The most metadata entries.
const ENTRY_CAP: u64 = 1 << 16;
/// The most metadata values in all, array items included: a vocabulary and its merges are 100 000.
const VALUE_CAP: usize = 1 << 22;
/// The longest key or tensor name, in bytes.
const NAME_CAP: usize = 1 << 10;
/// The longest metadata string, in bytes.
const STRING_CAP: usize = 1 << 24;
/// Arrays of arrays of arrays: more is an attack on the stack.
const NESTING_CAP: usize = 4;
/// The most dimensions of a tensor, the format's own limit.
const DIMENSION_CAP: u32 = 4;
const ALIGNMENT_CAP: u64 = 1 << 20;

type Metadata = Vec<(String, Value)>;

/// Metadata and tensor table of a whole file.
pub(super) fn parse(bytes: &[u8]) -> Result<(Metadata, Vec<StoredTensor>), String> {
    let mut reader = Reader { bytes, at: 0, values: 0 };
    if reader.take(4)? != MAGIC {
        return Err("does not begin with \"GGUF\"; this is not a GGUF file".to_owned());
    }
    let version = reader.u32()?;
    if version != VERSION {
        return Err(format!("is GGUF version {version}; version {VERSION} is read"));
    }
    let tensors = reader.count("tensors", TENSOR_CAP)?;
    let entries = reader.count("metadata entries", ENTRY_CAP)?;
    let metadata = reader.metadata(entries)?;
    let table = (0..tensors).map(|_| reader.tensor()).collect::<Result<Vec<_>, _>>()?;
    let data = reader.at.checked_next_multiple_of(alignment(&metadata)?).unwrap_or(usize::MAX);
    Ok((metadata, place(table, data, bytes.len())?))
}

fn alignment(metadata: &Metadata) -> Result<usize, String> {
    let Some((_, value)) = metadata.iter().find(|(key, _)| key == ALIGNMENT_KEY) else {
        return Ok(DEFAULT_ALIGNMENT);
    };
    value
        .as_u64()
        .filter(|n| n.is_power_of_two() && *n <= ALIGNMENT_CAP)
        .and_then(|n| usize::try_from(n).ok())
        .ok_or_else(|| format!("'{ALIGNMENT_KEY}' is {value}, which is not a power of two"))
}

/// A row of the table, not yet placed in the file.
struct Row {
    name: String,
    encoding: Encoding,
    shape: Vec<usize>,
    offset: usize,
    /// `None` for types that are not known here.
    len: Option<usize>,
}

/// Turns offsets into ranges of the file; the tensors must not overlap.
fn place(rows: Vec<Row>, data: usize, len: usize) -> Result<Vec<StoredTensor>, String> {
    let mut spans: Vec<(usize, usize, &str)> = Vec::with_capacity(rows.len());
    for row in &rows {
        let end = data
            .checked_add(row.offset)
            .and_then(|start| start.checked_add(row.len.unwrap_or(0)))
            .filter(|&end| end <= len);
        let end = end.ok_or_else(|| {
            format!("tensor '{}' reaches past the end of the file: it is cut short", row.name)
        })?;
        spans.push((data + row.offset, end, &row.name));
    }
    spans.sort_unstable();
    for pair in spans.windows(2) {
        if pair[1].0 < pair[0].1 {
            return Err(format!("tensors '{}' and '{}' overlap", pair[0].2, pair[1].2));
        }
    }
    let stored = rows.into_iter().map(|row| {
        let start = data + row.offset;
        let range = start..start + row.len.unwrap_or(0);
        StoredTensor { name: row.name, encoding: row.encoding, shape: row.shape, range }
    });
    Ok(stored.collect())
}

/// A position in the bytes, and how many metadata values were read so far.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    values: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], String> {
        let taken = self.at.checked_add(len).and_then(|end| self.bytes.get(self.at..end));
        let taken = taken.ok_or_else(|| {
            let (at, all) = (self.at, self.bytes.len());
            format!("cut short: {len} bytes are needed at {at}, the file has {all}")
        })?;
        self.at += len;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N)?);
        Ok(out)
    }

    fn u32(&mut self) -> Result<u32, String> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, String> {
        self.array().map(u64::from_le_bytes)
    }

    fn count(&mut self, what: &str, cap: u64) -> Result<u64, String> {
        let n = self.u64()?;
        if n > cap { Err(format!("claims {n} {what}; at most {cap} are read")) } else { Ok(n) }
    }

    fn string(&mut self, cap: usize) -> Result<String, String> {
        let at = self.at;
        let len = self.u64()?;
        let len = usize::try_from(len).ok().filter(|&len| len <= cap).ok_or_else(|| {
            format!("the string at {at} claims {len} bytes; at most {cap} are read")
        })?;
        let text = std::str::from_utf8(self.take(len)?);
        text.map(str::to_owned).map_err(|_| format!("the string at {at} is not UTF-8"))
    }

    fn metadata(&mut self, entries: u64) -> Result<Metadata, String> {
        let mut metadata = Metadata::new();
        let mut keys = std::collections::HashSet::new();
        for _ in 0..entries {
            let key = self.string(NAME_CAP)?;
            if !keys.insert(key.clone()) {
                return Err(format!("metadata key '{key}' occurs twice"));
            }
            let kind = self.value_type()?;
            let value = self.value(kind, 0).map_err(|e| format!("metadata '{key}': {e}"))?;
            metadata.push((key, value));
        }
        Ok(metadata)
    }

    fn value_type(&mut self) -> Result<ValueType, String> {
        use ValueType::*;
        const TYPES: [ValueType; 13] =
            [U8, I8, U16, I16, U32, I32, F32, Bool, String, Array, U64, I64, F64];
        let number = self.u32()?;
        let kind = usize::try_from(number).ok().and_then(|n| TYPES.get(n)).copied();
        kind.ok_or_else(|| format!("{number} is not a metadata type"))
    }

    fn value(&mut self, kind: ValueType, depth: usize) -> Result<Value, String> {
        self.values += 1;
        if self.values > VALUE_CAP {
            return Err(format!("the metadata has more than {VALUE_CAP} values"));
        }
        Ok(match kind {
            ValueType::U8 => Value::U8(u8::from_le_bytes(self.array()?)),
            ValueType::I8 => Value::I8(i8::from_le_bytes(self.array()?)),
            ValueType::U16 => Value::U16(u16::from_le_bytes(self.array()?)),
            ValueType::I16 => Value::I16(i16::from_le_bytes(self.array()?)),
            ValueType::U32 => Value::U32(self.u32()?),
            ValueType::I32 => Value::I32(i32::from_le_bytes(self.array()?)),
            ValueType::F32 => Value::F32(f32::from_le_bytes(self.array()?)),
            ValueType::Bool => Value::Bool(self.array::<1>()? != [0]),
            ValueType::String => Value::String(self.string(STRING_CAP)?),
            ValueType::Array => self.items(depth)?,
            ValueType::U64 => Value::U64(self.u64()?),
            ValueType::I64 => Value::I64(i64::from_le_bytes(self.array()?)),
            ValueType::F64 => Value::F64(f64::from_le_bytes(self.array()?)),
        })
    }

    /// The items of an array. The vector grows with what is read, whatever count the file claims.
    fn items(&mut self, depth: usize) -> Result<Value, String> {
        if depth == NESTING_CAP {
            return Err(format!("arrays are nested more than {NESTING_CAP} deep"));
        }
        let kind = self.value_type()?;
        let mut items = Vec::new();
        for _ in 0..self.u64()? {
            items.push(self.value(kind, depth + 1)?);
        }
        Ok(Value::Array(kind, items))
    }

    fn tensor(&mut self) -> Result<Row, String> {
        let name = self.string(NAME_CAP)?;
        self.tensor_named(&name).map_err(|e| format!("tensor '{name}': {e}"))
    }

    fn tensor_named(&mut self, name: &str) -> Result<Row, String> {
        let dimensions = self.u32()?;
        if dimensions > DIMENSION_CAP {
            return Err(format!("has {dimensions} dimensions; at most {DIMENSION_CAP} are read"));
        }
        let mut shape = Vec::new();
        for _ in 0..dimensions {
            shape.push(self.size()?);
        }
        shape.reverse();
        let (encoding, layout) = encoding(self.u32()?);
        let offset = self.size()?;
        let values = count(&shape).ok_or("has a shape whose product overflows")?;
        let len = layout.map(|layout| layout.len(values)).transpose()?;
        Ok(Row { name: name.to_owned(), encoding, shape, offset, len })
    }

    fn size(&mut self) -> Result<usize, String> {
        let n = self.u64()?;
        usize::try_from(n).map_err(|_| format!("{n} does not fit this machine's memory"))
    }
}

/// Values and bytes of one block of a type.
#[derive(Clone, Copy)]
struct Layout {
    values: usize,
    bytes: usize,
}

impl Layout {
    fn len(self, values: usize) -> Result<usize, String> {
        if !values.is_multiple_of(self.values) {
            return Err(format!("has {values} values, not a whole number of blocks"));
        }
        (values / self.values).checked_mul(self.bytes).ok_or_else(|| "overflows".to_owned())
    }
}

/// A tensor type by its number: how it is called, and how large its blocks are where that is known.
fn encoding(number: u32) -> (Encoding, Option<Layout>) {
    let plain = |dtype: DType| {
        let layout = Layout { values: dtype.block(), bytes: dtype.bytes() };
        (Encoding::Plain(dtype), Some(layout))
    };
    let (name, values, bytes) = match number {
        0 => return plain(DType::F32),
        1 => return plain(DType::F16),
        30 => return plain(DType::BF16),
        24 => return plain(DType::I8),
        8 => return plain(DType::Q8_0),
        2 => return plain(DType::Q4_0),
        3 => ("Q4_1", 32, 20),
        6 => ("Q5_0", 32, 22),
        7 => ("Q5_1", 32, 24),
        10 => ("Q2_K", 256, 84),
        11 => ("Q3_K", 256, 110),
        12 => ("Q4_K", 256, 144),
        13 => ("Q5_K", 256, 176),
        14 => ("Q6_K", 256, 210),
        20 => ("IQ4_NL", 32, 18),
        25 => ("I16", 1, 2),
        26 => ("I32", 1, 4),
        27 => ("I64", 1, 8),
        28 => ("F64", 1, 8),
        other => return (Encoding::Other(format!("GGUF type {other}")), None),
    };
    (Encoding::Other(name.to_owned()), Some(Layout { values, bytes }))
}
