//! A whole model as one GGUF file: what `pochade-quantize` writes, and [`ModelFiles`] opens.
//!
//! Metadata: `pochade.<part>.config` is the part's config as JSON text,
//! `pochade.<tokenizer>.{tokens,merges,config}` a tokenizer, `pochade.pipeline` the pipeline's
//! class. Tensors have LDM's full names and stand in the order of execution. One tensor at a time
//! is in memory.

use std::ops::ControlFlow;
use std::path::Path;

use half::f16;
use pochade_engine::{DType, TensorView};

use super::gguf::{GgufWriter, TensorSpec, Value};
use super::package::{PIPELINE_KEY, config_key};
use super::{
    Component, ComponentWeights, Encoding, FileError, ModelFiles, TensorInfo, TensorSource,
};
use crate::text::Tokenizer;

/// The encoding of the weights in a packed model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WeightEncoding {
    /// Every tensor as it is stored in the source.
    #[default]
    Keep,
    /// Every tensor in f32.
    F32,
    /// Filters and matrices in f16; vectors (norms, biases), which are small, as they are stored.
    F16,
}

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

/// Writes `model` to `path` as GGUF. The file appears when it is complete; `progress` may stop the
/// work.
///
/// # Errors
/// When the source is damaged or has encodings that are not read, a value does not fit f16, the
/// target cannot be written, or `progress` says break.
pub fn pack(
    model: &ModelFiles,
    path: &Path,
    encoding: WeightEncoding,
    mut progress: impl FnMut(Progress<'_>) -> ControlFlow<()>,
) -> Result<Packed, FileError> {
    let (specs, left_out) = table(model, encoding)?;
    let sizes = specs.iter().map(|s| (s.shape.iter().product::<usize>() * s.dtype.bytes()) as u64);
    let (tensors, total) = (specs.len(), sizes.sum());
    let mut writer = GgufWriter::create(path, &metadata(model)?, specs)?;
    let mut done = 0;
    for component in with_weights(model) {
        let weights = model.weights(component)?;
        for info in weights.tensors() {
            if progress(Progress { component, tensor: info.name, done, total }).is_break() {
                return Err(FileError::Interrupted { file: path.display().to_string() });
            }
            done += write(&mut writer, &weights, info, encoding)?;
            weights.release(info.name);
        }
    }
    writer.finish()?;
    Ok(Packed { tensors, bytes: total, left_out })
}

fn with_weights(model: &ModelFiles) -> impl Iterator<Item = Component> {
    model.components().filter(|component| *component != Component::Scheduler)
}

/// The tensors to be written, and the names of those that are not.
fn table(
    model: &ModelFiles,
    encoding: WeightEncoding,
) -> Result<(Vec<TensorSpec>, Vec<String>), FileError> {
    let (mut specs, mut left_out) = (Vec::new(), Vec::new());
    for component in with_weights(model) {
        let weights = model.weights(component)?;
        for info in weights.tensors() {
            let Encoding::Plain(stored) = info.encoding else {
                // Asking for the values makes the error that says so.
                weights.view(info.name)?;
                continue;
            };
            specs.push(TensorSpec {
                name: format!("{}{}", component.prefix(), info.name),
                dtype: target(*stored, info.shape, encoding),
                shape: info.shape.to_vec(),
            });
        }
        left_out.extend(weights.unused().iter().cloned());
    }
    Ok((specs, left_out))
}

fn target(stored: DType, shape: &[usize], encoding: WeightEncoding) -> DType {
    match encoding {
        WeightEncoding::F32 => DType::F32,
        WeightEncoding::F16 if shape.len() > 1 => DType::F16,
        WeightEncoding::F16 | WeightEncoding::Keep => stored,
    }
}

/// Writes one tensor and says how many bytes it took.
fn write(
    writer: &mut GgufWriter,
    weights: &ComponentWeights,
    info: TensorInfo<'_>,
    encoding: WeightEncoding,
) -> Result<u64, FileError> {
    let view = weights.view(info.name)?;
    let dtype = target(view.dtype(), view.shape(), encoding);
    if dtype == view.dtype() {
        writer.tensor(&view)?;
        return Ok(view.bytes().len() as u64);
    }
    let bytes = recode(&view, dtype).ok_or_else(|| FileError::Malformed {
        file: weights.origin().to_owned(),
        problem: format!("'{}' has values beyond the range of f16; use f32", info.name),
    })?;
    if let Some(recoded) = TensorView::new(dtype, view.shape(), &bytes) {
        writer.tensor(&recoded)?;
    }
    Ok(bytes.len() as u64)
}

/// The values in another encoding, `None` when one is finite and would not stay so.
fn recode(view: &TensorView<'_>, dtype: DType) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(view.len() * dtype.bytes());
    let mut values = [0.0f32; 4096];
    let mut start = 0;
    while start < view.len() {
        let values = &mut values[..(view.len() - start).min(4096)];
        view.read_f32(start, values);
        for value in values.iter() {
            match dtype {
                DType::F32 => bytes.extend(value.to_le_bytes()),
                DType::F16 => bytes.extend(narrowed(*value)?.to_le_bytes()),
                DType::BF16 => bytes.extend(half::bf16::from_f32(*value).to_le_bytes()),
            }
        }
        start += values.len();
    }
    Some(bytes)
}

/// The nearest f16, `None` for a finite value that is beyond all of them.
fn narrowed(value: f32) -> Option<f16> {
    let narrow = f16::from_f32(value);
    (narrow.is_finite() || !value.is_finite()).then_some(narrow)
}

fn metadata(model: &ModelFiles) -> Result<Vec<(String, Value)>, FileError> {
    let text = |key: &str, text: &str| (key.to_owned(), Value::String(text.to_owned()));
    let mut entries = vec![text("general.architecture", "pochade")];
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
