//! The second stage of a cascade: against torch, at any size, in any memory, in integers, and wrong.
//!
//! The model is the tiny Stable Diffusion XL of the other tests with `pipeline/second` beside it; the
//! reference picture is made by `tests/fixtures/make_pipeline.py`.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use image::{GrayImage, Luma, RgbImage};
use pochade::boards::Board;
use pochade::explain::explain;
use pochade::files::{Component, ModelFiles, WeightEncoding, pack};
use pochade::paint::{
    Beginning, Memory, Paint, PaintError, Painter, Request, Size, Stage, layers, predict,
};
use pochade_engine::{Engine, Isa};
use serde_json::{Value, json};
use tempfile::TempDir;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/pipeline")
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        match entry.path().is_dir() {
            true => copy(&entry.path(), &to),
            false => drop(fs::copy(entry.path(), to).unwrap()),
        }
    }
}

/// A folder with a base for 16 x 16 pixels and a second stage.
fn cascade() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    copy(&fixtures().join("xl"), folder.path());
    copy(&fixtures().join("second"), folder.path());
    folder
}

/// The same folder without the second stage.
fn base() -> TempDir {
    let folder = cascade();
    fs::remove_dir_all(folder.path().join("upscaler")).unwrap();
    folder
}

/// The cascade in one file.
fn packed(encoding: WeightEncoding) -> (TempDir, PathBuf) {
    let (source, folder) = (cascade(), tempfile::tempdir().unwrap());
    let path = folder.path().join("cascade.gguf");
    let files = ModelFiles::open(source.path()).unwrap();
    pack(&files, &path, encoding, |_| ControlFlow::Continue(())).unwrap();
    (folder, path)
}

const fn square(side: usize) -> Size {
    Size { width: side, height: side }
}

fn request() -> Request {
    Request {
        prompt: "a red sun over blue mountains".to_owned(),
        seed: 3,
        steps: Some(4),
        guidance: Some(4.0),
        ..Request::default()
    }
}

fn sized(side: usize) -> Request {
    Request { size: Some(square(side)), ..request() }
}

fn picture(painter: &mut Painter, request: &Request) -> RgbImage {
    painter.paint(request, &mut |_| ControlFlow::Continue(())).unwrap().image
}

/// Peak signal to noise in dB.
fn psnr(a: &RgbImage, b: &RgbImage) -> f64 {
    assert_eq!(a.dimensions(), b.dimensions());
    let squares: f64 =
        a.iter().zip(b.iter()).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum();
    20.0 * 255.0_f64.log10() - 10.0 * (squares / a.len() as f64).max(1e-12).log10()
}

/// Changes a field of the second stage's config.
fn configure(folder: &Path, field: &str, value: Value) {
    let path = folder.join("upscaler/config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    config[field] = value;
    fs::write(path, config.to_string()).unwrap();
}

#[test]
fn both_stages_paint_what_torch_paints() {
    let folder = cascade();
    let reference = image::open(fixtures().join("second.png")).unwrap().to_rgb8();
    let painted =
        |folder: &Path| picture(&mut Painter::open(Some(folder), None).unwrap(), &request());
    let same = psnr(&painted(folder.path()), &reference);
    configure(folder.path(), "_pochade", json!({"steps": 3, "condition_timestep": 600}));
    let other = psnr(&painted(folder.path()), &reference);
    println!("PSNR against torch: {same:.1} dB; with more noise: {other:.1} dB");
    assert!(same >= 50.0 && other < 50.0, "{same:.1} dB, {other:.1} dB");
}

#[test]
fn small_pictures_and_models_without_a_second_stage_are_painted_by_the_base_alone() {
    let (with, without) = (cascade(), base());
    let [mut with, mut without] =
        [&with, &without].map(|f| Painter::open(Some(f.path()), None).unwrap());
    let sizes = [&with, &without].map(|painter| painter.sizes().unwrap());
    assert_eq!(
        sizes.map(|sizes| (sizes.native, sizes.multiple)),
        [(square(32), 8), (square(16), 4)]
    );
    assert_eq!(sizes.map(|sizes| sizes.base), [square(16); 2]);
    assert_eq!(picture(&mut with, &sized(20)), picture(&mut without, &sized(20)));
    assert_ne!(picture(&mut with, &sized(24)), picture(&mut without, &sized(24)));
    let error = with.paint(&sized(28), &mut |_| ControlFlow::Continue(())).unwrap_err();
    assert!(error.to_string().contains("multiples of 8 from 24x24 on"), "{error}");
}

#[test]
fn each_stage_tells_its_own_steps_and_its_share_of_the_work() {
    let folder = cascade();
    let mut painter = Painter::open(Some(folder.path()), None).unwrap();
    let mut told = Vec::new();
    let mut follow = |request: &Request| {
        told.clear();
        let painting = painter.paint(request, &mut |p| {
            let preview = p.preview.map(|preview| preview.picture().width());
            told.push((p.stage, p.step, p.steps, p.share, preview));
            ControlFlow::Continue(())
        });
        (told.clone(), painting.unwrap())
    };
    let (told, painting) = follow(&Request { preview: true, ..request() });
    let stages: Vec<_> =
        told.iter().map(|&(stage, step, steps, ..)| (stage, step, steps)).collect();
    let painted = (1..=4).map(|step| (Stage::Denoise, step, 4));
    let enlarged = (1..=3).map(|step| (Stage::Upscale, step, 3));
    let expected = [(Stage::Text, 0, 4)].into_iter().chain(painted).chain(enlarged);
    assert_eq!(stages, expected.chain([(Stage::Decode, 4, 4)]).collect::<Vec<_>>());
    assert!(told.windows(2).all(|two| two[0].3 < two[1].3 || two[1].0 == Stage::Decode));
    assert_eq!((told[0].3, told[7].3, told[8].3), (0.0, 1.0, 1.0));
    assert_eq!((told[4].4, told[7].4), (Some(8), Some(16)), "previews go on");
    assert!(!painting.timings.upscale.is_zero() && painting.latent.len() == 16 * 16 * 4);
    let (told, painting) = follow(&sized(16));
    assert_eq!((told[4].3, told.len()), (1.0, 6));
    assert!(painting.timings.upscale.is_zero());
}

#[test]
fn one_seed_is_one_picture_in_integers_on_any_processor() {
    for encoding in [WeightEncoding::Int8, WeightEncoding::Int4] {
        let (_folder, path) = packed(encoding);
        let mut pictures = Isa::available().flat_map(|isa| (1..=4).map(move |n| (isa, n))).map(
            |(isa, threads)| {
                let engine = Engine::with_isa(isa, Some(threads)).unwrap();
                let files = ModelFiles::open(&path).unwrap();
                let kinds: Vec<_> = files
                    .weights(Component::Upscaler)
                    .unwrap()
                    .tensors()
                    .map(|t| t.kind())
                    .collect();
                assert!(kinds.iter().any(|kind| kind.starts_with("int")), "{kinds:?}");
                (isa, threads, picture(&mut Painter::new(files, engine).unwrap(), &request()))
            },
        );
        let (.., first) = pictures.next().unwrap();
        assert_eq!(first.dimensions(), (32, 32));
        pictures.for_each(|(isa, threads, picture)| assert!(picture == first, "{isa} {threads}"));
    }
}

#[test]
fn the_painter_remembers_nothing_of_the_picture_before() {
    let folder = cascade();
    let mut painter = Painter::open(Some(folder.path()), None).unwrap();
    let first = picture(&mut painter, &request());
    let other = picture(&mut painter, &Request { seed: 4, ..request() });
    picture(&mut painter, &sized(16));
    assert!(first != other && first == picture(&mut painter, &request()));
}

#[test]
fn a_picture_to_begin_with_is_encoded_for_the_base() {
    let folder = cascade();
    let mut painter = Painter::open(Some(folder.path()), None).unwrap();
    let image = Arc::new(picture(&mut painter, &request()));
    let mask = Arc::new(GrayImage::from_fn(32, 32, |x, _| Luma([if x < 16 { 0 } else { 255 }])));
    let from = Beginning { image: Arc::clone(&image), strength: 0.5, mask: Some(mask) };
    let masked = Request { seed: 9, from: Some(from), ..request() };
    let painting = picture(&mut painter, &masked);
    let same = |x: u32| (0..32).all(|y| painting.get_pixel(x, y) == image.get_pixel(x, y));
    assert!((0..16).all(same) && !(16..32).all(same));
}

#[test]
fn memory_is_planned_with_the_second_stage_and_kept_to() {
    let (_folder, path) = packed(WeightEncoding::Int8);
    let files = ModelFiles::open(&path).unwrap();
    let memory = Memory::plan(&files, 1).unwrap();
    let parts: Vec<Component> = memory.parts.iter().map(|part| part.part).collect();
    let [.., unet, upscaler, decoder] = parts[..] else { panic!("{parts:?}") };
    assert_eq!(
        [unet, upscaler, decoder],
        [Component::Unet, Component::Upscaler, Component::Autoencoder]
    );
    let mut painter = Painter::open(Some(&path), Some(1)).unwrap();
    let free = picture(&mut painter, &request());
    let asked = |ram| Request { ram: Some(ram), ..request() };
    let Err(PaintError::Memory { least, .. }) = painter.plan_memory(&asked(1 << 20)) else {
        panic!("a megabyte was enough");
    };
    let tight = painter.plan_memory(&asked(least)).unwrap().unwrap();
    assert!(tight.peak <= least && tight.streamed.contains(&Component::Upscaler), "{tight}");
    assert!(free == picture(&mut painter, &asked(least)));
    assert!(free == picture(&mut painter, &asked(1 << 30)));
}

#[test]
fn predictions_count_the_second_stage() {
    let [with, without] = [cascade(), base()].map(|folder| {
        let files = ModelFiles::open(folder.path()).unwrap();
        (predict(&files, &[Board::ALL[0]]).unwrap().remove(0), layers(&files).unwrap())
    });
    assert!(with.0.upscale > 0.0 && with.0.picture() > without.0.picture() + with.0.upscale);
    assert_eq!((with.0.step, without.0.upscale), (without.0.step, 0.0));
    let enlarging = with.1.iter().filter(|layer| layer.part == Component::Upscaler);
    let calls: Vec<usize> = enlarging.map(|layer| layer.calls).collect();
    assert!(calls.len() > 20 && calls.iter().all(|calls| *calls == 3), "{calls:?}");
}

#[test]
fn an_explanation_is_of_the_base_and_shows_the_whole_picture() {
    let folder = cascade();
    let mut painter = Painter::open(Some(folder.path()), None).unwrap();
    let found =
        explain(&mut painter, &request(), &mut |_, _, _| ControlFlow::Continue(())).unwrap();
    assert_eq!(found.painting.image.dimensions(), (32, 32));
    assert_eq!(found.moments.len(), 4);
    assert!(found.moments.iter().all(|moment| moment.clean.dimensions() == (16, 16)));
    assert!(found.words.is_some());
}

#[test]
fn a_second_stage_that_does_not_suit_is_refused_in_a_sentence() {
    for (field, value, said) in [
        ("_pochade", json!(null), "'_pochade.steps' must be a whole number from 1 to 1000"),
        ("_pochade", json!({"steps": 0}), "'_pochade.steps' must be"),
        (
            "_pochade",
            json!({"steps": 4, "condition_timestep": 1000}),
            "'_pochade.condition_timestep' must be a whole number from 0 to 999",
        ),
        ("in_channels", json!(4), "'in_channels' must be 8"),
        ("out_channels", json!(3), "'out_channels' must be 4"),
        ("num_class_embeds", json!(10), "'_class_name' must be UNet2DModel without classes"),
        ("block_out_channels", json!([16]), "'block_out_channels' is [16]"),
    ] {
        let folder = cascade();
        configure(folder.path(), field, value);
        let error = Painter::open(Some(folder.path()), Some(1)).err().unwrap().to_string();
        assert!(error.contains(said) && error.contains("upscaler"), "{error}");
        assert!(!error.contains('\n'), "{error}");
    }
    let folder = cascade();
    fs::write(folder.path().join("upscaler/config.json"), "{").unwrap();
    let error = Painter::open(Some(folder.path()), Some(1)).err().unwrap().to_string();
    assert!(error.contains("upscaler/config.json: not JSON"), "{error}");
}
