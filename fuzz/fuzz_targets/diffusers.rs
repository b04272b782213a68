//! Bytes as a JSON file of a diffusers folder, the first byte choosing which.
#![no_main]

use std::sync::OnceLock;

use pochade_fuzz::bodies;

const FILES: [&str; 4] = [
    "model_index.json",
    "unet/config.json",
    "unet/diffusion_pytorch_model.safetensors.index.json",
    "tokenizer/tokenizer_config.json",
];

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    static FOLDER: OnceLock<tempfile::TempDir> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for part in ["unet", "tokenizer"] {
            std::fs::create_dir(folder.path().join(part)).expect("a temporary folder");
        }
        folder
    });
    let Some((which, json)) = bytes.split_first() else { return };
    bodies::config(json);
    bodies::diffusers(folder.path(), FILES[usize::from(*which) % FILES.len()], json).ok();
});
