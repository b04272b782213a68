//! The site of a kiosk that runs on a real machine, supervised by systemd or by nobody.

use std::cell::Cell;
use std::path::Path;
use std::time::Duration;

use image::RgbImage;
use jiff::Zoned;
use sd_notify::NotifyState;

use super::config::Config;
use super::desk::{Call, Desk};
use super::gallery::{FreeSpace, free_space};
use super::site::{Notice, Site, SiteError, hottest};
use crate::display::{self, Pace, Screen, ScreenError, ScreenInfo, ScreenSettings};
use crate::paint::{Paint, Painter, random_seed};

/// Where Linux has its thermometers.
const THERMAL: &str = "/sys/class/thermal";

/// This machine.
#[derive(Debug, Default)]
pub struct System {
    /// Whether the supervisor has gone away, which is said once.
    alone: Cell<bool>,
}

/// Where pictures go to the gallery alone.
struct NoScreen;

impl Screen for NoScreen {
    fn info(&self) -> ScreenInfo {
        ScreenInfo { width: 512, height: 512, pace: Pace::Slow, name: "no screen".to_owned() }
    }

    fn show(&mut self, _frame: &RgbImage) -> Result<(), ScreenError> {
        Ok(())
    }
}

impl Site for System {
    type Painter = Painter;

    fn painter(&self, config: &Config) -> Result<Painter, SiteError> {
        let mut painter = Painter::open(config.model.as_deref(), config.threads)?;
        // Says at once what cannot be painted, or not within the memory.
        painter.resolve(&config.request)?;
        if let Some(plan) = painter.plan_memory(&config.request)? {
            log::info!("{plan}");
        }
        Ok(painter)
    }

    fn screen(&self, settings: Option<&ScreenSettings>) -> Result<Box<dyn Screen>, SiteError> {
        Ok(match settings {
            Some(settings) => display::open(settings)?,
            None => Box::new(NoScreen),
        })
    }

    fn now(&self) -> Zoned {
        Zoned::now()
    }

    fn wait(&self, desk: &Desk, patience: Duration) -> Option<Call> {
        desk.wait(patience)
    }

    fn pause(&self, span: Duration) {
        std::thread::sleep(span);
    }

    fn temperature(&self) -> Option<f64> {
        hottest(Path::new(THERMAL))
    }

    fn free_space(&self) -> FreeSpace {
        Box::new(free_space)
    }

    fn notify(&self, notice: Notice<'_>) {
        let state = match notice {
            Notice::Ready => NotifyState::Ready,
            Notice::Alive => NotifyState::Watchdog,
            Notice::Status(words) => NotifyState::Status(words),
            Notice::Reloading => NotifyState::Reloading,
            Notice::Stopping => NotifyState::Stopping,
        };
        // Without a supervisor this does nothing.
        let told = sd_notify::notify(&[state]);
        if let Some(error) = told.err().filter(|_| !self.alone.replace(true)) {
            log::warn!("the supervisor cannot be told: {error}");
        }
    }

    fn random(&self) -> u64 {
        random_seed()
    }
}
