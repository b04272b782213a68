//! What a fuzzer and the tests of hostile files do with bytes: open them, and look at everything
//! they claim to hold. Whatever the bytes, the outcome is an error or a value.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use pochade::files::gguf::Gguf;
use pochade::files::{
    Beside, Checkpoint, Component, Config, Encoding, FileBytes, FileError, ModelFiles,
    StoredTensor, TensorFile, names, safetensors,
};
use pochade::text::Tokenizer;
use serde_json::Value;

/// The bytes as a safetensors file.
pub fn safetensors(bytes: &[u8]) -> Result<(), FileError> {
    let file = safetensors::parse("fuzz", FileBytes::Owned(Arc::from(bytes)))?;
    look_at(&file);
    Ok(())
}

/// The bytes as a GGUF file, and as a model where they claim to be one.
pub fn gguf(bytes: &[u8]) -> Result<(), FileError> {
    let gguf = Gguf::parse("fuzz", FileBytes::Owned(Arc::from(bytes)))?;
    look_at(gguf.tensors());
    gguf.verify().ok();
    for (_, value) in gguf.metadata() {
        value.to_string();
    }
    let model = ModelFiles::from_gguf(gguf)?;
    look_at_model(&model)
}

/// The bytes as a safetensors checkpoint, or as lines of the names and shapes of one.
pub fn checkpoint(bytes: &[u8]) -> Result<(), FileError> {
    let table = safetensors::parse("fuzz", FileBytes::Owned(Arc::from(bytes)));
    let table = table.or_else(|_| outline(&String::from_utf8_lossy(bytes)))?;
    let checkpoint = Checkpoint::new("fuzz", vec![table])?;
    look_at_model(&ModelFiles::from_checkpoint(checkpoint, &Beside::default())?)
}

/// Lines of a name and the extents of a shape, apart at spaces.
fn outline(lines: &str) -> Result<TensorFile, FileError> {
    let tensor = |line: &str| {
        let mut words = line.split(' ');
        StoredTensor {
            name: words.next().unwrap_or_default().to_owned(),
            encoding: Encoding::Other("nothing".to_owned()),
            shape: words.filter_map(|word| word.parse().ok()).collect(),
            range: 0..0,
        }
    };
    TensorFile::new("fuzz", FileBytes::Static(&[]), lines.lines().map(tensor).collect())
}

/// The bytes as a vocabulary, merges and a prompt, apart at the first two zeros.
pub fn tokenizer(bytes: &[u8]) {
    let mut parts = bytes.splitn(3, |&b| b == 0);
    let vocab = parts.next().unwrap_or_default();
    let merges = String::from_utf8_lossy(parts.next().unwrap_or_default());
    let prompt = String::from_utf8_lossy(parts.next().unwrap_or_default());
    let vocabularies =
        [Tokenizer::from_vocab(vocab, &merges, None), Tokenizer::from_json(vocab, None)];
    for tokenizer in vocabularies.into_iter().flatten() {
        let encoded = tokenizer.encode(&prompt, 20);
        assert_eq!(encoded.ids.len(), 20);
        assert!(encoded.ids.iter().all(|&id| (id as usize) < tokenizer.vocabulary_len()));
    }
}

/// The bytes as the config of every kind of network.
pub fn config(bytes: &[u8]) {
    let Ok(value) = serde_json::from_slice::<Value>(bytes) else { return };
    let config = Config::new("fuzz", &value);
    for map in [names::unet(config), names::autoencoder(config), names::clip(config)] {
        for (canonical, stored) in map.iter().flat_map(|map| map.modules()) {
            assert!(!canonical.is_empty() && !stored.is_empty());
        }
    }
}

/// The bytes as `file` of the diffusers model in `folder`.
pub fn diffusers(folder: &Path, file: &str, bytes: &[u8]) -> Result<(), FileError> {
    // A folder that cannot be written to is a fault of the test, and shows as an old result.
    fs::write(folder.join(file), bytes).ok();
    look_at_model(&ModelFiles::open(folder)?)
}

fn look_at_model(model: &ModelFiles) -> Result<(), FileError> {
    for component in Component::ALL {
        model.tokenizer(component).map(|tokenizer| tokenizer.encode("a red sun", 8)).ok();
    }
    for component in model.components().filter(|c| *c != Component::Scheduler) {
        let weights = model.weights(component)?;
        for tensor in weights.tensors() {
            weights.view(tensor.name).map(|view| view.to_f32()).ok();
        }
    }
    Ok(())
}

fn look_at(file: &TensorFile) {
    for tensor in file.tensors() {
        if let Ok(view) = file.view_of(tensor) {
            assert_eq!(view.to_f32().len(), tensor.len());
        }
    }
}
