//! The e-paper panels that settings can name.

use std::str::FromStr;

use serde::Deserialize;

use super::settings::{named, names};

/// The boards of Pimoroni's Inky Impression series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InkyPanel {
    /// 7.3 inches of 2025: Spectra 6, 800x480.
    E673,
    /// 4.0 inches of 2025: Spectra 6, 600x400.
    E640,
    /// 13.3 inches: Spectra 6, 1600x1200.
    El133uf1,
    /// 7.3 inches of 2022: seven colours, 800x480.
    Ac073tc1a,
    /// 5.7 inches: seven colours, 600x448.
    Uc8159Wide,
    /// 4 inches: seven colours, 640x400.
    Uc8159Small,
}

/// Every board, with its name in settings.
const INKY: [(&str, InkyPanel); 6] = [
    ("e673", InkyPanel::E673),
    ("e640", InkyPanel::E640),
    ("el133uf1", InkyPanel::El133uf1),
    ("ac073tc1a", InkyPanel::Ac073tc1a),
    ("uc8159-600", InkyPanel::Uc8159Wide),
    ("uc8159-640", InkyPanel::Uc8159Small),
];

impl InkyPanel {
    /// All names, for sentences.
    pub(super) fn names() -> String {
        names(&INKY)
    }
}

/// Waveshare's panels, by the names of the modules of its driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WavesharePanel {
    /// 7.3 inches (E): Spectra 6, 800x480.
    Epd7in3e,
    /// 7.3 inches (F): seven colours, 800x480.
    Epd7in3f,
    /// 7.3 inches (G): black, white, yellow and red, 800x480.
    Epd7in3g,
    /// 5.65 inches (F): seven colours, 600x448.
    Epd5in65f,
    /// 4.01 inches (F): seven colours, 640x400.
    Epd4in01f,
    /// 4.37 inches (G): black, white, yellow and red, 512x368.
    Epd4in37g,
    /// 7.5 inches, second version: black and white, 800x480.
    Epd7in5V2,
    /// 7.5 inches (B), second version: black, white and red, 800x480.
    Epd7in5bV2,
    /// 5.83 inches, second version: black and white, 648x480.
    Epd5in83V2,
    /// 5.83 inches (B), second version: black, white and red, 648x480.
    Epd5in83bV2,
    /// 4.26 inches: black and white, 800x480.
    Epd4in26,
    /// 4.2 inches, second version: black and white, 400x300.
    Epd4in2V2,
}

/// Every one of them, with its name in settings.
const WAVESHARE: [(&str, WavesharePanel); 12] = [
    ("7in3e", WavesharePanel::Epd7in3e),
    ("7in3f", WavesharePanel::Epd7in3f),
    ("7in3g", WavesharePanel::Epd7in3g),
    ("5in65f", WavesharePanel::Epd5in65f),
    ("4in01f", WavesharePanel::Epd4in01f),
    ("4in37g", WavesharePanel::Epd4in37g),
    ("7in5-v2", WavesharePanel::Epd7in5V2),
    ("7in5b-v2", WavesharePanel::Epd7in5bV2),
    ("5in83-v2", WavesharePanel::Epd5in83V2),
    ("5in83b-v2", WavesharePanel::Epd5in83bV2),
    ("4in26", WavesharePanel::Epd4in26),
    ("4in2-v2", WavesharePanel::Epd4in2V2),
];

impl WavesharePanel {
    /// All names, for sentences.
    pub(super) fn names() -> String {
        names(&WAVESHARE)
    }
}

/// An e-paper panel of any maker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum PanelName {
    /// Of the screen `inky`.
    Inky(InkyPanel),
    /// Of the screen `waveshare`.
    Waveshare(WavesharePanel),
}

impl FromStr for PanelName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let inky = named(&INKY, text).map(Self::Inky);
        let panel = inky.or_else(|| named(&WAVESHARE, text).map(Self::Waveshare));
        panel.ok_or_else(|| {
            format!(
                "'{text}' is no panel that is known; take one of {} (inky) or {} (waveshare)",
                names(&INKY),
                names(&WAVESHARE)
            )
        })
    }
}

impl TryFrom<String> for PanelName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_read_in_settings_as_on_the_command_line() {
        let inky = INKY.map(|(name, panel)| (name, PanelName::Inky(panel)));
        let waveshare = WAVESHARE.map(|(name, panel)| (name, PanelName::Waveshare(panel)));
        for (name, panel) in inky.into_iter().chain(waveshare) {
            assert_eq!(name.parse(), Ok(panel));
            let quoted = format!("\"{name}\"");
            assert_eq!(serde_json::from_str::<PanelName>(&quoted).unwrap(), panel);
        }
    }

    #[test]
    fn a_name_that_is_not_known_is_answered_with_those_that_are() {
        assert_eq!(
            "7in5".parse::<PanelName>().unwrap_err(),
            "'7in5' is no panel that is known; take one of e673, e640, el133uf1, ac073tc1a, \
             uc8159-600, uc8159-640 (inky) or 7in3e, 7in3f, 7in3g, 5in65f, 4in01f, 4in37g, \
             7in5-v2, 7in5b-v2, 5in83-v2, 5in83b-v2, 4in26, 4in2-v2 (waveshare)"
        );
    }
}
