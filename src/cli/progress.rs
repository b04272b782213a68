//! The progress bar on the standard error, with the time that is left. Where that is no terminal,
//! nothing is drawn.

use image::RgbImage;
use image::imageops::{self, FilterType};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::paint::preview::{self, Protocol};
use crate::paint::{Progress, Stage};

/// A line of progress, and below it the picture.
const TEMPLATE: &str = "{prefix:>16} {bar:30} {eta} left\n{msg}";
/// Parts that a picture's bar is divided into.
const PARTS: f64 = 1000.0;

/// A bar for one picture; it vanishes when the picture is done.
#[derive(Debug)]
pub(super) struct Bar {
    bar: ProgressBar,
    pictures: Option<Protocol>,
}

impl Bar {
    /// A bar, or none where nothing should be said; below it the picture as it emerges, where the
    /// terminal shows any.
    pub(super) fn new(shown: bool, pictures: Option<Protocol>) -> Self {
        let target =
            if shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(None, target);
        let style = ProgressStyle::with_template(TEMPLATE);
        // The template is a constant, tested below; the default would do as well.
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.set_prefix("reading");
        Self { bar, pictures }
    }

    /// Moves on within picture number `index` (from 0) of `count`.
    pub(super) fn show_of(&self, (index, count): (usize, usize), progress: Progress<'_>) {
        self.move_to((index as f64 + progress.share, count as f64));
        self.bar.set_prefix(format!("{}/{count}", index + 1));
    }

    /// Shows a picture that is done below the line, where the terminal shows any.
    pub(super) fn picture(&self, picture: &RgbImage) {
        if let Some(protocol) = self.pictures {
            let (width, height) = picture.dimensions();
            let small = imageops::thumbnail(picture, width.min(80), height.min(48));
            self.bar.set_message(preview::blocks(&small, protocol));
        }
    }

    /// Moves on.
    pub(super) fn show(&self, progress: Progress<'_>) {
        self.move_to((progress.share, 1.0));
        if let (Some(preview), Some(protocol)) = (progress.preview, self.pictures) {
            self.bar.set_message(emerging(&preview.picture(), protocol));
        }
        let Progress { stage, step, steps, share, .. } = progress;
        self.bar.set_prefix(match stage {
            _ if share >= 1.0 => "finishing".to_owned(),
            Stage::Upscale => format!("enlarging {step}/{steps}"),
            _ => format!("painting {step}/{steps}"),
        });
    }

    /// Moves to so much of the whole, both in pictures.
    fn move_to(&self, (done, all): (f64, f64)) {
        self.bar.set_length((all * PARTS) as u64);
        self.bar.set_position((done * PARTS).round() as u64);
    }
}

/// The picture so far, twice its size so that it can be made out.
fn emerging(picture: &RgbImage, protocol: Protocol) -> String {
    let (width, height) = (2 * picture.width().min(40), 2 * picture.height().min(24));
    let larger = imageops::resize(picture, width, height, FilterType::Triangle);
    preview::blocks(&larger, protocol)
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_follows_the_steps() {
        let bar = Bar::new(false, None);
        let at = |stage, step| Progress::after(stage, step, 5);
        bar.show(at(Stage::Text, 0));
        assert_eq!((bar.bar.position(), bar.bar.length()), (0, Some(1000)));
        assert_eq!(bar.bar.prefix(), "painting 0/5");
        bar.show(Progress { share: 0.25, ..at(Stage::Upscale, 1) });
        assert_eq!((bar.bar.position(), bar.bar.prefix().as_str()), (250, "enlarging 1/5"));
        bar.show(at(Stage::Upscale, 5));
        assert_eq!((bar.bar.position(), bar.bar.prefix().as_str()), (1000, "finishing"));
    }

    #[test]
    fn a_bar_counts_the_steps_of_all_pictures() {
        let bar = Bar::new(false, Some(Protocol::TrueColour));
        bar.show_of((2, 10), Progress::after(Stage::Denoise, 3, 5));
        assert_eq!((bar.bar.position(), bar.bar.length()), (2600, Some(10_000)));
        assert_eq!(bar.bar.prefix(), "3/10");
        bar.picture(&RgbImage::new(200, 100));
        assert!(bar.bar.message().contains('▀'));
    }

    #[test]
    fn the_template_is_sound() {
        assert!(ProgressStyle::with_template(TEMPLATE).is_ok());
    }
}
