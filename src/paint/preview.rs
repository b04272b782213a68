//! Pictures in the terminal.
//!
//! A terminal that can show pictures is sent one (kitty's graphics protocol, iTerm2's inline
//! images). Any other with colours gets two pixels per character: an upper half block whose
//! foreground is the upper pixel and whose background the lower.

use std::fmt::Write;

use image::{Rgb, RgbImage, imageops};

/// How a terminal shows pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// kitty's graphics protocol.
    Kitty,
    /// iTerm2's inline images.
    Iterm2,
    /// Half blocks in 24-bit colour.
    TrueColour,
    /// Half blocks in the 256 colours of xterm.
    Palette,
}

impl Protocol {
    /// What the terminal says it can do; `None` when it is no terminal or wants no colour.
    ///
    /// `variable` gives the environment's variables.
    pub fn detect(terminal: bool, variable: impl Fn(&str) -> Option<String>) -> Option<Self> {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let term = set("TERM").unwrap_or_default();
        if !terminal || set("NO_COLOR").is_some() || term == "dumb" {
            return None;
        }
        // Inside a multiplexer the outer terminal's variables may still be set.
        let multiplexed = set("TMUX").is_some() || term.starts_with("screen");
        if let Some(protocol) = inline(&term, &set).filter(|_| !multiplexed) {
            return Some(protocol);
        }
        match set("COLORTERM").as_deref() {
            Some("truecolor" | "24bit") => Some(Self::TrueColour),
            _ if term.contains("256color") || term == "linux" => Some(Self::Palette),
            _ => None,
        }
    }
}

/// The protocol of a terminal that shows pictures as such.
fn inline(term: &str, set: &impl Fn(&str) -> Option<String>) -> Option<Protocol> {
    match set("TERM_PROGRAM").as_deref() {
        Some("iTerm.app" | "WezTerm") => Some(Protocol::Iterm2),
        Some("ghostty") => Some(Protocol::Kitty),
        _ if set("KITTY_WINDOW_ID").is_some() || term == "xterm-kitty" => Some(Protocol::Kitty),
        _ => None,
    }
}

/// A picture in half blocks, one character per pixel and two pixels high, for a terminal that shows
/// `protocol`.
pub fn blocks(image: &RgbImage, protocol: Protocol) -> String {
    match protocol {
        Protocol::Palette => half_blocks(image, palette_colour),
        Protocol::TrueColour | Protocol::Kitty | Protocol::Iterm2 => {
            half_blocks(image, true_colour)
        }
    }
}

/// What to print to show a picture at most `columns` characters wide. `file` is its PNG.
pub fn render(image: &RgbImage, file: &[u8], protocol: Protocol, columns: usize) -> String {
    match protocol {
        Protocol::Kitty => kitty(file, inline_columns(image, columns)),
        Protocol::Iterm2 => iterm2(file, inline_columns(image, columns)),
        Protocol::TrueColour => half_blocks(&fitted(image, columns), true_colour),
        Protocol::Palette => half_blocks(&fitted(image, columns), palette_colour),
    }
}

/// About eight pixels make the width of a character.
fn inline_columns(image: &RgbImage, columns: usize) -> usize {
    (image.width() as usize / 8).clamp(1, columns.max(1))
}

/// kitty takes a file in chunks of at most 4096 characters.
fn kitty(file: &[u8], columns: usize) -> String {
    const CHUNK: usize = 4096;
    let encoded = base64(file);
    let mut out = String::new();
    let mut rest = encoded.as_str();
    let mut keys = format!("a=T,f=100,c={columns},");
    loop {
        let (chunk, behind) = rest.split_at(rest.len().min(CHUNK));
        let more = u8::from(!behind.is_empty());
        let _ = write!(out, "\x1b_G{keys}m={more};{chunk}\x1b\\");
        if behind.is_empty() {
            break;
        }
        rest = behind;
        keys.clear();
    }
    out.push('\n');
    out
}

fn iterm2(file: &[u8], columns: usize) -> String {
    let size = file.len();
    let encoded = base64(file);
    format!("\x1b]1337;File=inline=1;size={size};width={columns}:{encoded}\x07\n")
}

/// Bytes in base64, padded.
pub fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |i: usize| u32::from(chunk.get(i).copied().unwrap_or(0));
        let joined = byte(0) << 16 | byte(1) << 8 | byte(2);
        for digit in 0..4 {
            let value = (joined >> (18 - 6 * digit)) & 63;
            out.push(if digit > chunk.len() { '=' } else { char::from(DIGITS[value as usize]) });
        }
    }
    out
}

/// The picture at one pixel per column, never enlarged.
fn fitted(image: &RgbImage, columns: usize) -> RgbImage {
    let (width, height) = image.dimensions();
    let columns = u32::try_from(columns.max(1)).unwrap_or(u32::MAX);
    if width <= columns {
        return image.clone();
    }
    let rows = u64::from(height) * u64::from(columns) / u64::from(width);
    imageops::thumbnail(image, columns, u32::try_from(rows.max(1)).unwrap_or(u32::MAX))
}

/// Two rows of pixels per line. `colour` spells a colour behind `38;` or `48;`.
fn half_blocks(image: &RgbImage, colour: fn(Rgb<u8>) -> String) -> String {
    let mut out = String::new();
    for y in (0..image.height()).step_by(2) {
        let mut before = String::new();
        for x in 0..image.width() {
            let mut codes = format!("38;{}", colour(*image.get_pixel(x, y)));
            if y + 1 < image.height() {
                let _ = write!(codes, ";48;{}", colour(*image.get_pixel(x, y + 1)));
            }
            if codes != before {
                let _ = write!(out, "\x1b[{codes}m");
                before = codes;
            }
            out.push('▀');
        }
        out.push_str("\x1b[0m\n");
    }
    out
}

fn true_colour(Rgb([r, g, b]): Rgb<u8>) -> String {
    format!("2;{r};{g};{b}")
}

/// The nearest of xterm's 6x6x6 cube (16 to 231) and its greys (232 to 255).
fn palette_colour(Rgb(rgb): Rgb<u8>) -> String {
    const LEVELS: [u8; 6] = [0, 95, 135, 175, 215, 255];
    let level = |value: u8| (0..6).min_by_key(|i| LEVELS[*i].abs_diff(value)).unwrap_or(0);
    let [r, g, b] = rgb.map(level);
    let mean = rgb.iter().map(|v| u32::from(*v)).sum::<u32>() / 3;
    let grey = (mean.saturating_sub(3) / 10).min(23) as u8;
    let distance = |other: [u8; 3]| -> u32 {
        rgb.iter().zip(other).map(|(a, b)| u32::from(a.abs_diff(b)).pow(2)).sum()
    };
    if distance([8 + 10 * grey; 3]) < distance([LEVELS[r], LEVELS[g], LEVELS[b]]) {
        format!("5;{}", 232 + u32::from(grey))
    } else {
        format!("5;{}", 16 + 36 * r + 6 * g + b)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture() -> RgbImage {
        RgbImage::from_fn(4, 3, |x, y| Rgb([x as u8 * 80, y as u8 * 100, 128]))
    }

    fn shown(protocol: Protocol, columns: usize) -> String {
        render(&picture(), b"not really a PNG", protocol, columns).replace('\x1b', "ESC")
    }

    #[test]
    fn every_protocol_prints_what_its_terminals_expect() {
        insta::assert_snapshot!(
            [
                shown(Protocol::TrueColour, 80),
                shown(Protocol::Palette, 80),
                shown(Protocol::TrueColour, 2),
                shown(Protocol::Kitty, 80).replace('\x07', "BEL"),
                shown(Protocol::Iterm2, 80).replace('\x07', "BEL"),
            ]
            .join("\n")
        );
    }

    #[test]
    fn a_long_file_goes_to_kitty_in_chunks() {
        let out = kitty(&[7; 7000], 10);
        assert_eq!(out.matches("\x1b_G").count(), 3);
        assert_eq!((out.matches("m=1;").count(), out.matches("m=0;").count()), (2, 1));
        assert_eq!(out.matches("a=T").count(), 1);
    }

    #[test]
    fn base64_is_padded_as_the_standard_says() {
        let encoded = ["", "f", "fo", "foo", "foob"].map(|text| base64(text.as_bytes()));
        assert_eq!(encoded, ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg=="]);
    }

    #[test]
    fn a_terminal_is_known_by_its_variables() {
        let detect = |terminal: bool, set: &[(&str, &str)]| {
            Protocol::detect(terminal, |name| {
                set.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned())
            })
        };
        let xterm = ("TERM", "xterm-256color");
        let kitty = ("KITTY_WINDOW_ID", "1");
        let full = ("COLORTERM", "truecolor");
        assert_eq!(detect(true, &[xterm]), Some(Protocol::Palette));
        assert_eq!(detect(true, &[xterm, full]), Some(Protocol::TrueColour));
        assert_eq!(detect(true, &[("TERM", "xterm-kitty"), full]), Some(Protocol::Kitty));
        assert_eq!(detect(true, &[xterm, kitty]), Some(Protocol::Kitty));
        assert_eq!(detect(true, &[xterm, kitty, ("TMUX", "/x")]), Some(Protocol::Palette));
        let iterm = ("TERM_PROGRAM", "iTerm.app");
        assert_eq!(detect(true, &[xterm, iterm]), Some(Protocol::Iterm2));
        assert_eq!(detect(false, &[xterm, full]), None);
        assert_eq!(detect(true, &[xterm, full, ("NO_COLOR", "1")]), None);
        assert_eq!(detect(true, &[xterm, full, ("NO_COLOR", "")]), Some(Protocol::TrueColour));
        assert_eq!(detect(true, &[("TERM", "dumb"), full]), None);
        assert_eq!(detect(true, &[]), None);
    }

    #[test]
    fn greys_and_cube_colours_are_found_in_the_palette() {
        let code = |rgb: [u8; 3]| palette_colour(Rgb(rgb));
        assert_eq!(code([255, 0, 0]), "5;196");
        assert_eq!(code([0, 0, 0]), "5;16");
        assert_eq!(code([128, 128, 128]), "5;244");
        assert_eq!(code([95, 135, 175]), "5;67");
    }
}
