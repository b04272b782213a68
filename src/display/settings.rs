//! Which screen, and where: as a configuration file or a command line says it.

use std::fmt;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::Deserialize;

use super::framebuffer::Framebuffer;
use super::models::{InkyPanel, PanelName, WavesharePanel};
use super::{Dithering, Inks, Palette, Paper, PngScreen, Screen, ScreenError, TerminalScreen};
use crate::paint::preview::Protocol;

/// The most pixels that a side of a screen may have.
pub const MAX_SIDE: u32 = 8192;

/// Width and height of a screen, written `800x480`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct ScreenSize {
    /// Pixels per row.
    pub width: u32,
    /// Rows.
    pub height: u32,
}

impl ScreenSize {
    /// The size, if no side is 0 or larger than [`MAX_SIDE`].
    pub fn new(width: u32, height: u32) -> Option<Self> {
        let sound = |side: u32| (1..=MAX_SIDE).contains(&side);
        (sound(width) && sound(height)).then_some(Self { width, height })
    }
}

impl FromStr for ScreenSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.split_once('x')
            .and_then(|(width, height)| Self::new(width.parse().ok()?, height.parse().ok()?))
            .ok_or_else(|| {
                format!(
                    "'{text}' is no size of a screen; write width and height in pixels, 1 to \
                     {MAX_SIDE}, such as 800x480"
                )
            })
    }
}

impl TryFrom<String> for ScreenSize {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// The kinds of screens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ScreenKind {
    /// A PNG file.
    #[default]
    Png,
    /// The terminal.
    Terminal,
    /// HDMI, DSI and whatever else the kernel drives.
    Drm,
    /// A framebuffer device of the kernel's.
    Framebuffer,
    /// An e-paper board of Pimoroni's Inky Impression series.
    Inky,
    /// An e-paper panel of Waveshare's.
    Waveshare,
    /// A colour screen with the controller ST7789.
    St7789,
    /// A colour screen with the controller ILI9341.
    Ili9341,
    /// A colour screen with the controller ILI9488.
    Ili9488,
    /// A round colour screen with the controller GC9A01.
    Gc9a01,
    /// A window on the desktop.
    Window,
}

/// Every kind, with its name in settings.
const KINDS: [(&str, ScreenKind); 11] = [
    ("png", ScreenKind::Png),
    ("terminal", ScreenKind::Terminal),
    ("drm", ScreenKind::Drm),
    ("framebuffer", ScreenKind::Framebuffer),
    ("inky", ScreenKind::Inky),
    ("waveshare", ScreenKind::Waveshare),
    ("st7789", ScreenKind::St7789),
    ("ili9341", ScreenKind::Ili9341),
    ("ili9488", ScreenKind::Ili9488),
    ("gc9a01", ScreenKind::Gc9a01),
    ("window", ScreenKind::Window),
];

impl fmt::Display for ScreenKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = KINDS.iter().find(|(_, kind)| kind == self).map(|(name, _)| *name);
        f.write_str(name.unwrap_or_default())
    }
}

impl FromStr for ScreenKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        named(&KINDS, text)
            .ok_or_else(|| format!("'{text}' is no kind of screen; take one of {}", names(&KINDS)))
    }
}

pub(super) fn named<T: Copy>(table: &[(&str, T)], text: &str) -> Option<T> {
    table.iter().find(|(name, _)| *name == text).map(|(_, value)| *value)
}

pub(super) fn names<T>(table: &[(&str, T)]) -> String {
    table.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}

/// The pins of a panel, by their numbers on the chip. What is left out is where the usual boards
/// have it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct PinSettings {
    /// The chip's device; the one of the board's header if left out.
    pub chip: Option<PathBuf>,
    /// Tells commands from data.
    pub data: Option<u32>,
    /// Resets the panel.
    pub reset: Option<u32>,
    /// Says that e-paper is busy.
    pub busy: Option<u32>,
    /// Switches a panel of Waveshare's on.
    pub power: Option<u32>,
    /// The light behind a colour screen.
    pub backlight: Option<u32>,
}

/// Which screen, and where.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct ScreenSettings {
    /// What it is.
    pub kind: ScreenKind,
    /// The file of `png`, the card of `drm`, the device of `framebuffer`, the SPI bus of a panel.
    pub device: Option<PathBuf>,
    /// How large it is, where it cannot say so itself.
    pub size: Option<ScreenSize>,
    /// Which panel `waveshare` or `inky` is; the latter's board is asked if left out.
    pub panel: Option<PanelName>,
    /// Shows what a panel with these inks would show; for `png`.
    pub inks: Option<Inks>,
    /// How pale the inks are taken to be, from 0 (pure colours) to 1 (as measured).
    pub saturation: f32,
    /// How colours that the inks have not are mixed.
    pub dithering: Dithering,
    /// Where a panel's pins are.
    pub pins: PinSettings,
    /// Clock of the SPI bus, in Hz.
    pub hertz: Option<u32>,
    /// The first column and row of a colour screen's memory that are seen.
    pub offset: [u16; 2],
    /// Whether a colour screen wants its colours inverted.
    pub inverted: Option<bool>,
    /// Whether a colour screen wants blue first.
    pub blue_first: Option<bool>,
    /// The register of the ST7789 that says in which order memory is shown.
    pub madctl: Option<u8>,
}

impl Default for ScreenSettings {
    fn default() -> Self {
        Self {
            kind: ScreenKind::default(),
            device: None,
            size: None,
            panel: None,
            inks: None,
            saturation: 0.5,
            dithering: Dithering::default(),
            pins: PinSettings::default(),
            hertz: None,
            offset: [0; 2],
            inverted: None,
            blue_first: None,
            madctl: None,
        }
    }
}

impl ScreenSettings {
    /// Refuses what can be known to be wrong without the device.
    ///
    /// # Errors
    /// A sentence, when `panel` is none of the kind's.
    pub fn check(&self) -> Result<(), String> {
        match self.kind {
            ScreenKind::Inky => self.inky().map(drop),
            ScreenKind::Waveshare => self.waveshare().map(drop),
            _ => Ok(()),
        }
    }

    /// Which board `inky` is, if they say so.
    pub(super) fn inky(&self) -> Result<Option<InkyPanel>, String> {
        match self.panel {
            None => Ok(None),
            Some(PanelName::Inky(panel)) => Ok(Some(panel)),
            Some(PanelName::Waveshare(_)) => Err(format!(
                "`panel` of the screen 'inky' must be one of {}, or be left out",
                InkyPanel::names()
            )),
        }
    }

    /// Which panel `waveshare` is.
    pub(super) fn waveshare(&self) -> Result<WavesharePanel, String> {
        match self.panel {
            Some(PanelName::Waveshare(panel)) => Ok(panel),
            _ => Err(format!(
                "the screen 'waveshare' cannot say which panel it is; name it as `panel`, one of \
                 {}",
                WavesharePanel::names()
            )),
        }
    }
}

/// Opens a screen.
///
/// # Errors
/// When the settings make no sense, or the device is not there or not ours to use.
pub fn open(settings: &ScreenSettings) -> Result<Box<dyn Screen>, ScreenError> {
    settings.check().map_err(ScreenError::Settings)?;
    match settings.kind {
        ScreenKind::Png => png(settings),
        ScreenKind::Terminal => terminal(),
        ScreenKind::Framebuffer => {
            let device = settings.device.as_deref().unwrap_or(Path::new("/dev/fb0"));
            Ok(Box::new(Framebuffer::open(device, Path::new("/sys/class/graphics"))?))
        }
        ScreenKind::Drm => drm(settings),
        ScreenKind::Window => window(settings),
        ScreenKind::Inky => panel(settings, "inky"),
        ScreenKind::Waveshare => panel(settings, "waveshare"),
        ScreenKind::St7789 => panel(settings, "st7789"),
        ScreenKind::Ili9341 => panel(settings, "ili9341"),
        ScreenKind::Ili9488 => panel(settings, "ili9488"),
        ScreenKind::Gc9a01 => panel(settings, "gc9a01"),
    }
}

fn png(settings: &ScreenSettings) -> Result<Box<dyn Screen>, ScreenError> {
    let path = settings.device.clone().ok_or_else(|| {
        ScreenError::Settings("the screen 'png' needs a file; name it as `device`".to_owned())
    })?;
    let size = settings.size.unwrap_or(ScreenSize { width: 800, height: 480 });
    let inks = settings
        .inks
        .map(|inks| (Paper::new(&Palette::blended(inks, settings.saturation)), settings.dithering));
    Ok(Box::new(PngScreen::new(path, size, inks)))
}

fn terminal() -> Result<Box<dyn Screen>, ScreenError> {
    let out = io::stdout();
    let protocol = Protocol::detect(out.is_terminal(), |name| std::env::var(name).ok())
        .ok_or(ScreenError::NoTerminal)?;
    let (columns, rows) = terminal_size::terminal_size().map_or((80, 24), |(w, h)| (w.0, h.0));
    Ok(Box::new(TerminalScreen::new(out, protocol, columns, rows)))
}

#[cfg(feature = "drm")]
fn drm(settings: &ScreenSettings) -> Result<Box<dyn Screen>, ScreenError> {
    Ok(Box::new(super::drm::DrmScreen::open(settings.device.as_deref(), settings.size)?))
}

#[cfg(not(feature = "drm"))]
fn drm(_: &ScreenSettings) -> Result<Box<dyn Screen>, ScreenError> {
    Err(ScreenError::NotBuilt { kind: "drm", feature: "drm" })
}

#[cfg(feature = "window")]
fn window(settings: &ScreenSettings) -> Result<Box<dyn Screen>, ScreenError> {
    let size = settings.size.unwrap_or(ScreenSize { width: 800, height: 480 });
    Ok(Box::new(super::window::WindowScreen::open(size)?))
}

#[cfg(not(feature = "window"))]
fn window(_: &ScreenSettings) -> Result<Box<dyn Screen>, ScreenError> {
    Err(ScreenError::NotBuilt { kind: "window", feature: "window" })
}

#[cfg(feature = "panels")]
fn panel(settings: &ScreenSettings, _: &'static str) -> Result<Box<dyn Screen>, ScreenError> {
    super::board::open(settings)
}

#[cfg(not(feature = "panels"))]
fn panel(_: &ScreenSettings, kind: &'static str) -> Result<Box<dyn Screen>, ScreenError> {
    Err(ScreenError::NotBuilt { kind, feature: "panels" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_and_mistakes_named() {
        let read = |text: &str| serde_json::from_str::<ScreenSettings>(text);
        let settings = read(r#"{"kind": "png", "device": "a.png", "size": "20x10"}"#).unwrap();
        assert_eq!(settings.size, ScreenSize::new(20, 10));
        let info = open(&settings).unwrap().info();
        assert_eq!(info.to_string(), "the file 'a.png', 20x10");
        for (text, told) in [
            (r#"{"size": "0x5"}"#, "'0x5' is no size of a screen"),
            (r#"{"size": "9000x5"}"#, "1 to 8192"),
            (r#"{"path": "a"}"#, "unknown field `path`"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(told), "{error}");
        }
        let error = "paper".parse::<ScreenKind>().unwrap_err();
        assert!(error.starts_with("'paper' is no kind of screen; take one of png, "), "{error}");
    }

    #[test]
    fn every_name_is_read_in_settings_as_on_the_command_line() {
        let quoted = |name: &str| format!("\"{name}\"");
        for (name, kind) in KINDS {
            assert_eq!(name.parse(), Ok(kind));
            assert_eq!(serde_json::from_str::<ScreenKind>(&quoted(name)).unwrap(), kind);
        }
    }

    #[test]
    fn a_panel_of_another_maker_or_none_is_refused_with_those_that_are_known() {
        let told = |text: &str| {
            let settings = serde_json::from_str::<ScreenSettings>(text).unwrap();
            settings.check().err().unwrap_or_default()
        };
        for text in [r#"{"kind": "waveshare"}"#, r#"{"kind": "waveshare", "panel": "e673"}"#] {
            let error = told(text);
            assert!(error.contains("name it as `panel`, one of 7in3e, 7in3f, "), "{error}");
        }
        assert_eq!(
            told(r#"{"kind": "inky", "panel": "7in3e"}"#),
            "`panel` of the screen 'inky' must be one of e673, e640, el133uf1, ac073tc1a, \
             uc8159-600, uc8159-640, or be left out"
        );
        assert_eq!(told(r#"{"kind": "inky"}"#), "");
        assert_eq!(told(r#"{"kind": "waveshare", "panel": "7in3e"}"#), "");
    }

    #[test]
    fn a_png_screen_needs_a_file() {
        let error = open(&ScreenSettings::default()).err().unwrap().to_string();
        assert_eq!(error, "the screen 'png' needs a file; name it as `device`");
    }
}
