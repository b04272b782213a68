//! The model that is part of the binary: `models/default.gguf`, which `pochade-quantize` makes of the
//! folder `models/default` by the recipe `models/default.toml`.

use super::PaintError;
use crate::files::ModelFiles;

/// The model of `models/default.gguf`.
///
/// # Errors
/// When this build has none (the feature `default-model` is off).
pub fn default_model() -> Result<ModelFiles, PaintError> {
    embedded().unwrap_or(Err(PaintError::NoModel))
}

#[cfg(not(feature = "default-model"))]
fn embedded() -> Option<Result<ModelFiles, PaintError>> {
    None
}

#[cfg(feature = "default-model")]
fn embedded() -> Option<Result<ModelFiles, PaintError>> {
    let bytes = include_bytes!("../../models/default.gguf");
    Some(ModelFiles::embedded("the default model", bytes).map_err(PaintError::File))
}
