//! Tables of Waveshare's e-paper panels.
//!
//! The bytes are those that the maker's driver sends to its HATs (package `waveshare-epaper`
//! 1.4.0, modules `epd7in3e` and so on): `init`, `display` and `sleep`, after which the panel has
//! no power until the next frame. The tests compare with transcripts of that driver. It waits for
//! a busy panel for ever; how long that usually takes is here what Pimoroni's boards with the same
//! inks take, what the maker's pages say (5 s for black and white, 16 s with red), and a guess for
//! black, white, yellow and red.

use super::super::palette::Inks;
use super::panels::Step::{self, Ask, Frame, Off, On, Reset, Sleep, Wait, WaitHigh};
use super::panels::{FIRST, Packing, Panel};

/// What the driver sets.
const HERTZ: u32 = 4_000_000;

/// Milliseconds of a refresh, by inks.
const SPECTRA_6: u32 = 32_000;
const SEVEN_LARGE: u32 = 45_000;
const SEVEN: u32 = 32_000;
const FOUR: u32 = 30_000;
const THREE: u32 = 16_000;
const TWO: u32 = 5000;

/// Sets of inks, a bit for each code.
const BLACK: u8 = 1;
const WHITE: u8 = 1 << 1;
const RED: u8 = 1 << 2;

/// Deep sleep, and no power.
const SLEEP: [Step; 3] = [send(0x07, &[0xA5]), Sleep(2000), Off];

const fn send(command: u8, data: &'static [u8]) -> Step {
    Step::Send(FIRST, command, data)
}

const fn frame(command: u8, packing: Packing) -> Step {
    Frame(FIRST, command, packing)
}

/// A plane of one bit a pixel, set where it has one of those inks.
const fn plane(command: u8, inks: u8) -> Step {
    frame(command, Packing::Inks(inks))
}

/// 7.3 inches (E): Spectra 6.
pub static EPD_7IN3E: Panel = Panel {
    name: "Waveshare 7.3\" (E)",
    width: 800,
    height: 480,
    inks: Inks::Spectra6,
    hertz: HERTZ,
    turned: false,
    together: false,
    steps: &[
        On,
        Reset(true, 20),
        Reset(false, 2),
        Reset(true, 20),
        Wait(300),
        Sleep(30),
        send(0xAA, &[0x49, 0x55, 0x20, 0x08, 0x09, 0x18]),
        send(0x01, &[0x3F]),
        send(0x00, &[0x5F, 0x69]),
        send(0x03, &[0x00, 0x54, 0x00, 0x44]),
        send(0x05, &[0x40, 0x1F, 0x1F, 0x2C]),
        send(0x06, &[0x6F, 0x1F, 0x17, 0x49]),
        send(0x08, &[0x6F, 0x1F, 0x1F, 0x22]),
        send(0x30, &[0x03]),
        send(0x50, &[0x3F]),
        send(0x60, &[0x02, 0x00]),
        send(0x61, &[0x03, 0x20, 0x01, 0xE0]),
        send(0x84, &[0x01]),
        send(0xE3, &[0x2F]),
        send(0x04, &[]),
        Wait(300),
        frame(0x10, Packing::All),
        send(0x04, &[]),
        Wait(300),
        send(0x12, &[0x00]),
        Wait(SPECTRA_6),
        send(0x02, &[0x00]),
        Wait(300),
    ],
    rest: &SLEEP,
};

/// 7.3 inches (F): seven colours.
pub static EPD_7IN3F: Panel = Panel {
    name: "Waveshare 7.3\" (F)",
    width: 800,
    height: 480,
    inks: Inks::SevenColourLarge,
    hertz: HERTZ,
    turned: false,
    together: false,
    steps: &[
        On,
        Reset(true, 20),
        Reset(false, 2),
        Reset(true, 20),
        Wait(300),
        Sleep(30),
        send(0xAA, &[0x49, 0x55, 0x20, 0x08, 0x09, 0x18]),
        send(0x01, &[0x3F, 0x00, 0x32, 0x2A, 0x0E, 0x2A]),
        send(0x00, &[0x5F, 0x69]),
        send(0x03, &[0x00, 0x54, 0x00, 0x44]),
        send(0x05, &[0x40, 0x1F, 0x1F, 0x2C]),
        send(0x06, &[0x6F, 0x1F, 0x1F, 0x22]),
        send(0x08, &[0x6F, 0x1F, 0x1F, 0x22]),
        send(0x13, &[0x00, 0x04]),
        send(0x30, &[0x3C]),
        send(0x41, &[0x00]),
        send(0x50, &[0x3F]),
        send(0x60, &[0x02, 0x00]),
        send(0x61, &[0x03, 0x20, 0x01, 0xE0]),
        send(0x82, &[0x1E]),
        send(0x84, &[0x00]),
        send(0x86, &[0x00]),
        send(0xE3, &[0x2F]),
        send(0xE0, &[0x00]),
        send(0xE6, &[0x00]),
        frame(0x10, Packing::All),
        send(0x04, &[]),
        Wait(300),
        send(0x12, &[0x00]),
        Wait(SEVEN_LARGE),
        send(0x02, &[0x00]),
        Wait(300),
    ],
    rest: &SLEEP,
};

/// 5.65 inches (F): seven colours, by the UC8159.
pub static EPD_5IN65F: Panel = Panel {
    name: "Waveshare 5.65\" (F)",
    width: 600,
    height: 448,
    inks: Inks::SevenColour,
    hertz: HERTZ,
    turned: false,
    together: false,
    steps: &[
        On,
        Reset(true, 600),
        Reset(false, 2),
        Reset(true, 200),
        Wait(300),
        send(0x00, &[0xEF, 0x08]),
        send(0x01, &[0x37, 0x00, 0x23, 0x23]),
        send(0x03, &[0x00]),
        send(0x06, &[0xC7, 0xC7, 0x1D]),
        send(0x30, &[0x3C]),
        send(0x41, &[0x00]),
        send(0x50, &[0x37]),
        send(0x60, &[0x22]),
        send(0x61, &[0x02, 0x58, 0x01, 0xC0]),
        send(0xE3, &[0xAA]),
        Sleep(100),
        send(0x50, &[0x37]),
        send(0x61, &[0x02, 0x58, 0x01, 0xC0]),
        frame(0x10, Packing::All),
        send(0x04, &[]),
        Wait(300),
        send(0x12, &[]),
        Wait(SEVEN),
        send(0x02, &[]),
        WaitHigh(300),
        Sleep(500),
    ],
    rest: &[Sleep(500), send(0x07, &[0xA5]), Reset(false, 2000), Off],
};

/// 4.01 inches (F): seven colours, by the UC8159.
pub static EPD_4IN01F: Panel = Panel {
    name: "Waveshare 4.01\" (F)",
    width: 640,
    height: 400,
    inks: Inks::SevenColour,
    hertz: HERTZ,
    turned: false,
    together: false,
    steps: &[
        On,
        Reset(true, 200),
        Reset(false, 1),
        Reset(true, 200),
        Wait(300),
        send(0x00, &[0x2F, 0x00]),
        send(0x01, &[0x37, 0x00, 0x05, 0x05]),
        send(0x03, &[0x00]),
        send(0x06, &[0xC7, 0xC7, 0x1D]),
        send(0x41, &[0x00]),
        send(0x50, &[0x37]),
        send(0x60, &[0x22]),
        send(0x61, &[0x02, 0x80, 0x01, 0x90]),
        send(0xE3, &[0xAA]),
        send(0x61, &[0x02, 0x80, 0x01, 0x90]),
        frame(0x10, Packing::All),
        send(0x04, &[]),
        Wait(300),
        send(0x12, &[]),
        Wait(SEVEN),
        send(0x02, &[]),
        WaitHigh(300),
    ],
    rest: &SLEEP,
};

/// 7.3 inches (G): black, white, yellow and red.
pub static EPD_7IN3G: Panel = Panel {
    name: "Waveshare 7.3\" (G)",
    width: 800,
    height: 480,
    inks: Inks::BlackWhiteYellowRed,
    hertz: HERTZ,
    turned: false,
    together: false,
    steps: &four_inks(&[0x6F, 0x1F, 0x14, 0x14], &[0x03, 0x20, 0x01, 0xE0], &[0x01]),
    rest: &[send(0x02, &[0x00]), SLEEP[0], SLEEP[1], SLEEP[2]],
};

/// 4.37 inches (G): black, white, yellow and red.
pub static EPD_4IN37G: Panel = Panel {
    name: "Waveshare 4.37\" (G)",
    width: 512,
    height: 368,
    inks: Inks::BlackWhiteYellowRed,
    hertz: HERTZ,
    turned: false,
    together: false,
    steps: &four_inks(&[0x6F, 0x1F, 0x17, 0x17], &[0x02, 0x00, 0x01, 0x70], &[0x00]),
    rest: &[send(0x02, &[0x00]), SLEEP[0], SLEEP[1], SLEEP[2]],
};

/// A refresh of a panel with four inks: they differ in three registers.
const fn four_inks(
    booster: &'static [u8],
    resolution: &'static [u8],
    refresh: &'static [u8],
) -> [Step; 26] {
    [
        On,
        Reset(true, 200),
        Reset(false, 2),
        Reset(true, 200),
        Wait(300),
        Sleep(30),
        send(0xAA, &[0x49, 0x55, 0x20, 0x08, 0x09, 0x18]),
        send(0x01, &[0x3F]),
        send(0x00, &[0x4F, 0x69]),
        send(0x05, &[0x40, 0x1F, 0x1F, 0x2C]),
        send(0x08, &[0x6F, 0x1F, 0x1F, 0x22]),
        send(0x06, booster),
        send(0x03, &[0x00, 0x54, 0x00, 0x44]),
        send(0x60, &[0x02, 0x00]),
        send(0x30, &[0x08]),
        send(0x50, &[0x3F]),
        send(0x61, resolution),
        send(0xE3, &[0x2F]),
        send(0x84, &[0x01]),
        send(0x04, &[]),
        Wait(300),
        frame(0x10, Packing::Pairs),
        send(0x12, refresh),
        Wait(FOUR),
        send(0x02, &[0x00]),
        Wait(300),
    ]
}

/// 7.5 inches, second version: black and white. One plane has the white pixels, one the black.
pub static EPD_7IN5_V2: Panel = Panel {
    name: "Waveshare 7.5\" V2",
    width: 800,
    height: 480,
    inks: Inks::BlackWhite,
    hertz: HERTZ,
    turned: false,
    together: false,
    steps: &[
        On,
        Reset(true, 20),
        Reset(false, 2),
        Reset(true, 20),
        send(0x06, &[0x17, 0x17, 0x28, 0x17]),
        send(0x01, &[0x07, 0x07, 0x28, 0x17]),
        send(0x04, &[]),
        Sleep(100),
        Ask(0x71, 300),
        Sleep(20),
        send(0x00, &[0x1F]),
        send(0x61, &[0x03, 0x20, 0x01, 0xE0]),
        send(0x15, &[0x00]),
        send(0x50, &[0x10, 0x07]),
        send(0x60, &[0x22]),
        plane(0x10, WHITE),
        plane(0x13, BLACK),
        send(0x12, &[]),
        Sleep(100),
        Ask(0x71, TWO),
        Sleep(20),
    ],
    rest: &[
        send(0x50, &[0xF7]),
        send(0x02, &[]),
        Ask(0x71, 300),
        Sleep(20),
        send(0x07, &[0xA5]),
        Sleep(2000),
        Off,
    ],
};

/// 7.5 inches (B), second version: black, white and red.
pub static EPD_7IN5B_V2: Panel = Panel {
    name: "Waveshare 7.5\" (B) V2",
    width: 800,
    height: 480,
    inks: Inks::BlackWhiteRed,
    hertz: HERTZ,
    turned: false,
    together: false,
    steps: &[
        On,
        Reset(true, 200),
        Reset(false, 4),
        Reset(true, 200),
        send(0x01, &[0x07, 0x07, 0x3F, 0x3F]),
        send(0x06, &[0x17, 0x17, 0x28, 0x17]),
        send(0x04, &[]),
        Sleep(100),
        Ask(0x71, 300),
        Sleep(200),
        send(0x00, &[0x0F]),
        send(0x61, &[0x03, 0x20, 0x01, 0xE0]),
        send(0x15, &[0x00]),
        send(0x50, &[0x11, 0x07]),
        send(0x60, &[0x22]),
        plane(0x10, WHITE | RED),
        plane(0x13, RED),
        send(0x12, &[]),
        Sleep(100),
        Ask(0x71, THREE),
        Sleep(200),
    ],
    rest: &[send(0x02, &[]), Ask(0x71, 300), Sleep(200), send(0x07, &[0xA5]), Sleep(2000), Off],
};

/// 5.83 inches, second version: black and white.
pub static EPD_5IN83_V2: Panel = Panel {
    name: "Waveshare 5.83\" V2",
    width: 648,
    height: 480,
    inks: Inks::BlackWhite,
    hertz: HERTZ,
    turned: false,
    together: false,
    steps: &[
        On,
        Reset(true, 200),
        Reset(false, 2),
        Reset(true, 200),
        send(0x00, &[0x1F]),
        send(0x04, &[]),
        Sleep(300),
        Wait(300),
        send(0x50, &[0x21, 0x07]),
        plane(0x10, WHITE),
        plane(0x13, WHITE),
        send(0x12, &[]),
        Sleep(100),
        Wait(TWO),
    ],
    rest: &[send(0x50, &[0xF7]), send(0x02, &[]), Wait(300), send(0x07, &[0xA5]), Sleep(2000), Off],
};

/// 5.83 inches (B), second version: black, white and red.
pub static EPD_5IN83B_V2: Panel = Panel {
    name: "Waveshare 5.83\" (B) V2",
    width: 648,
    height: 480,
    inks: Inks::BlackWhiteRed,
    hertz: HERTZ,
    turned: false,
    together: false,
    steps: &[
        On,
        Reset(true, 200),
        Reset(false, 1),
        Reset(true, 200),
        send(0x01, &[0x07, 0x07, 0x3F, 0x3F]),
        send(0x04, &[]),
        Sleep(100),
        Ask(0x71, 300),
        send(0x00, &[0x0F]),
        send(0x61, &[0x02, 0x88, 0x01, 0xE0]),
        send(0x15, &[0x00]),
        send(0x50, &[0x11, 0x07]),
        send(0x60, &[0x22]),
        plane(0x10, WHITE | RED),
        plane(0x13, RED),
        send(0x12, &[]),
        Sleep(200),
        Ask(0x71, THREE),
    ],
    rest: &[send(0x02, &[]), Ask(0x71, 300), send(0x07, &[0xA5]), Sleep(2000), Off],
};

/// 4.26 inches: black and white, by the SSD1677.
pub static EPD_4IN26: Panel = Panel {
    name: "Waveshare 4.26\"",
    width: 800,
    height: 480,
    inks: Inks::BlackWhite,
    hertz: HERTZ,
    turned: false,
    together: false,
    steps: &[
        On,
        Reset(true, 20),
        Reset(false, 2),
        Reset(true, 20),
        WaitHigh(100),
        Sleep(20),
        send(0x12, &[]),
        WaitHigh(100),
        Sleep(20),
        send(0x18, &[0x80]),
        send(0x0C, &[0xAE, 0xC7, 0xC3, 0xC0, 0x80]),
        send(0x01, &[0xDF, 0x01, 0x02]),
        send(0x3C, &[0x01]),
        send(0x11, &[0x01]),
        send(0x44, &[0x00, 0x00, 0x1F, 0x03]),
        send(0x45, &[0xDF, 0x01, 0x00, 0x00]),
        send(0x4E, &[0x00, 0x00]),
        send(0x4F, &[0x00, 0x00]),
        WaitHigh(100),
        Sleep(20),
        plane(0x24, WHITE),
        send(0x22, &[0xF7]),
        send(0x20, &[]),
        WaitHigh(TWO),
        Sleep(20),
    ],
    rest: &[send(0x10, &[0x01]), Sleep(2000), Off],
};

/// 4.2 inches, second version: black and white, by the SSD1683.
pub static EPD_4IN2_V2: Panel = Panel {
    name: "Waveshare 4.2\" V2",
    width: 400,
    height: 300,
    inks: Inks::BlackWhite,
    hertz: HERTZ,
    turned: false,
    together: false,
    steps: &[
        On,
        Reset(true, 100),
        Reset(false, 2),
        Reset(true, 100),
        WaitHigh(100),
        send(0x12, &[]),
        WaitHigh(100),
        send(0x21, &[0x40, 0x00]),
        send(0x3C, &[0x05]),
        send(0x11, &[0x03]),
        send(0x44, &[0x00, 0x31]),
        send(0x45, &[0x00, 0x00, 0x2B, 0x01]),
        send(0x4E, &[0x00]),
        send(0x4F, &[0x00, 0x00]),
        WaitHigh(100),
        plane(0x24, WHITE),
        plane(0x26, WHITE),
        send(0x22, &[0xF7]),
        send(0x20, &[]),
        WaitHigh(TWO),
    ],
    rest: &[send(0x10, &[0x01]), Sleep(2000), Off],
};
