//! The same prompts and seeds painted by two models: how far their latents part on the way, and how
//! alike the pictures are.

use std::ops::ControlFlow;

use image::RgbImage;
use pochade::paint::{Paint, Painter, Request, Stage};

use super::model::{Picture, Quality, StepError};
use super::similarity::{psnr, ssim};
use crate::progress::{self, Watch};

/// What to paint.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Subjects {
    /// Words, which take turns.
    pub prompts: Vec<String>,
    /// How many pictures; each round of prompts takes the next seed, from 1 on.
    pub pictures: usize,
    /// Steps of each; the model's choice if none are given.
    pub steps: Option<usize>,
}

impl Subjects {
    fn request(&self, index: usize) -> Request {
        let prompts = self.prompts.len().max(1);
        Request {
            prompt: self.prompts.get(index % prompts).cloned().unwrap_or_default(),
            seed: (index / prompts) as u64 + 1,
            steps: self.steps,
            ..Request::default()
        }
    }
}

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Painted {
    pub pictures: Vec<Picture>,
    /// The original's and the judged model's.
    pub images: Vec<[RgbImage; 2]>,
    pub trajectory: Vec<StepError>,
    pub quality: Option<Quality>,
}

/// A picture and the latents on the way to it.
struct Way {
    image: RgbImage,
    latents: Vec<Vec<f32>>,
}

/// Paints all subjects with both.
pub(super) fn paint(
    painters: &mut [Painter; 2],
    subjects: &Subjects,
    watch: &Watch,
) -> anyhow::Result<Painted> {
    let mut painted = Painted::default();
    let mut ways: Vec<Vec<f64>> = Vec::new();
    let steps = painters[0].resolve(&subjects.request(0))?.steps;
    let watch = watch.bar(progress::COUNT, 2 * subjects.pictures * steps);
    watch.says("steps");
    for index in 0..subjects.pictures {
        let request = subjects.request(index);
        let [first, second] = painters;
        let before = paint_one(first, &request, &watch)?;
        let after = paint_one(second, &request, &watch)?;
        let pairs = before.latents.iter().zip(&after.latents);
        let errors: Vec<f64> = pairs.map(|(a, b)| relative_error(a, b)).collect();
        painted.pictures.push(Picture {
            prompt: request.prompt,
            seed: request.seed,
            psnr_db: psnr(&before.image, &after.image),
            ssim: ssim(&before.image, &after.image),
            latent_error: errors.last().copied().unwrap_or(0.0),
        });
        painted.images.push([before.image, after.image]);
        ways.push(errors);
    }
    watch.clear();
    painted.trajectory = trajectory(&ways);
    painted.quality = quality(&painted.pictures, painted.trajectory.len());
    Ok(painted)
}

fn paint_one(painter: &mut Painter, request: &Request, watch: &Watch) -> anyhow::Result<Way> {
    let mut latents = Vec::new();
    let painting = painter.paint(request, &mut |progress| {
        if progress.stage == Stage::Denoise {
            latents.push(progress.latent.to_vec());
            if watch.step().is_err() {
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    })?;
    Ok(Way { image: painting.image, latents })
}

/// The length of the difference over the length of `a`.
fn relative_error(a: &[f32], b: &[f32]) -> f64 {
    let square = |v: f32| f64::from(v).powi(2);
    let length: f64 = a.iter().map(|v| square(*v)).sum();
    let error: f64 = a.iter().zip(b).map(|(a, b)| square(a - b)).sum();
    if error > 0.0 { (error / length.max(f64::MIN_POSITIVE)).sqrt() } else { 0.0 }
}

/// Mean and worst of every step.
fn trajectory(ways: &[Vec<f64>]) -> Vec<StepError> {
    let steps = ways.iter().map(Vec::len).min().unwrap_or(0);
    let of_step = |step: usize| {
        let errors = || ways.iter().map(|way| way[step]);
        let mean = errors().sum::<f64>() / ways.len() as f64;
        StepError { step: step + 1, mean, worst: errors().fold(0.0, f64::max) }
    };
    (0..steps).map(of_step).collect()
}

fn quality(pictures: &[Picture], steps: usize) -> Option<Quality> {
    if pictures.is_empty() {
        return None;
    }
    let decibels: Vec<f64> = pictures.iter().filter_map(|picture| picture.psnr_db).collect();
    let mean = decibels.iter().sum::<f64>() / decibels.len() as f64;
    Some(Quality {
        pictures: pictures.len(),
        identical: pictures.len() - decibels.len(),
        steps,
        mean_psnr_db: (!decibels.is_empty()).then_some(mean),
        least_psnr_db: decibels.iter().copied().reduce(f64::min),
        mean_ssim: pictures.iter().map(|p| p.ssim).sum::<f64>() / pictures.len() as f64,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompts_take_turns_and_every_round_takes_the_next_seed() {
        let prompts = ["a", "b"].map(str::to_owned).to_vec();
        let subjects = Subjects { prompts, pictures: 5, steps: Some(3) };
        let asked: Vec<_> =
            (0..5).map(|i| subjects.request(i)).map(|r| (r.prompt, r.seed)).collect();
        let wanted = [("a", 1), ("b", 1), ("a", 2), ("b", 2), ("a", 3)];
        assert_eq!(asked, wanted.map(|(p, s)| (p.to_owned(), s)));
    }

    #[test]
    fn means_leave_identical_pictures_out() {
        let picture = |psnr_db| Picture { psnr_db, ssim: 0.5, ..Picture::default() };
        let found = quality(&[picture(None), picture(Some(30.0)), picture(Some(40.0))], 7);
        let found = found.unwrap();
        assert_eq!((found.pictures, found.identical), (3, 1));
        assert_eq!((found.mean_psnr_db, found.least_psnr_db), (Some(35.0), Some(30.0)));
        assert_eq!(quality(&[picture(None)], 7).unwrap().mean_psnr_db, None);
        assert_eq!(quality(&[], 7), None);
    }

    #[test]
    fn a_relative_error_has_the_original_for_its_measure() {
        assert_eq!(relative_error(&[3.0, 4.0], &[3.0, 4.0]), 0.0);
        assert_eq!(relative_error(&[3.0, 4.0], &[3.0, 5.0]), 0.2);
        let ways = [vec![0.1, 0.2], vec![0.3, 0.2]];
        let found = trajectory(&ways);
        assert_eq!(found[0], StepError { step: 1, mean: 0.2, worst: 0.3 });
        assert_eq!(found[1].step, 2);
    }
}
