//! The inks of e-paper panels, and what they look like.
//!
//! A panel's inks are paler than their names: its white is a light grey, its blue nearly black. The
//! colours here are those that Pimoroni measured on its Inky boards and gives in its driver
//! (package `inky` 2.6.0, `SATURATED_PALETTE` of `inky_e673`, `inky_uc8159` and `inky_ac073tc1a`),
//! each with the pure colour that the ink stands for (`DESATURATED_PALETTE` there). Dithered with
//! the measured colours, a picture has strong and few colours; with the pure ones, pale and
//! truthful edges. [`Palette::blended`] lies between.

use std::str::FromStr;

use serde::Deserialize;

/// Which inks a panel has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Inks {
    /// E Ink Spectra 6: black, white, yellow, red, blue, green.
    Spectra6,
    /// Seven-colour panels with the controller UC8159: 4 and 5.7 inches.
    SevenColour,
    /// The seven-colour panel of 7.3 inches with the controller AC073TC1A.
    SevenColourLarge,
    /// Black and white.
    BlackWhite,
    /// Black, white and red.
    BlackWhiteRed,
    /// Black, white and yellow.
    BlackWhiteYellow,
    /// Black, white, yellow and red.
    BlackWhiteYellowRed,
    /// Four greys.
    Grey4,
    /// Sixteen greys.
    Grey16,
}

/// Every kind of inks, with its name in settings.
const NAMES: [(&str, Inks); 9] = [
    ("spectra6", Inks::Spectra6),
    ("seven-colour", Inks::SevenColour),
    ("seven-colour-large", Inks::SevenColourLarge),
    ("black-white", Inks::BlackWhite),
    ("black-white-red", Inks::BlackWhiteRed),
    ("black-white-yellow", Inks::BlackWhiteYellow),
    ("black-white-yellow-red", Inks::BlackWhiteYellowRed),
    ("grey4", Inks::Grey4),
    ("grey16", Inks::Grey16),
];

impl FromStr for Inks {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = NAMES.iter().find(|(name, _)| *name == text).map(|(_, inks)| *inks);
        known.ok_or_else(|| {
            let names = NAMES.map(|(name, _)| name).join(", ");
            format!("'{text}' are no inks that are known; take one of {names}")
        })
    }
}

/// One ink: what the panel's controller calls it, and its colour.
#[derive(Clone, Copy, Debug)]
struct Ink {
    code: u8,
    measured: [u8; 3],
    pure: [u8; 3],
}

const fn ink(code: u8, measured: [u8; 3], pure: [u8; 3]) -> Ink {
    Ink { code, measured, pure }
}

const BLACK: [u8; 3] = [0; 3];
const WHITE: [u8; 3] = [255; 3];
const RED: [u8; 3] = [255, 0, 0];
const GREEN: [u8; 3] = [0, 255, 0];
const BLUE: [u8; 3] = [0, 0, 255];
const YELLOW: [u8; 3] = [255, 255, 0];
const ORANGE: [u8; 3] = [255, 140, 0];

/// Code 4 stands for no ink.
const SPECTRA_6: [Ink; 6] = [
    ink(0, [0, 0, 0], BLACK),
    ink(1, [161, 164, 165], WHITE),
    ink(2, [208, 190, 71], YELLOW),
    ink(3, [156, 72, 75], RED),
    ink(5, [61, 59, 94], BLUE),
    ink(6, [58, 91, 70], GREEN),
];

const SEVEN_COLOUR: [Ink; 7] = [
    ink(0, [57, 48, 57], BLACK),
    ink(1, [255, 255, 255], WHITE),
    ink(2, [58, 91, 70], GREEN),
    ink(3, [61, 59, 94], BLUE),
    ink(4, [156, 72, 75], RED),
    ink(5, [208, 190, 71], YELLOW),
    ink(6, [177, 106, 73], ORANGE),
];

const SEVEN_COLOUR_LARGE: [Ink; 7] = [
    ink(0, [0, 0, 0], BLACK),
    ink(1, [217, 242, 255], WHITE),
    ink(2, [3, 124, 76], GREEN),
    ink(3, [27, 46, 198], BLUE),
    ink(4, [245, 80, 34], RED),
    ink(5, [255, 255, 68], YELLOW),
    ink(6, [239, 121, 44], ORANGE),
];

/// Panels of two to four inks are named by these codes; nobody gives measured colours for them,
/// so red and yellow are taken from panels that have been measured.
const BLACK_WHITE: [Ink; 2] = [ink(0, BLACK, BLACK), ink(1, WHITE, WHITE)];
const BLACK_WHITE_RED: [Ink; 3] = [BLACK_WHITE[0], BLACK_WHITE[1], ink(2, [156, 72, 75], RED)];
const BLACK_WHITE_YELLOW: [Ink; 3] =
    [BLACK_WHITE[0], BLACK_WHITE[1], ink(2, [208, 190, 71], YELLOW)];
const BLACK_WHITE_YELLOW_RED: [Ink; 4] =
    [BLACK_WHITE[0], BLACK_WHITE[1], BLACK_WHITE_YELLOW[2], ink(3, [156, 72, 75], RED)];

/// The colours to dither to: those of a panel's inks.
#[derive(Clone, Debug, PartialEq)]
pub struct Palette {
    /// The colours; the first is black.
    pub(super) colours: Vec<[u8; 3]>,
    /// What the panel's controller calls each of them.
    pub(super) codes: Vec<u8>,
    /// Which of them is white: not always the lightest, as measured.
    pub(super) white: usize,
}

impl Palette {
    /// The inks as pure colours (`saturation` 0), as they were measured (1), or between; Pimoroni's
    /// driver takes 0.5 and the same formula.
    pub fn blended(inks: Inks, saturation: f32) -> Self {
        let weight = f64::from(saturation.clamp(0.0, 1.0));
        let blend = |ink: &Ink| {
            std::array::from_fn(|i| {
                let (measured, pure) = (f64::from(ink.measured[i]), f64::from(ink.pure[i]));
                (measured * weight + pure * (1.0 - weight)) as u8
            })
        };
        match inks {
            Inks::Spectra6 => Self::of(&SPECTRA_6, blend),
            Inks::SevenColour => Self::of(&SEVEN_COLOUR, blend),
            Inks::SevenColourLarge => Self::of(&SEVEN_COLOUR_LARGE, blend),
            Inks::BlackWhite => Self::of(&BLACK_WHITE, blend),
            Inks::BlackWhiteRed => Self::of(&BLACK_WHITE_RED, blend),
            Inks::BlackWhiteYellow => Self::of(&BLACK_WHITE_YELLOW, blend),
            Inks::BlackWhiteYellowRed => Self::of(&BLACK_WHITE_YELLOW_RED, blend),
            Inks::Grey4 => Self::greys(4),
            Inks::Grey16 => Self::greys(16),
        }
    }

    /// The colours; the first is black.
    pub fn colours(&self) -> &[[u8; 3]] {
        &self.colours
    }

    fn of(inks: &[Ink], colour: impl Fn(&Ink) -> [u8; 3]) -> Self {
        let colours = inks.iter().map(colour).collect();
        Self { colours, codes: inks.iter().map(|ink| ink.code).collect(), white: 1 }
    }

    /// Greys at even distances as a screen shows them, black first.
    fn greys(count: u8) -> Self {
        let colours =
            (0..count).map(|level| [(u16::from(level) * 255 / u16::from(count - 1)) as u8; 3]);
        let white = usize::from(count - 1);
        Self { colours: colours.collect(), codes: (0..count).collect(), white }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blend_is_pimoronis() {
        // `_palette_blend(0.5)` of inky_e673 in PyPI's `inky` 2.6.0.
        let blend = [[0, 0, 0], [208, 209, 210], [231, 222, 35], [205, 36, 37]];
        let palette = Palette::blended(Inks::Spectra6, 0.5);
        assert_eq!(palette.colours[..4], blend);
        assert_eq!(palette.colours[4..], [[30, 29, 174], [29, 173, 35]]);
        assert_eq!(palette.codes, [0, 1, 2, 3, 5, 6]);
    }

    #[test]
    fn pure_and_measured_colours_are_the_ends() {
        let colours = |saturation| Palette::blended(Inks::SevenColour, saturation).colours[6];
        assert_eq!(
            [colours(0.0), colours(1.0), colours(7.0)],
            [ORANGE, [177, 106, 73], [177, 106, 73]]
        );
    }

    #[test]
    fn greys_go_from_black_to_white() {
        let greys = Palette::blended(Inks::Grey4, 0.5);
        assert_eq!(greys.colours, [[0; 3], [85; 3], [170; 3], [255; 3]]);
        assert_eq!(Palette::blended(Inks::Grey16, 0.5).colours.len(), 16);
    }

    #[test]
    fn every_name_is_read_in_settings_as_on_the_command_line() {
        for (name, inks) in NAMES {
            assert_eq!(name.parse(), Ok(inks));
            assert_eq!(serde_json::from_str::<Inks>(&format!("\"{name}\"")).unwrap(), inks);
        }
        assert!("cmyk".parse::<Inks>().unwrap_err().starts_with("'cmyk' are no inks"));
    }
}
