//! What is converted: any of the forms that a model comes in, with what belongs to it.

use std::path::Path;

use anyhow::{Context, ensure};
use pochade::files::{Beside, Checkpoint, Component, ModelFiles};
use pochade::paint::Memory;
use pochade_quantize::checkpoint;

/// Opens the model at `path` and makes sure that it is whole.
pub(crate) fn open(path: &Path, beside: &Beside) -> anyhow::Result<ModelFiles> {
    let model = if path.join("unet/model.onnx").is_file() {
        onnx(path)?
    } else if is_pickled(path) {
        let origin = path.display().to_string();
        let tensors = Checkpoint::new(&origin, checkpoint::open(path)?)?;
        ModelFiles::from_checkpoint(tensors, &beside.or_around(path))?
    } else {
        ModelFiles::open_with(path, beside)?
    };
    check(&model)?;
    Ok(model)
}

/// A folder of graphs, whose weights are copied to where the system has temporary files.
#[cfg(feature = "onnx")]
fn onnx(folder: &Path) -> anyhow::Result<ModelFiles> {
    Ok(pochade_quantize::onnx::open(folder, &std::env::temp_dir())?)
}

#[cfg(not(feature = "onnx"))]
fn onnx(folder: &Path) -> anyhow::Result<ModelFiles> {
    let folder = folder.display();
    anyhow::bail!("{folder}: this build reads no ONNX; build it with `--features onnx`")
}

fn is_pickled(path: &Path) -> bool {
    let extension = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
    matches!(extension.as_str(), "ckpt" | "pt" | "pth" | "bin") && !path.is_dir()
}

/// Every network must find its weights, and every text encoder its tokenizer: a model that cannot
/// paint is not worth converting.
fn check(model: &ModelFiles) -> anyhow::Result<()> {
    for encoder in [Component::TextEncoder, Component::TextEncoder2] {
        if model.has(encoder) {
            model.tokenizer(encoder).with_context(|| {
                format!(
                    "no tokenizer for the {encoder}; give the folder with vocab.json and \
                     merges.txt with --tokenizer"
                )
            })?;
        }
    }
    let memory = Memory::plan(model, 1)?;
    ensure!(!memory.parts.is_empty(), "{}: the model has no networks", model.origin());
    Ok(())
}
