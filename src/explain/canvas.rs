//! A sheet to put pictures and words on. The letters are Inter's (medium, Latin), rasterised by
//! `ab_glyph`.

use std::sync::OnceLock;

use ab_glyph::{Font, FontRef, GlyphId, ScaleFont};
use image::imageops::{self, FilterType};
use image::{Rgb, RgbImage};

const FONT: &[u8] = include_bytes!("inter.otf");

/// What the letters of a sheet look like.
#[derive(Clone, Copy, Debug)]
pub(super) struct Style {
    /// Height of a line's letters in pixels.
    pub size: f32,
    pub colour: Rgb<u8>,
}

/// Where something is and how large, in pixels.
#[derive(Clone, Copy, Debug)]
pub(super) struct Area {
    pub x: u32,
    pub y: u32,
    pub width: u32,
    pub height: u32,
}

/// A sheet of paper.
#[derive(Debug)]
pub(super) struct Canvas {
    image: RgbImage,
}

impl Canvas {
    pub fn new(width: u32, height: u32, paper: Rgb<u8>) -> Self {
        Self { image: RgbImage::from_pixel(width, height, paper) }
    }

    /// What is on it.
    pub fn image(self) -> RgbImage {
        self.image
    }

    /// A picture, made to fit.
    pub fn picture(&mut self, picture: &RgbImage, area: Area) {
        let filter = match picture.width() < area.width {
            true => FilterType::CatmullRom,
            false => FilterType::Lanczos3,
        };
        let fitted = imageops::resize(picture, area.width, area.height, filter);
        imageops::replace(&mut self.image, &fitted, i64::from(area.x), i64::from(area.y));
    }

    /// An area of one colour.
    pub fn fill(&mut self, area: Area, colour: Rgb<u8>) {
        for (x, y) in pixels(area) {
            if let Some(pixel) = self.image.get_pixel_mut_checked(x, y) {
                *pixel = colour;
            }
        }
    }

    /// A line of text whose letters stand on `y`, from `x` on, cut where `width` ends.
    pub fn text(&mut self, text: &str, (x, y): (u32, u32), width: u32, style: Style) {
        let Some(font) = font() else { return };
        let text = fitted(text, width as f32, style.size);
        for (glyph, at) in glyphs(&text, style.size) {
            let position = ab_glyph::point(x as f32 + at, y as f32);
            let glyph = glyph.with_scale_and_position(scale(style.size), position);
            let Some(outline) = font.outline_glyph(glyph) else { continue };
            let corner = outline.px_bounds().min;
            outline.draw(|dx, dy, cover| {
                let (x, y) = (corner.x + dx as f32, corner.y + dy as f32);
                self.ink((x, y), cover, style.colour);
            });
        }
    }

    /// Text in lines of at most `width`; gives where the last line stands.
    pub fn paragraph(
        &mut self,
        text: &str,
        (x, y): (u32, u32),
        width: u32,
        (style, leading): (Style, u32),
    ) -> u32 {
        let mut y = y;
        for (i, line) in lines(text, width as f32, style.size).iter().enumerate() {
            y += if i == 0 { 0 } else { leading };
            self.text(line, (x, y), width, style);
        }
        y
    }

    /// Mixes a share of a colour into a pixel, if it is on the sheet.
    fn ink(&mut self, (x, y): (f32, f32), cover: f32, colour: Rgb<u8>) {
        if x < 0.0 || y < 0.0 || !self.contains(x as u32, y as u32) {
            return;
        }
        let cover = cover.clamp(0.0, 1.0);
        let pixel = self.image.get_pixel_mut(x as u32, y as u32);
        for (below, ink) in pixel.0.iter_mut().zip(colour.0) {
            let mixed = f32::from(*below) * (1.0 - cover) + f32::from(ink) * cover;
            *below = mixed.round() as u8;
        }
    }

    fn contains(&self, x: u32, y: u32) -> bool {
        x < self.image.width() && y < self.image.height()
    }
}

fn pixels(area: Area) -> impl Iterator<Item = (u32, u32)> {
    let rows = area.y..area.y + area.height;
    rows.flat_map(move |y| (area.x..area.x + area.width).map(move |x| (x, y)))
}

/// The font; it is part of the program, and read once.
fn font() -> Option<&'static FontRef<'static>> {
    static READ: OnceLock<Option<FontRef<'static>>> = OnceLock::new();
    READ.get_or_init(|| FontRef::try_from_slice(FONT).ok()).as_ref()
}

/// The font's own scale counts from the lowest to the highest line; this one by the letters' size.
fn scale(size: f32) -> ab_glyph::PxScale {
    let line = font().map_or(1.0, |f| f.height_unscaled() / f.units_per_em().unwrap_or(1000.0));
    ab_glyph::PxScale::from(size * line)
}

/// The glyphs of a line and where each begins.
fn glyphs(text: &str, size: f32) -> Vec<(GlyphId, f32)> {
    let Some(font) = font() else { return Vec::new() };
    let scaled = font.as_scaled(scale(size));
    let mut at = 0.0;
    let place = |c: char| {
        let glyph = scaled.glyph_id(c);
        let start = at;
        at += scaled.h_advance(glyph);
        (glyph, start)
    };
    text.chars().map(place).collect()
}

/// Width of a line in pixels.
pub(super) fn width_of(text: &str, size: f32) -> f32 {
    let end = glyphs(&format!("{text}|"), size).pop();
    end.map_or(0.0, |(_, at)| at)
}

/// The text, or its beginning with an ellipsis if that is all that fits.
fn fitted(text: &str, width: f32, size: f32) -> String {
    if width_of(text, size) <= width {
        return text.to_owned();
    }
    let mut kept: String = text.to_owned();
    while !kept.is_empty() && width_of(&format!("{kept}…"), size) > width {
        kept.pop();
    }
    kept.push('…');
    kept
}

/// Text broken between words.
fn lines(text: &str, width: f32, size: f32) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if width_of(&format!("{line} {word}"), size) <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const INK: Style = Style { size: 20.0, colour: Rgb([0; 3]) };

    fn written(text: &str) -> RgbImage {
        let mut canvas = Canvas::new(120, 40, Rgb([255; 3]));
        canvas.text(text, (10, 30), 100, INK);
        canvas.image()
    }

    #[test]
    fn letters_stand_on_their_line_and_look_different() {
        let (e, g, nothing) = (written("E"), written("g"), written(" "));
        let inked = |image: &RgbImage| -> Vec<u32> {
            let dark = image.enumerate_pixels().filter(|(.., pixel)| pixel.0[0] < 128);
            dark.map(|(_, y, _)| y).collect()
        };
        let (top, bottom) = (inked(&e).into_iter().min(), inked(&e).into_iter().max());
        assert!((14..=17).contains(&top.unwrap()) && (29..=30).contains(&bottom.unwrap()));
        assert!(inked(&g).into_iter().max() > Some(31), "a descender goes below the line");
        assert!(inked(&nothing).is_empty());
        assert!(!inked(&written("é")).is_empty() && written("é") != written("e"));
    }

    #[test]
    fn text_is_broken_between_words_and_cut_where_it_must_be() {
        let all = lines("a red sun over blue mountains at dusk", 120.0, 20.0);
        assert!(all.len() > 2 && all.iter().all(|line| width_of(line, 20.0) <= 120.0), "{all:?}");
        assert_eq!(all.join(" "), "a red sun over blue mountains at dusk");
        assert!(fitted("watercolour", 50.0, 20.0).ends_with('…'));
        assert_eq!(fitted("sun", 50.0, 20.0), "sun");
    }

    proptest! {
        #[test]
        fn any_text_can_be_written_anywhere(text in "\\PC{0,20}", x in 0u32..200, y in 0u32..60) {
            let mut canvas = Canvas::new(100, 40, Rgb([255; 3]));
            canvas.text(&text, (x, y), 80, INK);
            prop_assert!(width_of(&text, 20.0) >= 0.0);
        }
    }
}
