//! How far two models' pictures of the same seeds are apart: `cargo run --release --example compare
//! -- MODEL OTHER LIST [STEPS [PICTURES]]`.
//!
//! The list has one picture a line, its seed and its words, as for the sheet. With a folder
//! PICTURES both pictures of each line are kept there side by side. PSNR is over the 8-bit values
//! of all channels; pictures that are equal are counted apart, for they have none.

use std::ops::ControlFlow;
use std::path::Path;

use image::{RgbImage, imageops};
use pochade::paint::{Paint, Painter, Request};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [model, other, list, rest @ ..] = &args[..] else {
        return Err("two models and a list of seeds and prompts are needed".into());
    };
    let steps = rest.first().map(|steps| steps.parse()).transpose()?;
    let mut first = Painter::open(Some(Path::new(model)), None)?;
    let mut second = Painter::open(Some(Path::new(other)), None)?;
    let mut found = Vec::new();
    for (number, line) in std::fs::read_to_string(list)?.lines().enumerate() {
        let (seed, prompt) = line.split_once(' ').ok_or("a line is a seed and a prompt")?;
        let (prompt, seed) = (prompt.to_owned(), seed.parse()?);
        let request = Request { prompt, seed, steps, ..Request::default() };
        let (a, b) = (paint(&mut first, &request)?, paint(&mut second, &request)?);
        found.push(psnr(&a, &b));
        println!("{:6.2} dB  {line}", found[number]);
        if let Some(folder) = rest.get(1) {
            side_by_side(&a, &b).save(Path::new(folder).join(format!("{number:03}.png")))?;
        }
    }
    print(&found);
    Ok(())
}

fn paint(painter: &mut Painter, request: &Request) -> Result<RgbImage, Box<dyn std::error::Error>> {
    Ok(painter.paint(request, &mut |_| ControlFlow::Continue(()))?.image)
}

/// Peak signal-to-noise ratio in decibels; infinite for equal pictures.
fn psnr(a: &RgbImage, b: &RgbImage) -> f64 {
    let square = |(a, b): (&u8, &u8)| (f64::from(*a) - f64::from(*b)).powi(2);
    let error: f64 = a.as_raw().iter().zip(b.as_raw()).map(square).sum();
    20.0 * 255f64.log10() - 10.0 * (error / a.as_raw().len() as f64).log10()
}

fn side_by_side(a: &RgbImage, b: &RgbImage) -> RgbImage {
    let mut both = RgbImage::new(a.width() + b.width(), a.height().max(b.height()));
    imageops::replace(&mut both, a, 0, 0);
    imageops::replace(&mut both, b, i64::from(a.width()), 0);
    both
}

fn print(found: &[f64]) {
    let different: Vec<f64> = found.iter().copied().filter(|db| db.is_finite()).collect();
    let least = different.iter().copied().fold(f64::INFINITY, f64::min);
    let mean = different.iter().sum::<f64>() / different.len() as f64;
    let (count, equal) = (found.len(), found.len() - different.len());
    println!(
        "{count} pictures, {equal} of them equal; PSNR mean {mean:.2} dB, least {least:.2} dB"
    );
}
