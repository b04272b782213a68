//! Pictures on their way out and in: PNG and JPEG, smaller ones, and what clients upload.

use std::io::Cursor;
use std::path::Path;

use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use image::codecs::jpeg::JpegEncoder;
use image::{DynamicImage, ImageReader, Limits, RgbImage, imageops};

use super::problem::Problem;
use crate::paint::{MAX_SIDE, png};

/// Memory for decoding one picture.
const MOST_MEMORY: u64 = 256 << 20;
/// The JPEG quality of pictures nobody chose one for.
pub(super) const QUALITY: u8 = 88;

/// A file that is a picture.
pub(super) struct Picture {
    pub kind: &'static str,
    pub bytes: Vec<u8>,
}

impl IntoResponse for Picture {
    fn into_response(self) -> Response {
        ([(CONTENT_TYPE, self.kind)], self.bytes).into_response()
    }
}

/// As a PNG file without a story.
pub(super) fn to_png(picture: &RgbImage) -> Result<Picture, Problem> {
    let bytes = png::encode(picture, "").map_err(Problem::internal)?;
    Ok(Picture { kind: "image/png", bytes })
}

/// As a JPEG file of some quality, from 1 to 100.
pub(super) fn to_jpeg(picture: &RgbImage, quality: u8) -> Result<Picture, Problem> {
    let mut bytes = Vec::new();
    let encoder = JpegEncoder::new_with_quality(&mut bytes, quality.clamp(1, 100));
    picture.write_with_encoder(encoder).map_err(Problem::internal)?;
    Ok(Picture { kind: "image/jpeg", bytes })
}

/// A PNG or JPEG file of bounded size.
pub(super) fn decode(file: &[u8]) -> Result<DynamicImage, Problem> {
    let wrong = |error: &dyn std::fmt::Display| {
        Problem::bad(format!("this is no PNG or JPEG picture that can be read: {error}"))
    };
    let reader = ImageReader::new(Cursor::new(file)).with_guessed_format();
    let mut reader = reader.map_err(|error| wrong(&error))?;
    let mut limits = Limits::default();
    let side = u32::try_from(MAX_SIDE).ok();
    (limits.max_image_width, limits.max_image_height) = (side, side);
    limits.max_alloc = Some(MOST_MEMORY);
    reader.limits(limits);
    reader.decode().map_err(|error| wrong(&error))
}

/// A file of the gallery.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, Problem> {
    std::fs::read(path).map_err(|_| Problem::not_found("this picture has just been removed"))
}

/// A file of the gallery at a smaller width; as it is where it is no wider.
pub(super) fn thumbnail(path: &Path, width: u32) -> Result<Picture, Problem> {
    let bytes = read(path)?;
    let picture = decode(&bytes)?.into_rgb8();
    if picture.width() <= width {
        return Ok(Picture { kind: "image/png", bytes });
    }
    let height = u64::from(picture.height()) * u64::from(width) / u64::from(picture.width());
    let height = u32::try_from(height.max(1)).unwrap_or(width);
    to_jpeg(&imageops::thumbnail(&picture, width, height), QUALITY)
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Rgb;

    fn picture() -> RgbImage {
        RgbImage::from_fn(64, 32, |x, y| Rgb([x as u8 * 4, y as u8 * 8, 90]))
    }

    #[test]
    fn both_formats_can_be_uploaded() {
        let png = to_png(&picture()).unwrap();
        assert_eq!(decode(&png.bytes).unwrap().into_rgb8(), picture());
        let jpeg = to_jpeg(&picture(), QUALITY).unwrap();
        let back = decode(&jpeg.bytes).unwrap().into_rgb8();
        let error = back.iter().zip(picture().iter()).map(|(a, b)| a.abs_diff(*b)).max();
        assert!(error < Some(24), "{error:?}");
    }

    #[test]
    fn what_is_no_picture_or_too_large_a_one_is_refused() {
        assert!(decode(b"GIF89a").is_err());
        // A header that promises 60 000 x 60 000 pixels.
        let mut file = to_png(&picture()).unwrap().bytes;
        file[16..24].copy_from_slice(&[0, 0, 234, 96, 0, 0, 234, 96]);
        assert!(decode(&file).is_err());
    }

    #[test]
    fn thumbnails_keep_the_shape_and_small_pictures_their_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.png");
        let file = to_png(&picture()).unwrap().bytes;
        std::fs::write(&path, &file).unwrap();
        let small = thumbnail(&path, 16).unwrap();
        assert_eq!(small.kind, "image/jpeg");
        let small = decode(&small.bytes).unwrap();
        assert_eq!((small.width(), small.height()), (16, 8));
        assert_eq!(thumbnail(&path, 64).unwrap().bytes, file);
    }
}
