//! A whole model as one GGUF file: what `pochade-quantize` writes, and [`ModelFiles`] opens.
//!
//! Metadata: `pochade.<part>.config` is the part's config as JSON text,
//! `pochade.<tokenizer>.{tokens,merges,config}` a tokenizer, `pochade.pipeline` the pipeline's
//! class. Tensors have LDM's full names and stand in the order of execution. One tensor at a time
//! is in memory.
//!
//! A weight in integers is three tensors. `X.weight` holds the panels of 16 outputs byte for byte
//! as kernels read them, as an I8 tensor `[panels, taps, blocks, 256]` (int8) or `[panels, taps,
//! blocks, 128]` (int4); `X.weight.step` is `[outputs]` in f32; int4 has `X.weight.multiplier`, I8
//! `[panels, taps, groups, 16]`. `pochade.layout` is the version of this arrangement,
//! `pochade.<part>.encoding` a word for people.

use std::ops::ControlFlow;
use std::path::Path;

use half::f16;
use pochade_engine::{DType, Encoding as Integers, Filter, PanelShape, TensorView};

use super::gguf::{GgufWriter, TensorSpec, Value, file_bytes};
use super::loaded::{MULTIPLIER, STEP, kind};
use super::package::{LAYOUT, LAYOUT_KEY, PIPELINE_KEY, config_key, encoding_key};
use super::packing::{Packing, TensorEncoding, WeightEncoding};
use super::{
    Component, ComponentWeights, Encoding, FileError, ModelFiles, TensorInfo, TensorSource, blocks,
    precision,
};
use crate::text::Tokenizer;

/// How far packing has come, reported before each tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress<'a> {
    /// Part of the model that is being written.
    pub component: Component,
    /// Tensor that comes next.
    pub tensor: &'a str,
    /// Bytes of tensors written so far.
    pub done: u64,
    /// Bytes of all tensors.
    pub total: u64,
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packed {
    /// Number of tensors.
    pub tensors: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Tensors of the source that no network uses, which were left out.
    pub left_out: Vec<String>,
}

/// Writes `model` to `path` as GGUF, with all weights in one encoding. The file appears when it is
/// complete; `progress` may stop the work.
///
/// # Errors
/// When the source is damaged or has encodings that are not read, has integer weights that would
/// have to become others, a value is not finite or does not fit f16, the target cannot be written,
/// or `progress` says break.
pub fn pack(
    model: &ModelFiles,
    path: &Path,
    mut encoding: WeightEncoding,
    progress: impl FnMut(Progress<'_>) -> ControlFlow<()>,
) -> Result<Packed, FileError> {
    pack_with(model, path, &mut encoding, progress)
}

/// The same, with every tensor as `packing` says.
///
/// # Errors
/// As [`pack`].
pub fn pack_with(
    model: &ModelFiles,
    path: &Path,
    packing: &mut dyn Packing,
    mut progress: impl FnMut(Progress<'_>) -> ControlFlow<()>,
) -> Result<Packed, FileError> {
    let Table { specs, left_out, parts } = table(model, packing)?;
    let (tensors, total) = (specs.len(), specs.iter().filter_map(TensorSpec::bytes).sum::<usize>());
    let total = total as u64;
    let mut metadata = metadata(model, &parts)?;
    metadata.extend(packing.metadata());
    let mut writer = GgufWriter::create(path, &metadata, specs)?;
    let mut done = 0;
    for component in with_weights(model) {
        let weights = model.weights(component)?;
        for info in weights.tensors() {
            if packing.encoding(component, &info) == TensorEncoding::LeftOut {
                continue;
            }
            if progress(Progress { component, tensor: info.name, done, total }).is_break() {
                return Err(FileError::Interrupted { file: path.display().to_string() });
            }
            done += write(&mut writer, (component, &weights), info, packing)? as u64;
            weights.release(info.name);
        }
    }
    writer.finish()?;
    Ok(Packed { tensors, bytes: total, left_out })
}

/// Bytes of the file that [`pack_with`] would write.
///
/// # Errors
/// When the source is damaged or has encodings that are not read, or integer weights that would have
/// to become others.
pub fn packed_bytes(model: &ModelFiles, packing: &dyn Packing) -> Result<u64, FileError> {
    let Table { specs, parts, .. } = table(model, packing)?;
    file_bytes(&metadata(model, &parts)?, &specs)
        .ok_or_else(|| FileError::malformed(model.origin(), "the file would be too large to write"))
}

fn with_weights(model: &ModelFiles) -> impl Iterator<Item = Component> {
    model.components().filter(|component| *component != Component::Scheduler)
}

/// What will be written.
struct Table {
    specs: Vec<TensorSpec>,
    /// The names of the tensors that are not.
    left_out: Vec<String>,
    /// Every part and the encoding of its weights, in a word.
    parts: Vec<(Component, String)>,
}

fn table(model: &ModelFiles, packing: &dyn Packing) -> Result<Table, FileError> {
    let mut table = Table { specs: Vec::new(), left_out: Vec::new(), parts: Vec::new() };
    for component in with_weights(model) {
        let weights = model.weights(component)?;
        let first = table.specs.len();
        for info in weights.tensors() {
            let Encoding::Plain(stored) = info.encoding else {
                // Asking for the values makes the error that says so.
                weights.view(info.name)?;
                continue;
            };
            let encoding = packing.encoding(component, &info);
            if encoding == TensorEncoding::LeftOut {
                continue;
            }
            if *stored == DType::I8 && encoding != TensorEncoding::Keep {
                return Err(already_integers(&weights, info.name));
            }
            let name = format!("{}{}", component.prefix(), info.name);
            table.specs.extend(target(*stored, info.shape, encoding).specs(name, info));
        }
        table.parts.push((component, word(&table.specs[first..])));
        table.left_out.extend(weights.unused().iter().cloned());
    }
    Ok(table)
}

fn already_integers(weights: &ComponentWeights, name: &str) -> FileError {
    let problem = format!(
        "'{name}' is in integers already; convert the model that this file was made from, or keep \
         the weights as they are"
    );
    FileError::malformed(weights.origin(), problem)
}

/// The encoding that most bytes of a part are in, or that of its integers where it has any: `mixed`
/// for both int8 and int4.
fn word(specs: &[TensorSpec]) -> String {
    let mut bytes: Vec<(String, usize)> = Vec::new();
    for spec in specs {
        let name = kind(&spec.name, spec.dtype, &spec.shape);
        match bytes.iter_mut().find(|(known, _)| *known == name) {
            Some((_, sum)) => *sum += spec.bytes().unwrap_or(0),
            None => bytes.push((name, spec.bytes().unwrap_or(0))),
        }
    }
    let mut integers = bytes.iter().filter(|(name, _)| name.starts_with("int"));
    let first = integers.next();
    if integers.next().is_some() {
        return "mixed".to_owned();
    }
    let most = first.or_else(|| bytes.iter().max_by_key(|(_, sum)| *sum));
    most.map_or_else(String::new, |(name, _)| name.clone())
}

/// What becomes of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    Float(DType),
    Integers(Integers, PanelShape),
}

impl Target {
    /// The tensors that are written in place of the one called `name`.
    fn specs(self, name: String, info: TensorInfo<'_>) -> Vec<TensorSpec> {
        let spec = |name: String, dtype, shape: &[usize]| TensorSpec {
            name,
            dtype,
            shape: shape.to_vec(),
        };
        match self {
            Self::Float(dtype) => vec![spec(name, dtype, info.shape)],
            Self::Integers(encoding, shape) => {
                let mut specs = vec![
                    spec(name.clone(), DType::I8, &shape.weight(encoding)),
                    spec(format!("{name}{STEP}"), DType::F32, &[shape.outputs]),
                ];
                if encoding == Integers::Int4 {
                    let multipliers = shape.multipliers();
                    specs.push(spec(format!("{name}{MULTIPLIER}"), DType::I8, &multipliers));
                }
                specs
            }
        }
    }
}

fn target(stored: DType, shape: &[usize], encoding: TensorEncoding) -> Target {
    match encoding {
        TensorEncoding::LeftOut | TensorEncoding::Keep => Target::Float(stored),
        TensorEncoding::Float(dtype) => Target::Float(dtype),
        TensorEncoding::Integers(integers) => {
            let [outputs, channels, kh, kw] = precision::size(shape).unwrap_or_default();
            Target::Integers(integers, PanelShape { outputs, taps: kh * kw, channels })
        }
    }
}

/// Writes one tensor and says how many bytes it took.
fn write(
    writer: &mut GgufWriter,
    (component, weights): (Component, &ComponentWeights),
    info: TensorInfo<'_>,
    packing: &mut dyn Packing,
) -> Result<usize, FileError> {
    let view = weights.view(info.name)?;
    let wrong = |problem: String| FileError::malformed(weights.origin(), problem);
    if !is_finite(&view) {
        return Err(wrong(format!("'{}' has a value that is no finite number", info.name)));
    }
    match target(view.dtype(), view.shape(), packing.encoding(component, &info)) {
        Target::Float(dtype) if dtype == view.dtype() => {
            writer.tensor(&view)?;
            Ok(view.bytes().len())
        }
        Target::Float(dtype) => {
            let bytes = recode(&view, dtype).ok_or_else(|| {
                wrong(format!("'{}' has values beyond the range of {dtype}; use f32", info.name))
            })?;
            put(writer, dtype, view.shape(), &bytes)
        }
        Target::Integers(integers, _) => {
            let filter = packing
                .filter(component, info.name, &view, integers)
                .map_err(|e| wrong(format!("'{}' cannot be rounded: {e}", info.name)))?;
            write_panels(writer, &filter)
        }
    }
}

fn write_panels(writer: &mut GgufWriter, filter: &Filter) -> Result<usize, FileError> {
    let Some(panels) = filter.to_store() else { return Ok(0) };
    let shape = panels.shape;
    let mut bytes = put(writer, DType::I8, &shape.weight(panels.encoding), panels.weight)?;
    bytes += put(writer, DType::F32, &[shape.outputs], &panels.steps)?;
    if let Some(multipliers) = panels.multipliers {
        bytes += put(writer, DType::I8, &shape.multipliers(), multipliers)?;
    }
    Ok(bytes)
}

/// Writes the next tensor. Bytes that are not what the shape takes are skipped, and missed when the
/// writer ends.
fn put(
    writer: &mut GgufWriter,
    dtype: DType,
    shape: &[usize],
    bytes: &[u8],
) -> Result<usize, FileError> {
    if let Some(view) = TensorView::new(dtype, shape, bytes) {
        writer.tensor(&view)?;
    }
    Ok(bytes.len())
}

/// Whether all values are numbers that a network can have as weights.
fn is_finite(view: &TensorView<'_>) -> bool {
    let mut values = [0.0f32; 4096];
    (0..view.len()).step_by(values.len()).all(|start| {
        let values = &mut values[..(view.len() - start).min(4096)];
        view.read_f32(start, values);
        values.iter().all(|value| value.is_finite())
    })
}

/// The values in another encoding, `None` when one is finite and would not stay so.
fn recode(view: &TensorView<'_>, dtype: DType) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(dtype.bytes_of(view.len())?);
    let mut values = [0.0f32; 4096];
    let mut start = 0;
    while start < view.len() {
        let values = &mut values[..(view.len() - start).min(4096)];
        view.read_f32(start, values);
        start += values.len();
        if dtype.block() > 1 {
            blocks::append(&mut bytes, values, dtype).then_some(())?;
            continue;
        }
        for value in values.iter() {
            match dtype {
                DType::F32 => bytes.extend(value.to_le_bytes()),
                DType::F16 => bytes.extend(narrowed(*value)?.to_le_bytes()),
                _ => return None,
            }
        }
    }
    Some(bytes)
}

/// The nearest f16, `None` for a value that is beyond all of them.
fn narrowed(value: f32) -> Option<f16> {
    Some(f16::from_f32(value)).filter(|narrow| narrow.is_finite())
}

fn metadata(
    model: &ModelFiles,
    parts: &[(Component, String)],
) -> Result<Vec<(String, Value)>, FileError> {
    let text = |key: &str, text: &str| (key.to_owned(), Value::String(text.to_owned()));
    let mut entries = vec![text("general.architecture", "pochade")];
    entries.push((LAYOUT_KEY.to_owned(), Value::U32(LAYOUT)));
    entries.extend(parts.iter().map(|(part, word)| text(&encoding_key(*part), word)));
    if let Some(pipeline) = model.pipeline() {
        entries.push(text(PIPELINE_KEY, pipeline));
    }
    let mut first: Option<Tokenizer> = None;
    for component in model.components() {
        let config = model.config(component)?;
        entries.push((config_key(component), Value::String(config.to_string())));
        let Some(name) = component.tokenizer() else { continue };
        let tokenizer = match model.tokenizer(component) {
            Err(FileError::MissingPart { .. }) => continue,
            tokenizer => tokenizer?,
        };
        put_tokenizer(&mut entries, name, &tokenizer, first.as_ref());
        first.get_or_insert(tokenizer);
    }
    Ok(entries)
}

/// The tokenizer's metadata; one that has the vocabulary of the `first` adds only its special
/// tokens.
fn put_tokenizer(
    entries: &mut Vec<(String, Value)>,
    name: &str,
    tokenizer: &Tokenizer,
    first: Option<&Tokenizer>,
) {
    let key = |part: &str| format!("pochade.{name}.{part}");
    entries.push((key("config"), Value::String(tokenizer.config().to_string())));
    let shared = first.is_some_and(|first| {
        first.tokens() == tokenizer.tokens() && first.merges().eq(tokenizer.merges())
    });
    if !shared {
        entries.push((key("tokens"), Value::strings(tokenizer.tokens().iter().cloned())));
        entries.push((key("merges"), Value::strings(tokenizer.merges())));
    }
}
