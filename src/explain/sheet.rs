//! An explanation as one picture.

use image::{Rgb, RgbImage};

use super::canvas::{Area, Canvas, Style, width_of};
use super::colours::overlay;
use super::{Explanation, Guided, Moment, TIMES, Token, Which, Words, percent, settings_line};

const PAPER: Rgb<u8> = Rgb([251, 250, 247]);
const INK: Rgb<u8> = Rgb([35, 38, 43]);
const SOFT: Rgb<u8> = Rgb([106, 111, 120]);
const MARK: Rgb<u8> = Rgb([180, 83, 42]);
const RULE: Rgb<u8> = Rgb([226, 223, 216]);

const TITLE: Style = Style { size: 30.0, colour: INK };
const HEAD: Style = Style { size: 20.0, colour: INK };
const LABEL: Style = Style { size: 15.0, colour: INK };
const NOTE: Style = Style { size: 14.0, colour: SOFT };
const TINY: Style = Style { size: 10.5, colour: SOFT };

/// Cells in a row.
const COLUMNS: u32 = 8;
const GAP: u32 = 14;
const MARGIN: u32 = 44;
/// The longer side of a cell's picture.
const CELL: u32 = 156;
const WIDTH: u32 = 2 * MARGIN + COLUMNS * CELL + (COLUMNS - 1) * GAP;
/// From one section to the next heading's letters.
const SECTION: u32 = 62;
/// Small maps below a token's: gap, height of their captions.
const SMALL_GAP: u32 = 4;
const CAPTION: u32 = 15;

/// The explanation on one sheet: picture and settings, the way, the words, guidance.
pub fn sheet(explanation: &Explanation) -> RgbImage {
    let picture = &explanation.painting.image;
    let longer = picture.width().max(picture.height()).max(1);
    let scaled = |side: u32| (CELL * side / longer).max(1);
    let cell = (scaled(picture.width()), scaled(picture.height()));
    // Sections are laid out twice: once to know how high the sheet is.
    let mut measured = Sheet { canvas: Canvas::new(1, 1, PAPER), cell, y: MARGIN };
    measured.draw(explanation);
    let height = measured.y + MARGIN;
    let mut sheet = Sheet { canvas: Canvas::new(WIDTH, height, PAPER), cell, y: MARGIN };
    sheet.draw(explanation);
    sheet.canvas.image()
}

/// A sheet being filled from above.
struct Sheet {
    canvas: Canvas,
    /// Width and height of a cell's picture.
    cell: (u32, u32),
    y: u32,
}

impl Sheet {
    fn draw(&mut self, explanation: &Explanation) {
        self.header(explanation);
        self.way(&explanation.moments);
        if let Some(words) = &explanation.words {
            self.words(words, &explanation.painting.image);
        }
        self.guidance(&explanation.guided, explanation.painting.request.guidance);
    }

    /// Left edge of a column.
    fn column(i: u32) -> u32 {
        MARGIN + i % COLUMNS * (CELL + GAP)
    }

    fn area(&self, x: u32, y: u32) -> Area {
        Area { x, y, width: self.cell.0, height: self.cell.1 }
    }

    /// The picture at twice the size of a cell, and beside it the words and settings.
    fn header(&mut self, explanation: &Explanation) {
        let (width, height) = (2 * self.cell.0 + GAP, 2 * self.cell.1 + GAP);
        let area = Area { x: MARGIN, y: self.y, width, height };
        self.canvas.picture(&explanation.painting.image, area);
        let x = MARGIN + width + 2 * GAP;
        let room = WIDTH - MARGIN - x;
        let request = &explanation.painting.request;
        let prompt = if request.prompt.is_empty() { "(no words)" } else { &request.prompt };
        let y = self.canvas.paragraph(prompt, (x, self.y + 28), room, (TITLE, 38));
        let mut y = self.canvas.paragraph(&settings_line(request), (x, y + 32), room, (NOTE, 20));
        if !request.negative.is_empty() {
            let negative = format!("not: {}", request.negative);
            y = self.canvas.paragraph(&negative, (x, y + 22), room, (NOTE, 20));
        }
        let note = "How this picture came about: the way from noise in some of its steps, where every \
                    word was looked at, and the same seed at other guidance.";
        self.canvas.paragraph(note, (x, y + 36), room, (LABEL, 22));
        self.y += height;
    }

    fn heading(&mut self, title: &str, note: &str) {
        self.y += SECTION;
        let rule = Area { x: MARGIN, y: self.y - 34, width: WIDTH - 2 * MARGIN, height: 1 };
        self.canvas.fill(rule, RULE);
        self.canvas.text(title, (MARGIN, self.y), WIDTH - 2 * MARGIN, HEAD);
        let room = WIDTH - 2 * MARGIN;
        self.y = self.canvas.paragraph(note, (MARGIN, self.y + 24), room, (NOTE, 19)) + 14;
    }

    fn way(&mut self, moments: &[Moment]) {
        self.heading(
            "From noise to picture",
            "Above what the network was given at a step, below what it took that for; both decoded. \
             The next step begins a little nearer to the lower one.",
        );
        for (i, moment) in (0..).zip(moments) {
            let x = Self::column(i);
            let label = format!("step {}", moment.step);
            let time = format!("t = {}", moment.timestep);
            self.canvas.text(&label, (x, self.y + 14), CELL, LABEL);
            let at = x + width_of(&label, LABEL.size) as u32 + 8;
            self.canvas.text(&time, (at, self.y + 14), CELL, NOTE);
            let area = self.area(x, self.y + 24);
            self.canvas.picture(&moment.noisy, area);
            let area = self.area(x, self.y + 24 + self.cell.1 + SMALL_GAP);
            self.canvas.picture(&moment.clean, area);
        }
        self.y += 24 + 2 * self.cell.1 + SMALL_GAP;
    }

    fn words(&mut self, words: &Words, picture: &RgbImage) {
        let small = small_maps(words);
        self.heading(
            "Where every word was looked at",
            "Cross-attention of all heads, layers and steps: bright where the word counted most in \
             what was painted there, each map on its own scale; beside the word its share of all \
             attention. Small: thirds of the way, then feature maps of each size.",
        );
        let rows = (small.len() as u32).div_ceil(3);
        let height = 24 + self.cell.1 + rows * (self.small().1 + CAPTION + SMALL_GAP);
        let tokens = words.tokens.len() as u32;
        for (i, token) in (0..).zip(&words.tokens) {
            let y = self.y + i / COLUMNS * (height + GAP);
            self.token(words, token, picture, ((Self::column(i), y), &small));
        }
        let lines = tokens.div_ceil(COLUMNS);
        self.y += lines * (height + GAP) - GAP.min(lines * GAP);
    }

    /// Width and height of a small map: three beside each other are a cell.
    fn small(&self) -> (u32, u32) {
        let width = (self.cell.0 - 2 * SMALL_GAP) / 3;
        (width, width * self.cell.1 / self.cell.0)
    }

    fn token(
        &mut self,
        words: &Words,
        token: &Token,
        picture: &RgbImage,
        ((x, y), small): ((u32, u32), &[(String, Which)]),
    ) {
        let Some(map) = words.map(token, Which::default()) else { return };
        let share = percent(map.mean());
        let share_at = self.cell.0.saturating_sub(width_of(&share, NOTE.size) as u32);
        let style = if token.of_prompt { LABEL } else { NOTE };
        self.canvas.text(&token.text, (x, y + 14), share_at.saturating_sub(6), style);
        self.canvas.text(&share, (x + share_at, y + 14), CELL, NOTE);
        let area = self.area(x, y + 24);
        self.canvas.picture(&overlay(picture, &map), area);
        let (width, height) = self.small();
        for (i, (name, which)) in (0..).zip(small) {
            let Some(map) = words.map(token, *which) else { continue };
            let x = x + i % 3 * (width + SMALL_GAP);
            let row = i / 3 * (height + CAPTION + SMALL_GAP);
            let y = y + 24 + self.cell.1 + SMALL_GAP + row;
            self.canvas.picture(&overlay(picture, &map), Area { x, y, width, height });
            self.canvas.text(name, (x, y + height + 11), width, TINY);
        }
    }

    fn guidance(&mut self, guided: &[Guided], asked: f32) {
        self.heading(
            "What guidance did",
            "The same noise, without words and at rising scales of classifier-free guidance.",
        );
        for (i, guided) in (0..).zip(guided) {
            let x = Self::column(i);
            let (label, style) = match guided.scale {
                None => ("no words".to_owned(), LABEL),
                Some(scale) if scale == asked => {
                    (format!("guidance {scale}"), Style { colour: MARK, ..LABEL })
                }
                Some(scale) => (format!("guidance {scale}"), LABEL),
            };
            self.canvas.text(&label, (x, self.y + 14), CELL, style);
            let area = self.area(x, self.y + 24);
            self.canvas.picture(&guided.image, area);
        }
        self.y += 24 + self.cell.1;
    }
}

/// The small maps of a token: by time, then by size, where there is more than one.
pub(super) fn small_maps(words: &Words) -> Vec<(String, Which)> {
    let time = |(i, name): (usize, &&str)| {
        ((*name).to_owned(), Which { time: Some(i), ..Which::default() })
    };
    let sizes = words.attention.sizes();
    let sizes = sizes.iter().filter(|_| sizes.len() > 1).map(|size| {
        (format!("{} x {}", size.1, size.0), Which { size: Some(*size), ..Which::default() })
    });
    TIMES.iter().enumerate().map(time).chain(sizes).collect()
}
