//! `pochade walk`: asks a painter for every frame, and writes them to a folder or one file.

use std::io::{BufWriter, IsTerminal};
use std::path::Path;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::frames::Target;
use super::interrupt::Interrupt;
use super::paint::rounded;
use super::progress::Bar;
use super::{Console, WalkArgs};
use crate::files::NewFile;
use crate::paint::apng::{Animation, Timing};
use crate::paint::infotext::Infotext;
use crate::paint::write::{WriteError, replace};
use crate::paint::{Paint, Painting, Resolved, Stop, Walk, png};

/// Takes a frame: its number from 0, and the picture.
type Sink<'a> = dyn FnMut(usize, &Painting) -> anyhow::Result<()> + 'a;

/// What is seen of the work, and how it is stopped.
struct Watch {
    bar: Bar,
    interrupt: Interrupt,
}

/// What all frames have in common.
struct Walked {
    /// The first frame's settings.
    first: Option<Resolved>,
    warnings: Vec<String>,
    took: Duration,
}

/// Paints the walk.
pub(super) fn walk<P: Paint>(
    painter: &mut P,
    args: &WalkArgs,
    (walk, target, interrupt): (Walk, Target, Interrupt),
    console: &mut Console<'_>,
) -> anyhow::Result<()> {
    if let Some(plan) = painter.plan_memory(&walk.request(0))?.filter(|_| !args.quiet) {
        writeln!(console.notes, "{plan}")?;
    }
    let shown = console.pictures.filter(|_| !args.no_preview && !args.quiet && !args.json);
    let watch =
        Watch { bar: Bar::new(!args.quiet && std::io::stderr().is_terminal(), shown), interrupt };
    let (path, walked) = match target {
        Target::Folder(folder) => {
            let walked = frames(painter, &walk, &watch, &mut |index, painting| {
                let text = Infotext::of(&painting.request).to_string();
                let file = png::encode(&painting.image, &text)?;
                Ok(replace(&Target::frame(&folder, index), &file)?)
            });
            (folder, walked?)
        }
        Target::File(path) => {
            let timing = Timing { frames: walk.frames() as u32, fps: args.fps };
            let failed = |source| WriteError { path: path.clone(), source };
            let mut file = NewFile::create(&path).map_err(failed)?;
            let walked = animate(painter, &walk, &watch, (&mut file, timing))?;
            file.commit().map_err(failed)?;
            (path, walked)
        }
    };
    drop(watch);
    tell(&walk, &walked, (args, &path), console)
}

/// Paints all frames into one file.
fn animate<P: Paint>(
    painter: &mut P,
    walk: &Walk,
    watch: &Watch,
    (file, timing): (&mut NewFile, Timing),
) -> anyhow::Result<Walked> {
    let mut out = Some(BufWriter::new(file));
    let mut animation = None;
    let walked = frames(painter, walk, watch, &mut |_, painting| {
        if let Some(out) = out.take() {
            let (size, text) = (painting.image.dimensions(), note(walk, &painting.request));
            animation = Some(Animation::start(out, size, timing, &text)?);
        }
        animation.iter_mut().try_for_each(|animation| Ok(animation.add(&painting.image)?))
    })?;
    animation.map(Animation::finish).transpose()?;
    Ok(walked)
}

/// How an animation was made: its first frame's settings, and the stops.
fn note(walk: &Walk, first: &Resolved) -> String {
    let mut infotext = Infotext::of(first);
    let stop = |stop: &Stop| format!("{} (seed {})", stop.prompt, stop.seed);
    let stops: Vec<String> = walk.stops().iter().map(stop).collect();
    infotext.fields.push(("Walk".to_owned(), stops.join("; ")));
    infotext.to_string()
}

/// Paints frame after frame, until all are there or Ctrl-C is pressed.
fn frames<P: Paint>(
    painter: &mut P,
    walk: &Walk,
    watch: &Watch,
    sink: &mut Sink<'_>,
) -> anyhow::Result<Walked> {
    let (start, count) = (Instant::now(), walk.frames());
    let mut walked = Walked { first: None, warnings: Vec::new(), took: Duration::ZERO };
    for (index, request) in walk.requests().enumerate() {
        let painting = painter.paint(&request, &mut |progress| {
            watch.bar.show_of((index, count), progress);
            watch.interrupt.flow()
        });
        anyhow::ensure!(!watch.interrupt.raised(), "stopped after {index} of {count} frames");
        let painting = painting?;
        sink(index, &painting)?;
        watch.bar.picture(&painting.image);
        let new = painting.warnings.into_iter().filter(|w| !walked.warnings.contains(w));
        walked.warnings.extend(new.collect::<Vec<_>>());
        walked.first.get_or_insert(painting.request);
    }
    walked.took = start.elapsed();
    Ok(walked)
}

/// What is said to machines, on one line.
#[derive(Serialize)]
struct Record<'a> {
    path: &'a str,
    frames: usize,
    closed: bool,
    stops: Vec<StopRecord<'a>>,
    negative: &'a str,
    width: usize,
    height: usize,
    steps: usize,
    guidance: f32,
    sampler: &'static str,
    model: &'a str,
    model_hash: Option<&'a str>,
    seconds: f64,
    warnings: &'a [String],
}

#[derive(Serialize)]
struct StopRecord<'a> {
    prompt: &'a str,
    seed: u64,
}

/// Says where the frames are, and how they came about.
fn tell(
    walk: &Walk,
    walked: &Walked,
    (args, path): (&WalkArgs, &Path),
    console: &mut Console<'_>,
) -> anyhow::Result<()> {
    let Some(first) = &walked.first else { return Ok(()) };
    if args.json {
        let path = path.to_string_lossy();
        let record = record(walk, walked, first, (args, &path));
        writeln!(console.out, "{}", serde_json::to_string(&record)?)?;
        return Ok(());
    }
    if !args.quiet {
        for warning in &walked.warnings {
            writeln!(console.notes, "warning: {warning}")?;
        }
        let (frames, seconds) = (walk.frames(), walked.took.as_secs_f64());
        writeln!(
            console.notes,
            "{frames} frames from seed {}, {} steps of {}, guidance {}, {}, {seconds:.1} s",
            first.seed, first.steps, first.sampler, first.guidance, first.size
        )?;
    }
    writeln!(console.out, "{}", path.display())?;
    Ok(())
}

fn record<'a>(
    walk: &'a Walk,
    walked: &'a Walked,
    first: &'a Resolved,
    (args, path): (&WalkArgs, &'a str),
) -> Record<'a> {
    let stop = |stop: &'a Stop| StopRecord { prompt: &stop.prompt, seed: stop.seed };
    Record {
        path,
        frames: walk.frames(),
        closed: args.closed,
        stops: walk.stops().iter().map(stop).collect(),
        negative: &first.negative,
        width: first.size.width,
        height: first.size.height,
        steps: first.steps,
        guidance: first.guidance,
        sampler: first.sampler.name(),
        model: &first.model,
        model_hash: first.model_hash.as_deref(),
        seconds: rounded(walked.took),
        warnings: &walked.warnings,
    }
}

#[cfg(test)]
mod tests {
    use super::super::paint::tests::WashStudio;
    use super::super::{Cli, run};
    use super::*;
    use crate::paint::preview::Protocol;
    use clap::Parser;
    use image::AnimationDecoder;
    use image::codecs::png::PngDecoder;

    /// Walks in a folder; gives what was said on both sides, the folder's path and the time taken out.
    fn walk_in(
        folder: &Path,
        arguments: &[&str],
        pictures: Option<Protocol>,
    ) -> (anyhow::Result<()>, String, String) {
        let place = folder.to_str().unwrap();
        let arguments: Vec<String> = arguments.iter().map(|a| a.replace("FOLDER", place)).collect();
        let words = ["pochade", "walk"].into_iter().chain(arguments.iter().map(String::as_str));
        let cli = Cli::try_parse_from(words).unwrap();
        let (mut out, mut notes) = (Vec::new(), Vec::new());
        let mut console = Console { out: &mut out, notes: &mut notes, pictures, columns: 80 };
        let result = run(&WashStudio, &cli, &mut console);
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().replace(place, "FOLDER");
        (result, text(out), text(notes))
    }

    #[test]
    fn frames_are_written_to_a_new_folder_with_their_parameters() {
        let folder = tempfile::tempdir().unwrap();
        let arguments =
            ["sea", "hill", "--seed", "7", "--seed-to", "9", "--frames", "3", "-o", "FOLDER/w"];
        let (result, out, notes) = walk_in(folder.path(), &arguments, None);
        result.unwrap();
        assert_eq!(out, "FOLDER/w\n");
        let wanted = "warning: the paper is wet\n3 frames from seed 7, 20 steps of DDIM, guidance \
                      3, 2x2, 0.0 s\n";
        assert_eq!(notes, wanted);
        let text = |frame: &str| {
            let bytes = std::fs::read(folder.path().join("w").join(frame)).unwrap();
            Infotext::parse(&png::parameters(&bytes).unwrap().unwrap())
        };
        let middle = text("frame-0002.png");
        assert_eq!((middle.prompt.as_str(), middle.get("Toward")), ("sea", Some("hill")));
        assert_eq!((middle.get("Toward share"), middle.get("Seed")), (Some("0.5"), Some("7")));
        let last = text("frame-0003.png");
        assert_eq!((last.prompt.as_str(), last.get("Toward")), ("hill", None));
        assert_eq!(last.get("Seed"), Some("9"));
    }

    #[test]
    fn one_file_holds_all_frames_and_says_where_they_went() {
        let folder = tempfile::tempdir().unwrap();
        let arguments = ["sea", "--seed", "7", "--seed-to", "9", "--frames", "4", "--loop", "-o"];
        let arguments = [&arguments[..], &["FOLDER/a.png", "--json"]].concat();
        let (result, out, notes) = walk_in(folder.path(), &arguments, Some(Protocol::Kitty));
        result.unwrap();
        assert_eq!(notes, "");
        let record: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert_eq!((record["frames"].as_u64(), record["closed"].as_bool()), (Some(4), Some(true)));
        assert_eq!(record["stops"][1], serde_json::json!({"prompt": "sea", "seed": 9}));
        let bytes = std::fs::read(folder.path().join("a.png")).unwrap();
        let infotext = Infotext::parse(&png::parameters(&bytes).unwrap().unwrap());
        assert_eq!(infotext.get("Walk"), Some("sea (seed 7); sea (seed 9)"));
        let decoder = PngDecoder::new(std::io::Cursor::new(bytes)).unwrap().apng().unwrap();
        let frames = decoder.into_frames().collect_frames().unwrap();
        let reds: Vec<u8> =
            frames.iter().map(|frame| frame.buffer().get_pixel(0, 0).0[0]).collect();
        assert_eq!(reds, [7, 7, 9, 9], "the colour of a stand-in's picture is its first seed");
    }

    #[test]
    fn a_walk_that_fails_leaves_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let arguments = ["sea", "nothing", "--frames", "2", "-o", "FOLDER/a.png"];
        assert!(walk_in(folder.path(), &arguments, None).0.is_err());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
