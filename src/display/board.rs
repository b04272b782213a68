//! Panels on a board's pins, wired as their makers say.

use std::path::{Path, PathBuf};

use embedded_hal::delay::DelayNs;
use embedded_hal::digital::OutputPin;
use linux_embedded_hal::Delay;
use mipidsi::interface::InterfacePixelFormat;
use mipidsi::models::{GC9A01, ILI9341Rgb565, ILI9488Rgb666, Model};

use super::epaper::panels::{AC073TC1A, E640, E673, EL133UF1, UC8159_600, UC8159_640};
use super::epaper::{EPaper, Inking, Panel, Pins, waveshare as tables};
use super::lcd::{Controller, Lcd, Mounting, St7789, Wires, rgb565, rgb666};
use super::pins::{Bus, Line, board, header_chip};
use super::{
    InkyPanel, Screen, ScreenError, ScreenKind, ScreenSettings, ScreenSize, WavesharePanel,
};

/// Opens a panel: `inky`, `waveshare`, or one of the colour screens.
pub(super) fn open(settings: &ScreenSettings) -> Result<Box<dyn Screen>, ScreenError> {
    match settings.kind {
        ScreenKind::St7789 => lcd(settings, ST7789, st7789(settings)),
        ScreenKind::Ili9341 => {
            let controller = Controller { model: ILI9341Rgb565, name: "ILI9341", colour: rgb565 };
            lcd(settings, Usual { size: (240, 320), ..ILI }, controller)
        }
        ScreenKind::Ili9488 => {
            let controller = Controller { model: ILI9488Rgb666, name: "ILI9488", colour: rgb666 };
            lcd(settings, Usual { size: (320, 480), ..ILI }, controller)
        }
        ScreenKind::Gc9a01 => {
            let controller = Controller { model: GC9A01, name: "GC9A01", colour: rgb565 };
            lcd(settings, Usual { inverted: true, ..ILI }, controller)
        }
        ScreenKind::Waveshare => waveshare(settings),
        _ => inky(settings),
    }
}

/// The table of a board of Pimoroni's.
fn inky_table(panel: InkyPanel) -> &'static Panel {
    match panel {
        InkyPanel::E673 => &E673,
        InkyPanel::E640 => &E640,
        InkyPanel::El133uf1 => &EL133UF1,
        InkyPanel::Ac073tc1a => &AC073TC1A,
        InkyPanel::Uc8159Wide => &UC8159_600,
        InkyPanel::Uc8159Small => &UC8159_640,
    }
}

/// The table of a panel of Waveshare's.
fn waveshare_table(panel: WavesharePanel) -> &'static Panel {
    match panel {
        WavesharePanel::Epd7in3e => &tables::EPD_7IN3E,
        WavesharePanel::Epd7in3f => &tables::EPD_7IN3F,
        WavesharePanel::Epd7in3g => &tables::EPD_7IN3G,
        WavesharePanel::Epd5in65f => &tables::EPD_5IN65F,
        WavesharePanel::Epd4in01f => &tables::EPD_4IN01F,
        WavesharePanel::Epd4in37g => &tables::EPD_4IN37G,
        WavesharePanel::Epd7in5V2 => &tables::EPD_7IN5_V2,
        WavesharePanel::Epd7in5bV2 => &tables::EPD_7IN5B_V2,
        WavesharePanel::Epd5in83V2 => &tables::EPD_5IN83_V2,
        WavesharePanel::Epd5in83bV2 => &tables::EPD_5IN83B_V2,
        WavesharePanel::Epd4in26 => &tables::EPD_4IN26,
        WavesharePanel::Epd4in2V2 => &tables::EPD_4IN2_V2,
    }
}

fn chip(settings: &ScreenSettings) -> PathBuf {
    settings.pins.chip.clone().unwrap_or_else(header_chip)
}

/// An Inky Impression on the pins that all of them use.
fn inky(settings: &ScreenSettings) -> Result<Box<dyn Screen>, ScreenError> {
    let panel = match settings.inky().map_err(ScreenError::Settings)? {
        Some(panel) => inky_table(panel),
        None => board(Path::new("/dev/i2c-1"))?
            .panel()
            .map_err(|error| ScreenError::Settings(error.to_string()))?,
    };
    let pins = &settings.pins;
    let chip = chip(settings);
    let device = settings.device.as_deref().unwrap_or(Path::new("/dev/spidev0.0"));
    let bus = Bus::open(device, settings.hertz.unwrap_or(panel.hertz))?;
    let pins = Pins {
        reset: Line::output(&chip, pins.reset.unwrap_or(27))?,
        data: Line::output(&chip, pins.data.unwrap_or(22))?,
        selects: selects(panel, &chip)?,
        busy: Line::input(&chip, pins.busy.unwrap_or(17))?,
        power: None,
    };
    Ok(epaper(panel, bus, pins, settings))
}

/// A panel of Waveshare's on the pins of its HATs. The kernel selects it; nothing is high, and so
/// it is not fed, before the first frame.
fn waveshare(settings: &ScreenSettings) -> Result<Box<dyn Screen>, ScreenError> {
    let panel = waveshare_table(settings.waveshare().map_err(ScreenError::Settings)?);
    let pins = &settings.pins;
    let chip = chip(settings);
    let device = settings.device.as_deref().unwrap_or(Path::new("/dev/spidev0.0"));
    let bus = Bus::open(device, settings.hertz.unwrap_or(panel.hertz))?;
    let pins = Pins {
        reset: Line::low(&chip, pins.reset.unwrap_or(17))?,
        data: Line::low(&chip, pins.data.unwrap_or(25))?,
        selects: Vec::new(),
        busy: Line::pulled_down(&chip, pins.busy.unwrap_or(24))?,
        power: Some(Line::low(&chip, pins.power.unwrap_or(18))?),
    };
    Ok(epaper(panel, bus, pins, settings))
}

fn epaper(
    panel: &'static Panel,
    bus: Bus,
    pins: Pins<Line, Line>,
    settings: &ScreenSettings,
) -> Box<dyn Screen> {
    let inking = Inking { saturation: settings.saturation, dithering: settings.dithering };
    Box::new(EPaper::new(panel, bus, pins, Delay, inking))
}

/// The pins that select the controllers. The one of a panel with one controller is often held by
/// the kernel, which then selects it itself.
fn selects(panel: &Panel, chip: &Path) -> Result<Vec<Line>, ScreenError> {
    if panel.controllers() == 2 {
        return [26, 16].into_iter().map(|pin| Line::output(chip, pin)).collect();
    }
    match Line::output(chip, 8) {
        Ok(line) => Ok(vec![line]),
        Err(error) => {
            log::debug!("the kernel selects the panel: {error}");
            Ok(Vec::new())
        }
    }
}

/// How a colour screen is usually built in and wired.
#[derive(Clone, Copy)]
struct Usual {
    size: (u16, u16),
    inverted: bool,
    blue_first: bool,
    hertz: u32,
    device: &'static str,
    data: u32,
    reset: Option<u32>,
    backlight: u32,
}

/// As on Pimoroni's breakouts.
const ST7789: Usual = Usual {
    size: (240, 240),
    inverted: true,
    blue_first: false,
    hertz: 40_000_000,
    device: "/dev/spidev0.1",
    data: 9,
    reset: None,
    backlight: 13,
};

/// As on most modules.
const ILI: Usual = Usual {
    size: (240, 240),
    inverted: false,
    blue_first: true,
    hertz: 32_000_000,
    device: "/dev/spidev0.0",
    data: 25,
    reset: Some(27),
    backlight: 18,
};

fn st7789(settings: &ScreenSettings) -> Controller<St7789> {
    let model = St7789 { madctl: settings.madctl.unwrap_or(0x70) };
    Controller { model, name: "ST7789", colour: rgb565 }
}

fn mounting(settings: &ScreenSettings, usual: Usual) -> Mounting {
    let side = |side: u32| u16::try_from(side).unwrap_or(u16::MAX);
    let size = settings.size.map(|ScreenSize { width, height }| (side(width), side(height)));
    Mounting {
        size: size.unwrap_or(usual.size),
        offset: settings.offset.into(),
        inverted: settings.inverted.unwrap_or(usual.inverted),
        blue_first: settings.blue_first.unwrap_or(usual.blue_first),
    }
}

fn lcd<M>(
    settings: &ScreenSettings,
    usual: Usual,
    controller: Controller<M>,
) -> Result<Box<dyn Screen>, ScreenError>
where
    M: Model<ColorFormat: InterfacePixelFormat<u8>> + Send + 'static,
{
    let pins = &settings.pins;
    let chip = chip(settings);
    let device = settings.device.as_deref().unwrap_or(Path::new(usual.device));
    let bus = Bus::open(device, settings.hertz.unwrap_or(usual.hertz))?;
    let data = Line::output(&chip, pins.data.unwrap_or(usual.data))?;
    let reset = pins.reset.or(usual.reset).map(|pin| Line::output(&chip, pin)).transpose()?;
    let backlight = Line::output(&chip, pins.backlight.unwrap_or(usual.backlight))?;
    let kept = (backlight, reset.map(|pin| pulse(controller.name, pin)).transpose()?);
    let wires = Wires::new(bus, data);
    let mounting = mounting(settings, usual);
    Ok(Box::new(Lcd::start(controller, wires, kept, &mut Delay, mounting)?))
}

/// Resets a screen. The pin is held from then on, so that it stays high.
fn pulse(name: &str, mut pin: Line) -> Result<Line, ScreenError> {
    let mut set = |high: bool| {
        let result = if high { pin.set_high() } else { pin.set_low() };
        let error =
            |error| ScreenError::Bus { name: name.to_owned(), reason: format!("{error:?}") };
        result.map_err(error)
    };
    set(false)?;
    Delay.delay_ms(10);
    set(true)?;
    Delay.delay_ms(120);
    Ok(pin)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::display::PanelName;

    #[test]
    fn a_bus_that_is_not_there_is_named_with_what_helps() {
        let panels = [
            (ScreenKind::Inky, PanelName::Inky(InkyPanel::E673)),
            (ScreenKind::Waveshare, PanelName::Waveshare(WavesharePanel::Epd7in5V2)),
        ];
        for (kind, panel) in panels {
            let settings = ScreenSettings {
                kind,
                panel: Some(panel),
                device: Some("/dev/spidev9.9".into()),
                ..ScreenSettings::default()
            };
            let error = open(&settings).err().unwrap().to_string();
            assert!(error.starts_with("'/dev/spidev9.9' cannot be used"), "{error}");
            assert!(error.contains("dtparam=spi=on"), "{error}");
        }
    }

    #[test]
    fn settings_override_how_a_screen_is_usually_built_in() {
        let usual = mounting(&ScreenSettings::default(), ST7789);
        assert_eq!((usual.size, usual.inverted, usual.blue_first), ((240, 240), true, false));
        let settings = ScreenSettings {
            size: ScreenSize::new(320, 240),
            offset: [0, 40],
            inverted: Some(false),
            ..ScreenSettings::default()
        };
        let own = mounting(&settings, ST7789);
        assert_eq!((own.size, own.offset, own.inverted), ((320, 240), (0, 40), false));
    }
}
