//! Words on pictures, in any size.
//!
//! The fonts are embedded-graphics' own: X11's classic ones, with the letters of Latin-1. Larger
//! than the largest they are scaled up, and the stairs smoothed away, so that a full-HD screen can
//! be read across a room.

use embedded_graphics::Drawable;
use embedded_graphics::geometry::Point;
use embedded_graphics::mono_font::iso_8859_1::{
    FONT_5X8, FONT_6X10, FONT_7X13, FONT_9X15, FONT_9X18, FONT_10X20,
};
use embedded_graphics::mono_font::{MonoFont, MonoTextStyle};
use embedded_graphics::pixelcolor::{Rgb888, RgbColor};
use embedded_graphics::text::{Baseline, Text};
use image::imageops::{self, FilterType};
use image::{Rgb, RgbImage};
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

use super::Canvas;

/// From the smallest to the largest.
const FONTS: [&MonoFont<'static>; 6] =
    [&FONT_5X8, &FONT_6X10, &FONT_7X13, &FONT_9X15, &FONT_9X18, &FONT_10X20];

/// A font in a size.
#[derive(Clone, Copy, Debug)]
pub(super) struct Letters {
    font: &'static MonoFont<'static>,
    scale: f32,
}

impl Letters {
    /// Letters about that many pixels high: the largest font that is no higher, and the largest of
    /// all scaled up.
    pub(super) fn of_height(height: u32) -> Self {
        let fits = |font: &&&MonoFont<'static>| font.character_size.height <= height;
        let font = FONTS.iter().rev().find(fits).unwrap_or(&FONTS[0]);
        let [.., largest] = FONTS;
        let scale = (height as f32 / largest.character_size.height as f32).max(1.0);
        Self { font, scale }
    }

    /// Pixels from line to line: a fifth more than a letter's height.
    pub(super) fn line_height(&self) -> u32 {
        self.scaled(self.font.character_size.height * 6 / 5)
    }

    /// Characters that fit in a line of that many pixels.
    pub(super) fn columns(&self, width: u32) -> usize {
        (width as f32 / (self.font.character_size.width as f32 * self.scale)) as usize
    }

    /// Pixels that a line of text is wide.
    pub(super) fn width(&self, line: &str) -> u32 {
        let characters = u32::try_from(line.chars().count()).unwrap_or(u32::MAX);
        self.scaled(self.font.character_size.width.saturating_mul(characters))
    }

    fn scaled(&self, length: u32) -> u32 {
        (length as f32 * self.scale).round() as u32
    }

    /// Writes one line whose upper left corner is at `(x, y)`. What lies outside is left out.
    pub(super) fn write(&self, frame: &mut RgbImage, at: (u32, u32), line: &str, ink: [u8; 3]) {
        let drawn = self.drawn(line);
        for (x, y, Rgb([cover, ..])) in drawn.enumerate_pixels() {
            let (x, y) = (at.0.saturating_add(x), at.1.saturating_add(y));
            let Some(pixel) = frame.get_pixel_mut_checked(x, y) else { continue };
            for (value, ink) in pixel.0.iter_mut().zip(ink) {
                let cover = u32::from(*cover);
                let mixed = u32::from(*value) * (255 - cover) + u32::from(ink) * cover;
                *value = ((mixed + 127) / 255) as u8;
            }
        }
    }

    /// The line in white on black: how much of every pixel is covered.
    fn drawn(&self, line: &str) -> RgbImage {
        let size = self.font.character_size;
        let characters = u32::try_from(line.chars().count()).unwrap_or(0);
        let mut small = RgbImage::new(size.width * characters, size.height);
        let style = MonoTextStyle::new(self.font, Rgb888::WHITE);
        let text = Text::with_baseline(line, Point::zero(), style, Baseline::Top);
        // Drawing on a picture cannot fail.
        let Ok(_) = text.draw(&mut Canvas(&mut small));
        if self.scale == 1.0 || characters == 0 {
            return small;
        }
        let (width, height) = (self.width(line), self.scaled(size.height));
        let mut large = imageops::resize(&small, width, height, FilterType::CatmullRom);
        large.iter_mut().for_each(|cover| *cover = sharpened(*cover, self.scale));
        large
    }
}

/// Makes an edge that became `scale` pixels wide one pixel wide again.
fn sharpened(cover: u8, scale: f32) -> u8 {
    let from_middle = (f32::from(cover) / 255.0 - 0.5) * scale;
    ((from_middle + 0.5).clamp(0.0, 1.0) * 255.0).round() as u8
}

/// The text in letters that the fonts have: typographic marks become plain ones, and letters
/// outside Latin-1 lose their accents. What is left has no letter and is shown as a question mark.
pub(super) fn spelled(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.nfc() {
        match c {
            '\u{2018}' | '\u{2019}' | '\u{201a}' => out.push('\''),
            '\u{201c}' | '\u{201d}' | '\u{201e}' => out.push('"'),
            '\u{2010}'..='\u{2015}' | '\u{2212}' => out.push('-'),
            '\u{2026}' => out.push_str("..."),
            '\u{2022}' => out.push('\u{b7}'),
            ' '..='~' | '\u{a1}'..='\u{ff}' => out.push(c),
            c if c.is_whitespace() || c.is_control() => out.push(' '),
            c => out.push(c.nfd().find(|part| !is_combining_mark(*part)).unwrap_or(c)),
        }
    }
    out
}

/// Lines of at most `columns` characters: broken between words, and within a word that is longer
/// than a line. Of more than `most` lines the rest is left out, and the last line ends in dots.
pub(super) fn wrapped(text: &str, columns: usize, most: usize) -> Vec<String> {
    if columns == 0 || most == 0 {
        return Vec::new();
    }
    let mut lines: Vec<String> = Vec::new();
    let mut line: Vec<char> = Vec::new();
    for word in text.split_whitespace() {
        let mut word: Vec<char> = word.chars().collect();
        if !line.is_empty() && line.len() + 1 + word.len() > columns {
            lines.push(line.drain(..).collect());
        }
        while word.len() > columns {
            lines.push(word.drain(..columns).collect());
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.append(&mut word);
    }
    if !line.is_empty() {
        lines.push(line.into_iter().collect());
    }
    if lines.len() > most {
        lines.truncate(most);
        lines.last_mut().into_iter().for_each(|last| end_in_dots(last, columns));
    }
    lines
}

fn end_in_dots(line: &mut String, columns: usize) {
    let kept = line.chars().take(columns.saturating_sub(3)).collect::<String>();
    *line = format!("{}{}", kept.trim_end(), &"..."[..columns.min(3)]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_letter_is_drawn_as_the_font_has_it() {
        let mut frame = RgbImage::new(5, 8);
        Letters::of_height(8).write(&mut frame, (0, 0), "E", [255; 3]);
        let drawn: Vec<String> = frame
            .rows()
            .map(|row| row.map(|p| if p.0[0] > 0 { '#' } else { ' ' }).collect())
            .collect();
        insta::assert_snapshot!(drawn.join("\n"));
    }

    #[test]
    fn large_letters_keep_their_shape_and_their_ink() {
        let ink = |height: u32| {
            let letters = Letters::of_height(height);
            let mut frame = RgbImage::new(letters.width("Rg"), height);
            letters.write(&mut frame, (0, 0), "Rg", [255; 3]);
            let sum: f64 = frame.iter().map(|v| f64::from(*v)).sum();
            sum / f64::from(frame.width() * frame.height())
        };
        let (small, large) = (ink(20), ink(60));
        assert!((small - large).abs() < 0.15 * small, "{small} {large}");
    }

    #[test]
    fn typographic_marks_and_foreign_letters_are_spelled_with_latin_1() {
        assert_eq!(spelled("“Őszi” café – naïve…\n次"), "\"Oszi\" café - naïve... 次");
    }

    #[test]
    fn lines_break_between_words_and_end_in_dots_when_there_are_too_many() {
        assert_eq!(wrapped("a red sun over hills", 9, 9), ["a red sun", "over", "hills"]);
        assert_eq!(wrapped("a red sun over hills", 9, 2), ["a red sun", "over..."]);
        assert_eq!(wrapped("abcdefgh", 3, 9), ["abc", "def", "gh"]);
        assert_eq!(wrapped("abcdefgh", 3, 1), ["..."]);
        assert_eq!(wrapped("a b", 1, 1), ["."]);
        assert!(wrapped("a b", 0, 1).is_empty() && wrapped(" ", 5, 5).is_empty());
    }

    proptest! {
        #[test]
        fn no_line_is_too_long_and_no_letter_is_lost(
            text in "[a-zé ]{0,60}",
            columns in 1_usize..12,
        ) {
            let lines = wrapped(&text, columns, usize::MAX);
            prop_assert!(lines.iter().all(|line| line.chars().count() <= columns));
            let letters = |text: &str| text.chars().filter(|c| *c != ' ').collect::<String>();
            prop_assert_eq!(letters(&lines.concat()), letters(&text));
        }
    }
}
