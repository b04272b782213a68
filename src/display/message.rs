//! Words where there is no picture: while the machine starts, and when something is wrong.

use image::RgbImage;

use super::words::{Letters, spelled, wrapped};

/// The smallest letters, in pixels.
const SMALLEST: u32 = 8;

/// A frame that says something: a title, and a text below it, in white on black. Both are wrapped;
/// their letters are as large as fits, up to a 16th of the frame's height for the text. What does
/// not fit even in small letters is left out.
pub fn message(width: u32, height: u32, title: &str, text: &str) -> RgbImage {
    let mut frame = RgbImage::new(width, height);
    let (title, text) = (spelled(title), spelled(text));
    let largest = (height / 16).min(width / 12).max(SMALLEST);
    let mut sizes = (SMALLEST..=largest).rev().map(|unit| set(width, &title, &text, unit));
    let fitting = sizes.find(|lines| rows(lines) <= height);
    let lines = fitting.unwrap_or_else(|| set(width, &title, &text, SMALLEST));
    let mut y = height.saturating_sub(rows(&lines)) / 2;
    for (letters, line) in &lines {
        let x = width.saturating_sub(letters.width(line)) / 2;
        letters.write(&mut frame, (x, y), line, [255; 3]);
        y += letters.line_height();
    }
    frame
}

/// The lines of a message, with half an empty one below the title.
fn set(width: u32, title: &str, text: &str, unit: u32) -> Vec<(Letters, String)> {
    let across = width - 2 * (width / 16);
    let lines = |letters: Letters, text: &str| {
        let lines = wrapped(text, letters.columns(across), usize::MAX);
        lines.into_iter().map(move |line| (letters, line))
    };
    let (large, gap) = (Letters::of_height(unit * 3 / 2), Letters::of_height(unit / 2));
    let mut all: Vec<_> = lines(large, title).collect();
    if !all.is_empty() {
        all.push((gap, String::new()));
    }
    all.extend(lines(Letters::of_height(unit), text));
    all
}

fn rows(lines: &[(Letters, String)]) -> u32 {
    lines.iter().map(|(letters, _)| letters.line_height()).sum()
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
            assert!(right - left > width / 2, "{left} to {right} of {width}");
            assert!(top.abs_diff(height - bottom) < height / 6, "{top} {bottom} of {height}");
        }
    }

    #[test]
    fn a_long_message_is_set_in_smaller_letters() {
        let text = "The panel does not answer. ".repeat(9);
        let ink = |text: &str| bounds(&message(480, 320, "Pochade", text));
        let [.., top, bottom] = ink(&text);
        assert!(top > 0 && bottom < 319, "{top} {bottom}");
        let frame = message(480, 320, "Pochade", &text);
        assert_ne!(frame, message(480, 320, "Pochade", &text[..text.len() - 9]), "the end is lost");
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
