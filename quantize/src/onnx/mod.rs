//! ONNX folders in optimum's layout: a diffusers folder whose weights are in graphs.
//!
//! ```text
//! model_index.json   scheduler/scheduler_config.json   tokenizer/..
//! unet/config.json   unet/model.onnx   [unet/model.onnx_data]
//! vae_decoder/..     [vae_encoder/..]  text_encoder/..   [text_encoder_2/..]
//! ```
//! Only the initialisers are taken, under the names that their modules have in PyTorch. They are
//! copied to a temporary file, one at a time, which is mapped and removed. What a graph has inside
//! itself, rather than in a file beside it, is in memory meanwhile.

mod names;
mod tensor;

use std::collections::BTreeMap;
use std::path::Path;

use pochade::files::gguf::{Gguf, GgufWriter};
use pochade::files::{Component, FileError, ModelFiles, TensorFile};
use tempfile::TempDir;
use tract_onnx::pb::ModelProto;
use tract_onnx::tract_core::framework::Framework;

use tensor::{Data, malformed};

const MODEL: &str = "model.onnx";
/// The graphs of every part that has weights.
const GRAPHS: [(Component, &[&str]); 4] = [
    (Component::TextEncoder, &["text_encoder"]),
    (Component::TextEncoder2, &["text_encoder_2"]),
    (Component::Unet, &["unet"]),
    (Component::Autoencoder, &["vae_decoder", "vae_encoder"]),
];

/// Whether `folder` is a model in ONNX.
pub fn is_model(folder: &Path) -> bool {
    folder.join("unet").join(MODEL).is_file()
}

/// Opens the model in `folder`; its weights are copied to a temporary file in `scratch`.
///
/// # Errors
/// When a graph cannot be read or contradicts itself, or the temporary file cannot be written.
pub fn open(folder: &Path, scratch: &Path) -> Result<ModelFiles, FileError> {
    let failed = |e: std::io::Error| FileError::Io {
        file: scratch.display().to_string(),
        action: "write",
        reason: e.to_string(),
    };
    let scratch = tempfile::tempdir_in(scratch).map_err(failed)?;
    let mut weights = BTreeMap::new();
    for (component, graphs) in GRAPHS {
        let present =
            graphs.iter().map(|graph| folder.join(graph)).filter(|f| f.join(MODEL).is_file());
        let tables = present.map(|graph| table(&graph, &scratch));
        weights.insert(component, tables.collect::<Result<Vec<_>, _>>()?);
    }
    weights.retain(|_, tables| !tables.is_empty());
    ModelFiles::with_weights(folder, weights)
}

/// The initialisers of one graph under PyTorch's names.
fn table(folder: &Path, scratch: &TempDir) -> Result<TensorFile, FileError> {
    let path = folder.join(MODEL);
    let origin = path.display().to_string();
    let proto = tract_onnx::onnx()
        .proto_model_for_path(&path)
        .map_err(|e| malformed(&origin, &format!("is not an ONNX graph: {e}")))?;
    let ModelProto { graph: Some(graph), .. } = &proto else {
        return Err(malformed(&origin, "has no graph"));
    };
    let mut data = Data::new(folder);
    let mut rows = Vec::new();
    for (name, weight) in names::weights(graph) {
        if let Some(spec) = tensor::spec(&origin, name, &weight)? {
            rows.push((spec, weight));
        }
    }
    let copy = scratch
        .path()
        .join(format!("{}.gguf", folder.file_name().unwrap_or_default().to_string_lossy()));
    let specs = rows.iter().map(|(spec, _)| spec.clone()).collect();
    let mut writer = GgufWriter::create(&copy, &[], specs)?;
    for (spec, weight) in &rows {
        // Bytes that are not what the shape takes were refused; the writer would miss them.
        if let Some(view) = data.read(&origin, spec, weight)?.view(spec) {
            writer.tensor(&view)?;
        }
    }
    writer.finish()?;
    Ok(Gguf::open(&copy)?.tensors().renamed(&origin))
}
