//! What each e-paper panel must be told, as tables.
//!
//! Every table is one refresh from reset to power off. Here are Pimoroni's boards,
//! [`waveshare`](super::waveshare) has that maker's. The bytes are those that Pimoroni's driver for
//! its Inky boards sends (package `inky` 2.6.0: `inky_e673`, `inky_e640`, `inky_ac073tc1a`,
//! `inky_uc8159`, `inky_el133uf1`); the tests compare with transcripts of that driver.

use super::super::palette::Inks;

/// A panel and how it is talked to.
#[derive(Debug)]
pub struct Panel {
    /// Its name for people.
    pub name: &'static str,
    /// Pixels per row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Its inks.
    pub inks: Inks,
    /// Clock of the SPI bus.
    pub hertz: u32,
    /// The controller's rows are the picture's columns, from the left, each read upwards.
    pub turned: bool,
    /// A command and its data are sent under one select of the chip.
    pub together: bool,
    /// One refresh.
    pub steps: &'static [Step],
    /// Taken after every refresh, also after one that failed: to leave some panels powered is to
    /// damage them.
    pub rest: &'static [Step],
}

impl Panel {
    /// How many controllers it has, each with a select pin of its own.
    pub fn controllers(&self) -> usize {
        let second = |step: &Step| match step {
            Send(chips, ..) | Frame(chips, ..) => chips & SECOND != 0,
            _ => false,
        };
        if self.steps.iter().any(second) { 2 } else { 1 }
    }
}

/// Which of a panel's controllers is meant: a bit for each.
pub type Chips = u8;

pub(super) const FIRST: Chips = 1;
const SECOND: Chips = 2;
const BOTH: Chips = FIRST | SECOND;

/// One step of a refresh.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    /// Sets the reset pin, and sleeps that many milliseconds.
    Reset(bool, u32),
    /// Waits while the busy pin is low; that many milliseconds if it never is.
    Wait(u32),
    /// Waits while the busy pin is high; that many milliseconds if it never is.
    WaitHigh(u32),
    /// [`Step::Wait`] for panels that want to be asked by that command before every look.
    Ask(u8, u32),
    /// Sleeps that many milliseconds.
    Sleep(u32),
    /// Switches the panel on, where a pin does that.
    On,
    /// Pulls its pins low, which would feed it otherwise, and switches it off.
    Off,
    /// Sends a command and its data.
    Send(Chips, u8, &'static [u8]),
    /// Sends a command and the frame, or the part of it that belongs there.
    Frame(Chips, u8, Packing),
}

/// Which pixels of the controller's rows, and in how many bits each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// The codes of all of them, two a byte.
    All,
    /// Those of the left half, two a byte.
    Left,
    /// Those of the right half, two a byte.
    Right,
    /// The codes of all of them, four a byte.
    Pairs,
    /// Whether a pixel has one of these inks, eight a byte: bit n stands for code n.
    Inks(u8),
}

use Step::{Frame, Reset, Send, Wait};

/// Pimoroni Inky Impression 7.3" of 2025.
pub static E673: Panel = Panel {
    name: "Inky Impression 7.3\" (Spectra 6)",
    width: 800,
    height: 480,
    inks: Inks::Spectra6,
    hertz: 10_000_000,
    turned: false,
    together: true,
    steps: &[
        Reset(false, 30),
        Reset(true, 30),
        Wait(300),
        Send(FIRST, 0xAA, &[0x49, 0x55, 0x20, 0x08, 0x09, 0x18]),
        Send(FIRST, 0x01, &[0x3F]),
        Send(FIRST, 0x00, &[0x5F, 0x69]),
        Send(FIRST, 0x05, &[0x40, 0x1F, 0x1F, 0x2C]),
        Send(FIRST, 0x08, &[0x6F, 0x1F, 0x1F, 0x22]),
        Send(FIRST, 0x06, &[0x6F, 0x1F, 0x17, 0x17]),
        Send(FIRST, 0x03, &[0x00, 0x54, 0x00, 0x44]),
        Send(FIRST, 0x60, &[0x02, 0x00]),
        Send(FIRST, 0x30, &[0x08]),
        Send(FIRST, 0x50, &[0x3F]),
        Send(FIRST, 0x61, &[0x03, 0x20, 0x01, 0xE0]),
        Send(FIRST, 0xE3, &[0x2F]),
        Send(FIRST, 0x82, &[0x01]),
        Frame(FIRST, 0x10, Packing::All),
        Send(FIRST, 0x04, &[]),
        Wait(300),
        Send(FIRST, 0x06, &[0x6F, 0x1F, 0x17, 0x49]),
        Send(FIRST, 0x12, &[0x00]),
        Wait(32_000),
        Send(FIRST, 0x02, &[0x00]),
        Wait(300),
        Send(FIRST, 0x00, &[0x4F, 0x6E]),
        Wait(300),
    ],
    rest: &[],
};

/// Pimoroni Inky Impression 4.0" of 2025.
pub static E640: Panel = Panel {
    name: "Inky Impression 4.0\" (Spectra 6)",
    width: 600,
    height: 400,
    inks: Inks::Spectra6,
    hertz: 10_000_000,
    turned: true,
    together: true,
    steps: &[
        Reset(false, 30),
        Reset(true, 30),
        Wait(300),
        Send(FIRST, 0xAA, &[0x49, 0x55, 0x20, 0x08, 0x09, 0x18]),
        Send(FIRST, 0x01, &[0x3F]),
        Send(FIRST, 0x00, &[0x5F, 0x69]),
        Send(FIRST, 0x05, &[0x40, 0x1F, 0x1F, 0x2C]),
        Send(FIRST, 0x08, &[0x6F, 0x1F, 0x1F, 0x22]),
        Send(FIRST, 0x06, &[0x6F, 0x1F, 0x17, 0x17]),
        Send(FIRST, 0x03, &[0x00, 0x54, 0x00, 0x44]),
        Send(FIRST, 0x60, &[0x02, 0x00]),
        Send(FIRST, 0x30, &[0x08]),
        Send(FIRST, 0x50, &[0x3F]),
        Send(FIRST, 0x61, &[0x01, 0x90, 0x02, 0x58]),
        Send(FIRST, 0xE3, &[0x2F]),
        Send(FIRST, 0x82, &[0x01]),
        Frame(FIRST, 0x10, Packing::All),
        Send(FIRST, 0x04, &[]),
        Wait(300),
        Send(FIRST, 0x06, &[0x6F, 0x1F, 0x17, 0x47]),
        Send(FIRST, 0x12, &[0x00]),
        Wait(40_000),
        Send(FIRST, 0x02, &[0x00]),
        Wait(300),
    ],
    rest: &[],
};

/// Pimoroni Inky Impression 7.3" of 2022.
pub static AC073TC1A: Panel = Panel {
    name: "Inky Impression 7.3\" (seven colours)",
    width: 800,
    height: 480,
    inks: Inks::SevenColourLarge,
    hertz: 5_000_000,
    turned: false,
    together: false,
    steps: &[
        Reset(false, 100),
        Reset(true, 100),
        Reset(false, 100),
        Reset(true, 0),
        Wait(1000),
        Send(FIRST, 0xAA, &[0x49, 0x55, 0x20, 0x08, 0x09, 0x18]),
        Send(FIRST, 0x01, &[0x3F, 0x00, 0x32, 0x2A, 0x0E, 0x2A]),
        Send(FIRST, 0x00, &[0x5F, 0x69]),
        Send(FIRST, 0x03, &[0x00, 0x54, 0x00, 0x44]),
        Send(FIRST, 0x05, &[0x40, 0x1F, 0x1F, 0x2C]),
        Send(FIRST, 0x06, &[0x6F, 0x1F, 0x16, 0x25]),
        Send(FIRST, 0x08, &[0x6F, 0x1F, 0x1F, 0x22]),
        Send(FIRST, 0x13, &[0x00, 0x04]),
        Send(FIRST, 0x30, &[0x02]),
        Send(FIRST, 0x41, &[0x00]),
        Send(FIRST, 0x50, &[0x37]),
        Send(FIRST, 0x60, &[0x02, 0x00]),
        Send(FIRST, 0x61, &[0x03, 0x20, 0x01, 0xE0]),
        Send(FIRST, 0x82, &[0x1E]),
        Send(FIRST, 0x84, &[0x00]),
        Send(FIRST, 0x86, &[0x00]),
        Send(FIRST, 0xE3, &[0x2F]),
        Send(FIRST, 0xE0, &[0x00]),
        Send(FIRST, 0xE6, &[0x00]),
        Frame(FIRST, 0x10, Packing::All),
        Send(FIRST, 0x04, &[]),
        Wait(400),
        Send(FIRST, 0x12, &[0x00]),
        Wait(45_000),
        Send(FIRST, 0x02, &[0x00]),
        Wait(400),
    ],
    rest: &[],
};

/// Pimoroni Inky Impression 5.7".
pub static UC8159_600: Panel = Panel {
    name: "Inky Impression 5.7\" (seven colours)",
    width: 600,
    height: 448,
    inks: Inks::SevenColour,
    hertz: 3_000_000,
    turned: false,
    together: false,
    steps: &uc8159(&[0x02, 0x58, 0x01, 0xC0], &[0xEF, 0x08]),
    rest: &[],
};

/// Pimoroni Inky Impression 4".
pub static UC8159_640: Panel = Panel {
    name: "Inky Impression 4\" (seven colours)",
    width: 640,
    height: 400,
    inks: Inks::SevenColour,
    hertz: 3_000_000,
    turned: false,
    together: false,
    steps: &uc8159(&[0x02, 0x80, 0x01, 0x90], &[0xAF, 0x08]),
    rest: &[],
};

/// A refresh by the UC8159: its sizes differ in two registers.
const fn uc8159(resolution: &'static [u8], setting: &'static [u8]) -> [Step; 20] {
    [
        Reset(false, 100),
        Reset(true, 100),
        Wait(1000),
        Send(FIRST, 0x61, resolution),
        Send(FIRST, 0x00, setting),
        Send(FIRST, 0x01, &[0x37, 0x00, 0x23, 0x23]),
        Send(FIRST, 0x30, &[0x3C]),
        Send(FIRST, 0x41, &[0x00]),
        Send(FIRST, 0x50, &[0x37]),
        Send(FIRST, 0x60, &[0x22]),
        Send(FIRST, 0x65, &[0x00]),
        Send(FIRST, 0xE3, &[0xAA]),
        Send(FIRST, 0x03, &[0x00]),
        Frame(FIRST, 0x10, Packing::All),
        Send(FIRST, 0x04, &[]),
        Wait(200),
        Send(FIRST, 0x12, &[]),
        Wait(32_000),
        Send(FIRST, 0x02, &[]),
        Wait(200),
    ]
}

/// Pimoroni Inky Impression 13.3": two controllers, each with half of the columns of the panel on
/// its side.
pub static EL133UF1: Panel = Panel {
    name: "Inky Impression 13.3\" (Spectra 6)",
    width: 1600,
    height: 1200,
    inks: Inks::Spectra6,
    hertz: 10_000_000,
    turned: true,
    together: true,
    steps: &[
        Reset(false, 30),
        Reset(true, 300),
        Wait(1000),
        Send(FIRST, 0x74, &[0x00, 0x0C, 0x0C, 0xD9, 0xDD, 0xDD, 0x15, 0x15, 0x55]),
        Send(BOTH, 0xF0, &[0x49, 0x55, 0x13, 0x5D, 0x05, 0x10]),
        Send(BOTH, 0x00, &[0xDF, 0x6B]),
        Send(FIRST, 0xA5, &[0x44, 0x54, 0x00]),
        Send(BOTH, 0x30, &[0x08]),
        Send(BOTH, 0x50, &[0x37]),
        Send(BOTH, 0x60, &[0x03, 0x03]),
        Send(FIRST, 0x03, &[0x00, 0xC0, 0x03, 0xA8]),
        Send(SECOND, 0x03, &[0x00, 0xC0, 0x03, 0x9A]),
        Send(BOTH, 0x86, &[0x10]),
        Send(BOTH, 0xE3, &[0x22]),
        Send(BOTH, 0xE0, &[0x01]),
        Send(BOTH, 0x61, &[0x04, 0xB0, 0x03, 0x20]),
        Send(FIRST, 0xA4, &[0x03, 0x00, 0x01, 0x03, 0x00, 0x03, 0x00, 0x00, 0x00]),
        Send(FIRST, 0x01, &[0x0F, 0x00, 0x28, 0x2C, 0x28, 0x38]),
        Send(FIRST, 0xB6, &[0x07]),
        Send(FIRST, 0x06, &[0xE0, 0x20]),
        Send(FIRST, 0xB7, &[0x01]),
        Send(FIRST, 0x05, &[0xE0, 0x20]),
        Send(FIRST, 0xB0, &[0x01]),
        Send(FIRST, 0xB1, &[0x02]),
        Frame(FIRST, 0x10, Packing::Left),
        Frame(SECOND, 0x10, Packing::Right),
        Send(BOTH, 0x04, &[]),
        Wait(1000),
        Send(BOTH, 0x12, &[0x00]),
        Wait(65_000),
        Send(BOTH, 0x02, &[0x00]),
        Wait(1000),
    ],
    rest: &[],
};
