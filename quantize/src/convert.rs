//! A conversion: a model in, one GGUF file out.

use std::ops::ControlFlow;
use std::path::Path;

use anyhow::Context;
use indicatif::HumanBytes;
use pochade::files::{ModelFiles, Packed, Packing, Progress, pack_with};
use pochade::paint::Painter;

use crate::arguments::{Convert, Measured, Weights};
use crate::calibrate::Calibration;
use crate::candidates::{self, Candidates, Rounding};
use crate::layer::Layer;
use crate::left_out::WithoutEncoder;
use crate::plan::{self, Limits, Plan};
use crate::progress::{self, Watch};
use crate::recipe::{Bits, Recipe};

/// Bits of a mix's weights on average, where nothing else is asked for.
const MIXED_BITS: f64 = 4.6;

pub(crate) fn run(arguments: &Convert, measured: &Measured) -> anyhow::Result<()> {
    let watch = Watch::start().context("cannot listen for signals")?;
    let mut model = ModelFiles::open(&arguments.input)?;
    let packed = match (&measured.recipe, &measured.calibrate, arguments.weights.uniform()) {
        (Some(recipe), ..) => {
            let plan = follow(&arguments.input, &Recipe::read(recipe)?, &watch)?;
            write(&mut model, arguments, plan, &watch)?
        }
        (None, Some(prompts), _) => {
            let calibration = calibration(prompts, measured.pictures)?;
            let (plan, recipe) = measure((arguments, measured), calibration, &model, &watch)?;
            if let Some(path) = &measured.save_recipe {
                recipe.write(path)?;
            }
            write(&mut model, arguments, plan, &watch)?
        }
        (None, None, Some(mut encoding)) => pack(&model, arguments, &mut encoding, &watch)?,
        (None, None, None) => anyhow::bail!(
            "--weights mixed needs --calibrate PROMPTS: what a layer loses is measured on pictures"
        ),
    };
    report(arguments, &packed);
    Ok(())
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
    let mut painter = Painter::open(Some(&arguments.input), None)?;
    let bits = |_: &Layer| options.clone();
    let mut all =
        Rounding { painter: &mut painter, calibration: &calibration, options: &bits }.all(watch)?;
    let mut chosen = vec![0; all.len()];
    if options.len() > 1 {
        candidates::measure(&mut painter, &calibration, &mut all, watch)?;
        chosen = plan::choose(model, &all, &limits(arguments, measured, &all))
            .context("the budget cannot be kept")?;
        log_choices(&all, &chosen);
    }
    let recipe = recipe(calibration, &all, &chosen);
    Ok((Plan::new(all, &chosen)?, recipe))
}

/// What a mix may take: what is asked for, or else a little more than all in int4.
fn limits<'a>(arguments: &Convert, measured: &Measured, all: &[Candidates]) -> Limits<'a> {
    let parameters: usize = all.iter().map(|c| c.layer.parameters()).sum();
    let file = measured.budget_mb.map(|mb| (mb * 1e6) as u64);
    let layers = file.is_none().then_some((parameters as f64 * MIXED_BITS / 8.0) as usize);
    let without_encoder = arguments.without_encoder;
    Limits { file, layers, seconds: None, predict: &|_, _| 0.0, without_encoder }
}

fn log_choices(all: &[Candidates], chosen: &[usize]) {
    for (candidates, &chosen) in all.iter().zip(chosen) {
        let options = candidates.options.iter().map(|o| {
            let error = o.rounded.as_ref().map_or(0.0, |r| r.error);
            let method = o.rounded.as_ref().map_or("", |r| r.method.name());
            let loss = o.loss.unwrap_or_default();
            format!("{:?} {method} {error:.1e} {:.1e} {:.2}", o.bits, loss.latent, loss.picture)
        });
        let options: Vec<String> = options.collect();
        let bits = candidates.options[chosen].bits;
        let smoothed = if candidates.is_smoothed() { "smoothed, " } else { "" };
        log::info!("{}: {smoothed}{bits:?} of {}", candidates.layer.key(), options.join(", "));
    }
}

fn recipe(calibration: Calibration, all: &[Candidates], chosen: &[usize]) -> Recipe {
    let bits = all.iter().zip(chosen).map(|(c, i)| (c.layer.key(), c.options[*i].bits));
    Recipe::new(calibration, bits.collect())
}

/// Rounds the layers as a recipe says.
fn follow(input: &Path, recipe: &Recipe, watch: &Watch) -> anyhow::Result<Plan> {
    let mut painter = Painter::open(Some(input), None)?;
    let layers = Layer::all(painter.files())?;
    for layer in &layers {
        let key = layer.key();
        anyhow::ensure!(
            recipe.layers.contains_key(&key),
            "the recipe says nothing of {key}: it was written for another model"
        );
    }
    let bits = |layer: &Layer| vec![recipe.layers[&layer.key()]];
    let all = Rounding { painter: &mut painter, calibration: &recipe.calibration, options: &bits }
        .all(watch)?;
    let chosen = vec![0; all.len()];
    Plan::new(all, &chosen)
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

fn report(arguments: &Convert, packed: &Packed) {
    let (count, bytes) = (packed.tensors, HumanBytes(packed.bytes));
    eprintln!("{}: {count} tensors, {bytes}", arguments.output.display());
    if let Some(example) = packed.left_out.first() {
        let count = packed.left_out.len();
        eprintln!("left out {count} tensors that no network uses, such as {example}");
    }
}
