//! Error diffusion: a picture in the few colours of a panel.
//!
//! Every pixel becomes the nearest colour that the panel has, and what is lost is handed to its
//! neighbours that are still to come (Floyd and Steinberg 1976; Atkinson's weights are those of the
//! first Macintosh). Three things matter for how it looks:
//!
//! - Light adds up in linear light, so that is where errors are counted; which colour is nearest is
//!   a matter of the eye, so that is judged in OKLab (Ottosson 2020).
//! - A panel's white is a grey. The picture's white is shown as the panel's white and its black as
//!   the panel's black, and all between in proportion. Colours that no mixture of the inks shows
//!   are moved to the nearest that one does ([`gamut`](super::gamut)).
//! - Rows are gone through to and fro, so that errors do not drift to one side.
//!
//! The same picture gives the same pixels on every machine: sums in f32 in one order, and roots
//! from `libm`.

use std::str::FromStr;

use image::{Rgb, RgbImage};
use serde::Deserialize;

use super::gamut::Gamut;
use super::palette::Palette;

/// How errors are handed on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Dithering {
    /// All of an error to four neighbours: keeps every tone.
    #[default]
    FloydSteinberg,
    /// Three quarters to six neighbours: more contrast, and clean lights and shadows.
    Atkinson,
    /// Not at all: flat areas, for drawings.
    None,
}

impl FromStr for Dithering {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "floyd-steinberg" => Ok(Self::FloydSteinberg),
            "atkinson" => Ok(Self::Atkinson),
            "none" => Ok(Self::None),
            _ => Err(format!(
                "'{text}' is no way of dithering; take floyd-steinberg, atkinson or none"
            )),
        }
    }
}

impl Dithering {
    /// Steps to the neighbours, along the way and down, with each one's share of the error.
    fn neighbours(self) -> &'static [(isize, usize, f32)] {
        const SIXTEENTH: f32 = 1.0 / 16.0;
        const EIGHTH: f32 = 1.0 / 8.0;
        match self {
            Self::FloydSteinberg => &[
                (1, 0, 7.0 * SIXTEENTH),
                (-1, 1, 3.0 * SIXTEENTH),
                (0, 1, 5.0 * SIXTEENTH),
                (1, 1, SIXTEENTH),
            ],
            Self::Atkinson => &[
                (1, 0, EIGHTH),
                (2, 0, EIGHTH),
                (-1, 1, EIGHTH),
                (0, 1, EIGHTH),
                (1, 1, EIGHTH),
                (0, 2, EIGHTH),
            ],
            Self::None => &[],
        }
    }
}

/// A picture in a palette's colours.
#[derive(Clone, Debug, PartialEq)]
pub struct Dithered {
    width: u32,
    height: u32,
    /// For every pixel, row by row, which of the palette's colours it has.
    indices: Vec<u8>,
    palette: Palette,
}

impl Dithered {
    /// The picture, in the palette's colours.
    pub fn picture(&self) -> RgbImage {
        RgbImage::from_fn(self.width, self.height, |x, y| {
            let index = self.indices[(y * self.width + x) as usize];
            Rgb(self.palette.colours[usize::from(index)])
        })
    }

    /// For every pixel, row by row, what the panel's controller calls its colour.
    pub fn codes(&self) -> Vec<u8> {
        self.indices.iter().map(|index| self.palette.codes[usize::from(*index)]).collect()
    }
}

/// The picture in the palette's colours: [`Paper::dither`] on new paper.
pub fn dither(picture: &RgbImage, palette: &Palette, dithering: Dithering) -> Dithered {
    Paper::new(palette).dither(picture, dithering)
}

/// A colour in linear light, where 0 is the panel's black and 1 its white.
pub(super) type Light = [f32; 3];

fn minus(a: Light, b: Light) -> Light {
    std::array::from_fn(|i| a[i] - b[i])
}

/// A palette, made ready for dithering.
#[derive(Debug)]
pub struct Paper {
    palette: Palette,
    /// The palette's colours in linear light, black at 0 and white at 1.
    colours: Vec<Light>,
    /// The same in OKLab.
    seen: Vec<[f32; 3]>,
    /// Linear light of every 8-bit value.
    linear: [f32; 256],
    /// How far colours are moved that no mixture of inks shows.
    gamut: Gamut,
}

impl Paper {
    /// Paper for that palette's inks.
    pub fn new(palette: &Palette) -> Self {
        let linear = std::array::from_fn(|value| linear(value as f32 / 255.0));
        let light = |colour: &[u8; 3]| colour.map(|value| linear[usize::from(value)]);
        let inks: Vec<Light> = palette.colours.iter().map(light).collect();
        let black = inks.first().copied().unwrap_or([0.0; 3]);
        let white = inks.get(palette.white).copied().unwrap_or([1.0; 3]);
        let relative = |ink: &Light| {
            std::array::from_fn(|i| (ink[i] - black[i]) / (white[i] - black[i]).max(1e-3))
        };
        let colours: Vec<Light> = inks.iter().map(relative).collect();
        let seen = colours.iter().map(|colour| oklab(*colour)).collect();
        let gamut = Gamut::new(&colours, &linear);
        Self { palette: palette.clone(), colours, seen, linear, gamut }
    }

    /// The inks.
    pub fn palette(&self) -> &Palette {
        &self.palette
    }

    /// The picture in the palette's colours.
    pub fn dither(&self, picture: &RgbImage, dithering: Dithering) -> Dithered {
        let (width, height) = picture.dimensions();
        let mut errors = Errors::new(width as usize, dithering);
        let mut indices = vec![0; width as usize * height as usize];
        for y in 0..height {
            let row = &mut indices[(y * width) as usize..][..width as usize];
            for step in 0..width {
                let x = if errors.backwards { width - 1 - step } else { step };
                let wanted = errors.added(x as usize, self.light(picture.get_pixel(x, y)));
                let index = self.nearest(wanted);
                row[x as usize] = index as u8;
                errors.hand_on(x as usize, minus(wanted, self.colours[index]));
            }
            errors.next_row();
        }
        Dithered { width, height, indices, palette: self.palette.clone() }
    }

    /// The light that stands for a pixel.
    fn light(&self, pixel: &Rgb<u8>) -> Light {
        self.gamut.moved(pixel.0, pixel.0.map(|value| self.linear[usize::from(value)]))
    }

    /// The colour that looks most like that light. Of few inks, the one that looks nearest may be
    /// one whose error none of the others makes up for, such as yellow for a blue that is missing:
    /// there light itself decides.
    fn nearest(&self, wanted: Light) -> usize {
        let few = self.colours.len() <= FEW;
        let (inks, wanted) =
            if few { (&self.colours, wanted) } else { (&self.seen, oklab(wanted)) };
        let distance = |ink: &[f32; 3]| minus(*ink, wanted).map(|d| d * d).iter().sum::<f32>();
        let distances = inks.iter().map(distance).enumerate();
        distances.min_by(|a, b| a.1.total_cmp(&b.1)).map_or(0, |(index, _)| index)
    }
}

/// Inks that are too few for every hue.
const FEW: usize = 4;

/// The share of an error that is handed on. Were it all, an error that the inks cannot make up for
/// would grow from row to row.
const HANDED_ON: f32 = 0.99;

/// Errors on their way to pixels that are still to come.
struct Errors {
    neighbours: &'static [(isize, usize, f32)],
    /// The row at hand and the two below.
    rows: [Vec<Light>; 3],
    /// Whether the row at hand is gone through from its end.
    backwards: bool,
}

impl Errors {
    fn new(width: usize, dithering: Dithering) -> Self {
        let rows = std::array::from_fn(|_| vec![[0.0; 3]; width]);
        Self { neighbours: dithering.neighbours(), rows, backwards: false }
    }

    fn added(&self, x: usize, light: Light) -> Light {
        std::array::from_fn(|i| light[i] + self.rows[0][x][i])
    }

    fn hand_on(&mut self, x: usize, error: Light) {
        for (along, down, share) in self.neighbours {
            let along = if self.backwards { -along } else { *along };
            let neighbour = x.checked_add_signed(along).and_then(|x| self.rows[*down].get_mut(x));
            for (sum, error) in neighbour.into_iter().flatten().zip(error) {
                *sum += error * (share * HANDED_ON);
            }
        }
    }

    fn next_row(&mut self) {
        self.rows.rotate_left(1);
        self.rows[2].fill([0.0; 3]);
        self.backwards = !self.backwards;
    }
}

/// sRGB's transfer function, inverted.
fn linear(value: f32) -> f32 {
    if value <= 0.04045 { value / 12.92 } else { libm::powf((value + 0.055) / 1.055, 2.4) }
}

/// Linear sRGB in OKLab: lightness, green to red, blue to yellow.
fn oklab([r, g, b]: Light) -> [f32; 3] {
    let l = libm::cbrtf(0.412_221_47 * r + 0.536_332_55 * g + 0.051_445_995 * b);
    let m = libm::cbrtf(0.211_903_5 * r + 0.680_699_5 * g + 0.107_396_96 * b);
    let s = libm::cbrtf(0.088_302_46 * r + 0.281_718_85 * g + 0.629_978_7 * b);
    [
        0.210_454_26 * l + 0.793_617_8 * m - 0.004_072_047 * s,
        1.977_998_5 * l - 2.428_592_2 * m + 0.450_593_7 * s,
        0.025_904_037 * l + 0.782_771_77 * m - 0.808_675_77 * s,
    ]
}

#[cfg(test)]
mod tests {
    use super::super::palette::Inks;
    use super::*;
    use proptest::prelude::*;
    use std::sync::OnceLock;

    const ALL: [Inks; 9] = [
        Inks::Spectra6,
        Inks::SevenColour,
        Inks::SevenColourLarge,
        Inks::BlackWhite,
        Inks::BlackWhiteRed,
        Inks::BlackWhiteYellow,
        Inks::BlackWhiteYellowRed,
        Inks::Grey4,
        Inks::Grey16,
    ];

    fn paper(inks: usize) -> &'static Paper {
        static PAPERS: [OnceLock<Paper>; ALL.len()] = [const { OnceLock::new() }; ALL.len()];
        PAPERS[inks].get_or_init(|| Paper::new(&Palette::blended(ALL[inks], 0.5)))
    }

    /// The mean light of a dithered picture, its outer pixels left out.
    fn mean(paper: &Paper, dithered: &Dithered) -> Light {
        let (width, edge) = (dithered.width as usize, 4);
        let inner = |at: usize| {
            let (x, y) = (at % width, at / width);
            let inside = |at: usize, side: u32| (edge..side as usize - edge).contains(&at);
            inside(x, dithered.width) && inside(y, dithered.height)
        };
        let inner = dithered.indices.iter().enumerate().filter(|(at, _)| inner(*at));
        let lights: Vec<Light> =
            inner.map(|(_, index)| paper.colours[usize::from(*index)]).collect();
        std::array::from_fn(|i| lights.iter().map(|l| l[i]).sum::<f32>() / lights.len() as f32)
    }

    #[test]
    fn black_and_white_stay_what_they_are_on_every_panel() {
        for (inks, name) in ALL.iter().enumerate() {
            let white = paper(inks).palette().white;
            for (value, index) in [(0, 0), (255, white)] {
                let flat = RgbImage::from_pixel(8, 8, Rgb([value; 3]));
                let dithered = paper(inks).dither(&flat, Dithering::FloydSteinberg);
                assert!(dithered.indices.iter().all(|i| usize::from(*i) == index), "{name:?}");
            }
        }
    }

    #[test]
    fn a_flat_colour_is_the_same_at_the_top_and_at_the_bottom() {
        for (inks, name) in ALL.iter().enumerate() {
            for pixel in [[255, 0, 255], [90, 60, 140], [0, 200, 255], [250, 250, 240]] {
                let flat = RgbImage::from_pixel(24, 300, Rgb(pixel));
                let dithered = paper(inks).dither(&flat, Dithering::FloydSteinberg);
                let part = |rows: std::ops::Range<usize>| Dithered {
                    height: rows.len() as u32,
                    indices: dithered.indices[rows.start * 24..rows.end * 24].to_vec(),
                    ..dithered.clone()
                };
                let (top, bottom) =
                    (mean(paper(inks), &part(0..60)), mean(paper(inks), &part(240..300)));
                let apart = top.iter().zip(bottom).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(apart < 0.06, "{name:?} {pixel:?}: {top:?} {bottom:?}");
            }
        }
    }

    #[test]
    fn a_picture_without_pixels_is_dithered_to_nothing() {
        for (width, height) in [(0, 0), (0, 5), (5, 0)] {
            let dithered = paper(0).dither(&RgbImage::new(width, height), Dithering::Atkinson);
            assert!(dithered.indices.is_empty());
        }
    }

    #[test]
    fn words_for_dithering_are_read_and_others_refused() {
        assert_eq!("atkinson".parse(), Ok(Dithering::Atkinson));
        assert!(
            "bayer".parse::<Dithering>().unwrap_err().contains("'bayer' is no way of dithering")
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn every_pixel_has_an_ink_and_the_same_again(
            pixels in proptest::collection::vec(any::<[u8; 3]>(), 1..80),
            width in 1_u32..9,
            inks in 0..ALL.len(),
            way in 0_usize..3,
        ) {
            let height = (pixels.len() as u32 / width).max(1);
            let at = |x: u32, y: u32| pixels[(y * width + x) as usize % pixels.len()];
            let picture = RgbImage::from_fn(width, height, |x, y| Rgb(at(x, y)));
            let palette = paper(inks).palette();
            let way = [Dithering::FloydSteinberg, Dithering::Atkinson, Dithering::None][way];
            let dithered = paper(inks).dither(&picture, way);
            prop_assert_eq!(dithered.indices.len() as u32, width * height);
            let shown = dithered.picture();
            prop_assert!(shown.pixels().all(|p| palette.colours.contains(&p.0)));
            let codes = dithered.codes();
            prop_assert!(codes.iter().all(|code| palette.codes.contains(code)));
            prop_assert_eq!(paper(inks).dither(&picture, way), dithered);
        }

        #[test]
        fn the_mean_of_a_flat_colour_is_kept(pixel: [u8; 3], inks in 0..ALL.len()) {
            let paper = paper(inks);
            let flat = RgbImage::from_pixel(40, 40, Rgb(pixel));
            let mean = mean(paper, &paper.dither(&flat, Dithering::FloydSteinberg));
            let wanted = paper.light(&Rgb(pixel));
            for (mean, wanted) in mean.into_iter().zip(wanted) {
                prop_assert!((mean - wanted).abs() < 0.05, "{mean} for {wanted}");
            }
        }
    }
}
