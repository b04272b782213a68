//! How alike two pictures are: PSNR, and the structural similarity of Wang, Bovik, Sheikh and
//! Simoncelli ("Image quality assessment: from error visibility to structural similarity", 2004).

use image::RgbImage;

/// Standard deviation of the window.
const SIGMA: f64 = 1.5;
/// Pixels of the window on either side of its middle.
const RADIUS: usize = 5;
/// The paper's constants for 8 bits, `(K L)^2`.
const C1: f64 = 0.01 * 255.0 * (0.01 * 255.0);
const C2: f64 = 0.03 * 255.0 * (0.03 * 255.0);

/// Peak signal-to-noise ratio over the values of all channels, in decibels; `None` for equal
/// pictures.
pub(super) fn psnr(a: &RgbImage, b: &RgbImage) -> Option<f64> {
    let square = |(a, b): (&u8, &u8)| (f64::from(*a) - f64::from(*b)).powi(2);
    let error: f64 = a.as_raw().iter().zip(b.as_raw()).map(square).sum();
    (error > 0.0).then(|| 10.0 * (255f64.powi(2) * a.as_raw().len() as f64 / error).log10())
}

/// Mean structural similarity of two pictures of one size, the mean of the three channels: Gaussian
/// windows of 11 x 11 that lie within the picture, smaller ones where it is smaller.
pub(super) fn ssim(a: &RgbImage, b: &RgbImage) -> f64 {
    let channel = |image: &RgbImage, c: usize| Plane {
        width: image.width() as usize,
        height: image.height() as usize,
        values: image.pixels().map(|pixel| f64::from(pixel.0[c])).collect(),
    };
    (0..3).map(|c| plane_ssim(&channel(a, c), &channel(b, c))).sum::<f64>() / 3.0
}

/// One channel.
struct Plane {
    width: usize,
    height: usize,
    values: Vec<f64>,
}

impl Plane {
    fn combine(&self, other: &Self, f: impl Fn(f64, f64) -> f64) -> Self {
        let values = self.values.iter().zip(&other.values).map(|(a, b)| f(*a, *b)).collect();
        Self { values, ..*self }
    }

    /// Weighted means along rows, then along columns, where the window fits.
    fn blurred(&self, window: &[f64]) -> Self {
        let rows = self.rows_blurred(window).transposed();
        rows.rows_blurred(window).transposed()
    }

    fn rows_blurred(&self, window: &[f64]) -> Self {
        let mean = |part: &[f64]| part.iter().zip(window).map(|(value, w)| value * w).sum::<f64>();
        let rows = self.values.chunks(self.width);
        let values: Vec<f64> = rows.flat_map(|row| row.windows(window.len()).map(mean)).collect();
        Self { width: self.width + 1 - window.len(), height: self.height, values }
    }

    fn transposed(&self) -> Self {
        let column = |x: usize| self.values[x..].iter().step_by(self.width);
        let values = (0..self.width).flat_map(|x| column(x).copied()).collect();
        Self { width: self.height, height: self.width, values }
    }
}

fn plane_ssim(a: &Plane, b: &Plane) -> f64 {
    let radius = RADIUS.min((a.width.min(a.height).max(1) - 1) / 2);
    let window = gaussian(radius);
    let product = |a: &Plane, b: &Plane| a.combine(b, |a, b| a * b).blurred(&window);
    let (mean_a, mean_b) = (a.blurred(&window), b.blurred(&window));
    let (aa, bb, ab) = (product(a, a), product(b, b), product(a, b));
    let places = mean_a.values.len();
    let similarity = |i: usize| {
        let (x, y) = (mean_a.values[i], mean_b.values[i]);
        let (var_x, var_y, cov) =
            (aa.values[i] - x * x, bb.values[i] - y * y, ab.values[i] - x * y);
        (2.0 * x * y + C1) * (2.0 * cov + C2) / ((x * x + y * y + C1) * (var_x + var_y + C2))
    };
    (0..places).map(similarity).sum::<f64>() / places.max(1) as f64
}

/// A Gaussian window whose weights add up to 1.
fn gaussian(radius: usize) -> Vec<f64> {
    let weight = |i: usize| (-0.5 * ((i as f64 - radius as f64) / SIGMA).powi(2)).exp();
    let weights: Vec<f64> = (0..=2 * radius).map(weight).collect();
    let sum: f64 = weights.iter().sum();
    weights.into_iter().map(|w| w / sum).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Rgb;

    /// Two pictures of the same pattern, of which the second is a little off.
    fn pair(width: u32, height: u32) -> (RgbImage, RgbImage) {
        let value = |x: u32, y: u32, c: u32| (x * 7 + y * 13 + c * 31 + x * y % 17) % 256;
        let off = |x: u32, y: u32, c: u32| (x * 5 + y * 3 + c) % 23;
        let first =
            RgbImage::from_fn(width, height, |x, y| Rgb([0, 1, 2].map(|c| value(x, y, c) as u8)));
        let second = RgbImage::from_fn(width, height, |x, y| {
            Rgb([0, 1, 2].map(|c| (value(x, y, c) + off(x, y, c)).min(255) as u8))
        });
        (first, second)
    }

    /// `skimage.metrics` 0.26: `structural_similarity(a, b, channel_axis=2, data_range=255,
    /// gaussian_weights=True, sigma=1.5, use_sample_covariance=False)` and
    /// `peak_signal_noise_ratio(a, b)` of the pair.
    #[test]
    fn both_measures_are_those_of_scikit_image() {
        for (size, wanted_psnr, wanted_ssim) in
            [((32, 24), PSNR_32, SSIM_32), ((11, 17), PSNR_11, SSIM_11)]
        {
            let (a, b) = pair(size.0, size.1);
            let (psnr, ssim) = (psnr(&a, &b).unwrap(), ssim(&a, &b));
            assert!((psnr - wanted_psnr).abs() < 1e-9, "{psnr} {size:?}");
            assert!((ssim - wanted_ssim).abs() < 1e-9, "{ssim} {size:?}");
        }
    }

    const PSNR_32: f64 = 26.172815714631717;
    const SSIM_32: f64 = 0.969884118457494;
    const PSNR_11: f64 = 26.239089291646515;
    const SSIM_11: f64 = 0.9673007305978931;

    #[test]
    fn equal_pictures_have_no_psnr_and_are_wholly_similar() {
        for (width, height) in [(1, 1), (4, 9), (16, 16)] {
            let (a, _) = pair(width, height);
            assert_eq!(psnr(&a, &a), None);
            assert!((ssim(&a, &a) - 1.0).abs() < 1e-12);
        }
    }
}
