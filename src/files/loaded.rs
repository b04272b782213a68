//! The weights of one part of a model, by canonical names, wherever they are stored.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use pochade_engine::{DType, Filter, MappedBytes, TensorView};

use super::gguf::{damaged, hash_bytes};
use super::names::Cut;
use super::table::count;
use super::{Encoding, FileError, StoredTensor, TensorFile, TensorSource};

/// Behind a weight's name: what its steps are worth, and the multipliers of int4.
pub(super) const STEP: &str = ".step";
pub(super) const MULTIPLIER: &str = ".multiplier";

/// The weights of one part. Dropping them gives the memory of their pages back.
#[derive(Debug)]
pub struct ComponentWeights {
    origin: String,
    files: Vec<TensorFile>,
    entries: Vec<Entry>,
    by_name: HashMap<String, usize>,
    unused: Vec<String>,
}

/// What is known of one tensor without reading its values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TensorInfo<'a> {
    /// Canonical name.
    pub name: &'a str,
    /// Name in the file.
    pub stored: &'a str,
    /// Encoding of the values.
    pub encoding: &'a Encoding,
    /// Dimensions, outermost first.
    pub shape: &'a [usize],
    /// Bytes in the file.
    pub bytes: usize,
}

impl TensorInfo<'_> {
    /// How the values are encoded, in a word: `int8` and `int4` are the panels of integer weights
    /// with their steps and multipliers.
    pub fn kind(&self) -> String {
        match self.encoding {
            Encoding::Plain(dtype) => kind(self.name, *dtype, self.shape),
            Encoding::Other(name) => name.clone(),
        }
    }

    /// Number of parameters: those of integer panels with the zeros that fill them up, none for
    /// their steps.
    pub fn parameters(&self) -> usize {
        let values = self.shape.iter().product();
        match self.kind().as_str() {
            "steps" => 0,
            "int4" => 2 * values,
            _ => values,
        }
    }
}

/// [`TensorInfo::kind`] of a tensor `name`.
pub(super) fn kind(name: &str, dtype: DType, shape: &[usize]) -> String {
    match (dtype, shape) {
        (DType::I8, [.., 256]) => "int8".to_owned(),
        (DType::I8, [.., 128]) => "int4".to_owned(),
        _ if name.ends_with(STEP) || name.ends_with(MULTIPLIER) => "steps".to_owned(),
        _ => dtype.to_string(),
    }
}

/// A canonical tensor and where it is.
#[derive(Debug)]
struct Entry {
    name: String,
    file: usize,
    tensor: usize,
    shape: Vec<usize>,
    data: Data,
    hash: Option<u64>,
    intact: OnceLock<bool>,
}

#[derive(Debug)]
enum Data {
    /// These bytes of the file.
    Range(Range<usize>),
    /// Values that had to be put in another order.
    Owned(Vec<u8>),
    /// What stands in the place of the file's tensor.
    Replaced(Arc<NewTensor>),
}

/// A tensor that takes the place of one of a model, or stands beside them.
#[derive(Clone, Debug, PartialEq)]
pub struct NewTensor {
    /// Canonical name.
    pub name: String,
    /// Dimensions, outermost first.
    pub shape: Vec<usize>,
    encoding: Encoding,
    bytes: Vec<u8>,
}

impl NewTensor {
    /// A tensor of these bytes, `None` where they are not what the shape takes.
    pub fn new(name: String, dtype: DType, shape: Vec<usize>, bytes: Vec<u8>) -> Option<Self> {
        TensorView::new(dtype, &shape, &bytes)?;
        Some(Self { name, shape, encoding: Encoding::Plain(dtype), bytes })
    }

    /// A tensor of f32.
    pub fn of_f32(name: String, shape: Vec<usize>, values: &[f32]) -> Option<Self> {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Self::new(name, DType::F32, shape, bytes)
    }

    /// Whether it holds numbers rather than panels or their steps.
    pub fn is_float(&self) -> bool {
        self.encoding != Encoding::Plain(DType::I8) && !self.name.ends_with(STEP)
    }

    /// The values as f32.
    pub fn values(&self) -> Vec<f32> {
        self.view().map_or_else(Vec::new, |view| view.to_f32())
    }

    /// The tensors that a layer in integers is stored as, in the place of the weight `name`; none for
    /// a filter in floating point.
    pub fn panels(name: &str, filter: &Filter) -> Vec<Self> {
        let Some(panels) = filter.to_store() else { return Vec::new() };
        let shape = panels.shape;
        let weight = (String::new(), DType::I8, shape.weight(panels.encoding).to_vec());
        let steps = (STEP.to_owned(), DType::F32, vec![shape.outputs]);
        let multipliers = (MULTIPLIER.to_owned(), DType::I8, shape.multipliers().to_vec());
        let stored = [
            Some((weight, panels.weight.to_vec())),
            Some((steps, panels.steps)),
            panels.multipliers.map(|bytes| (multipliers, bytes.to_vec())),
        ];
        let tensor = |((suffix, dtype, shape), bytes)| {
            Self::new(format!("{name}{suffix}"), dtype, shape, bytes)
        };
        stored.into_iter().flatten().filter_map(tensor).collect()
    }

    fn view(&self) -> Option<TensorView<'_>> {
        let Encoding::Plain(dtype) = self.encoding else { return None };
        TensorView::new(dtype, &self.shape, &self.bytes)
    }
}

/// One canonical tensor, as the name maps find it.
#[derive(Debug)]
pub(super) struct Found {
    /// Canonical name.
    pub(super) name: String,
    pub(super) cut: Cut,
    /// Which file, and which tensor of it.
    pub(super) file: usize,
    pub(super) tensor: usize,
    /// XXH3 of the stored bytes, where the file states it.
    pub(super) hash: Option<u64>,
}

impl ComponentWeights {
    /// Collects what was `found`, in that order; `unused` are the stored names that mean nothing
    /// here.
    pub(super) fn new(
        origin: String,
        files: Vec<TensorFile>,
        found: Vec<Found>,
        unused: Vec<String>,
    ) -> Result<Self, FileError> {
        let mut entries = Vec::with_capacity(found.len());
        let mut by_name = HashMap::with_capacity(found.len());
        for found in found {
            if by_name.insert(found.name.clone(), entries.len()).is_some() {
                let problem = format!("two tensors are both '{}'", found.name);
                return Err(FileError::malformed(&origin, problem));
            }
            let file = &files[found.file];
            entries.push(entry(file, &file.tensors()[found.tensor], found)?);
        }
        Ok(Self { origin, files, entries, by_name, unused })
    }

    /// Puts tensors in the place of those of their names. New names come at the end.
    pub(super) fn replace(&mut self, tensors: &[Arc<NewTensor>]) {
        for tensor in tensors {
            let entry = Entry {
                name: tensor.name.clone(),
                file: 0,
                tensor: 0,
                shape: tensor.shape.clone(),
                data: Data::Replaced(tensor.clone()),
                hash: None,
                intact: OnceLock::new(),
            };
            match self.by_name.get(&tensor.name) {
                Some(&at) => self.entries[at] = entry,
                None => {
                    self.by_name.insert(tensor.name.clone(), self.entries.len());
                    self.entries.push(entry);
                }
            }
        }
    }

    /// All tensors, in the order of execution.
    pub fn tensors(&self) -> impl Iterator<Item = TensorInfo<'_>> {
        self.entries.iter().map(|entry| {
            let (stored, encoding, bytes) = match &entry.data {
                Data::Range(range) => (&self.stored(entry).name, self.encoding(entry), range.len()),
                Data::Owned(bytes) => (&self.stored(entry).name, self.encoding(entry), bytes.len()),
                Data::Replaced(tensor) => (&entry.name, &tensor.encoding, tensor.bytes.len()),
            };
            TensorInfo { name: &entry.name, stored, encoding, shape: &entry.shape, bytes }
        })
    }

    /// Stored names that this part of the model does not use.
    pub fn unused(&self) -> &[String] {
        &self.unused
    }

    /// The values of the tensor `name`, checked against its hash at the first look where the file
    /// has one.
    ///
    /// # Errors
    /// When there is none, its encoding is not read here, or it is damaged.
    pub fn view(&self, name: &str) -> Result<TensorView<'_>, FileError> {
        let entry = self.entry(name)?;
        let view = self.unchecked(entry)?;
        if let Data::Replaced(_) = entry.data {
            return Ok(view);
        }
        let (file, stored) = (&self.files[entry.file], self.stored(entry));
        let intact = |hash| *entry.intact.get_or_init(|| hash_bytes(file.bytes_of(stored)) == hash);
        if entry.hash.is_none_or(intact) {
            return Ok(view);
        }
        Err(damaged(file.origin(), stored))
    }

    /// Gives the memory of one tensor's pages back; its values stay readable.
    pub fn release(&self, name: &str) {
        if let Ok(entry) = self.entry(name)
            && !matches!(entry.data, Data::Replaced(_))
        {
            let range = self.stored(entry).range.clone();
            self.files[entry.file].bytes().release(range);
        }
    }

    fn entry(&self, name: &str) -> Result<&Entry, FileError> {
        let entry = self.by_name.get(name).map(|&i| &self.entries[i]);
        entry.ok_or_else(|| FileError::MissingTensor {
            file: self.origin.clone(),
            tensor: name.to_owned(),
        })
    }

    fn unchecked<'a>(&'a self, entry: &'a Entry) -> Result<TensorView<'a>, FileError> {
        if let Data::Replaced(tensor) = &entry.data {
            return tensor.view().ok_or_else(|| {
                FileError::malformed(&self.origin, format!("'{}' is not read", entry.name))
            });
        }
        let (file, stored) = (&self.files[entry.file], self.stored(entry));
        let whole = file.view_of(stored)?;
        let bytes = match &entry.data {
            Data::Range(range) => file.bytes().get(range.clone()).unwrap_or(&[]),
            Data::Owned(bytes) => bytes,
            Data::Replaced(tensor) => &tensor.bytes,
        };
        TensorView::new(whole.dtype(), &entry.shape, bytes)
            .ok_or_else(|| wrong_cut(file.origin(), stored))
    }

    fn encoding(&self, entry: &Entry) -> &Encoding {
        &self.stored(entry).encoding
    }

    fn stored(&self, entry: &Entry) -> &StoredTensor {
        &self.files[entry.file].tensors()[entry.tensor]
    }
}

impl TensorSource for ComponentWeights {
    fn tensor(&self, name: &str) -> Option<TensorView<'_>> {
        self.view(name).ok()
    }

    fn outline(&self, name: &str) -> Option<TensorView<'_>> {
        self.entry(name).and_then(|entry| self.unchecked(entry)).ok()
    }

    fn mapped(&self, name: &str) -> Option<MappedBytes> {
        let entry = self.entry(name).ok()?;
        match &entry.data {
            Data::Range(range) => self.files[entry.file].bytes().mapped(range.clone()),
            Data::Owned(_) | Data::Replaced(_) => None,
        }
    }

    fn release(&self, name: &str) {
        ComponentWeights::release(self, name);
    }

    fn origin(&self) -> &str {
        &self.origin
    }

    fn refusal(&self, name: &str) -> Option<FileError> {
        self.by_name.contains_key(name).then(|| self.view(name).err()).flatten()
    }
}

impl Drop for ComponentWeights {
    fn drop(&mut self) {
        for (i, file) in self.files.iter().enumerate() {
            let ranges =
                self.entries.iter().filter(|e| e.file == i).filter_map(|e| match &e.data {
                    Data::Range(range) => Some(range.clone()),
                    Data::Owned(_) | Data::Replaced(_) => None,
                });
            let span = ranges.reduce(|a, b| a.start.min(b.start)..a.end.max(b.end));
            file.bytes().release(span.unwrap_or_default());
        }
    }
}

fn entry(file: &TensorFile, stored: &StoredTensor, found: Found) -> Result<Entry, FileError> {
    let (shape, data) = match (&stored.encoding, found.cut) {
        // What is not read cannot be cut either; it is listed as it is.
        (Encoding::Other(_), _) | (_, Cut::Whole) => {
            (stored.shape.clone(), Data::Range(stored.range.clone()))
        }
        (Encoding::Plain(dtype), cut) => cut_out(cut, *dtype, stored, file.bytes_of(stored))
            .ok_or_else(|| wrong_cut(file.origin(), stored))?,
    };
    let Found { name, file, tensor, hash, .. } = found;
    Ok(Entry { name, file, tensor, shape: squeezed(shape), data, hash, intact: OnceLock::new() })
}

/// Linear layers stored as one-dimensional convolutions, `[out, in, 1]`, are matrices.
fn squeezed(mut shape: Vec<usize>) -> Vec<usize> {
    if let [_, _, 1] = shape[..] {
        shape.pop();
    }
    shape
}

fn wrong_cut(origin: &str, stored: &StoredTensor) -> FileError {
    let problem = format!("tensor '{}' of {:?} cannot be split", stored.name, stored.shape);
    FileError::malformed(origin, problem)
}

/// Shape and bytes of the part of `stored` that `cut` means, `None` where its shape does not allow
/// it.
fn cut_out(
    cut: Cut,
    dtype: DType,
    stored: &StoredTensor,
    bytes: &[u8],
) -> Option<(Vec<usize>, Data)> {
    let (&rows, inner) = stored.shape.split_first()?;
    let row = dtype.bytes_of(count(inner)?)?;
    match cut {
        Cut::Whole => None,
        Cut::Third(part) => {
            let len = rows.is_multiple_of(3).then_some(rows / 3 * row)?;
            let start = stored.range.start + part * len;
            Some((with_rows(rows / 3, inner), Data::Range(start..start + len)))
        }
        Cut::HeadThird { part, head } => {
            let group = 3usize.checked_mul(head)?;
            if group == 0 || !rows.is_multiple_of(group) || row == 0 {
                return None;
            }
            let heads = bytes.chunks_exact(group * row);
            let picked = heads.flat_map(|h| &h[part * head * row..(part + 1) * head * row]);
            Some((with_rows(rows / 3, inner), Data::Owned(picked.copied().collect())))
        }
        Cut::Transposed => {
            let [rows, columns] = stored.shape[..] else { return None };
            let transposed = TensorView::new(dtype, &stored.shape, bytes)?.transposed()?;
            Some((vec![columns, rows], Data::Owned(transposed)))
        }
    }
}

fn with_rows(rows: usize, inner: &[usize]) -> Vec<usize> {
    [&[rows], inner].concat()
}
