//! The arguments of `pochade walk`.

use std::path::PathBuf;

use clap::Args;

use super::HowArgs;
use super::arguments::{number, seed};
use crate::paint::apng::{LEAST_FPS, MOST_FPS};
use crate::paint::{Stop, Walk, WalkError};

/// Where to walk, and how.
#[derive(Clone, Debug, Args)]
pub struct WalkArgs {
    /// What should be seen, one after the other. With one prompt alone, the seeds change.
    #[arg(required = true, value_name = "PROMPT")]
    pub prompts: Vec<String>,

    /// Where the frames go. A name that ends in .png or .apng gets one animated picture; any other
    /// is a folder for frame-0001.png and so on, made if it is not there [default: an animated
    /// picture named after the first prompt].
    #[arg(short, long, value_name = "PATH")]
    pub output: Option<PathBuf>,

    /// The seed of the first picture [default: drawn at random].
    #[arg(long, value_name = "N", value_parser = seed)]
    pub seed: Option<u64>,

    /// The seeds of the pictures after the first: one for all of them, or one for each (2,3,4)
    /// [default: that of the first].
    #[arg(long, value_name = "N,...", value_parser = seed, value_delimiter = ',')]
    pub seed_to: Vec<u64>,

    /// How many frames, those of the prompts themselves counted in.
    #[arg(long, value_name = "N", value_parser = frames, default_value = "48")]
    pub frames: usize,

    /// How many frames a second an animated picture shows.
    #[arg(long, value_name = "X", value_parser = fps, default_value = "12")]
    pub fps: f32,

    /// Go back to the first picture, so that the walk can be shown round and round.
    #[arg(long = "loop")]
    pub closed: bool,

    /// With what, and how.
    #[command(flatten)]
    pub how: HowArgs,

    /// Print one JSON object instead of the path.
    #[arg(long)]
    pub json: bool,

    /// Do not show the frames in the terminal.
    #[arg(long)]
    pub no_preview: bool,

    /// Print nothing but the path.
    #[arg(short, long)]
    pub quiet: bool,
}

impl WalkArgs {
    /// The walk, when the first seed is `seed`.
    ///
    /// # Errors
    /// When there is nowhere to go, or seeds or frames do not go with the prompts.
    pub(super) fn walk(&self, seed: u64) -> anyhow::Result<Walk> {
        Ok(Walk::new(self.stops(seed)?, self.frames, self.closed, self.how.request())?)
    }

    /// As many stops as there are prompts, or seeds for one prompt.
    fn stops(&self, seed: u64) -> anyhow::Result<Vec<Stop>> {
        let (first, next) = self.prompts.split_first().ok_or(WalkError::Stops)?;
        let seeds = &self.seed_to;
        let steps = if next.is_empty() { seeds.len() } else { next.len() };
        anyhow::ensure!(
            seeds.len() <= 1 || seeds.len() == steps,
            "--seed-to names {} seeds for {steps} further prompts; name one for all or one for each",
            seeds.len()
        );
        let further = (0..steps).map(|i| Stop {
            prompt: next.get(i).unwrap_or(first).clone(),
            seed: *seeds.get(i).or(seeds.first()).unwrap_or(&seed),
        });
        Ok([Stop { prompt: first.clone(), seed }].into_iter().chain(further).collect())
    }
}

fn frames(text: &str) -> Result<usize, &'static str> {
    number(text, "frames are a whole number from 2 to 9999", |n| (2..=9999).contains(n))
}

fn fps(text: &str) -> Result<f32, &'static str> {
    let wanted = "frames per second are a number from 0.02 to 60, such as 12";
    number(text, wanted, |n| (LEAST_FPS..=MOST_FPS).contains(n))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use clap::{CommandFactory, Parser};

    /// The stops as `prompt seed`, or the first line of what is wrong.
    fn stops(arguments: &[&str]) -> Result<String, String> {
        let start = ["pochade", "walk"];
        let cli = Cli::try_parse_from(start.iter().chain(arguments)).and_then(Cli::checked);
        match cli.map(|cli| cli.command) {
            Ok(Command::Walk(args)) => {
                let walk = args.walk(args.seed.unwrap_or(1)).unwrap();
                let stop = |stop: &Stop| format!("{} {}", stop.prompt, stop.seed);
                Ok(walk.stops().iter().map(stop).collect::<Vec<_>>().join(", "))
            }
            Ok(_) => Err("another command".to_owned()),
            Err(error) => {
                assert_eq!(error.exit_code(), 2);
                Err(error.to_string().lines().next().unwrap_or_default().to_owned())
            }
        }
    }

    #[test]
    fn seeds_go_with_prompts() {
        let found = |arguments: &[&str]| stops(arguments).unwrap();
        assert_eq!(found(&["sea", "hill", "sun"]), "sea 1, hill 1, sun 1");
        assert_eq!(found(&["sea", "hill", "sun", "--seed-to", "5"]), "sea 1, hill 5, sun 5");
        assert_eq!(
            found(&["sea", "hill", "sun", "--seed", "4", "--seed-to", "5,6"]),
            "sea 4, hill 5, sun 6"
        );
        assert_eq!(found(&["sea", "--seed-to", "2,3"]), "sea 1, sea 2, sea 3");
    }

    #[test]
    fn a_walk_that_makes_no_sense_is_answered_with_one_sentence() {
        let errors = [
            &["sea"][..],
            &["sea", "hill", "--seed-to", "1,2"],
            &["sea", "hill", "sun", "--frames", "2"],
            &["sea", "hill", "--frames", "1"],
            &["sea", "hill", "--frames", "10000"],
            &["sea", "hill", "--fps", "0"],
            &["sea", "hill", "--fps", "nan"],
            &["sea", "hill", "--seed-to", "x"],
            &[],
        ]
        .map(|arguments| stops(arguments).unwrap_err());
        insta::assert_snapshot!(errors.join("\n"));
    }

    #[test]
    fn help_tells_every_argument_of_a_walk() {
        let mut command = Cli::command();
        let walk = command.find_subcommand_mut("walk").unwrap();
        insta::assert_snapshot!(walk.clone().term_width(100).render_help());
    }
}
