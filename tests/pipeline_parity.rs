//! Whole pipelines against diffusers: same folder, words, seed and settings.
//!
//! The reference pictures are made by `tests/fixtures/make_pipeline.py`.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use image::{GrayImage, Luma, RgbImage};
use pochade::paint::{Beginning, Paint, Painter, Request, Size};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/pipeline")
}

/// Peak signal to noise in dB of what `painter` paints against a reference picture.
fn psnr(mut painter: Painter, request: &Request, reference: &str) -> f64 {
    let painted = painter.paint(request, &mut |_| ControlFlow::Continue(())).unwrap().image;
    let reference = image::open(fixtures().join(reference)).unwrap().to_rgb8();
    assert_eq!(painted.dimensions(), reference.dimensions());
    let squares = |a: &RgbImage, b: &RgbImage| -> f64 {
        a.iter().zip(b.iter()).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum()
    };
    let mean = squares(&painted, &reference) / painted.len() as f64;
    20.0 * 255.0_f64.log10() - 10.0 * mean.max(1e-12).log10()
}

/// The picture of `red-sun.png`.
fn red_sun() -> Request {
    Request {
        prompt: "a red sun over blue mountains at dusk".to_owned(),
        seed: 7,
        steps: Some(20),
        guidance: Some(3.0),
        size: Some(Size { width: 128, height: 128 }),
        ..Request::default()
    }
}

#[test]
fn the_default_model_paints_in_twenty_steps_what_diffusers_paints() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/default");
    let psnr = psnr(Painter::open(Some(&folder), None).unwrap(), &red_sun(), "red-sun.png");
    println!("PSNR against diffusers: {psnr:.1} dB");
    assert!(psnr >= 50.0, "{psnr:.1} dB");
}

#[test]
fn a_picture_to_begin_with_is_used_as_in_diffusers() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/default");
    let image = Arc::new(image::open(fixtures().join("red-sun.png")).unwrap().to_rgb8());
    let request = Request {
        prompt: "a green sun over purple mountains at night".to_owned(),
        seed: 8,
        from: Some(Beginning { image, strength: 0.6, mask: None }),
        ..red_sun()
    };
    let psnr = psnr(Painter::open(Some(&folder), None).unwrap(), &request, "green-sun.png");
    println!("PSNR against diffusers: {psnr:.1} dB");
    assert!(psnr >= 50.0, "{psnr:.1} dB");
}

#[test]
fn what_a_mask_covers_stays_to_the_pixel() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/default");
    let image = image::open(fixtures().join("red-sun.png")).unwrap().to_rgb8();
    let mask = GrayImage::from_fn(128, 128, |_, y| Luma([if y < 64 { 0 } else { 255 }]));
    let (strength, mask) = (0.9, Some(Arc::new(mask)));
    let from = Some(Beginning { image: Arc::new(image.clone()), strength, mask });
    let request = Request { from, steps: Some(4), ..red_sun() };
    let mut painter = Painter::open(Some(&folder), None).unwrap();
    let mut steps = Vec::new();
    let painting = painter.paint(&request, &mut |progress| {
        steps.push((progress.step, progress.steps));
        ControlFlow::Continue(())
    });
    let painting = painting.unwrap();
    let same = |y: u32| (0..128).all(|x| painting.image.get_pixel(x, y) == image.get_pixel(x, y));
    assert!((0..64).all(same) && !(64..128).any(same));
    assert_eq!(steps, [(0, 3), (1, 3), (2, 3), (3, 3), (3, 3)]);
    assert_eq!(painting.request.strength, Some(0.9));
}

#[test]
#[cfg(feature = "default-model")]
fn the_quantised_model_in_the_binary_paints_nearly_the_same() {
    let psnr = psnr(Painter::open(None, None).unwrap(), &red_sun(), "red-sun.png");
    println!("PSNR against diffusers: {psnr:.1} dB");
    assert!(psnr >= 40.0, "{psnr:.1} dB");
}

#[test]
fn two_text_encoders_and_a_size_vector_are_used_as_in_stable_diffusion_xl() {
    for (negative, reference) in [("", "xl.png"), ("blue sea", "xl-negative.png")] {
        let painter = Painter::open(Some(&fixtures().join("xl")), Some(1)).unwrap();
        let request = Request {
            prompt: "a red sun over blue mountains".to_owned(),
            negative: negative.to_owned(),
            seed: 3,
            steps: Some(6),
            guidance: Some(4.0),
            size: Some(Size { width: 16, height: 16 }),
            ..Request::default()
        };
        let psnr = psnr(painter, &request, reference);
        assert!(psnr >= 50.0, "{reference}: {psnr:.1} dB");
    }
}
