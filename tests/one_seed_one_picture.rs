//! One seed, one picture: the same bytes on every instruction set and any number of threads.
//!
//! The same constants are checked on every architecture the tests run on, so a picture painted
//! under emulation of a board's processor must equal one painted on a PC.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::ops::ControlFlow;
use std::path::Path;

use pochade::files::{ModelFiles, WeightEncoding, pack};
use pochade::paint::{Paint, Painter, Request, default_model, png};
use pochade_engine::{Engine, Isa};
use sha2::{Digest, Sha256};

/// SHA-256 of the PNG that a model paints for a request.
fn picture(files: ModelFiles, request: &Request, isa: Isa, threads: usize) -> String {
    let engine = Engine::with_isa(isa, Some(threads)).unwrap();
    let mut painter = Painter::new(files, engine).unwrap();
    let painting = painter.paint(request, &mut |_| ControlFlow::Continue(())).unwrap();
    let file = png::encode(&painting.image, "").unwrap();
    Sha256::digest(&file).iter().map(|b| format!("{b:02x}")).collect()
}

fn request(prompt: &str, steps: usize) -> Request {
    Request { prompt: prompt.to_owned(), seed: 7, steps: Some(steps), ..Request::default() }
}

fn tiny() -> ModelFiles {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/files/tiny");
    ModelFiles::open(Path::new(folder)).unwrap()
}

#[test]
fn a_tiny_model_paints_the_same_bytes_everywhere() {
    let request = request("a red sun over blue mountains", 5);
    for isa in Isa::available() {
        for threads in 1..=4 {
            let hash = picture(tiny(), &request, isa, threads);
            assert_eq!(hash, TINY, "{isa} on {threads} threads");
        }
    }
}

/// A tiny Stable Diffusion XL, rounded: its two text encoders, UNet and autoencoder have integer
/// layers of every kind.
fn rounded(encoding: WeightEncoding) -> (tempfile::TempDir, std::path::PathBuf) {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/pipeline/xl");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.gguf");
    let model = ModelFiles::open(Path::new(source)).unwrap();
    pack(&model, &path, encoding, |_| ControlFlow::Continue(())).unwrap();
    (folder, path)
}

#[test]
fn rounded_models_paint_the_same_bytes_everywhere() {
    let request = request("a red sun over blue mountains", 2);
    for (encoding, wanted) in [(WeightEncoding::Int8, INT8), (WeightEncoding::Int4, INT4)] {
        let (_folder, path) = rounded(encoding);
        for isa in Isa::available() {
            for threads in 1..=4 {
                let hash = picture(ModelFiles::open(&path).unwrap(), &request, isa, threads);
                assert_eq!(hash, wanted, "{encoding:?} {isa} on {threads} threads");
            }
        }
    }
}

#[test]
fn the_default_model_paints_the_same_bytes_everywhere() {
    let request = request("a red sun over blue mountains at dusk", 2);
    // Plain Rust is slow: once is enough, and under emulation, where it takes minutes, the tiny
    // model above must do.
    let emulated = std::env::var_os("POCHADE_TEST_RUNNER").is_some();
    for (isa, threads) in Isa::available()
        .flat_map(|isa| (1..=4).map(move |threads| (isa, threads)))
        .filter(|(isa, threads)| *isa != Isa::Portable || (*threads == 2 && !emulated))
    {
        let hash = picture(default_model().unwrap(), &request, isa, threads);
        assert_eq!(hash, DEFAULT, "{isa} on {threads} threads");
    }
}

const TINY: &str = "82262d005526691109cae7357a3edb647261e5bf7eda5d33a5f4c90107e3f76a";
const INT8: &str = "f54ce2a723e29dc32a621becc097983c91dd77268de98a91de5229b364fe9f92";
const INT4: &str = "6247f73a9f1182ba9490c79c198487f980078a4f5ae4cb4f693b73e53d92ad84";
const DEFAULT: &str = "616a4d2c4a07fec0f2e3d0e6c5d1f9fb6044e8cecc67c624dfc5cafef8a2da79";

#[test]
fn the_latent_after_the_last_step_is_the_one_that_is_decoded() {
    let mut painter = Painter::new(tiny(), Engine::new(Some(1)).unwrap()).unwrap();
    let mut latents = Vec::new();
    let painting = painter
        .paint(&request("a red sun", 2), &mut |progress| {
            latents.push(progress.latent.to_vec());
            ControlFlow::Continue(())
        })
        .unwrap();
    let [text, first, last, decoded] = &latents[..] else { panic!("{}", latents.len()) };
    assert!(text.is_empty() && decoded.is_empty() && first != last);
    assert_eq!(*last, painting.latent);
}
