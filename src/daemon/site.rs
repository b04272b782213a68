//! The place a kiosk stands at: the time, the screen, the model, the heat, and who looks after it.
//! Tests put up a site of their own, where a day passes in a moment.

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use jiff::Zoned;

use super::config::Config;
use super::desk::{Call, Desk};
use super::gallery::FreeSpace;
use crate::display::{Screen, ScreenSettings};
use crate::paint::Paint;

/// Why something could not be had.
pub type SiteError = Box<dyn Error + Send + Sync>;

/// All that is outside of a kiosk.
pub trait Site {
    /// Paints the pictures.
    type Painter: Paint;

    /// Opens the model.
    ///
    /// # Errors
    /// When it cannot be read.
    fn painter(&self, config: &Config) -> Result<Self::Painter, SiteError>;

    /// Opens the screen, or what stands for none.
    ///
    /// # Errors
    /// When it is not there.
    fn screen(&self, settings: Option<&ScreenSettings>) -> Result<Box<dyn Screen>, SiteError>;

    /// Now, where the kiosk is.
    fn now(&self) -> Zoned;

    /// Waits for a call, or until some time has passed.
    fn wait(&self, desk: &Desk, patience: Duration) -> Option<Call>;

    /// Lets some time pass.
    fn pause(&self, span: Duration);

    /// Degrees Celsius of the hottest part of the machine, where it has a thermometer.
    fn temperature(&self) -> Option<f64>;

    /// Says how many bytes are free.
    fn free_space(&self) -> FreeSpace;

    /// Tells the system's supervisor.
    fn notify(&self, notice: Notice<'_>);

    /// A number for seeds and choices that nobody can foretell.
    fn random(&self) -> u64;
}

/// What a supervisor is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice<'a> {
    /// The kiosk works.
    Ready,
    /// It goes on working: said after every step of a painting.
    Alive,
    /// What it does now, in words.
    Status(&'a str),
    /// The configuration is being read again.
    Reloading,
    /// It comes to an end.
    Stopping,
}

/// The hottest of the machine's thermometers, of those below a folder of `/sys`.
pub(super) fn hottest(thermal: &Path) -> Option<f64> {
    let zones = std::fs::read_dir(thermal).ok()?.filter_map(Result::ok);
    let degrees = zones.filter_map(|zone| {
        let text = std::fs::read_to_string(zone.path().join("temp")).ok()?;
        text.trim().parse::<f64>().ok()
    });
    degrees.map(|millidegrees| millidegrees / 1000.0).reduce(f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn the_hottest_thermometer_counts() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(hottest(folder.path()), None);
        for (zone, text) in [("zone0", "45123\n"), ("zone1", "61500\n"), ("zone2", "-\n")] {
            fs::create_dir(folder.path().join(zone)).unwrap();
            fs::write(folder.path().join(zone).join("temp"), text).unwrap();
        }
        fs::create_dir(folder.path().join("cooling_device0")).unwrap();
        assert_eq!(hottest(folder.path()), Some(61.5));
        assert_eq!(hottest(&folder.path().join("none")), None);
    }
}
