//! Small colour screens on SPI: ST7789, ILI9341, ILI9488, GC9A01.
//!
//! mipidsi knows their commands. The ST7789 is started as Pimoroni's driver starts it (package
//! `st7789` 1.0.1): with the voltages and the gamma curves of the panels that are sold with it.

use embedded_graphics::pixelcolor::{Rgb565, Rgb666};
use embedded_hal::delay::DelayNs;
use embedded_hal::digital::OutputPin;
use embedded_hal::spi::SpiDevice;
use image::{Rgb, RgbImage};
use mipidsi::dcs::SetAddressMode;
use mipidsi::interface::{Interface, InterfaceKind, InterfacePixelFormat};
use mipidsi::models::{Model, ModelInitError};
use mipidsi::options::{ColorInversion, ModelOptions};
use mipidsi::{Builder, Display, NoResetPin};

use super::{Pace, Screen, ScreenError, ScreenInfo};

/// The most bytes of one write: what Linux takes without a kernel parameter.
const CHUNK: usize = 4096;

/// A bus and the pin that tells commands from data.
#[derive(Debug)]
pub(super) struct Wires<S, O> {
    pub(super) bus: S,
    pub(super) data: O,
    buffer: Vec<u8>,
}

impl<S: SpiDevice, O: OutputPin> Wires<S, O> {
    pub(super) fn new(bus: S, data: O) -> Self {
        Self { bus, data, buffer: Vec::with_capacity(CHUNK) }
    }

    fn write_buffer(&mut self) -> Result<(), String> {
        let written = self.bus.write(&self.buffer).map_err(|error| format!("{error:?}"));
        self.buffer.clear();
        written
    }
}

impl<S: SpiDevice, O: OutputPin> Interface for Wires<S, O> {
    type Word = u8;
    type Error = String;

    const KIND: InterfaceKind = InterfaceKind::Serial4Line;

    fn send_command(&mut self, command: u8, args: &[u8]) -> Result<(), String> {
        self.data.set_low().map_err(|error| format!("a pin: {error:?}"))?;
        self.bus.write(&[command]).map_err(|error| format!("{error:?}"))?;
        self.data.set_high().map_err(|error| format!("a pin: {error:?}"))?;
        match args {
            [] => Ok(()),
            args => self.bus.write(args).map_err(|error| format!("{error:?}")),
        }
    }

    fn send_pixels<const N: usize>(
        &mut self,
        pixels: impl IntoIterator<Item = [u8; N]>,
    ) -> Result<(), String> {
        for pixel in pixels {
            if self.buffer.len() + N > CHUNK {
                self.write_buffer()?;
            }
            self.buffer.extend_from_slice(&pixel);
        }
        self.write_buffer()
    }

    fn send_repeated_pixel<const N: usize>(
        &mut self,
        pixel: [u8; N],
        count: u32,
    ) -> Result<(), String> {
        self.send_pixels((0..count).map(|_| pixel))
    }
}

/// How a panel is built in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mounting {
    /// Pixels per row, and rows.
    pub(super) size: (u16, u16),
    /// The first column and row of the controller's memory that are seen.
    pub(super) offset: (u16, u16),
    /// Whether colours must be sent inverted.
    pub(super) inverted: bool,
    /// Whether blue comes first.
    pub(super) blue_first: bool,
}

/// A small colour screen.
pub(super) struct Lcd<I, M, B>
where
    I: Interface,
    M: Model,
    M::ColorFormat: InterfacePixelFormat<I::Word>,
{
    display: Display<I, M, NoResetPin>,
    /// The light behind it, which goes out when the pin is let go.
    _backlight: B,
    colour: fn(&Rgb<u8>) -> M::ColorFormat,
    size: (u16, u16),
    name: &'static str,
}

/// A controller, its name, and how it wants its colours.
pub(super) struct Controller<M: Model> {
    pub(super) model: M,
    pub(super) name: &'static str,
    pub(super) colour: fn(&Rgb<u8>) -> M::ColorFormat,
}

/// Five, six and five bits.
pub(super) fn rgb565(Rgb([r, g, b]): &Rgb<u8>) -> Rgb565 {
    Rgb565::new(r >> 3, g >> 2, b >> 3)
}

/// Six bits each.
pub(super) fn rgb666(Rgb([r, g, b]): &Rgb<u8>) -> Rgb666 {
    Rgb666::new(r >> 2, g >> 2, b >> 2)
}

impl<S, O, M, B> Lcd<Wires<S, O>, M, B>
where
    S: SpiDevice,
    O: OutputPin,
    M: Model,
    M::ColorFormat: InterfacePixelFormat<u8>,
{
    /// Starts a screen that has been reset, or resets itself.
    pub(super) fn start(
        controller: Controller<M>,
        wires: Wires<S, O>,
        backlight: B,
        delay: &mut impl DelayNs,
        mounting: Mounting,
    ) -> Result<Self, ScreenError> {
        use mipidsi::options::ColorOrder::{Bgr, Rgb};
        let Controller { model, name, colour } = controller;
        let Mounting { size, offset, inverted, blue_first } = mounting;
        let inversion = if inverted { ColorInversion::Inverted } else { ColorInversion::Normal };
        let display = Builder::new(model, wires)
            .display_size(size.0, size.1)
            .display_offset(offset.0, offset.1)
            .invert_colors(inversion)
            .color_order(if blue_first { Bgr } else { Rgb })
            .init(delay)
            .map_err(|error| start_error(name, error))?;
        Ok(Self { display, _backlight: backlight, colour, size, name })
    }
}

/// A size that the controller has not is the settings' fault, everything else the wires'.
fn start_error<P>(name: &str, error: mipidsi::InitError<String, P>) -> ScreenError {
    match error {
        mipidsi::InitError::InvalidConfiguration(_) => ScreenError::Settings(format!(
            "the {name} has fewer pixels than `size` and `offset` ask for; give the panel's own"
        )),
        mipidsi::InitError::Interface(reason) => ScreenError::Bus { name: name.to_owned(), reason },
        mipidsi::InitError::ResetPin(_) => {
            ScreenError::Bus { name: name.to_owned(), reason: "the reset pin".to_owned() }
        }
    }
}

impl<S, O, M, B> Screen for Lcd<Wires<S, O>, M, B>
where
    S: SpiDevice + Send,
    O: OutputPin + Send,
    M: Model + Send,
    M::ColorFormat: InterfacePixelFormat<u8>,
    B: Send,
{
    fn info(&self) -> ScreenInfo {
        let (width, height) = (u32::from(self.size.0), u32::from(self.size.1));
        ScreenInfo { width, height, pace: Pace::Live, name: self.name.to_owned() }
    }

    fn show(&mut self, frame: &RgbImage) -> Result<(), ScreenError> {
        self.info().check(frame)?;
        let (right, bottom) = (self.size.0 - 1, self.size.1 - 1);
        let pixels = frame.pixels().map(self.colour);
        self.display
            .set_pixels(0, 0, right, bottom, pixels)
            .map_err(|reason| ScreenError::Bus { name: self.name.to_owned(), reason })
    }
}

/// The ST7789 as Pimoroni's driver starts it. Its memory is seen across, so that 320 pixels are a
/// row.
pub(super) struct St7789 {
    /// The register that says in which order memory is shown; Pimoroni's is 0x70.
    pub(super) madctl: u8,
}

/// Frame rate, voltages and the two gamma curves.
const ST7789_REGISTERS: [(u8, &[u8]); 12] = [
    (0xB2, &[0x0C, 0x0C, 0x00, 0x33, 0x33]),
    (0x3A, &[0x05]),
    (0xB7, &[0x14]),
    (0xBB, &[0x37]),
    (0xC0, &[0x2C]),
    (0xC2, &[0x01]),
    (0xC3, &[0x12]),
    (0xC4, &[0x20]),
    (0xD0, &[0xA4, 0xA1]),
    (0xC6, &[0x0F]),
    (0xE0, &[0xD0, 0x04, 0x0D, 0x11, 0x13, 0x2B, 0x3F, 0x54, 0x4C, 0x18, 0x0D, 0x0B, 0x1F, 0x23]),
    (0xE1, &[0xD0, 0x04, 0x0C, 0x11, 0x13, 0x2C, 0x3F, 0x44, 0x51, 0x2F, 0x1F, 0x1F, 0x20, 0x23]),
];

impl Model for St7789 {
    type ColorFormat = Rgb565;

    const FRAMEBUFFER_SIZE: (u16, u16) = (320, 320);

    fn init<D: DelayNs, I: Interface>(
        &mut self,
        wires: &mut I,
        delay: &mut D,
        options: &ModelOptions,
    ) -> Result<SetAddressMode, ModelInitError<I::Error>> {
        delay.delay_ms(150);
        wires.send_command(0x36, &[self.madctl])?;
        for (register, values) in ST7789_REGISTERS {
            wires.send_command(register, values)?;
        }
        let inverted = options.invert_colors == ColorInversion::Inverted;
        wires.send_command(if inverted { 0x21 } else { 0x20 }, &[])?;
        wires.send_command(0x11, &[])?;
        wires.send_command(0x29, &[])?;
        delay.delay_ms(100);
        Ok(SetAddressMode::from(options))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::display::recorder::{Pin, Recorder};

    const MOUNTING: Mounting =
        Mounting { size: (240, 240), offset: (0, 0), inverted: true, blue_first: false };

    fn started<M: Model<ColorFormat: InterfacePixelFormat<u8>>>(
        recorder: &Recorder,
        controller: Controller<M>,
        mounting: Mounting,
    ) -> Result<Lcd<Wires<Recorder, Pin>, M, ()>, ScreenError> {
        let wires = Wires::new(recorder.clone(), recorder.pin("dc"));
        Lcd::start(controller, wires, (), &mut recorder.clone(), mounting)
    }

    fn st7789() -> Controller<St7789> {
        Controller { model: St7789 { madctl: 0x70 }, name: "ST7789", colour: rgb565 }
    }

    /// What commands and data were, whether or not the pin was touched between two commands.
    fn merged(transcript: &str) -> String {
        let mut lines: Vec<String> = Vec::new();
        let mut level = "";
        for line in transcript.lines() {
            match line.strip_prefix("write ") {
                _ if line.starts_with("dc ") => level = line,
                Some(bytes) => {
                    let joined = lines.last_mut().filter(|last| last.starts_with(level));
                    match joined {
                        Some(last) => last.push_str(bytes),
                        None => lines.push(format!("{level} write {bytes}")),
                    }
                }
                None => lines.push(line.to_owned()),
            }
        }
        lines.join("\n")
    }

    #[test]
    fn an_st7789_is_sent_what_pimoroni_sends() {
        let recorder = Recorder::default();
        let mut screen = started(&recorder, st7789(), MOUNTING).unwrap();
        let start = include_str!("../../tests/fixtures/display/st7789-start.txt");
        assert_eq!(merged(&recorder.transcript()), merged(start));
        let frame = RgbImage::from_fn(240, 240, |x, y| Rgb([x, y, x + 2 * y].map(|v| v as u8)));
        screen.show(&frame).unwrap();
        let both =
            format!("{start}{}", include_str!("../../tests/fixtures/display/st7789-frame.txt"));
        assert_eq!(merged(&recorder.transcript()), merged(&both));
    }

    #[test]
    fn no_write_is_longer_than_linux_takes() {
        let recorder = Recorder::default();
        started(&recorder, st7789(), MOUNTING).unwrap().show(&RgbImage::new(240, 240)).unwrap();
        assert_eq!(recorder.longest_write(), CHUNK);
    }

    #[test]
    fn an_ili9488_gets_three_bytes_a_pixel() {
        let recorder = Recorder::default();
        let model = mipidsi::models::ILI9488Rgb666;
        let controller = Controller { model, name: "ILI9488", colour: rgb666 };
        let mounting = Mounting { size: (320, 480), ..MOUNTING };
        let mut screen = started(&recorder, controller, mounting).unwrap();
        screen.show(&RgbImage::from_pixel(320, 480, Rgb([255, 128, 4]))).unwrap();
        let bytes = [0xFC, 0x80, 0x04].repeat(320 * 480);
        let frame = format!("write {} {}\n", bytes.len(), crate::display::recorder::sha256(&bytes));
        assert!(recorder.transcript().ends_with(&frame));
    }

    #[test]
    fn a_panel_larger_than_its_controller_is_refused() {
        let mounting = Mounting { size: (321, 240), ..MOUNTING };
        let error = started(&Recorder::default(), st7789(), mounting).err().unwrap().to_string();
        assert!(error.starts_with("the ST7789 has fewer pixels than `size`"), "{error}");
    }
}
