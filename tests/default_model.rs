//! The default model against diffusers loading the same folder.
//!
//! The reference picture is made by `tests/fixtures/make_pipeline.py`.
#![cfg(feature = "default-model")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::ops::ControlFlow;

use pochade::paint::{Paint, Painter, Request};

#[test]
fn twenty_steps_give_the_picture_that_diffusers_gives() {
    let mut painter = Painter::open(None, None).unwrap();
    let request = Request {
        prompt: "a red sun over blue mountains at dusk".to_owned(),
        seed: 7,
        steps: Some(20),
        guidance: Some(3.0),
        ..Request::default()
    };
    let painting = painter.paint(&request, &mut |_| ControlFlow::Continue(())).unwrap();
    let reference = include_bytes!("fixtures/pipeline/red-sun.png");
    let reference = image::load_from_memory(reference).unwrap().to_rgb8();
    assert_eq!(painting.image.dimensions(), reference.dimensions());
    let psnr = psnr(&painting.image, &reference);
    println!("PSNR against diffusers: {psnr:.1} dB");
    assert!(psnr >= 50.0, "PSNR against diffusers is {psnr:.1} dB");
}

/// Peak signal to noise of two pictures in dB.
fn psnr(a: &[u8], b: &[u8]) -> f64 {
    let squares = a.iter().zip(b).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2));
    let mean = squares.sum::<f64>() / a.len() as f64;
    20.0 * 255.0_f64.log10() - 10.0 * mean.max(1e-12).log10()
}
