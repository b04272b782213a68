//! Inputs that lie: each is refused in one sentence, leaves no file, and takes no memory for what
//! it only claims.
#![allow(clippy::unwrap_used)] // A fixture that cannot be read is a failed test.

#[path = "../../fuzz/src/pickles.rs"]
mod bodies;
mod common;

use std::fs;
use std::path::{Path, PathBuf};

use pochade::files::{FileBytes, safetensors};
use pochade_engine::{DType, TensorView};
use pochade_quantize::checkpoint;
use proptest::prelude::*;
use proptest::sample::Index;

use common::{convert, fixture, refused, tiny};

const PICKLES: [&str; 2] = ["mixed.ckpt", "legacy.pt"];

fn config() -> String {
    tiny().display().to_string()
}

/// Writes `bytes` as `name` and returns what the conversion of it says.
fn refused_as(name: &str, bytes: &[u8]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    fs::write(&path, bytes).unwrap();
    refused(&path, &["--config", &config()])
}

/// The tiny checkpoint's tensors as a safetensors file without those that `keep` does not.
fn checkpoint_of(path: &Path, keep: impl Fn(&str) -> bool, spoil: Option<&str>) {
    let tables = checkpoint::open(&fixture("tiny.ckpt")).unwrap();
    let mut bytes: Vec<(String, Vec<usize>, DType, Vec<u8>)> = Vec::new();
    for table in &tables {
        for tensor in table.tensors().iter().filter(|tensor| keep(&tensor.name)) {
            let view = table.view_of(tensor).unwrap();
            let mut values = view.bytes().to_vec();
            if spoil == Some(&tensor.name) {
                values[..2].copy_from_slice(&0x7e00u16.to_le_bytes());
            }
            bytes.push((tensor.name.clone(), tensor.shape.clone(), view.dtype(), values));
        }
    }
    let view = |(name, shape, dtype, bytes)| (name, TensorView::new(dtype, shape, bytes).unwrap());
    let tensors: Vec<(&str, TensorView<'_>)> =
        bytes.iter().map(|(n, s, d, b)| view((n.as_str(), s, *d, b))).collect();
    safetensors::write(path, &tensors).unwrap();
}

#[test]
fn a_checkpoint_cut_short_is_refused() {
    let tiny_gguf = tempfile::tempdir().unwrap();
    let gguf = tiny_gguf.path().join("a.gguf");
    convert(&tiny(), &gguf, &[]);
    let single = tiny_gguf.path().join("a.safetensors");
    checkpoint_of(&single, |_| true, None);
    let cases: [(PathBuf, &str); 4] = [
        (fixture("tiny.ckpt"), "a.ckpt"),
        (fixture("legacy.pt"), "a.pt"),
        (single, "a.safetensors"),
        (gguf, "a.gguf"),
    ];
    for (path, name) in cases {
        let bytes = fs::read(path).unwrap();
        for len in [0, 1, 100, bytes.len() / 2, bytes.len() - 200] {
            let error = refused_as(name, &bytes[..len]);
            assert!(error.contains(name), "{name} cut at {len}: {error}");
        }
    }
}

#[test]
fn a_pickle_cut_anywhere_is_an_error() {
    for name in PICKLES {
        let bytes = fs::read(fixture(name)).unwrap();
        bodies::pickle(&bytes).unwrap();
        for len in (0..bytes.len()).step_by(3) {
            assert!(bodies::pickle(&bytes[..len]).is_err(), "{name} cut at {len}");
        }
    }
}

#[test]
fn lying_numbers_in_a_pickle_are_errors_or_harmless() {
    let lies = [u64::MAX, 1 << 63, 1 << 40, u64::from(u32::MAX), 1 << 20, 0];
    for name in PICKLES {
        let bytes = fs::read(fixture(name)).unwrap();
        for at in (0..bytes.len() - 8).step_by(5) {
            for lie in lies {
                let mut bytes = bytes.clone();
                bytes[at..at + 8].copy_from_slice(&lie.to_le_bytes());
                bodies::pickle(&bytes).ok();
            }
        }
    }
}

/// A checkpoint in the old layout, whose object is `pickle` and whose one storage has `values`.
fn legacy(pickle: &[u8], values: &[u8]) -> Vec<u8> {
    let before = fs::read(fixture("call.pt")).unwrap();
    // The magic number, the version and the machine end before the object of that file begins.
    let object = before.windows(4).rposition(|w| w == [0x80, 2, b'}', b'q']).unwrap();
    let count = (values.len() as u64 / 4).to_le_bytes();
    [&before[..object], pickle, b"\x80\x02]X\x01\0\0\x000a.", &count, values].concat()
}

/// A state dict of one f32 tensor with this offset, shape and strides, in protocol 2.
fn one_tensor(offset: u32, shape: &[u32], strides: &[u32]) -> Vec<u8> {
    let number = |n: u32| [&b"J"[..], &n.to_le_bytes()].concat();
    let tuple = |ns: &[u32]| {
        [&b"("[..], &ns.iter().flat_map(|n| number(*n)).collect::<Vec<_>>(), b"t"].concat()
    };
    let text = |t: &str| [&b"X"[..], &(t.len() as u32).to_le_bytes(), t.as_bytes()].concat();
    let storage = [
        &b"("[..],
        &text("storage"),
        b"ctorch\nFloatStorage\n",
        &text("0"),
        &text("cpu"),
        b"K\x04tQ",
    ]
    .concat();
    [
        &b"\x80\x02}"[..],
        &text("model.diffusion_model.out.2.weight"),
        b"ctorch._utils\n_rebuild_tensor_v2\n(",
        &storage,
        &number(offset),
        &tuple(shape),
        &tuple(strides),
        b"\x89}tRs.",
    ]
    .concat()
}

#[test]
fn tensors_that_do_not_fit_their_storage_are_refused() {
    let error = |offset, shape: &[u32], strides: &[u32]| {
        let bytes = legacy(&one_tensor(offset, shape, strides), &[0; 16]);
        let bytes = FileBytes::Owned(bytes.into());
        checkpoint::parse("a", bytes).map(|_| ()).map_err(|e| e.to_string())
    };
    assert_eq!(error(0, &[2, 2], &[2, 1]), Ok(()));
    assert_eq!(error(0, &[2, 2], &[1, 2]), Ok(()));
    assert_eq!(error(4, &[0, 7], &[1, 1]), Ok(()));
    for (offset, shape, strides, wanted) in [
        (1, &[2, 2][..], &[2, 1][..], "past the end of its storage"),
        (5, &[0], &[1], "behind the end of its storage"),
        (0, &[2, 3], &[3, 1], "past the end of its storage"),
        (0, &[2, 2], &[1 << 30, 1], "past the end of its storage"),
        (0, &[1 << 31, 1 << 31, 1 << 31], &[0, 0, 0], "describes a tensor that is none"),
        (0, &[1 << 30, 1 << 30, 1 << 30], &[0, 0, 0], "overflows"),
        (0, &[1 << 30], &[0], "is not contiguous"),
        (0, &[4], &[1, 1], "as many strides"),
    ] {
        let error = error(offset, shape, strides).unwrap_err();
        assert!(error.contains(wanted), "{shape:?}: {error}");
    }
}

#[test]
fn a_pickle_that_calls_anything_is_refused_by_its_name() {
    for (pickle, wanted) in [
        (&b"\x80\x02cos\nsystem\nX\x02\0\0\0ls\x85R."[..], "calls os.system"),
        (b"\x80\x02cbuiltins\neval\nX\x01\0\0\x001\x85R.", "calls builtins.eval"),
        (b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x02ls\x85R.", "calls os.system"),
        (b"\x80\x02cos\nsystem\n)\x81.", "calls os.system"),
        (b"\x80\x02(X\x02\0\0\0lsios\nsystem\n.", "calls os.system"),
        (b"\x80\x02(cos\nsystem\nX\x02\0\0\0lso.", "in a way that PyTorch does not"),
        (b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n)R.", "describes a tensor that is none"),
        (b"\x80\x02X\x01\0\0\0aQ.", "no storage"),
        (b"\x80\x02(X\x07\0\0\0storagecos\nsystem\nX\x01\0\0\x000tQ.", "a storage of os.system"),
        (b"\x80\x02K\x01K\x01R.", "calls what is no function"),
        (b"\x80\x02h\x05.", "no memo 5"),
        (b"\x80\x02t.", "no mark"),
        (b"\x80\x02(0.", "empty stack"),
        (b"\x80\x02}.", "holds no table of tensors"),
        (b"\x80\x02\xff.", "instruction 0xff"),
    ] {
        let bytes = FileBytes::Owned(legacy(pickle, &[]).into());
        let error = checkpoint::parse("a", bytes).unwrap_err().to_string();
        assert!(error.contains(wanted), "{error}");
    }
}

#[test]
fn a_pickle_of_endless_instructions_ends() {
    let bytes = legacy(&[&b"\x80\x02"[..], &[b'N'; 2 << 20]].concat(), &[]);
    let error = checkpoint::parse("a", FileBytes::Owned(bytes.into())).unwrap_err().to_string();
    assert!(error.contains("more than 1048576 instructions"), "{error}");
}

#[test]
fn a_checkpoint_that_lacks_a_tensor_or_a_part_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.safetensors");
    checkpoint_of(&path, |name| name != "model.diffusion_model.out.2.bias", None);
    let error = refused(&path, &["--config", &config()]);
    assert!(error.contains("no tensor 'out.2.bias'"), "{error}");
    checkpoint_of(&path, |name| !name.starts_with("first_stage_model."), None);
    let error = refused(&path, &["--config", &config()]);
    assert!(error.contains("no tensor"), "{error}");
    let error = refused(&path, &[]);
    assert!(error.contains("has no autoencoder"), "{error}");
}

#[test]
fn a_weight_that_is_no_number_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.safetensors");
    let spoiled = "model.diffusion_model.middle_block.0.in_layers.2.weight";
    checkpoint_of(&path, |_| true, Some(spoiled));
    for encoding in ["keep", "f16", "int8", "int4"] {
        let error = refused(&path, &["--config", &config(), "--weights", encoding]);
        assert!(error.contains("middle_block.0.in_layers.2.weight"), "{error}");
    }
}

fn edits() -> impl Strategy<Value = Vec<(Index, Vec<u8>)>> {
    let bytes = proptest::collection::vec(prop_oneof![any::<u8>(), Just(0), Just(255)], 1..9);
    proptest::collection::vec((any::<Index>(), bytes), 1..6)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn mutated_pickles_are_errors_or_tables(edits in edits(), which in 0..2usize) {
        let mut bytes = fs::read(fixture(PICKLES[which])).unwrap();
        for (at, new) in edits {
            let at = at.index(bytes.len());
            let end = (at + new.len()).min(bytes.len());
            bytes.splice(at..end, new);
        }
        bodies::pickle(&bytes).ok();
    }
}
