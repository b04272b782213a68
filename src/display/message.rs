//! Words where there is no picture: while the machine starts, and when something is wrong.

use image::RgbImage;

use super::caption::letter_height;
use super::words::{Letters, spelled, wrapped};

/// A frame that says something: a title, and a text below it, in white on black. Both are wrapped,
/// and their letters grow with the frame. What does not fit is left out.
pub fn message(width: u32, height: u32, title: &str, text: &str) -> RgbImage {
    let mut frame = RgbImage::new(width, height);
    let unit = letter_height(width, height);
    let margin = width / 16;
    let across = width.saturating_sub(2 * margin);
    let parts = [(Letters::of_height(unit * 3 / 2), title), (Letters::of_height(unit), text)];
    let lines: Vec<(Letters, String)> = parts
        .into_iter()
        .flat_map(|(letters, text)| {
            let room = (height / 2 / letters.line_height()).max(1) as usize;
            let lines = wrapped(&spelled(text), letters.columns(across), room);
            lines.into_iter().map(move |line| (letters, line))
        })
        .collect();
    let used: u32 = lines.iter().map(|(letters, _)| letters.line_height()).sum();
    let mut y = height.saturating_sub(used) / 2;
    for (letters, line) in &lines {
        let x = width.saturating_sub(letters.width(line)) / 2;
        letters.write(&mut frame, (x, y), line, [255; 3]);
        y += letters.line_height();
    }
    frame
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The columns and rows between which there is ink.
    fn bounds(frame: &RgbImage) -> [u32; 4] {
        let ink = || frame.enumerate_pixels().filter(|(.., p)| p.0 == [255; 3]);
        let range = |values: Vec<u32>| {
            [values.iter().min().copied().unwrap(), values.iter().max().copied().unwrap()]
        };
        let (columns, rows) =
            (range(ink().map(|p| p.0).collect()), range(ink().map(|p| p.1).collect()));
        [columns[0], columns[1], rows[0], rows[1]]
    }

    #[test]
    fn a_message_stands_in_the_middle_of_small_and_large_screens() {
        for (width, height) in [(135, 240), (240, 240), (800, 480), (1920, 1080)] {
            let text = "The panel does not answer. Check that it sits firmly on its pins.";
            let frame = message(width, height, "Pochade", text);
            let [left, right, top, bottom] = bounds(&frame);
            assert!(left >= width / 20 && right <= width - width / 20, "{left} {right}");
            assert!(right - left > width / 3, "{left} to {right} of {width}");
            assert!(top.abs_diff(height - bottom) < height / 6, "{top} {bottom} of {height}");
        }
    }

    proptest! {
        #[test]
        fn any_size_takes_any_words(
            size in (0_u32..90, 0_u32..90),
            title in "\\PC{0,20}",
            text in "\\PC{0,60}",
        ) {
            prop_assert_eq!(message(size.0, size.1, &title, &text).dimensions(), size);
        }
    }
}
