//! Pictures of what a model's latents hold, for `docs/latent-diffusion.md`:
//! `cargo run --release --example latents -- docs/pictures`.
//!
//! Three sheets: `levels.png`, one latent with more and more noise, decoded; `regions.png`, two latents
//! of which regions are swapped and blended; `prior.png`, latents that nobody denoised.

use std::error::Error;
use std::ops::ControlFlow;
use std::path::Path;

use image::{Rgb, RgbImage, imageops};
use pochade::diffusion::{LatentShape, SchedulerConfig, TorchRng};
use pochade::files::Component;
use pochade::paint::{Paint, Painter, Painting, Request, Size};

const GAP: u32 = 4;
/// Timesteps of `levels.png`, of a thousand.
const TIMESTEPS: [usize; 10] = [0, 50, 100, 200, 300, 400, 550, 700, 850, 999];

/// A latent and how to see it.
struct Latent {
    values: Vec<f32>,
    shape: LatentShape,
    size: Size,
}

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args().nth(1).ok_or("the folder for the sheets is needed")?;
    let folder = Path::new(&folder);
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/default");
    let mut painter = Painter::open(Some(&model), None)?;
    let sun = paint(&mut painter, "a red sun over blue mountains at dusk", 2)?;
    let sea = paint(&mut painter, "a white sailboat on a teal sea by day", 5)?;
    levels(&mut painter, &sun)?.save(folder.join("levels.png"))?;
    regions(&mut painter, &sun, &sea)?.save(folder.join("regions.png"))?;
    prior(&mut painter, &sun)?.save(folder.join("prior.png"))?;
    Ok(())
}

fn paint(painter: &mut Painter, prompt: &str, seed: u64) -> Result<Latent, Box<dyn Error>> {
    let request = Request { prompt: prompt.to_owned(), seed, ..Request::default() };
    let Painting { latent, request, .. } =
        painter.paint(&request, &mut |_| ControlFlow::Continue(()))?;
    let (height, width) = painter.latent_size(request.size);
    let shape = LatentShape { height, width, channels: latent.len() / (height * width) };
    Ok(Latent { values: latent, shape, size: request.size })
}

fn decode(painter: &mut Painter, latent: &Latent) -> Result<RgbImage, Box<dyn Error>> {
    Ok(painter.decode_latent(&latent.values, latent.size)?)
}

impl Latent {
    /// The same with other values.
    fn with(&self, values: Vec<f32>) -> Self {
        Self { values, ..*self }
    }

    /// Unit noise of a seed.
    fn noise(&self, seed: u64) -> Vec<f32> {
        let mut noise = vec![0.0; self.shape.len()];
        TorchRng::new(seed).randn_latent(self.shape, &mut noise);
        noise
    }

    /// At every place (row, column) as much of `other` as `share` says.
    fn mixed(&self, other: &Self, share: impl Fn(usize, usize) -> f32) -> Self {
        let places =
            self.values.chunks(self.shape.channels).zip(other.values.chunks(self.shape.channels));
        let mixed = places.enumerate().flat_map(|(place, (a, b))| {
            let share = share(place / self.shape.width, place % self.shape.width);
            a.iter().zip(b).map(move |(a, b)| (1.0 - share) * a + share * b)
        });
        self.with(mixed.collect())
    }
}

/// One latent with the noise of ten timesteps.
fn levels(painter: &mut Painter, latent: &Latent) -> Result<RgbImage, Box<dyn Error>> {
    let config = painter.files().config(Component::Scheduler)?;
    let schedule = SchedulerConfig::from_diffusers(config)?.schedule();
    let noise = latent.noise(7);
    let noisy = TIMESTEPS.map(|timestep| {
        let level = schedule.level(timestep);
        let values =
            latent.values.iter().zip(&noise).map(|(z, n)| level.alpha * z + level.sigma * n);
        latent.with(values.collect())
    });
    let pictures: Result<Vec<_>, _> = noisy.iter().map(|latent| decode(painter, latent)).collect();
    Ok(sheet(&pictures?, 5))
}

/// Two latents; the left half of one beside the right half of the other; a square of the one in the
/// other; the way from one side to the other; the mean everywhere.
fn regions(painter: &mut Painter, a: &Latent, b: &Latent) -> Result<RgbImage, Box<dyn Error>> {
    let (rows, columns) = (a.shape.height, a.shape.width);
    let middle = |row: usize, column: usize| {
        let inside = |i: usize, n: usize| (n / 4..n - n / 4).contains(&i);
        f32::from(u8::from(inside(row, rows) && inside(column, columns)))
    };
    let mixed = [
        a.mixed(b, |_, _| 0.0),
        a.mixed(b, |_, _| 1.0),
        a.mixed(b, |_, column| f32::from(u8::from(column >= columns / 2))),
        a.mixed(b, middle),
        a.mixed(b, |_, column| column as f32 / (columns - 1) as f32),
        a.mixed(b, |_, _| 0.5),
    ];
    let pictures: Result<Vec<_>, _> = mixed.iter().map(|latent| decode(painter, latent)).collect();
    Ok(sheet(&pictures?, 6))
}

/// Unit noise, decoded: what sampling the autoencoder's prior gives; then noise with the mean and the
/// spread that the channels of a painted latent have.
fn prior(painter: &mut Painter, latent: &Latent) -> Result<RgbImage, Box<dyn Error>> {
    let moments = moments(latent);
    let fitted = |noise: Vec<f32>| -> Vec<f32> {
        let places = noise.chunks(moments.len());
        places
            .flat_map(|place| {
                place.iter().zip(&moments).map(|(n, [mean, spread])| mean + spread * n)
            })
            .collect()
    };
    let plain = (1..=3).map(|seed| latent.noise(seed));
    let like = (1..=3).map(|seed| fitted(latent.noise(seed)));
    let latents: Vec<Latent> = plain.chain(like).map(|values| latent.with(values)).collect();
    let pictures: Result<Vec<_>, _> =
        latents.iter().map(|latent| decode(painter, latent)).collect();
    Ok(sheet(&pictures?, 6))
}

/// Mean and standard deviation of every channel.
fn moments(latent: &Latent) -> Vec<[f32; 2]> {
    let channels = latent.shape.channels;
    let of = |channel: usize| {
        let values = || latent.values.iter().skip(channel).step_by(channels);
        let count = values().count() as f32;
        let mean = values().sum::<f32>() / count;
        let variance = values().map(|value| (value - mean) * (value - mean)).sum::<f32>() / count;
        [mean, variance.sqrt()]
    };
    (0..channels).map(of).collect()
}

/// Pictures of one size side by side on white.
fn sheet(pictures: &[RgbImage], columns: u32) -> RgbImage {
    let (width, height) = pictures.first().map_or((0, 0), RgbImage::dimensions);
    let rows = (pictures.len() as u32).div_ceil(columns);
    let size = [columns * (width + GAP) + GAP, rows * (height + GAP) + GAP];
    let mut sheet = RgbImage::from_pixel(size[0], size[1], Rgb([255; 3]));
    for (i, picture) in (0..).zip(pictures) {
        let (x, y) = (i % columns * (width + GAP) + GAP, i / columns * (height + GAP) + GAP);
        imageops::replace(&mut sheet, picture, i64::from(x), i64::from(y));
    }
    sheet
}
