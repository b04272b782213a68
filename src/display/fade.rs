//! From one frame to the next.

use image::RgbImage;

/// The frame `share` of the way from one to another of the same size: 0 is the first, 1 the second.
/// Between frames of different sizes there is no way: that is the second at once.
pub fn fade(from: &RgbImage, to: &RgbImage, share: f32) -> RgbImage {
    let mut frame = to.clone();
    if from.dimensions() != to.dimensions() {
        return frame;
    }
    let weight = (share.clamp(0.0, 1.0) * 256.0).round() as u32;
    for (value, before) in frame.iter_mut().zip(from.iter()) {
        let mixed = u32::from(*before) * (256 - weight) + u32::from(*value) * weight;
        *value = ((mixed + 128) >> 8) as u8;
    }
    frame
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Rgb;

    #[test]
    fn a_fade_goes_from_one_frame_to_the_other() {
        let flat = |value| RgbImage::from_pixel(2, 1, Rgb([value, 255 - value, 7]));
        let at = |share| fade(&flat(0), &flat(200), share).get_pixel(1, 0).0;
        assert_eq!([at(-1.0), at(0.0)], [[0, 255, 7]; 2]);
        assert_eq!(at(0.5), [100, 155, 7]);
        assert_eq!([at(1.0), at(3.0)], [[200, 55, 7]; 2]);
        assert_eq!(fade(&RgbImage::new(1, 1), &flat(9), 0.0), flat(9));
    }
}
