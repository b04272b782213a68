//! The values of an initialiser: inside the graph, or in a file beside it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use pochade::files::gguf::TensorSpec;
use pochade::files::{FileBytes, FileError};
use pochade_engine::{DType, TensorView};
use tract_onnx::pb::TensorProto;

use super::names::{Form, Weight};

/// ONNX's numbers of the types that weights have.
const FLOAT: i32 = 1;
const FLOAT16: i32 = 10;
const BFLOAT16: i32 = 16;
/// `data_location` of what is in a file of its own.
const EXTERNAL: i32 = 1;
/// More dimensions than a weight has.
const DIMENSION_CAP: usize = 4;

pub(super) fn malformed(file: &str, problem: &str) -> FileError {
    FileError::Malformed { file: file.to_owned(), problem: problem.to_owned() }
}

/// What the table says of a weight; `None` for what is no number in floating point.
pub(super) fn spec(
    origin: &str,
    name: String,
    weight: &Weight<'_>,
) -> Result<Option<TensorSpec>, FileError> {
    let dtype = match weight.tensor.data_type {
        FLOAT => DType::F32,
        FLOAT16 => DType::F16,
        BFLOAT16 => DType::BF16,
        _ => return Ok(None),
    };
    let extents: Option<Vec<usize>> =
        weight.tensor.dims.iter().map(|n| usize::try_from(*n).ok()).collect();
    let shape = extents.filter(|shape| shape.len() <= DIMENSION_CAP);
    let wrong = || malformed(origin, &format!("'{name}' is {:?}", weight.tensor.dims));
    let mut shape = shape.ok_or_else(wrong)?;
    match weight.form {
        Form::Whole => {}
        Form::Transposed => shape.reverse(),
        Form::Vector => shape.truncate(1),
    }
    Ok(Some(TensorSpec { name, dtype, shape }))
}

/// The values of one weight.
#[derive(Debug)]
pub(super) enum Values<'a> {
    Borrowed(&'a [u8]),
    Own(Vec<u8>),
}

impl Values<'_> {
    /// The values in the shape of `spec`, `None` where they are not what that takes.
    pub fn view<'a>(&'a self, spec: &'a TensorSpec) -> Option<TensorView<'a>> {
        let bytes = match self {
            Self::Borrowed(bytes) => bytes,
            Self::Own(bytes) => bytes.as_slice(),
        };
        TensorView::new(spec.dtype, &spec.shape, bytes)
    }
}

/// The files beside a graph.
#[derive(Debug)]
pub(super) struct Data {
    folder: PathBuf,
    files: HashMap<String, FileBytes>,
}

impl Data {
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), files: HashMap::new() }
    }

    /// The values of a weight, in its form.
    pub fn read<'a>(
        &'a mut self,
        origin: &str,
        spec: &TensorSpec,
        weight: &Weight<'a>,
    ) -> Result<Values<'a>, FileError> {
        let wrong = |problem: &str| malformed(origin, &format!("'{}' {problem}", spec.name));
        let bytes = match weight.tensor.data_location {
            Some(EXTERNAL) => self.external(weight.tensor).map_err(|e| wrong(&e))?,
            _ => &weight.tensor.raw_data,
        };
        if spec.bytes() != Some(bytes.len()) {
            let problem = format!("has {} bytes, which is not what its shape takes", bytes.len());
            return Err(wrong(&problem));
        }
        match weight.form {
            Form::Transposed => {
                let stored: Vec<usize> = spec.shape.iter().rev().copied().collect();
                let stored = TensorView::new(spec.dtype, &stored, bytes);
                let turned = stored.and_then(|stored| stored.transposed());
                turned.map(Values::Own).ok_or_else(|| wrong("is not a matrix"))
            }
            Form::Whole | Form::Vector => Ok(Values::Borrowed(bytes)),
        }
    }

    /// Bytes of a file of the graph's folder.
    fn external(&mut self, tensor: &TensorProto) -> Result<&[u8], String> {
        let entry = |key| tensor.external_data.iter().find(|e| e.key == key).map(|e| &*e.value);
        let number = |key| entry(key).map(|text| text.parse::<usize>().ok());
        let location = entry("location").filter(|name| is_plain(name));
        let location = location.ok_or("is not in a file of the same folder")?;
        if !self.files.contains_key(location) {
            let path = self.folder.join(location);
            let bytes = FileBytes::map(&path).map_err(|e| e.to_string())?;
            self.files.insert(location.to_owned(), bytes);
        }
        let bytes = &self.files[location];
        let start = number("offset").unwrap_or(Some(0));
        let rest = start.and_then(|start| bytes.get(start..));
        let rest = rest.ok_or_else(|| format!("begins behind the end of {location}"))?;
        let len = number("length").unwrap_or(Some(rest.len()));
        let end = len.and_then(|len| rest.get(..len));
        end.ok_or_else(|| format!("reaches past the end of {location}: it is cut short"))
    }
}

/// Whether `name` can only mean a file of the folder it is used in.
fn is_plain(name: &str) -> bool {
    !name.contains(['/', '\\', ':', '\0']) && !name.contains("..") && !name.is_empty()
}
