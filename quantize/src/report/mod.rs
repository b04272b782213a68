//! The report: what a model loses beside another one, and what it will take on boards.
//!
//! [`compare`] finds everything there is to say; [`Comparison::write`] puts it into a folder as one
//! page that shows it (`report.html`), for programs (`report.json`) and for the terminal
//! (`report.md`).

mod chart;
mod folded;
mod html;
mod layers;
mod markdown;
mod model;
mod pictures;
mod prompts;
mod similarity;
mod text;

use std::path::Path;

use anyhow::{Context, bail};
use image::RgbImage;
use pochade::boards::Board;
use pochade::files::ModelFiles;
use pochade::paint::{Painter, Prediction, predict, write};
use pochade_engine::Engine;

pub(crate) use markdown::summary;
pub(crate) use model::{Choice, Report};
use pictures::{Painted, Subjects};

use crate::architecture;
use crate::arguments::ReportArguments;
use crate::progress::Watch;

/// Bytes of a model from which on a picture takes so long that few are painted unless asked for.
const LARGE: u64 = 256 << 20;
/// Pictures of a large model.
const FEW: usize = 2;

/// A report and the pictures in it, of which each is painted by both models.
#[derive(Debug)]
pub(crate) struct Comparison {
    pub report: Report,
    images: Vec<[RgbImage; 2]>,
}

/// Compares a model with the original it was made from, which comes first. `choices` say how its
/// encodings were chosen, where that is known.
pub(crate) fn compare(
    models: [ModelFiles; 2],
    arguments: &ReportArguments,
    choices: Vec<Choice>,
    watch: &Watch,
) -> anyhow::Result<Comparison> {
    architecture::expect_same(&models[0], &models[1])?;
    let weighed = layers::compare(&models[0], &models[1], watch)?;
    let boards = predictions(&models)?;
    let subjects = subjects(&models[0], weighed.original.bytes, arguments)?;
    let painted = painted(models, &subjects, watch)?;
    let report = Report {
        schema: model::SCHEMA,
        tool: format!("pochade-quantize {}", env!("CARGO_PKG_VERSION")),
        original: weighed.original,
        other: weighed.other,
        parts: weighed.parts,
        encodings: weighed.encodings,
        layers: weighed.layers,
        vectors: weighed.vectors,
        pictures: painted.pictures,
        trajectory: painted.trajectory,
        quality: painted.quality,
        boards,
        choices,
    };
    Ok(Comparison { report, images: painted.images })
}

impl Comparison {
    /// Writes page, data and summary into `folder`, which is made where it is missing.
    pub fn write(&self, folder: &Path) -> anyhow::Result<()> {
        let name = folder.display();
        std::fs::create_dir_all(folder)
            .with_context(|| format!("--report: cannot make the folder {name}"))?;
        let mut json = serde_json::to_string_pretty(&self.report)?;
        json.push('\n');
        write::replace(&folder.join("report.json"), json.as_bytes())?;
        write::replace(&folder.join("report.md"), summary(&self.report).as_bytes())?;
        let page = html::page(&self.report, &self.images)?;
        write::replace(&folder.join("report.html"), page.as_bytes())?;
        Ok(())
    }

    /// Refuses pictures that are further from the original's than `least` decibels, on the mean.
    pub fn gate(&self, least: f64) -> anyhow::Result<()> {
        let Some(quality) = &self.report.quality else {
            bail!("--min-psnr needs pictures; give --report-pictures a number above 0");
        };
        match quality.mean_psnr_db {
            Some(mean) if mean < least => bail!(
                "the mean PSNR of {} pictures is {mean:.2} dB, and --min-psnr asks for {least} dB",
                quality.pictures - quality.identical
            ),
            _ => Ok(()),
        }
    }
}

/// Paints all subjects with both models.
fn painted(
    [original, other]: [ModelFiles; 2],
    subjects: &Subjects,
    watch: &Watch,
) -> anyhow::Result<Painted> {
    if subjects.pictures == 0 {
        return Ok(Painted::default());
    }
    let painter = |model| anyhow::Ok(Painter::new(model, Engine::new(None)?)?);
    let mut painters = [painter(original)?, painter(other)?];
    pictures::paint(&mut painters, subjects, watch)
}

/// Refuses prompts that cannot be read and places where no folder can be, before hours are spent.
pub(crate) fn check(arguments: &ReportArguments) -> anyhow::Result<()> {
    arguments.prompts.as_deref().map(prompts::from_file).transpose()?;
    let folder = arguments.report.as_deref().unwrap_or(Path::new(""));
    let nearest = folder.ancestors().find(|path| path.exists());
    if nearest.is_some_and(|path| !path.is_dir()) {
        bail!("--report: {} cannot be a folder; name another", folder.display());
    }
    Ok(())
}

/// What is painted: as asked, or all prompts with two seeds, or two pictures of a large model.
fn subjects(
    model: &ModelFiles,
    bytes: u64,
    arguments: &ReportArguments,
) -> anyhow::Result<Subjects> {
    let prompts = match &arguments.prompts {
        Some(path) => prompts::from_file(path)?,
        None => prompts::of_model(model),
    };
    let all = prompts.len() * arguments.report_seeds;
    let few = if bytes < LARGE { all } else { all.min(FEW) };
    let pictures = arguments.report_pictures.unwrap_or(few);
    Ok(Subjects { prompts, pictures, steps: arguments.report_steps })
}

/// Both models on all boards.
fn predictions(models: &[ModelFiles; 2]) -> anyhow::Result<Vec<model::BoardPrediction>> {
    let [before, after] = [predict(&models[0], &Board::ALL)?, predict(&models[1], &Board::ALL)?];
    Ok(before.iter().zip(&after).map(|(before, after)| board(before, after)).collect())
}

fn board(before: &Prediction, after: &Prediction) -> model::BoardPrediction {
    let memory = match &after.memory {
        Ok(plan) => text::memory_plan(plan),
        Err(_) => "does not fit".to_owned(),
    };
    model::BoardPrediction {
        board: after.board.name.to_owned(),
        title: after.board.title.to_owned(),
        predicted_seconds: after.picture(),
        predicted_step_seconds: after.step,
        predicted_seconds_original: before.picture(),
        steps: after.steps,
        peak_bytes: after.peak() as u64,
        peak_bytes_original: before.peak() as u64,
        fits: after.memory.is_ok(),
        original_fits: before.memory.is_ok(),
        memory,
    }
}
