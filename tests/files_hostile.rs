//! Files that lie: cut short, with flipped bits, with lengths beyond all memory. Never a panic,
//! always an error or a value. The bodies are those of the fuzz targets.
#![allow(clippy::unwrap_used)] // A fixture that cannot be read is a failed test.

#[path = "../fuzz/src/bodies.rs"]
mod bodies;

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use pochade::files::gguf::Gguf;
use pochade::files::{FileError, ModelFiles, WeightEncoding, pack};
use proptest::prelude::*;
use proptest::sample::Index;

fn fixtures() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/files")
}

fn safetensors() -> Vec<u8> {
    fs::read(fixtures().join("mixed.safetensors")).unwrap()
}

fn gguf() -> Vec<u8> {
    fs::read(fixtures().join("mixed.gguf")).unwrap()
}

/// A whole model, and where its tensors begin.
fn model_gguf() -> (Vec<u8>, usize) {
    static MADE: OnceLock<(Vec<u8>, usize)> = OnceLock::new();
    let make = || {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.gguf");
        let model = ModelFiles::open(&fixtures().join("tiny")).unwrap();
        pack(&model, &path, WeightEncoding::Keep, |_| ControlFlow::Continue(())).unwrap();
        let data = Gguf::open(&path).unwrap().tensors().tensors()[0].range.start;
        (fs::read(&path).unwrap(), data)
    };
    MADE.get_or_init(make).clone()
}

const OUTLINE: &str = "\
model.diffusion_model.input_blocks.0.0.weight 32 4 3 3
model.diffusion_model.input_blocks.1.0.in_layers.2.weight 32 32 3 3
model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight 32 64
model.diffusion_model.input_blocks.2.0.op.weight 32 32 3 3
model.diffusion_model.input_blocks.3.0.in_layers.2.weight 64 32 3 3
model.diffusion_model.middle_block.1.proj_in.weight 64 64 1 1
model.diffusion_model.middle_block.1.transformer_blocks.0.attn2.to_k.weight 64 64
model.diffusion_model.output_blocks.0.0.in_layers.2.weight 64 128 3 3
model.diffusion_model.output_blocks.1.0.in_layers.2.weight 64 96 3 3
model.diffusion_model.output_blocks.2.0.in_layers.2.weight 32 96 3 3
model.diffusion_model.output_blocks.3.0.in_layers.2.weight 32 64 3 3
model.diffusion_model.out.2.weight 4 32 3 3
first_stage_model.decoder.conv_in.weight 32 4 3 3
first_stage_model.decoder.up.0.block.0.conv1.weight 32 32 3 3
first_stage_model.decoder.up.0.block.1.conv1.weight 32 32 3 3
first_stage_model.decoder.conv_out.weight 3 32 3 3
cond_stage_model.model.token_embedding.weight 100 64
cond_stage_model.model.positional_embedding 77 64
cond_stage_model.model.transformer.resblocks.0.attn.in_proj_weight 192 64
cond_stage_model.model.transformer.resblocks.0.mlp.c_fc.weight 256 64
cond_stage_model.model.transformer.resblocks.1.mlp.c_fc.weight 256 64
v_pred
";

/// Names and shapes of a small checkpoint, one tensor a line.
fn outline() -> Vec<u8> {
    bodies::checkpoint(OUTLINE.as_bytes()).unwrap();
    OUTLINE.as_bytes().to_vec()
}

type Body = fn(&[u8]) -> Result<(), FileError>;
type Make = fn() -> Vec<u8>;

const FORMATS: [(Body, Make); 2] = [(bodies::safetensors, safetensors), (bodies::gguf, gguf)];

#[test]
fn a_safetensors_file_cut_anywhere_is_an_error() {
    let bytes = safetensors();
    bodies::safetensors(&bytes).unwrap();
    for len in 0..bytes.len() {
        let error = bodies::safetensors(&bytes[..len]).unwrap_err().to_string();
        assert!(error.starts_with("fuzz: "), "{error}");
    }
}

#[test]
fn a_gguf_file_cut_before_its_last_tensor_ends_is_an_error() {
    let (bytes, _) = model_gguf();
    bodies::gguf(&bytes).unwrap();
    let step = bytes.len() / 1500;
    for len in (0..bytes.len() - 64).step_by(step) {
        assert!(bodies::gguf(&bytes[..len]).is_err(), "{len}");
    }
}

#[test]
fn any_flipped_bit_gives_an_error_or_a_value() {
    for (body, file) in FORMATS {
        let mut bytes = file();
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            body(&bytes).ok();
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }
}

#[test]
fn lying_lengths_are_errors_or_harmless() {
    let lies =
        [u64::MAX, 1 << 63, (1 << 63) - 1, 1 << 40, 1 << 32, u64::from(u32::MAX), 1 << 20, 0];
    for (body, file) in FORMATS {
        let bytes = file();
        for at in 0..bytes.len() - 8 {
            for lie in lies {
                let mut bytes = bytes.clone();
                bytes[at..at + 8].copy_from_slice(&lie.to_le_bytes());
                body(&bytes).ok();
            }
        }
    }
}

#[test]
fn the_message_says_what_is_wrong() {
    let error = |body: Body, bytes: &[u8]| body(bytes).unwrap_err().to_string();
    let mut bytes = safetensors();
    bytes[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    assert!(error(bodies::safetensors, &bytes).contains("not a safetensors file"));
    let header = |json: &str| [&(json.len() as u64).to_le_bytes()[..], json.as_bytes()].concat();
    let cases = [
        (r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#, "cut short"),
        (r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}"#, "not what F32 [2] takes"),
        (
            r#"{"a":{"dtype":"F32","shape":[9223372036854775807,4],"data_offsets":[0,4]}}"#,
            "overflows",
        ),
        (r#"{"a":{"dtype":"F32","shape":[0],"data_offsets":[4,0]}}"#, "ends before it begins"),
        (r#"{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}"#, "not valid"),
        (r#"[]"#, "an object of tensors"),
        (
            r#"{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},
                "a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}"#,
            "listed twice",
        ),
    ];
    for (json, wanted) in cases {
        let error = error(bodies::safetensors, &header(json));
        assert!(error.contains(wanted), "{json}: {error}");
    }
    let mut bytes = gguf();
    bytes[8..16].copy_from_slice(&u64::MAX.to_le_bytes());
    assert!(error(bodies::gguf, &bytes).contains("tensors; at most"));
    assert!(error(bodies::gguf, b"GGUF\x02\0\0\0").contains("version 2"));
    assert!(error(bodies::gguf, b"GGML").contains("not a GGUF file"));
}

#[test]
fn deeply_nested_arrays_are_refused() {
    let mut bytes = b"GGUF\x03\0\0\0".to_vec();
    bytes.extend([0u64, 1, 1].iter().flat_map(|n| n.to_le_bytes()));
    bytes.push(b'k');
    bytes.extend(9u32.to_le_bytes());
    for _ in 0..100_000 {
        // An array of one array.
        bytes.extend(9u32.to_le_bytes());
        bytes.extend(1u64.to_le_bytes());
    }
    assert!(bodies::gguf(&bytes).unwrap_err().to_string().contains("nested"));
    let json = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    let bytes = [&(json.len() as u64).to_le_bytes()[..], json.as_bytes()].concat();
    assert!(bodies::safetensors(&bytes).is_err());
    bodies::config(json.as_bytes());
}

/// A copy of the tiny model's JSON files, without its weights.
fn json_files(to: &Path) {
    for file in
        ["unet/config.json", "vae/config.json", "text_encoder/config.json", "model_index.json"]
    {
        fs::create_dir_all(to.join(file).parent().unwrap()).unwrap();
        fs::copy(fixtures().join("tiny").join(file), to.join(file)).unwrap();
    }
}

#[test]
fn json_files_cut_anywhere_are_errors_or_values() {
    let folder = tempfile::tempdir().unwrap();
    json_files(folder.path());
    for file in ["unet/config.json", "vae/config.json", "model_index.json"] {
        let whole = fs::read(folder.path().join(file)).unwrap();
        for len in (0..whole.len()).step_by(7) {
            bodies::config(&whole[..len]);
            assert!(bodies::diffusers(folder.path(), file, &whole[..len]).is_err());
        }
        bodies::diffusers(folder.path(), file, &whole).ok();
    }
}

/// Replaces some stretches of valid bytes.
fn mutated(mut bytes: Vec<u8>, edits: Vec<(Index, Vec<u8>)>) -> Vec<u8> {
    for (at, new) in edits {
        let at = at.index(bytes.len());
        let end = (at + new.len()).min(bytes.len());
        bytes.splice(at..end, new);
    }
    bytes
}

fn edits() -> impl Strategy<Value = Vec<(Index, Vec<u8>)>> {
    let bytes = proptest::collection::vec(prop_oneof![any::<u8>(), Just(0), Just(255)], 1..9);
    proptest::collection::vec((any::<Index>(), bytes), 1..6)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn mutated_files_are_errors_or_values(edits in edits()) {
        bodies::safetensors(&mutated(safetensors(), edits.clone())).ok();
        bodies::gguf(&mutated(gguf(), edits)).ok();
    }

    #[test]
    fn mutated_outlines_of_checkpoints_are_errors_or_models(edits in edits()) {
        bodies::checkpoint(&mutated(outline(), edits)).ok();
    }

    #[test]
    fn mutated_models_are_errors_or_values(edits in edits()) {
        let (bytes, data) = model_gguf();
        // What stands before the data is where lies do harm.
        let head = mutated(bytes[..data].to_vec(), edits);
        bodies::gguf(&[&head[..], &bytes[data..]].concat()).ok();
    }

    #[test]
    fn mutated_vocabularies_are_errors_or_tokenizers(edits in edits(), prompt in any::<String>()) {
        let folder = fixtures().join("tiny/tokenizer");
        let read = |name: &str| fs::read(folder.join(name)).unwrap();
        let (vocab, merges) = (read("vocab.json"), read("merges.txt"));
        let whole = [&vocab[..], &[0], &merges, &[0], prompt.as_bytes()].concat();
        bodies::tokenizer(&whole);
        bodies::tokenizer(&mutated(whole, edits));
    }

    #[test]
    fn mutated_configs_are_errors_or_maps(edits in edits()) {
        for part in ["unet", "vae", "text_encoder"] {
            let path = fixtures().join("tiny").join(part).join("config.json");
            bodies::config(&mutated(fs::read(path).unwrap(), edits.clone()));
        }
    }
}
