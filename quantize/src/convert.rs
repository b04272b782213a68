//! A conversion: a model in, one GGUF file out.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use pochade::files::{ModelFiles, Packed, Packing, Progress, pack_with};
use pochade::paint::Painter;
use pochade_engine::Engine;
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::arguments::{Convert, Measured, Weights};
use crate::budget::Budget;
use crate::calibrate::Calibration;
use crate::input;
use crate::layer::Layer;
use crate::plain::Plain;
use crate::plan::{self, Candidates, Plan};
use crate::recipe::{Bits, Recipe};

pub(crate) fn run(arguments: &Convert, measured: &Measured) -> anyhow::Result<()> {
    let stop = stop_on_signals().context("cannot listen for signals")?;
    let mut model = open(arguments)?;
    let packed = match (&measured.recipe, &measured.calibrate, arguments.weights.uniform()) {
        (Some(recipe), ..) => {
            let plan = follow(arguments, &Recipe::read(recipe)?)?;
            write(&mut model, &arguments.output, plan, &stop)?
        }
        (None, Some(prompts), _) => {
            let calibration = calibration(prompts, measured.pictures)?;
            let (plan, recipe) = measure((arguments, measured), calibration, &model)?;
            if let Some(path) = &measured.save_recipe {
                recipe.write(path)?;
            }
            write(&mut model, &arguments.output, plan, &stop)?
        }
        (None, None, Some(encoding)) if arguments.gguf_plain => {
            pack(&model, &arguments.output, &mut Plain(encoding), &stop)?
        }
        (None, None, Some(mut encoding)) => pack(&model, &arguments.output, &mut encoding, &stop)?,
        (None, None, None) => anyhow::bail!(
            "--weights mixed needs --calibrate PROMPTS: what a layer loses is measured on pictures"
        ),
    };
    report(arguments, &packed);
    Ok(())
}

fn open(arguments: &Convert) -> anyhow::Result<ModelFiles> {
    input::open(&arguments.input, &arguments.beside())
}

/// A painter with a model of its own.
fn painter(arguments: &Convert) -> anyhow::Result<Painter> {
    Ok(Painter::new(open(arguments)?, Engine::new(None)?)?)
}

/// The prompts of a file, and how much is painted of them.
fn calibration(path: &Path, pictures: usize) -> anyhow::Result<Calibration> {
    let name = path.display();
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {name}"))?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let calibration =
        Calibration { prompts: lines.map(str::to_owned).collect(), pictures, steps: None };
    calibration.check().with_context(|| format!("{name} cannot be painted"))?;
    Ok(calibration)
}

/// Finds the encodings and integers of all layers by painting.
fn measure(
    (arguments, measured): (&Convert, &Measured),
    calibration: Calibration,
    model: &ModelFiles,
) -> anyhow::Result<(Plan, Recipe)> {
    let options = match arguments.weights {
        Weights::Int8 => vec![Bits::Int8],
        Weights::Int4 => vec![Bits::Int4],
        Weights::Mixed => vec![Bits::Int4, Bits::Int8, Bits::F16],
        Weights::Keep | Weights::F32 | Weights::F16 => {
            anyhow::bail!(
                "--calibrate is for --weights int8, int4 or mixed: nothing is rounded else"
            )
        }
    };
    let mut painter = painter(arguments)?;
    let bar = progress_bar("{msg:14} [{bar:30}] {pos}/{len} {eta}");
    let mut all = plan::round_all(&mut painter, &calibration, &|_| options.clone(), &bar)?;
    let mut chosen = vec![0; all.len()];
    if options.len() > 1 {
        plan::measure(&mut painter, &calibration, &mut all, &bar)?;
        let budget = budget(measured, model, &all)?;
        chosen = plan::choose(&all, budget, &|_, _| 0.0).context("the budget cannot be kept")?;
    }
    bar.finish_and_clear();
    let recipe = recipe(calibration, &all, &chosen);
    Ok((Plan::new(all, &chosen)?, recipe))
}

/// Bytes for the layers in question, out of those for the file.
fn budget(measured: &Measured, model: &ModelFiles, all: &[Candidates]) -> anyhow::Result<Budget> {
    let _ = (model, all);
    Ok(Budget { bytes: measured.budget_mb.map(|mb| (mb * 1e6) as usize), seconds: None })
}

fn recipe(calibration: Calibration, all: &[Candidates], chosen: &[usize]) -> Recipe {
    let bits = all.iter().zip(chosen).map(|(c, i)| (c.layer.key(), c.options[*i].bits));
    Recipe::new(calibration, bits.collect())
}

/// Rounds the layers as a recipe says.
fn follow(arguments: &Convert, recipe: &Recipe) -> anyhow::Result<Plan> {
    let mut painter = painter(arguments)?;
    let layers = Layer::all(painter.files())?;
    for layer in &layers {
        let key = layer.key();
        anyhow::ensure!(
            recipe.layers.contains_key(&key),
            "the recipe says nothing of {key}: it was written for another model"
        );
    }
    let bar = progress_bar("{msg:14} [{bar:30}] {pos}/{len} {eta}");
    let bits = |layer: &Layer| vec![recipe.layers[&layer.key()]];
    let all = plan::round_all(&mut painter, &recipe.calibration, &bits, &bar)?;
    bar.finish_and_clear();
    let chosen = vec![0; all.len()];
    Plan::new(all, &chosen)
}

fn write(
    model: &mut ModelFiles,
    output: &Path,
    mut plan: Plan,
    stop: &AtomicBool,
) -> anyhow::Result<Packed> {
    plan.replace_biases(model);
    pack(model, output, &mut plan, stop)
}

fn pack(
    model: &ModelFiles,
    output: &Path,
    packing: &mut dyn Packing,
    stop: &AtomicBool,
) -> anyhow::Result<Packed> {
    let bar = progress_bar("{msg:14} [{bar:30}] {bytes}/{total_bytes} {eta}");
    let watch = |progress: Progress<'_>| {
        bar.set_length(progress.total);
        bar.set_position(progress.done);
        bar.set_message(progress.component.name());
        match stop.load(Ordering::Relaxed) {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    };
    let packed = pack_with(model, output, packing, watch);
    bar.finish_and_clear();
    Ok(packed?)
}

/// A flag that Ctrl-C or a polite kill raises, so that the temporary file is removed on the way
/// out.
fn stop_on_signals() -> std::io::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    Ok(stop)
}

/// Drawn on standard error where that is a terminal.
fn progress_bar(template: &str) -> ProgressBar {
    let style = ProgressStyle::with_template(template);
    ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn report(arguments: &Convert, packed: &Packed) {
    let (count, bytes) = (packed.tensors, HumanBytes(packed.bytes));
    eprintln!("{}: {count} tensors, {bytes}", arguments.output.display());
    if let Some(example) = packed.left_out.first() {
        let count = packed.left_out.len();
        eprintln!("left out {count} tensors that no network uses, such as {example}");
    }
}
