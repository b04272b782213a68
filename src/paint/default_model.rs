//! The model that is part of the binary: the diffusers folder `models/default`, file by file.

use super::PaintError;
use crate::files::ModelFiles;

/// The model of `models/default`.
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
    /// Names files of the folder and takes their contents into the binary.
    macro_rules! folder {
        ($($file:literal),* $(,)?) => {
            &[$(($file, include_bytes!(concat!("../../models/default/", $file)))),*]
        };
    }
    Some(
        ModelFiles::embedded(
            "the default model",
            folder![
                "model_index.json",
                "scheduler/scheduler_config.json",
                "text_encoder/config.json",
                "text_encoder/model.safetensors",
                "tokenizer/merges.txt",
                "tokenizer/special_tokens_map.json",
                "tokenizer/tokenizer_config.json",
                "tokenizer/vocab.json",
                "unet/config.json",
                "unet/diffusion_pytorch_model.safetensors",
                "vae/config.json",
                "vae/diffusion_pytorch_model.safetensors",
            ],
        )
        .map_err(PaintError::File),
    )
}
