//! A conversion: a model in, one GGUF file out.

use std::ops::ControlFlow;
use std::path::Path;

use anyhow::Context;
use indicatif::HumanBytes;
use pochade::files::{ModelFiles, Packed, Packing, Progress, pack_with};
use pochade::paint::Painter;
use pochade_engine::Engine;

use crate::arguments::{Convert, Measured, Weights};
use crate::calibrate::Calibration;
use crate::candidates::{self, Candidates, Rounding};
use crate::input;
use crate::layer::Layer;
use crate::left_out::WithoutEncoder;
use crate::plain::Plain;
use crate::plan::{self, Limits, Plan};
use crate::progress::{self, Watch};
use crate::recipe::{Bits, Recipe};
use crate::report;
use crate::time::TimeLimit;

/// Where nothing else is asked for, a mix takes one part in so many more than all in int4.
const SPARE: usize = 20;

/// Converts, and says how the layers' encodings were chosen, where they were.
pub(crate) fn run(arguments: &Convert, measured: &Measured) -> anyhow::Result<Vec<report::Choice>> {
    let watch = Watch::start().context("cannot listen for signals")?;
    let mut model = open(arguments)?;
    let mut choices = Vec::new();
    let packed = match (&measured.recipe, &measured.calibrate, arguments.weights.uniform()) {
        (Some(recipe), ..) => {
            let plan;
            (plan, choices) = follow(arguments, &Recipe::read(recipe)?, &watch)?;
            write(&mut model, arguments, plan, &watch)?
        }
        (None, Some(prompts), _) => {
            let calibration = calibration(prompts, measured.pictures)?;
            let (plan, recipe);
            (plan, recipe, choices) = measure((arguments, measured), calibration, &model, &watch)?;
            if let Some(path) = &measured.save_recipe {
                recipe.write(path)?;
            }
            write(&mut model, arguments, plan, &watch)?
        }
        (None, None, Some(encoding)) if arguments.gguf_plain => {
            pack(&model, arguments, &mut Plain(encoding), &watch)?
        }
        (None, None, Some(mut encoding)) => pack(&model, arguments, &mut encoding, &watch)?,
        (None, None, None) => anyhow::bail!(
            "--weights mixed needs --calibrate PROMPTS: what a layer loses is measured on pictures"
        ),
    };
    say(arguments, &packed);
    Ok(choices)
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
    watch: &Watch,
) -> anyhow::Result<(Plan, Recipe, Vec<report::Choice>)> {
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
    // What painting does not need cannot be measured, so it is not kept in less than int8 of a mix.
    let bits = |layer: &Layer| match options[..] {
        [_, wider, ..] if !layer.is_heard() => vec![wider],
        _ => options.clone(),
    };
    if options.len() > 1 {
        // Before anything is painted.
        let layers = Layer::all(model)?.into_iter();
        let unrounded = |layer: Layer| {
            let bits = bits(&layer);
            Candidates::unrounded(layer, &bits)
        };
        let all: Vec<_> = layers.map(unrounded).collect();
        choose((arguments, measured), model, &all)?;
    }
    let mut painter = painter(arguments)?;
    let mut all = Rounding {
        painter: &mut painter,
        calibration: &calibration,
        options: &bits,
        smoothed: None,
    }
    .all(watch)?;
    let mut chosen = vec![0; all.len()];
    if options.len() > 1 {
        candidates::measure(&mut painter, &calibration, &mut all, watch)?;
        chosen = choose((arguments, measured), model, &all)?;
    }
    let recipe = recipe(calibration, &all, &chosen);
    let choices = choices(&all, &chosen);
    Ok((Plan::new(all, &chosen)?, recipe, choices))
}

/// For every layer, the index of its option under the budget.
fn choose(
    (arguments, measured): (&Convert, &Measured),
    model: &ModelFiles,
    all: &[Candidates],
) -> anyhow::Result<Vec<usize>> {
    let limits = limits(arguments, measured, model, all)?;
    plan::choose(model, all, &limits).context("the budget cannot be kept")
}

/// What a mix may take: what is asked for, or else a little more than all in int4.
fn limits(
    arguments: &Convert,
    measured: &Measured,
    model: &ModelFiles,
    all: &[Candidates],
) -> anyhow::Result<Limits> {
    let least = |c: &Candidates| c.options.iter().map(|o| o.bytes).min().unwrap_or(0);
    let least: usize = all.iter().map(least).sum();
    let time = measured.budget_ms.zip(measured.board);
    let time = time.map(|(ms, board)| TimeLimit::new(model, board, ms / 1e3)).transpose()?;
    let file = measured.budget_mb.map(|mb| (mb * 1e6) as u64);
    let free = file.is_none() && time.is_none();
    let layers = free.then_some(least + least / SPARE);
    Ok(Limits { file, layers, time, without_encoder: arguments.without_encoder })
}

/// What was chosen, for the report.
fn choices(all: &[Candidates], chosen: &[usize]) -> Vec<report::Choice> {
    let choice = |(candidates, chosen): (&Candidates, &usize)| {
        let option = &candidates.options[*chosen];
        let layer = &candidates.layer;
        log::info!("{}: {:?}", layer.key(), candidates.options);
        let error = option.rounded.as_ref().map_or(0.0, |rounded| rounded.error);
        report::Choice {
            part: layer.part.to_string(),
            layer: layer.name.clone(),
            encoding: format!("{:?}", option.bits).to_lowercase(),
            method: candidates.method(*chosen),
            sensitivity: option.loss.map_or(error, |loss| loss.picture),
            inputs: candidates.inputs.clone(),
        }
    };
    all.iter().zip(chosen).map(choice).collect()
}

fn recipe(calibration: Calibration, all: &[Candidates], chosen: &[usize]) -> Recipe {
    let bits = all.iter().zip(chosen).map(|(c, i)| (c.layer.key(), c.options[*i].bits));
    let smoothed = all.iter().filter_map(Candidates::smoothed_norm).map(str::to_owned);
    Recipe::new(calibration, smoothed.collect(), bits.collect())
}

/// Rounds the layers as a recipe says.
fn follow(
    arguments: &Convert,
    recipe: &Recipe,
    watch: &Watch,
) -> anyhow::Result<(Plan, Vec<report::Choice>)> {
    let mut painter = painter(arguments)?;
    let layers = Layer::all(painter.files())?;
    for layer in &layers {
        let key = layer.key();
        anyhow::ensure!(
            recipe.layers.contains_key(&key),
            "the recipe says nothing of {key}: it was written for another model"
        );
    }
    let bits = |layer: &Layer| vec![recipe.layers[&layer.key()]];
    let all = Rounding {
        painter: &mut painter,
        calibration: &recipe.calibration,
        options: &bits,
        smoothed: Some(&recipe.smoothed),
    }
    .all(watch)?;
    let chosen = vec![0; all.len()];
    let choices = choices(&all, &chosen);
    Ok((Plan::new(all, &chosen)?, choices))
}

fn write(
    model: &mut ModelFiles,
    arguments: &Convert,
    mut plan: Plan,
    watch: &Watch,
) -> anyhow::Result<Packed> {
    plan.change(model);
    pack(model, arguments, &mut plan, watch)
}

fn pack(
    model: &ModelFiles,
    arguments: &Convert,
    packing: &mut dyn Packing,
    watch: &Watch,
) -> anyhow::Result<Packed> {
    let mut packing = WithoutEncoder { packing, leaves_out: arguments.without_encoder };
    let watch = watch.bar(progress::BYTES, 0);
    let follow = |progress: Progress<'_>| {
        watch.at(progress.done, progress.total);
        watch.says(progress.component.name());
        if watch.stopped() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let packed = pack_with(model, &arguments.output, &mut packing, follow);
    watch.clear();
    Ok(packed?)
}

fn say(arguments: &Convert, packed: &Packed) {
    let (count, bytes) = (packed.tensors, HumanBytes(packed.bytes));
    eprintln!("{}: {count} tensors, {bytes}", arguments.output.display());
    if let Some(example) = packed.left_out.first() {
        let count = packed.left_out.len();
        eprintln!("left out {count} tensors that no network uses, such as {example}");
    }
}
