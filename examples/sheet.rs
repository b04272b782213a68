//! Paints a sheet of pictures: `cargo run --release --example sheet -- docs/pictures/first.txt
//! docs/pictures/first.png`.
//!
//! The list has one picture a line, its seed and its words: `7 a red sun over blue mountains at
//! dusk`. The sheet is four pictures wide,
//! one of many a square.

use std::ops::ControlFlow;
use std::path::Path;

use image::{Rgb, RgbImage, imageops};
use pochade::paint::{Paint, Painter, Request};

const FEWEST_COLUMNS: u32 = 4;
const GAP: u32 = 4;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(list), Some(out)) = (args.next(), args.next()) else {
        return Err("a list of seeds and prompts and a file name are needed".into());
    };
    let list = std::fs::read_to_string(list)?;
    let mut painter = Painter::open(args.next().as_deref().map(Path::new), None)?;
    let mut pictures = Vec::new();
    for line in list.lines() {
        let (seed, prompt) = line.split_once(' ').ok_or("a line is a seed and a prompt")?;
        let request =
            Request { prompt: prompt.to_owned(), seed: seed.parse()?, ..Request::default() };
        pictures.push(painter.paint(&request, &mut |_| ControlFlow::Continue(()))?.image);
    }
    sheet(&pictures).save(out)?;
    Ok(())
}

/// Pictures of one size side by side on white.
fn sheet(pictures: &[RgbImage]) -> RgbImage {
    let (width, height) = pictures.first().map_or((0, 0), RgbImage::dimensions);
    let count = pictures.len() as u32;
    let columns = count.isqrt().max(FEWEST_COLUMNS);
    let (rows, across) = (count.div_ceil(columns), columns.min(count));
    let size = (across * (width + GAP), rows * (height + GAP));
    let mut sheet = RgbImage::from_pixel(size.0 + GAP, size.1 + GAP, Rgb([255; 3]));
    for (i, picture) in (0..).zip(pictures) {
        let (x, y) = (i % columns * (width + GAP) + GAP, i / columns * (height + GAP) + GAP);
        imageops::replace(&mut sheet, picture, i64::from(x), i64::from(y));
    }
    sheet
}
