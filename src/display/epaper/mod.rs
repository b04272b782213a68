//! E-paper panels on SPI: one driver for all tables of [`panels`] and [`waveshare`].
//!
//! It runs over the traits of embedded-hal, so that tests record what it sends. Bytes go out in
//! writes of at most 4096, the largest that Linux takes without a kernel parameter, and every wait
//! for a busy panel ends: with an error if the panel has not.

mod eeprom;
mod frame;
pub mod panels;
pub mod waveshare;

use embedded_hal::delay::DelayNs;
use embedded_hal::digital::{InputPin, OutputPin};
use embedded_hal::spi::SpiDevice;
use image::RgbImage;

pub use eeprom::{Board, BoardError};
pub use panels::{Packing, Panel, Step};

use super::dither::{Dithering, Paper};
use super::palette::Palette;
use super::{Pace, Screen, ScreenError, ScreenInfo};
use frame::Frame;
use panels::FIRST;

/// The most bytes of one write.
const CHUNK: usize = 4096;

/// Milliseconds between two looks at the busy pin.
const LOOK: u32 = 10;

/// A panel that stays busy for this many milliseconds beyond twice its usual time is stuck.
const GRACE: u32 = 10_000;

/// The pins beside the bus.
#[derive(Debug)]
pub struct Pins<O, I> {
    /// Low resets the panel.
    pub reset: O,
    /// Low for commands, high for data.
    pub data: O,
    /// Low selects a controller: one pin for each, or none where the bus does that itself.
    pub selects: Vec<O>,
    /// Says that the panel is busy: low, or high, as its table says.
    pub busy: I,
    /// High switches the panel on, where a pin does that.
    pub power: Option<O>,
}

/// How pictures become ink.
#[derive(Clone, Copy, Debug)]
pub struct Inking {
    /// See [`Palette::blended`].
    pub saturation: f32,
    /// How errors are handed on.
    pub dithering: Dithering,
}

/// An e-paper panel as a screen.
#[derive(Debug)]
pub struct EPaper<S, O, I, D> {
    panel: &'static Panel,
    paper: Paper,
    dithering: Dithering,
    wires: Wires<S, O, I, D>,
}

impl<S, O, I, D> EPaper<S, O, I, D>
where
    S: SpiDevice,
    O: OutputPin,
    I: InputPin,
    D: DelayNs,
{
    /// A panel on that bus and those pins. Nothing is sent before the first frame.
    pub fn new(panel: &'static Panel, bus: S, pins: Pins<O, I>, delay: D, inking: Inking) -> Self {
        let paper = Paper::new(&Palette::blended(panel.inks, inking.saturation));
        let wires = Wires { name: panel.name, together: panel.together, bus, pins, delay };
        Self { panel, paper, dithering: inking.dithering, wires }
    }

    /// Refreshes the panel: for every pixel, row by row, the code of its ink. Whatever happens, all
    /// is done that brings the panel to rest.
    fn refresh(&mut self, codes: &[u8]) -> Result<(), ScreenError> {
        let frame = Frame::new(codes, self.panel);
        let mut take = |step: &Step| self.wires.take(*step, &frame);
        let shown = self.panel.steps.iter().try_for_each(&mut take);
        self.panel.rest.iter().map(take).fold(shown, Result::and)
    }
}

impl<S, O, I, D> Screen for EPaper<S, O, I, D>
where
    S: SpiDevice + Send,
    O: OutputPin + Send,
    I: InputPin + Send,
    D: DelayNs + Send,
{
    fn info(&self) -> ScreenInfo {
        let Panel { width, height, name, .. } = *self.panel;
        ScreenInfo { width, height, pace: Pace::Slow, name: name.to_owned() }
    }

    fn show(&mut self, frame: &RgbImage) -> Result<(), ScreenError> {
        self.info().check(frame)?;
        let codes = self.paper.dither(frame, self.dithering).codes();
        self.refresh(&codes)
    }
}

/// The bus and the pins.
#[derive(Debug)]
struct Wires<S, O, I, D> {
    name: &'static str,
    together: bool,
    bus: S,
    pins: Pins<O, I>,
    delay: D,
}

impl<S: SpiDevice, O: OutputPin, I: InputPin, D: DelayNs> Wires<S, O, I, D> {
    fn take(&mut self, step: Step, frame: &Frame) -> Result<(), ScreenError> {
        match step {
            Step::Reset(high, milliseconds) => {
                set(self.name, &mut self.pins.reset, high)?;
                self.delay.delay_ms(milliseconds);
                Ok(())
            }
            Step::Wait(milliseconds) => self.wait(false, None, milliseconds),
            Step::WaitHigh(milliseconds) => self.wait(true, None, milliseconds),
            Step::Ask(command, milliseconds) => self.wait(false, Some(command), milliseconds),
            Step::Sleep(milliseconds) => {
                self.delay.delay_ms(milliseconds);
                Ok(())
            }
            Step::On => self.power(true),
            Step::Off => self.off(),
            Step::Send(chips, command, data) => self.send(chips, command, data),
            Step::Frame(chips, command, packing) => {
                self.send(chips, command, &frame.packed(packing))
            }
        }
    }

    /// Whatever pin fails, the others are set.
    fn off(&mut self) -> Result<(), ScreenError> {
        let reset = set(self.name, &mut self.pins.reset, false);
        let data = set(self.name, &mut self.pins.data, false);
        reset.and(data).and(self.power(false))
    }

    fn power(&mut self, on: bool) -> Result<(), ScreenError> {
        self.pins.power.iter_mut().try_for_each(|pin| set(self.name, pin, on))
    }

    fn send(&mut self, chips: u8, command: u8, data: &[u8]) -> Result<(), ScreenError> {
        self.select(chips)?;
        self.write(false, &[command])?;
        if !self.together {
            self.release()?;
        }
        if !data.is_empty() {
            if !self.together {
                self.select(chips)?;
            }
            self.write(true, data)?;
        }
        self.release()?;
        // Panels that are told everything under one select are left expecting a command.
        if self.together { set(self.name, &mut self.pins.data, false) } else { Ok(()) }
    }

    fn write(&mut self, data: bool, bytes: &[u8]) -> Result<(), ScreenError> {
        set(self.name, &mut self.pins.data, data)?;
        for chunk in bytes.chunks(CHUNK) {
            self.bus.write(chunk).map_err(|error| ScreenError::Bus {
                name: self.name.to_owned(),
                reason: format!("{error:?}"),
            })?;
        }
        Ok(())
    }

    fn select(&mut self, chips: u8) -> Result<(), ScreenError> {
        for (chip, pin) in self.pins.selects.iter_mut().enumerate() {
            if chips & (1 << chip) != 0 {
                set(self.name, pin, false)?;
            }
        }
        Ok(())
    }

    fn release(&mut self) -> Result<(), ScreenError> {
        self.pins.selects.iter_mut().try_for_each(|pin| set(self.name, pin, true))
    }

    /// Waits until the busy pin has been at that level and is so no more, `ask`ing before every
    /// look. A panel that never says that it is busy gets its usual time: its busy pin may not be
    /// wired.
    fn wait(&mut self, level: bool, ask: Option<u8>, usual: u32) -> Result<(), ScreenError> {
        let mut waited = 0;
        while self.busy_pin(ask)? != level {
            if waited >= usual {
                return Ok(());
            }
            self.delay.delay_ms(LOOK);
            waited += LOOK;
        }
        let most = 2 * usual + GRACE;
        while self.busy_pin(ask)? == level {
            if waited >= most {
                return Err(ScreenError::Busy { name: self.name.to_owned(), seconds: most / 1000 });
            }
            self.delay.delay_ms(LOOK);
            waited += LOOK;
        }
        Ok(())
    }

    /// Whether the busy pin is high.
    fn busy_pin(&mut self, ask: Option<u8>) -> Result<bool, ScreenError> {
        if let Some(command) = ask {
            self.send(FIRST, command, &[])?;
        }
        self.pins.busy.is_high().map_err(|error| pin_error(self.name, &error))
    }
}

fn set(name: &str, pin: &mut impl OutputPin, high: bool) -> Result<(), ScreenError> {
    let result = if high { pin.set_high() } else { pin.set_low() };
    result.map_err(|error| pin_error(name, &error))
}

fn pin_error(name: &str, error: &impl std::fmt::Debug) -> ScreenError {
    ScreenError::Bus { name: name.to_owned(), reason: format!("a pin: {error:?}") }
}

#[cfg(test)]
mod tests;
