//! A Linux board's pins, SPI and I2C under embedded-hal's traits.
//!
//! Pins are requested through the second version of the kernel's GPIO interface (`gpiocdev`), which
//! can pull an input up. SPI and I2C are linux-embedded-hal's.

use std::fmt;
use std::path::{Path, PathBuf};

use embedded_hal::digital::{self, InputPin, OutputPin};
use embedded_hal::i2c::I2c;
use embedded_hal::spi::{self, Operation, SpiDevice};
use gpiocdev::line::{Bias, Offset, Value};
use gpiocdev::request::{Builder, Request};
use linux_embedded_hal::spidev::{SpiModeFlags, SpidevOptions};
use linux_embedded_hal::{I2cdev, SpidevDevice};

use super::ScreenError;
use super::epaper::Board;

/// What the system said about a pin or the bus.
pub(super) struct Fault(String);

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl digital::Error for Fault {
    fn kind(&self) -> digital::ErrorKind {
        digital::ErrorKind::Other
    }
}

impl spi::Error for Fault {
    fn kind(&self) -> spi::ErrorKind {
        spi::ErrorKind::Other
    }
}

fn fault(error: impl fmt::Display) -> Fault {
    Fault(error.to_string())
}

/// The chip with the pins of a board's header: the first whose name is that of a pin controller, as
/// on every Raspberry Pi, else the first of all.
pub(super) fn header_chip() -> PathBuf {
    let chips = gpiocdev::chip::chips().unwrap_or_default();
    let label = |path: &PathBuf| gpiocdev::chip::Chip::from_path(path).ok()?.info().ok();
    let header =
        |path: &&PathBuf| label(path).is_some_and(|info| info.label.starts_with("pinctrl-"));
    let chip = chips.iter().find(header).or(chips.first());
    chip.cloned().unwrap_or_else(|| PathBuf::from("/dev/gpiochip0"))
}

/// One pin.
#[derive(Debug)]
pub(super) struct Line(Request);

impl Line {
    /// A pin that is driven, high at first.
    pub(super) fn output(chip: &Path, offset: Offset) -> Result<Self, ScreenError> {
        Self::requested(chip, offset, Request::builder().as_output(Value::Active))
    }

    /// A pin that is driven, low at first.
    pub(super) fn low(chip: &Path, offset: Offset) -> Result<Self, ScreenError> {
        Self::requested(chip, offset, Request::builder().as_output(Value::Inactive))
    }

    /// A pin that is read, pulled up.
    pub(super) fn input(chip: &Path, offset: Offset) -> Result<Self, ScreenError> {
        Self::requested(chip, offset, Request::builder().as_input().with_bias(Bias::PullUp))
    }

    /// A pin that is read, pulled down.
    pub(super) fn pulled_down(chip: &Path, offset: Offset) -> Result<Self, ScreenError> {
        Self::requested(chip, offset, Request::builder().as_input().with_bias(Bias::PullDown))
    }

    pub(super) fn requested(
        chip: &Path,
        offset: Offset,
        request: &mut Builder,
    ) -> Result<Self, ScreenError> {
        let request = request.on_chip(chip).with_line(offset).with_consumer("pochade");
        request.request().map(Self).map_err(|error| ScreenError::Pin {
            chip: chip.to_owned(),
            offset,
            reason: error.to_string(),
        })
    }

    /// The kernel's side of the pin.
    pub(super) fn request(&self) -> &Request {
        &self.0
    }
}

impl digital::ErrorType for Line {
    type Error = Fault;
}

impl OutputPin for Line {
    fn set_low(&mut self) -> Result<(), Fault> {
        self.0.set_lone_value(Value::Inactive).map(|_| ()).map_err(fault)
    }

    fn set_high(&mut self) -> Result<(), Fault> {
        self.0.set_lone_value(Value::Active).map(|_| ()).map_err(fault)
    }
}

impl InputPin for Line {
    fn is_high(&mut self) -> Result<bool, Fault> {
        self.0.lone_value().map(|value| value == Value::Active).map_err(fault)
    }

    fn is_low(&mut self) -> Result<bool, Fault> {
        self.is_high().map(|high| !high)
    }
}

/// An SPI bus with one device.
pub(super) struct Bus(SpidevDevice);

impl Bus {
    /// The bus at that path with that clock, in mode 0.
    pub(super) fn open(path: &Path, hertz: u32) -> Result<Self, ScreenError> {
        let options =
            SpidevOptions::new().max_speed_hz(hertz).mode(SpiModeFlags::SPI_MODE_0).build();
        let open = || -> std::io::Result<SpidevDevice> {
            let mut device = SpidevDevice::open(path).map_err(std::io::Error::other)?;
            device.0.configure(&options)?;
            Ok(device)
        };
        let device = open().map_err(|source| ScreenError::Device {
            path: path.to_owned(),
            source,
            remedy: "turn SPI on (on a Raspberry Pi `dtparam=spi=on` in config.txt) and let this \
                     user into the group that owns the device",
        })?;
        Ok(Self(device))
    }
}

impl spi::ErrorType for Bus {
    type Error = Fault;
}

impl SpiDevice for Bus {
    fn transaction(&mut self, operations: &mut [Operation<'_, u8>]) -> Result<(), Fault> {
        self.0.transaction(operations).map_err(fault)
    }
}

/// What Pimoroni's board at that I2C bus says of itself.
pub(super) fn board(bus: &Path) -> Result<Board, ScreenError> {
    const ADDRESS: u8 = 0x50;
    let mut bytes = [0; Board::BYTES];
    let mut read = || -> Result<(), String> {
        let mut device = I2cdev::new(bus).map_err(|error| error.to_string())?;
        let read = device.write(ADDRESS, &[0, 0]).and_then(|()| {
            // The memory goes on from the address that was written before.
            device.write_read(ADDRESS, &[0], &mut bytes)
        });
        read.map_err(|error| error.to_string())
    };
    read().map_err(|reason| ScreenError::Device {
        path: bus.to_owned(),
        source: std::io::Error::other(reason),
        remedy: "turn I2C on (on a Raspberry Pi `dtparam=i2c_arm=on` in config.txt), or name the \
                 panel as `panel`",
    })?;
    Ok(Board::read(&bytes))
}
