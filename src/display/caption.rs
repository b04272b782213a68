//! What is written on a picture: a caption below, a QR code in a corner.

use image::{Rgb, RgbImage, imageops};
use qrcode::{Color, QrCode};

use super::words::{Letters, spelled, wrapped};

/// The light border that readers of QR codes need, in modules.
const QUIET: u32 = 4;

/// Writes a caption on a black strip at the bottom, over at most a third of the frame. Its letters
/// grow with the frame. A frame too small for one letter stays as it is.
pub fn caption(frame: &mut RgbImage, text: &str) {
    let (width, height) = frame.dimensions();
    let letters = Letters::of_height(letter_height(width, height));
    let (margin, line_height) = (letters.line_height() / 3, letters.line_height());
    let room = (height / 3).saturating_sub(2 * margin) / line_height;
    let columns = letters.columns(width.saturating_sub(2 * margin));
    let lines = wrapped(&spelled(text), columns, room as usize);
    let strip = (lines.len() as u32 * line_height + 2 * margin).min(height);
    if lines.is_empty() {
        return;
    }
    let top = height - strip;
    imageops::replace(frame, &RgbImage::new(width, strip), 0, i64::from(top));
    for (y, line) in (top + margin..).step_by(line_height as usize).zip(&lines) {
        letters.write(frame, (margin, y), line, [255; 3]);
    }
}

/// Letters that can be read from where the screen is looked at: a 22nd of its height, or a 16th of
/// its width where it stands upright.
fn letter_height(width: u32, height: u32) -> u32 {
    (height / 22).min(width / 16).max(8)
}

/// Draws a QR code in the upper right corner, over about a quarter of the frame's shorter side.
/// False if the text is too long or the frame too small for a code that can be read; the frame is
/// then as it was.
pub fn qr(frame: &mut RgbImage, text: &str) -> bool {
    let Ok(code) = QrCode::new(text) else { return false };
    let modules = code.width() as u32 + 2 * QUIET;
    let shorter = frame.width().min(frame.height());
    // Two pixels a module are needed; a code may take half of a small screen for that.
    let scale = (shorter / 4 / modules).max(2);
    if scale * modules > shorter / 2 {
        return false;
    }
    let side = scale * modules;
    let mut drawn = RgbImage::from_pixel(side, side, Rgb([255; 3]));
    for (index, colour) in code.to_colors().into_iter().enumerate() {
        if colour == Color::Dark {
            let (column, row) = (index % code.width(), index / code.width());
            let corner = [column, row].map(|at| (at as u32 + QUIET) * scale);
            imageops::replace(
                &mut drawn,
                &RgbImage::new(scale, scale),
                i64::from(corner[0]),
                i64::from(corner[1]),
            );
        }
    }
    imageops::replace(frame, &drawn, i64::from(frame.width() - side), 0);
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn grey(width: u32, height: u32) -> RgbImage {
        RgbImage::from_pixel(width, height, Rgb([128; 3]))
    }

    /// Rows that are no longer as they were.
    fn changed_rows(frame: &RgbImage) -> usize {
        frame.rows().filter(|row| row.clone().any(|p| p.0 != [128; 3])).count()
    }

    #[test]
    fn a_caption_is_a_strip_at_the_bottom_that_grows_with_the_text() {
        let strip = |text: &str| {
            let mut frame = grey(240, 240);
            caption(&mut frame, text);
            assert_eq!(frame.get_pixel(0, 239).0, [0; 3]);
            assert!(frame.pixels().any(|p| p.0 == [255; 3]));
            changed_rows(&frame)
        };
        let (short, long) =
            (strip("a red sun"), strip(&"a red sun over blue mountains ".repeat(3)));
        assert!(short < long && strip(&"a red sun ".repeat(99)) <= 80, "{short} {long}");
    }

    #[test]
    fn no_words_are_no_caption() {
        let mut frame = grey(100, 100);
        caption(&mut frame, " ");
        assert_eq!(frame, grey(100, 100));
    }

    #[test]
    fn a_qr_code_stands_in_the_upper_right_corner_with_its_three_eyes() {
        let mut frame = grey(400, 300);
        assert!(qr(&mut frame, "http://pochade.local:7860/"));
        let left = (0..400).find(|x| frame.get_pixel(*x, 0).0 != [128; 3]).unwrap();
        let side = 400 - left;
        assert_eq!(side % (25 + 2 * QUIET), 0, "a version 2 code has 25 modules");
        let module = side / (25 + 2 * QUIET);
        let dark = |column: u32, row: u32| {
            let at = |index: u32| (index + QUIET) * module + module / 2;
            frame.get_pixel(left + at(column), at(row)).0 == [0; 3]
        };
        for (column, row) in [(0, 0), (18, 0), (0, 18)] {
            assert!(dark(column, row) && dark(column + 3, row + 3) && dark(column + 6, row + 6));
            assert!(!dark(column + 1, row + 1) && !dark(column + 5, row + 3));
        }
    }

    #[test]
    fn a_code_that_could_not_be_read_is_not_drawn() {
        let mut frame = grey(90, 90);
        assert!(!qr(&mut frame, "http://pochade.local:7860/"));
        assert!(!qr(&mut frame, &"x".repeat(5000)));
        assert_eq!(frame, grey(90, 90));
    }

    proptest! {
        #[test]
        fn a_frame_of_any_size_takes_any_caption(
            size in (0_u32..90, 0_u32..90),
            text in "\\PC{0,40}",
        ) {
            let mut frame = grey(size.0, size.1);
            caption(&mut frame, &text);
            let _ = qr(&mut frame, &text);
            prop_assert_eq!(frame.dimensions(), size);
        }
    }
}
