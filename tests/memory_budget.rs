//! A budget of memory changes how a picture is painted, never the picture.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use image::RgbImage;
use pochade::files::{Component, ModelFiles, WeightEncoding, pack};
use pochade::paint::{Beginning, MemoryPlan, Paint, PaintError, Painter, Request, Size};

/// A tiny Stable Diffusion XL in int8, in a file whose weights can be read as they are needed.
fn model() -> (tempfile::TempDir, PathBuf) {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/pipeline/xl");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.gguf");
    let files = ModelFiles::open(Path::new(source)).unwrap();
    pack(&files, &path, WeightEncoding::Int8, |_| ControlFlow::Continue(())).unwrap();
    (folder, path)
}

fn request(ram: Option<usize>) -> Request {
    let prompt = "a red sun over blue mountains".to_owned();
    Request { prompt, seed: 7, steps: Some(2), ram, ..Request::default() }
}

/// How the budget is kept, and the pixels of two pictures in a row.
fn paint(painter: &mut Painter, ram: Option<usize>) -> (Option<MemoryPlan>, Vec<u8>) {
    let request = request(ram);
    let plan = painter.plan_memory(&request).unwrap();
    let mut one = || painter.paint(&request, &mut |_| ControlFlow::Continue(())).unwrap();
    let (first, second) = (one().image, one().image);
    assert_eq!(first, second);
    (plan, first.into_raw())
}

/// The least budget, from the refusal of one that is too small.
fn least(painter: &mut Painter) -> usize {
    match painter.plan_memory(&request(Some(1 << 20))) {
        Err(PaintError::Memory { least, .. }) => least,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_encoder_counts_where_a_picture_is_begun_with() {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/models/default");
    let mut painter = Painter::open(Some(Path::new(source)), Some(1)).unwrap();
    let least = |painter: &mut Painter, from: Option<Beginning>| {
        let request = Request {
            size: Some(Size { width: 512, height: 512 }),
            from,
            ..request(Some(1 << 20))
        };
        match painter.plan_memory(&request) {
            Err(PaintError::Memory { least, .. }) => least,
            other => panic!("{other:?}"),
        }
    };
    let image = Arc::new(RgbImage::new(8, 8));
    let from = Beginning { image, strength: 0.5, mask: None };
    let [without, with] = [None, Some(from)].map(|from| least(&mut painter, from));
    println!("{without} bytes without, {with} with");
    assert!(with >= without);
}

#[test]
fn pictures_are_the_same_in_any_memory() {
    let (_folder, path) = model();
    let mut painter = Painter::open(Some(&path), Some(2)).unwrap();
    let (plan, free) = paint(&mut painter, None);
    assert_eq!(plan, None);
    let least = least(&mut painter);
    let (tight, streamed) = paint(&mut painter, Some(least));
    let tight = tight.unwrap();
    assert!(tight.streamed.contains(&Component::Unet) && tight.in_turn, "{tight}");
    assert!(tight.peak <= least);
    let (wide, resident) = paint(&mut painter, Some(1 << 30));
    let wide = wide.unwrap();
    assert!(wide.streamed.is_empty() && !wide.in_turn, "{wide}");
    assert!(free == streamed && free == resident);
}

#[test]
fn a_budget_that_is_too_small_is_refused_with_the_least_that_would_do() {
    let (_folder, path) = model();
    let mut painter = Painter::open(Some(&path), Some(1)).unwrap();
    let least = least(&mut painter);
    assert!(painter.plan_memory(&request(Some(least))).is_ok());
    let error = painter.plan_memory(&request(Some(least - 1))).unwrap_err().to_string();
    let mib = least.div_ceil(1 << 20);
    assert!(
        error.contains(&format!("takes at least {mib}M")) && error.contains("--size"),
        "{error}"
    );
}
