//! The attribute reader here beside the same one in PyTorch, which `models/training` trained.
#![cfg(feature = "eval")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use image::{Rgb, RgbImage};
use pochade::eval::{Judge, Moments};
use serde_json::Value;

fn fixture() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/eval/readings.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn numbers(value: &Value) -> Vec<f32> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap() as f32).collect()
}

/// The same pattern as `judge.py` makes.
fn pattern(width: u32, height: u32, salt: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        let plane = |c: u32| (x * (3 + salt) + y * (5 + c) + x * y / 7 * c + 40 * salt) % 256;
        Rgb([0, 1, 2].map(|c| plane(c) as u8))
    })
}

#[test]
fn pictures_are_read_as_in_pytorch() {
    let judge = Judge::new().unwrap();
    for reading in fixture()["readings"].as_array().unwrap() {
        let number = |name: &str| reading[name].as_u64().unwrap() as u32;
        let picture = pattern(number("width"), number("height"), number("salt"));
        let found = judge.reader().read(&picture).unwrap();
        for (found, name) in [(found.features, "features"), (found.logits, "logits")] {
            let wanted = numbers(&reading[name]);
            assert_eq!(found.len(), wanted.len(), "{name}");
            for (found, wanted) in found.iter().zip(&wanted) {
                assert!((found - wanted).abs() < 1e-4 * wanted.abs().max(1.0), "{found} {wanted}");
            }
        }
    }
}

#[test]
fn the_distance_of_two_sets_is_that_of_pytorch() {
    let set = |salt: usize| {
        let feature =
            |i: usize, j: usize| ((i * 37 + j * 101 + i * j % 17 * (13 + salt)) % 97) as f32 / 97.0;
        let rows: Vec<Vec<f32>> =
            (0..90).map(|i| (0..24).map(|j| feature(i, j)).collect()).collect();
        Moments::of(&rows)
    };
    let found = set(0).distance(&set(5));
    let wanted = fixture()["frechet"].as_f64().unwrap();
    assert!((found - wanted).abs() < 1e-5 * wanted, "{found} {wanted}");
}

#[test]
fn every_caption_asks_for_what_the_reader_knows() {
    let judge = Judge::new().unwrap();
    assert_eq!(judge.questions().len(), 1000);
    for question in judge.questions() {
        assert!(question.wanted[0].is_some() && question.wanted[1].is_some(), "{question:?}");
        assert!(!question.caption.is_empty());
    }
}
