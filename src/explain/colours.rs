//! The colours of attention maps: how much a token counted, laid over the picture.

use image::{Rgb, RgbImage};

use super::Map;

/// From nothing to the most, over a picture without colours.
const RAMP: [[f32; 3]; 6] = [
    [13.0, 14.0, 30.0],
    [58.0, 25.0, 96.0],
    [146.0, 38.0, 104.0],
    [222.0, 84.0, 62.0],
    [250.0, 166.0, 50.0],
    [253.0, 246.0, 180.0],
];

/// How much of the picture shows through.
const PICTURE: f32 = 0.42;

/// A map that differs by less than this share of its most is flat: the rest is rounding.
const FLAT: f32 = 1e-3;

/// The colour of a share of the most.
fn ramp(share: f32) -> [f32; 3] {
    let at = share.clamp(0.0, 1.0) * (RAMP.len() - 1) as f32;
    let first = (at as usize).min(RAMP.len() - 2);
    let (near, far, share) = (RAMP[first], RAMP[first + 1], at - first as f32);
    std::array::from_fn(|i| near[i] * (1.0 - share) + far[i] * share)
}

/// The map over the picture without its colours: bright where the token counted most, dark where
/// least. Every map has its own scale.
pub(super) fn overlay(picture: &RgbImage, map: &Map) -> RgbImage {
    let (width, height) = picture.dimensions();
    let map = map.resized((height as usize, width as usize));
    let least = map.values.iter().copied().fold(f32::INFINITY, f32::min);
    let most = map.values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let span = (most - least).max(FLAT * most).max(f32::MIN_POSITIVE);
    RgbImage::from_fn(width, height, |x, y| {
        let share = (map.values[(y * width + x) as usize] - least) / span;
        let grey = luma(picture.get_pixel(x, y)) * (0.35 + 0.65 * share);
        let colour = ramp(share);
        Rgb(colour.map(|c| (c * (1.0 - PICTURE) + grey * PICTURE).round() as u8))
    })
}

/// Brightness by Rec. 709's weights.
fn luma(Rgb([r, g, b]): &Rgb<u8>) -> f32 {
    0.2126 * f32::from(*r) + 0.7152 * f32::from(*g) + 0.0722 * f32::from(*b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bright_is_where_a_token_counted_most() {
        let picture = RgbImage::from_pixel(4, 2, Rgb([90; 3]));
        let map = Map { size: (1, 2), values: vec![0.001, 0.003] };
        let shown = overlay(&picture, &map);
        let row: Vec<f32> = (0..4).map(|x| luma(shown.get_pixel(x, 0))).collect();
        assert!(row.windows(2).all(|pair| pair[0] < pair[1]), "{row:?}");
        let flat = overlay(&picture, &Map { size: (1, 2), values: vec![0.999_999, 1.0] });
        assert!(flat.pixels().all(|pixel| pixel == flat.get_pixel(0, 0)), "rounding is not shown");
    }
}
