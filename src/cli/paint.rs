//! `pochade paint`: asks a painter, writes the file, tells where it is.

use std::io::{IsTerminal, Write};
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use pochade_engine::SessionProfile;

use super::output::Output;
use super::profile;
use super::progress::Bar;
use super::{Console, PaintArgs};
use crate::paint::infotext::Infotext;
use crate::paint::preview::Protocol;
use crate::paint::{Paint, Painting, Request, file_name, png, preview, random_seed};

/// Paints as many pictures as asked for.
pub(super) fn paint<P: Paint>(
    painter: &mut P,
    args: &PaintArgs,
    output: &Output,
    console: &mut Console<'_>,
) -> anyhow::Result<()> {
    let seed = args.seed.unwrap_or_else(random_seed);
    let mut request = args.request()?;
    if let Some(plan) = painter.plan_memory(&request)?.filter(|_| !args.quiet) {
        writeln!(console.notes, "{plan}")?;
    }
    for index in 0..args.count {
        let shown = console.pictures.filter(|_| !args.no_preview && !args.quiet && !args.json);
        if args.profile.is_some() {
            painter.start_profile();
        }
        (request.seed, request.preview) = (seed.wrapping_add(index), shown.is_some());
        let painting = paint_one(painter, args, &request, shown)?;
        let noted = painter.profile();
        let painted = &painting.request;
        let file = png::encode(&painting.image, &Infotext::of(painted).to_string())?;
        let path = output.write(index, &file_name(&painted.prompt, painted.seed), &file)?;
        if args.json {
            print_json(&painting, &path, profile_rows(args, &noted), console.out)?;
        } else {
            show(&painting, &file, args, console)?;
            if let Some(view) = args.profile {
                profile::print(console.notes, &noted, view)?;
            }
            writeln!(console.out, "{}", path.display())?;
        }
    }
    Ok(())
}

fn paint_one<P: Paint>(
    painter: &mut P,
    args: &PaintArgs,
    request: &Request,
    pictures: Option<Protocol>,
) -> Result<Painting, P::Error> {
    let bar = Bar::new(!args.quiet && std::io::stderr().is_terminal(), pictures);
    painter.paint(request, &mut |progress| {
        bar.show(progress);
        ControlFlow::Continue(())
    })
}

fn profile_rows(args: &PaintArgs, noted: &[SessionProfile]) -> Option<Vec<profile::Row>> {
    args.profile.map(|view| profile::rows(noted, view))
}

/// What is said to people: warnings, the picture, and how it came about.
fn show(
    painting: &Painting,
    file: &[u8],
    args: &PaintArgs,
    console: &mut Console<'_>,
) -> std::io::Result<()> {
    if args.quiet {
        return Ok(());
    }
    for warning in &painting.warnings {
        writeln!(console.notes, "warning: {warning}")?;
    }
    if let Some(protocol) = console.pictures.filter(|_| !args.no_preview) {
        let shown = preview::render(&painting.image, file, protocol, console.columns);
        write!(console.out, "{shown}")?;
    }
    let request = &painting.request;
    writeln!(
        console.notes,
        "seed {}, {} steps of {}, guidance {}, {}, {:.1} s",
        request.seed,
        request.steps,
        request.sampler,
        request.guidance,
        request.size,
        painting.timings.total().as_secs_f64(),
    )
}

/// What is said to machines, on one line.
#[derive(Serialize)]
struct Record<'a> {
    path: &'a str,
    seed: u64,
    prompt: &'a str,
    negative: &'a str,
    width: usize,
    height: usize,
    steps: usize,
    guidance: f32,
    sampler: &'static str,
    model: &'a str,
    model_hash: Option<&'a str>,
    seconds: f64,
    step_seconds: f64,
    warnings: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    profile: Option<Vec<profile::Row>>,
}

fn print_json(
    painting: &Painting,
    path: &Path,
    profile: Option<Vec<profile::Row>>,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let request = &painting.request;
    let record = Record {
        path: &path.to_string_lossy(),
        seed: request.seed,
        prompt: &request.prompt,
        negative: &request.negative,
        width: request.size.width,
        height: request.size.height,
        steps: request.steps,
        guidance: request.guidance,
        sampler: request.sampler.name(),
        model: &request.model,
        model_hash: request.model_hash.as_deref(),
        seconds: rounded(painting.timings.total()),
        step_seconds: rounded(painting.timings.step),
        warnings: &painting.warnings,
        profile,
    };
    writeln!(out, "{}", serde_json::to_string(&record)?)?;
    Ok(())
}

/// Seconds to the millisecond.
pub(super) fn rounded(duration: Duration) -> f64 {
    duration.as_millis() as f64 / 1000.0
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::{Cli, Inspection, Studio, run};
    use super::*;
    use crate::bench::{Observer, Report, Settings};
    use crate::cli::HowArgs;
    use crate::diffusion::SamplerKind;
    use crate::explain;
    use crate::paint::{Progress, Request, Resolved, Size, Stage, Timings};
    use clap::Parser;
    use image::{Rgb, RgbImage};
    use std::path::PathBuf;

    /// Paints one colour, which depends on the seed.
    pub(in crate::cli) struct Wash;

    impl Paint for Wash {
        type Error = std::fmt::Error;

        fn paint(
            &mut self,
            request: &Request,
            progress: &mut dyn FnMut(Progress<'_>) -> ControlFlow<()>,
        ) -> Result<Painting, std::fmt::Error> {
            if request.prompt == "nothing" {
                return Err(std::fmt::Error);
            }
            for step in 0..3 {
                let stage = Stage::Denoise;
                let told = progress(Progress::after(stage, step, 2));
                assert_eq!(told, ControlFlow::Continue(()));
            }
            let size = request.size.unwrap_or(Size { width: 2, height: 2 });
            let image = RgbImage::from_pixel(2, 2, Rgb([request.seed as u8, 0, 9]));
            Ok(Painting {
                image,
                latent: Vec::new(),
                request: Resolved {
                    prompt: request.prompt.clone(),
                    negative: request.negative.clone(),
                    seed: request.seed,
                    toward: request.toward.clone(),
                    strength: request.from.as_ref().map(|from| from.strength),
                    steps: request.steps.unwrap_or(20),
                    guidance: request.guidance.unwrap_or(3.0),
                    size,
                    sampler: request.sampler.unwrap_or(SamplerKind::Ddim),
                    model: "wash".to_owned(),
                    model_hash: None,
                },
                warnings: vec!["the paper is wet".to_owned()],
                timings: Timings { decode: Duration::from_millis(1234), ..Timings::default() },
            })
        }

        fn profile(&self) -> Vec<SessionProfile> {
            profile::tests::profile()
        }
    }

    pub(in crate::cli) struct WashStudio;

    impl Studio for WashStudio {
        type Painter = Wash;

        fn open(&self, model: Option<&Path>, _threads: Option<usize>) -> anyhow::Result<Wash> {
            anyhow::ensure!(model.is_none(), "there is no such model");
            Ok(Wash)
        }

        fn explain(
            &self,
            _: &HowArgs,
            _: &Request,
            _: &mut explain::Observer<'_>,
        ) -> anyhow::Result<explain::Explanation> {
            anyhow::bail!("there is nothing to explain")
        }

        fn inspect(&self, _model: &Path) -> anyhow::Result<Inspection> {
            anyhow::bail!("there is nothing to see")
        }

        fn bench(&self, _: &Settings, _: &mut Observer<'_>) -> anyhow::Result<Report> {
            anyhow::bail!("there is nothing to measure")
        }
    }

    /// Runs a command in a folder; gives what it said on both sides, the folder's path taken out.
    fn run_in(
        folder: &Path,
        arguments: &[&str],
        pictures: Option<Protocol>,
    ) -> (anyhow::Result<()>, String, String) {
        let place = folder.to_str().unwrap();
        let start = ["pochade", "paint", "--output", place];
        let cli = Cli::try_parse_from(start.iter().chain(arguments)).unwrap();
        let (mut out, mut notes) = (Vec::new(), Vec::new());
        let mut console = Console { out: &mut out, notes: &mut notes, pictures, columns: 80 };
        let result = run(&WashStudio, &cli, &mut console);
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().replace(place, "FOLDER");
        (result, text(out), text(notes))
    }

    fn files(folder: &Path) -> Vec<PathBuf> {
        let mut paths: Vec<PathBuf> =
            std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        paths
    }

    #[test]
    fn a_picture_is_written_with_its_parameters_and_its_path_is_printed() {
        let folder = tempfile::tempdir().unwrap();
        let (result, out, notes) = run_in(folder.path(), &["a red sun", "--seed", "7"], None);
        result.unwrap();
        assert_eq!(out, "FOLDER/a-red-sun-7.png\n");
        insta::assert_snapshot!(notes);
        let bytes = std::fs::read(folder.path().join("a-red-sun-7.png")).unwrap();
        let parameters = Infotext::parse(&png::parameters(&bytes).unwrap().unwrap());
        assert_eq!(parameters.prompt, "a red sun");
        assert_eq!(parameters.get("Seed"), Some("7"));
        assert_eq!(image::load_from_memory(&bytes).unwrap().to_rgb8().get_pixel(0, 0).0[0], 7);
    }

    #[test]
    fn several_pictures_take_the_next_seeds_and_json_tells_all_of_each() {
        let folder = tempfile::tempdir().unwrap();
        let arguments = ["sun", "--seed", "7", "--count", "2", "--json", "--negative", "fog"];
        let (result, out, notes) = run_in(folder.path(), &arguments, Some(Protocol::TrueColour));
        result.unwrap();
        assert_eq!(notes, "");
        insta::assert_snapshot!(out);
        assert_eq!(files(folder.path()).len(), 2);
    }

    #[test]
    fn a_terminal_is_shown_the_picture_unless_told_not_to() {
        let folder = tempfile::tempdir().unwrap();
        let shown = |more: &[&str]| {
            let all: Vec<&str> = ["sun", "--seed", "7"].iter().chain(more).copied().collect();
            run_in(folder.path(), &all, Some(Protocol::TrueColour)).1.contains('▀')
        };
        assert!(shown(&[]));
        assert!(!shown(&["--no-preview"]) && !shown(&["--quiet"]));
    }

    #[test]
    fn a_profile_follows_the_notes_and_joins_the_json() {
        let folder = tempfile::tempdir().unwrap();
        let (_, out, notes) = run_in(folder.path(), &["sun", "--seed", "7", "--profile"], None);
        assert_eq!(out, "FOLDER/sun-7.png\n");
        assert!(notes.contains("unet: 0.202 s") && !notes.contains("->"), "{notes}");
        let (_, _, notes) = run_in(folder.path(), &["sun", "--profile=steps"], None);
        assert!(notes.contains("[1, 8, 8, 32] -> [1, 8, 8, 64] (once)"), "{notes}");
        let (_, out, notes) = run_in(folder.path(), &["sun", "--json", "--profile"], None);
        assert_eq!(notes, "");
        let record: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert_eq!(record["profile"][0]["kind"], "conv 3x3 int8");
        assert_eq!(record["profile"][0]["calls"], 5);
    }

    #[test]
    fn quiet_means_the_path_alone() {
        let folder = tempfile::tempdir().unwrap();
        let (_, out, notes) = run_in(folder.path(), &["sun", "--seed", "7", "-q"], None);
        assert_eq!((out.as_str(), notes.as_str()), ("FOLDER/sun-7.png\n", ""));
    }

    #[test]
    fn a_random_seed_is_told_and_small_enough_to_type() {
        let folder = tempfile::tempdir().unwrap();
        let (_, out, notes) = run_in(folder.path(), &["sun"], None);
        let seed: u64 = notes.lines().last().unwrap()["seed ".len()..]
            .split(',')
            .next()
            .and_then(|seed| seed.parse().ok())
            .unwrap();
        assert_eq!(out, format!("FOLDER/sun-{seed}.png\n"));
        assert!(seed <= u64::from(u32::MAX));
    }

    #[test]
    fn a_picture_that_cannot_be_painted_leaves_no_file() {
        let folder = tempfile::tempdir().unwrap();
        assert!(run_in(folder.path(), &["nothing"], None).0.is_err());
        let (result, _, _) = run_in(folder.path(), &["sun", "--model", "x"], None);
        assert_eq!(result.unwrap_err().to_string(), "there is no such model");
        assert!(files(folder.path()).is_empty());
    }
}
