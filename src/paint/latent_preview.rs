//! Quick pictures of latents: what a painting will be, long before it is decoded.

use image::{Rgb, RgbImage};

use crate::diffusion::LatentShape;

/// A straight map from the numbers of a latent's place to a colour, found by least squares.
#[derive(Clone, Debug, PartialEq)]
pub struct LatentMap {
    /// Colour per unit of each channel, red, green, blue; 1 is full. `[channels]`
    pub factors: Vec<[f32; 3]>,
    /// Colour of a latent of zeros.
    pub bias: [f32; 3],
}

/// A latent on the way to a picture, and how to guess its colours.
#[derive(Clone, Copy, Debug)]
pub struct LatentPreview<'a> {
    /// The clean latent as it is seen coming, `[height, width, channels]`.
    pub latent: &'a [f32],
    /// Its size.
    pub shape: LatentShape,
    /// The way to its colours.
    pub map: &'a LatentMap,
}

impl LatentPreview<'_> {
    /// A picture with one pixel per place of the latent.
    pub fn picture(&self) -> RgbImage {
        let (width, height) = (self.shape.width as u32, self.shape.height as u32);
        RgbImage::from_fn(width, height, |x, y| {
            let place = y as usize * self.shape.width + x as usize;
            let values = self.latent.iter().skip(place * self.shape.channels);
            self.map.colour(values.take(self.shape.channels))
        })
    }
}

impl LatentMap {
    fn colour<'a>(&self, values: impl Iterator<Item = &'a f32>) -> Rgb<u8> {
        let mut colour = self.bias;
        for (value, factors) in values.zip(&self.factors) {
            for (sum, factor) in colour.iter_mut().zip(factors) {
                *sum += value * factor;
            }
        }
        Rgb(colour.map(|v| (v.clamp(0.0, 1.0) * 255.0 + 0.5) as u8))
    }
}

impl LatentMap {
    /// The map that comes nearest to what a decoder made of a latent `[height, width, channels]`.
    pub fn fit(latent: &[f32], shape: LatentShape, image: &RgbImage) -> Self {
        let terms = shape.channels + 1;
        // The normal equations: the sums of products of all terms, and of terms and colours.
        let mut equations = vec![vec![0.0; terms + 3]; terms];
        for (place, values) in latent.chunks_exact(shape.channels).enumerate() {
            let values = values.iter().map(|v| f64::from(*v)).chain([1.0]);
            let row: Vec<f64> = values.chain(mean_colour(image, shape, place)).collect();
            for (equation, term) in equations.iter_mut().zip(&row) {
                equation.iter_mut().zip(&row).for_each(|(sum, value)| *sum += term * value);
            }
        }
        let mut factors = solve(equations);
        let bias = factors.pop().unwrap_or_default();
        Self { factors, bias }
    }
}

/// The mean colour of the pixels of one place of a latent; 1 is full.
fn mean_colour(image: &RgbImage, shape: LatentShape, place: usize) -> [f64; 3] {
    let factor = image.width() / shape.width as u32;
    let (x, y) = ((place % shape.width) as u32 * factor, (place / shape.width) as u32 * factor);
    let mut sum = [0.0; 3];
    for (dx, dy) in (0..factor).flat_map(|dy| (0..factor).map(move |dx| (dx, dy))) {
        let pixel = image.get_pixel(x + dx, y + dy);
        sum.iter_mut().zip(pixel.0).for_each(|(sum, v)| *sum += f64::from(v));
    }
    sum.map(|v| v / f64::from(factor * factor) / 255.0)
}

/// Solves linear equations of a positive definite matrix for three right-hand sides, the last of
/// each row, by Gaussian elimination. A slight weight on the diagonal keeps channels that a latent
/// does not use from dividing by zero.
fn solve(mut equations: Vec<Vec<f64>>) -> Vec<[f32; 3]> {
    let terms = equations.len();
    for i in 0..terms {
        equations[i][i] += 1e-6;
        let pivot = equations[i].clone();
        for (_, row) in equations.iter_mut().enumerate().filter(|(j, _)| *j != i) {
            let share = row[i] / pivot[i];
            row.iter_mut().zip(&pivot).for_each(|(value, p)| *value -= share * p);
        }
    }
    let solution =
        |(i, row): (usize, &Vec<f64>)| std::array::from_fn(|k| (row[terms + k] / row[i]) as f32);
    equations.iter().enumerate().map(solution).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latent_is_mapped_place_by_place() {
        let map =
            LatentMap { factors: vec![[1.0, 0.0, 0.0], [0.0, 0.5, 0.5]], bias: [0.0, 0.0, 0.5] };
        let shape = LatentShape { height: 1, width: 2, channels: 2 };
        let latent = [0.5, 2.0, -1.0, f32::NAN];
        let picture = LatentPreview { latent: &latent, shape, map: &map }.picture();
        assert_eq!(picture.into_raw(), [128, 255, 255, 0, 0, 0]);
    }

    #[test]
    fn a_straight_decoder_is_found_again() {
        let shape = LatentShape { channels: 2, height: 3, width: 4 };
        let latent: Vec<f32> = (0..24).map(|i| (i * 7 % 11) as f32 / 11.0).collect();
        let map =
            LatentMap { factors: vec![[0.3, 0.1, 0.0], [0.2, -0.1, 0.5]], bias: [0.2, 0.4, 0.1] };
        let small = LatentPreview { latent: &latent, shape, map: &map }.picture();
        let image = image::imageops::resize(&small, 8, 6, image::imageops::FilterType::Nearest);
        let found = LatentMap::fit(&latent, shape, &image);
        let pairs = found.factors.iter().chain([&found.bias]).flatten();
        for (a, b) in pairs.zip(map.factors.iter().chain([&map.bias]).flatten()) {
            assert!((a - b).abs() < 0.01, "{found:?}");
        }
    }
}
