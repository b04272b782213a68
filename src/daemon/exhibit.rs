//! What the screen shows: a picture, the words below it, and how bright it is at this time of day.

use std::sync::Arc;
use std::time::Duration;

use image::RgbImage;
use jiff::civil::Time;

use super::board::Board;
use super::config::Display;
use super::site::SiteError;
use crate::display::{self, Layout, Pace, Rotation, Screen};

/// How long one picture fades into the next, and in how many frames.
const FADE: Duration = Duration::from_millis(800);
const FADE_FRAMES: u32 = 12;

/// What is on a screen.
enum OnShow {
    /// A picture and its caption.
    Picture(RgbImage, String),
    /// Words: a title, and what there is to say.
    Message(String, String),
}

/// A screen and what is on it.
pub(super) struct Exhibit {
    screen: Box<dyn Screen>,
    display: Display,
    layout: Layout,
    on_show: Option<OnShow>,
    /// What stands over the picture instead of its caption.
    trouble: Option<String>,
    /// Whether nothing is shown.
    dark: bool,
    /// How bright what is shown is.
    brightness: f32,
    /// Where others see what is shown.
    board: Board,
}

impl Exhibit {
    /// Takes a screen.
    pub fn new(screen: Box<dyn Screen>, display: Display, board: Board) -> Self {
        let layout = Layout {
            fit: display.fit,
            rotation: display.rotate,
            background: display.background.0,
            brightness: display.brightness,
        };
        let brightness = display.brightness;
        Self {
            screen,
            display,
            layout,
            on_show: None,
            trouble: None,
            dark: false,
            brightness,
            board,
        }
    }

    /// Whether a painting may be seen emerging.
    pub fn emerges(&self) -> bool {
        self.display.emerge && self.is_live()
    }

    /// Whether many pictures can follow one another.
    pub fn is_live(&self) -> bool {
        !self.dark && self.screen.info().pace == Pace::Live
    }

    /// Whether a picture is shown.
    pub fn has_picture(&self) -> bool {
        matches!(self.on_show, Some(OnShow::Picture(..)))
    }

    /// Keeps what is shown when the screen is changed.
    pub fn take_over(&mut self, other: Self) -> Result<(), SiteError> {
        (self.on_show, self.trouble) = (other.on_show, other.trouble);
        self.refresh()
    }

    /// Shows words and no picture.
    pub fn announce(&mut self, title: &str, text: &str) -> Result<(), SiteError> {
        self.on_show = Some(OnShow::Message(title.to_owned(), text.to_owned()));
        self.refresh()
    }

    /// Shows a picture with its words, and forgets all trouble. The one before fades away where the
    /// screen is fast enough; `pause` waits between the frames.
    pub fn show(
        &mut self,
        picture: RgbImage,
        caption: &str,
        pause: impl Fn(Duration),
    ) -> Result<(), SiteError> {
        let before = self.frame_now().filter(|_| self.emerges());
        self.on_show = Some(OnShow::Picture(picture, caption.to_owned()));
        self.trouble = None;
        if let (Some(before), Some(after)) = (before, self.frame_now()) {
            for step in 1..FADE_FRAMES {
                let share = step as f32 / FADE_FRAMES as f32;
                self.turn_and_show(&display::fade(&before, &after, share))?;
                pause(FADE / FADE_FRAMES);
            }
        }
        self.refresh()
    }

    /// Shows an unfinished picture.
    pub fn sketch(&mut self, picture: &RgbImage) -> Result<(), SiteError> {
        let frame = self.frame(picture);
        let shown = self.turn_and_show(&frame);
        if self.board.is_watched() {
            self.board.write(|state| state.frame = Some(Arc::new(frame)));
        }
        shown
    }

    /// Says what is wrong, over the last picture if there is one.
    pub fn complain(&mut self, trouble: &str) -> Result<(), SiteError> {
        if self.trouble.as_deref() == Some(trouble) {
            return Ok(());
        }
        self.trouble = Some(trouble.to_owned());
        self.refresh()
    }

    /// Takes the time of day into account: shows the same anew where it is to be brighter or darker.
    pub fn keep_time(&mut self, now: Time, dark: bool) -> Result<(), SiteError> {
        let night = self.display.night.is_some_and(|night| night.contains(now));
        let display = &self.display;
        let brightness = if night { display.night_brightness } else { display.brightness };
        if (self.brightness, self.dark) == (brightness, dark) {
            return Ok(());
        }
        (self.brightness, self.dark) = (brightness, dark);
        self.refresh()
    }

    /// Brings what is to be seen onto the screen, and tells everybody.
    fn refresh(&mut self) -> Result<(), SiteError> {
        let Some(frame) = self.frame_now() else { return Ok(()) };
        let shown = self.turn_and_show(&frame);
        let trouble = self.trouble.clone();
        self.board.write(|state| (state.frame, state.trouble) = (Some(Arc::new(frame)), trouble));
        shown
    }

    /// What is shown, with the words that stand over it.
    fn frame_now(&self) -> Option<RgbImage> {
        let (width, height) = self.upright();
        let trouble = self.trouble.as_deref();
        match self.on_show.as_ref()? {
            OnShow::Picture(picture, caption) => {
                let mut frame = self.frame(picture);
                let caption =
                    Some(caption.as_str()).filter(|c| self.display.caption && !c.is_empty());
                if let Some(words) = trouble.or(caption) {
                    display::caption(&mut frame, words);
                }
                Some(frame)
            }
            OnShow::Message(title, text) => {
                Some(display::message(width, height, title, trouble.unwrap_or(text)))
            }
        }
    }

    /// A picture as large as the screen, the right way up.
    fn frame(&self, picture: &RgbImage) -> RgbImage {
        let (width, height) = self.upright();
        let upright = Layout { rotation: Rotation::None, brightness: 1.0, ..self.layout };
        upright.arrange(picture, width, height)
    }

    /// Turns a frame the way the screen hangs.
    fn turn_and_show(&mut self, frame: &RgbImage) -> Result<(), SiteError> {
        let info = self.screen.info();
        let brightness = if self.dark { 0.0 } else { self.brightness };
        let hung = Layout { brightness, ..self.layout };
        self.screen.show(&hung.arrange(frame, info.width, info.height))?;
        Ok(())
    }

    /// Width and height as people see them.
    fn upright(&self) -> (u32, u32) {
        let info = self.screen.info();
        match self.layout.rotation {
            Rotation::None | Rotation::Half => (info.width, info.height),
            Rotation::Right | Rotation::Left => (info.height, info.width),
        }
    }
}
