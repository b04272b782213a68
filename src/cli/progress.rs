//! The progress bar on the standard error, with the time that is left. Where that is no terminal,
//! nothing is drawn.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::paint::{Progress, Stage};

/// A bar for one picture; it vanishes when the picture is done.
#[derive(Debug)]
pub(super) struct Bar(ProgressBar);

impl Bar {
    /// A bar, or none where nothing should be said.
    pub(super) fn new(shown: bool) -> Self {
        let target =
            if shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(None, target);
        let style = ProgressStyle::with_template("{msg:>10} {bar:30} {pos}/{len}  {eta} left");
        // The template is a constant, tested below; the default would do as well.
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.set_message("reading");
        Self(bar)
    }

    /// Moves on.
    pub(super) fn show(&self, progress: Progress<'_>) {
        self.0.set_length(progress.steps as u64);
        self.0.set_position(progress.step as u64);
        self.0.set_message(match progress.stage {
            Stage::Text | Stage::Denoise if progress.step < progress.steps => "painting",
            _ => "finishing",
        });
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_follows_the_steps() {
        let bar = Bar::new(false);
        let at = |stage, step| Progress { stage, step, steps: 5, preview: None };
        bar.show(at(Stage::Text, 0));
        assert_eq!((bar.0.position(), bar.0.length()), (0, Some(5)));
        assert_eq!(bar.0.message(), "painting");
        bar.show(at(Stage::Denoise, 5));
        assert_eq!((bar.0.position(), bar.0.message().as_str()), (5, "finishing"));
    }

    #[test]
    fn the_template_is_sound() {
        assert!(ProgressStyle::with_template("{msg:>10} {bar:30} {pos}/{len}  {eta} left").is_ok());
    }
}
