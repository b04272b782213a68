//! A window on the desktop, to see on a PC what a screen will show.

use std::io;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, SyncSender};
use std::thread;
use std::time::Duration;

use image::RgbImage;
use minifb::{ScaleMode, Window, WindowOptions};

use super::{Pace, Screen, ScreenError, ScreenInfo, ScreenSize};

/// How often the desktop's wishes (moved, resized, closed) are looked at.
const LOOK: Duration = Duration::from_millis(30);

/// A window of that many pixels. It lives in a thread of its own, which alone may touch it.
#[derive(Debug)]
pub struct WindowScreen {
    size: ScreenSize,
    frames: Sender<Vec<u32>>,
}

impl WindowScreen {
    /// Opens a window.
    ///
    /// # Errors
    /// When there is no desktop.
    pub fn open(size: ScreenSize) -> Result<Self, ScreenError> {
        let (frames, shown) = mpsc::channel();
        let (opened, result) = mpsc::sync_channel(1);
        thread::Builder::new()
            .name("window".to_owned())
            .spawn(move || run(size, &shown, &opened))
            .map_err(|error| failure(error.to_string()))?;
        match result.recv() {
            Ok(Ok(())) => Ok(Self { size, frames }),
            Ok(Err(reason)) => Err(failure(reason)),
            Err(_) => Err(failure("its thread ended".to_owned())),
        }
    }
}

fn failure(reason: String) -> ScreenError {
    ScreenError::Device {
        path: "window".into(),
        source: io::Error::other(reason),
        remedy: "run on a desktop, or take the screen 'png'",
    }
}

/// Shows frames until the window is closed or the screen is dropped.
fn run(size: ScreenSize, frames: &Receiver<Vec<u32>>, opened: &SyncSender<Result<(), String>>) {
    let (width, height) = (size.width as usize, size.height as usize);
    let options = WindowOptions {
        resize: true,
        scale_mode: ScaleMode::AspectRatioStretch,
        ..WindowOptions::default()
    };
    let mut window = match Window::new("Pochade", width, height, options) {
        Ok(window) => window,
        Err(error) => {
            // The other side waits for this.
            let _ = opened.send(Err(error.to_string()));
            return;
        }
    };
    let _ = opened.send(Ok(()));
    while window.is_open() {
        match frames.recv_timeout(LOOK) {
            Ok(frame) => {
                if let Err(error) = window.update_with_buffer(&frame, width, height) {
                    log::warn!("the window does not show a frame: {error}");
                }
            }
            Err(RecvTimeoutError::Timeout) => window.update(),
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

impl Screen for WindowScreen {
    fn info(&self) -> ScreenInfo {
        let ScreenSize { width, height } = self.size;
        ScreenInfo { width, height, pace: Pace::Live, name: "a window".to_owned() }
    }

    fn show(&mut self, frame: &RgbImage) -> Result<(), ScreenError> {
        self.info().check(frame)?;
        let pixels = frame.pixels().map(|pixel| {
            let [r, g, b] = pixel.0.map(u32::from);
            r << 16 | g << 8 | b
        });
        self.frames.send(pixels.collect()).map_err(|_| failure("it has been closed".to_owned()))
    }
}
