//! `verify FILE`: whether a model is whole. Every tensor against its hash where the file states
//! one, everything that the networks of its config ask for, in the right shapes and nothing beside
//! it, and every number in its range.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, bail};
use pochade::diffusion::SchedulerConfig;
use pochade::files::gguf::Gguf;
use pochade::files::{
    Component, ComponentWeights, FileError, ModelFiles, TensorInfo, TensorSource, Weights,
};
use pochade::nets::{
    Autoencoder, AutoencoderConfig, ClipText, ClipTextConfig, ConfigError, Halves, UNet, UNetConfig,
};
use pochade::paint::{Memory, layers};
use pochade_engine::{MappedBytes, TensorView};

use crate::architecture::parts;
use crate::progress::{self, Watch};
use crate::weights::{is_scale, panels};

/// Values that are read at a time.
const CHUNK: usize = 1 << 12;

/// The sizes of layers by their weights' names, `[outputs, channels, taps, 1]`.
type Sizes = HashMap<String, [usize; 4]>;

/// What was found of one part.
#[derive(Debug)]
struct Row {
    part: Component,
    tensors: usize,
    bytes: usize,
    problems: Vec<String>,
}

/// Verifies the model at `path` and prints a table.
pub(crate) fn run(path: &Path) -> anyhow::Result<()> {
    let watch = Watch::start().context("cannot listen for signals")?;
    let model = ModelFiles::open(path)?;
    let packed = packed(path);
    let mut rows = Vec::new();
    let watch = watch.bar(progress::COUNT, tensors(&model));
    for part in parts(&model) {
        watch.says(part.name());
        rows.push(verify_part(&model, (part, packed.is_some()), &watch)?);
    }
    watch.clear();
    let mut problems: Vec<String> = rows.iter().flat_map(|row| row.problems.clone()).collect();
    problems.extend(beside_weights(&model));
    problems.extend(packed.iter().flat_map(|file| strangers(&model, file)));
    if problems.is_empty() {
        problems.extend(Memory::plan(&model, 1).err().map(|error| error.to_string()));
    }
    print(&model, &rows);
    if packed.as_ref().is_none_or(|file| file.hash(0).is_none()) {
        println!("No hashes are stated: a changed number that is still one cannot be seen.");
    }
    conclude(problems)
}

/// Tensors of all parts that can be opened.
fn tensors(model: &ModelFiles) -> usize {
    let weights = parts(model).filter_map(|part| model.weights(part).ok());
    weights.map(|weights| weights.tensors().count()).sum()
}

/// The file, where it is one that was packed for Pochade, in which everything has its place.
fn packed(path: &Path) -> Option<Gguf> {
    let file = path.is_file().then(|| Gguf::open(path).ok()).flatten()?;
    file.get("pochade.layout").is_some().then_some(file)
}

/// Tensors that belong to no part.
fn strangers(model: &ModelFiles, file: &Gguf) -> Vec<String> {
    let prefixes: Vec<_> = parts(model).map(Component::prefix).collect();
    let known = |name: &str| prefixes.iter().any(|prefix| name.starts_with(prefix));
    let strange = file.tensors().tensors().iter().filter(|tensor| !known(&tensor.name));
    let sentence = |name: &str| format!("{}: tensor '{name}' is of no part", model.origin());
    strange.map(|tensor| sentence(&tensor.name)).collect()
}

fn conclude(problems: Vec<String>) -> anyhow::Result<()> {
    let mut problems = problems.into_iter();
    let Some(first) = problems.next() else { return Ok(()) };
    match problems.len() {
        0 => bail!(first),
        1 => bail!("{first}; and 1 more problem"),
        more => bail!("{first}; and {more} more problems"),
    }
}

fn print(model: &ModelFiles, rows: &[Row]) {
    println!("{}\n", model.origin());
    println!("| part | tensors | bytes | |\n| --- | ---: | ---: | --- |");
    for Row { part, tensors, bytes, problems } in rows {
        let found = match problems.len() {
            0 => "whole".to_owned(),
            1 => "1 problem".to_owned(),
            count => format!("{count} problems"),
        };
        println!("| {part} | {tensors} | {bytes} | {found} |");
    }
    println!();
}

/// Tokenizers and the scheduler.
fn beside_weights(model: &ModelFiles) -> Vec<String> {
    let encoders = [Component::TextEncoder, Component::TextEncoder2];
    let encoders = encoders.into_iter().filter(|part| model.has(*part));
    let mut problems: Vec<String> =
        encoders.filter_map(|part| model.tokenizer(part).err()).map(|e| e.to_string()).collect();
    match model.config(Component::Scheduler) {
        Err(error) => problems.push(error.to_string()),
        Ok(config) => {
            let error = SchedulerConfig::from_diffusers(config).err();
            problems.extend(error.map(|error| format!("{}: {error}", model.origin())));
        }
    }
    problems
}

fn verify_part(
    model: &ModelFiles,
    (part, packed): (Component, bool),
    watch: &Watch,
) -> anyhow::Result<Row> {
    let weights = match model.weights(part) {
        Ok(weights) => weights,
        Err(error) => {
            return Ok(Row { part, tensors: 0, bytes: 0, problems: vec![error.to_string()] });
        }
    };
    let bytes = weights.tensors().map(|tensor| tensor.bytes).sum();
    let mut problems = network(model, (part, packed), &weights);
    let sizes = sizes(model, part);
    for tensor in weights.tensors() {
        watch.step()?;
        problems.extend(values(&weights, tensor, &sizes).err());
        weights.release(tensor.name);
    }
    Ok(Row { part, tensors: weights.tensors().count(), bytes, problems })
}

/// Builds the part's network without its values: what is missing, has a wrong shape, or is of no
/// use.
fn network(
    model: &ModelFiles,
    (part, packed): (Component, bool),
    weights: &ComponentWeights,
) -> Vec<String> {
    let asked = Asked { weights, names: Mutex::default() };
    if let Err(error) = load(model, part, &asked) {
        return vec![format!("{error:#}")];
    }
    let names = asked.names.into_inner().unwrap_or_else(PoisonError::into_inner);
    // Checkpoints have buffers beside the weights; a file that was packed has none.
    let useless = weights.tensors().filter(|t| packed && !names.contains(t.name));
    let sentence = |tensor: TensorInfo<'_>| {
        format!(
            "{}: tensor '{}' has no place in the {part} that the config describes",
            model.origin(),
            tensor.stored
        )
    };
    useless.map(sentence).collect()
}

fn load(model: &ModelFiles, part: Component, asked: &Asked<'_>) -> anyhow::Result<()> {
    let (weights, config) = (Weights::hollow(asked), model.config(part)?);
    let context = || format!("{}: the {part}'s config", model.origin());
    match part {
        Component::TextEncoder | Component::TextEncoder2 => {
            let config: Result<_, ConfigError> = ClipTextConfig::from_diffusers(config);
            ClipText::load(&weights, &config.with_context(context)?)?;
        }
        Component::Unet | Component::Upscaler => {
            let config = UNetConfig::from_diffusers(config).with_context(context)?;
            UNet::load(&weights, &config)?;
        }
        Component::Autoencoder => {
            let config = AutoencoderConfig::from_diffusers(config).with_context(context)?;
            let encodes = asked.weights.tensors().any(|t| t.name.starts_with("encoder."));
            let halves = if encodes { Halves::Both } else { Halves::Decoder };
            Autoencoder::load(&weights, &config, halves)?;
        }
        Component::Scheduler => {}
    }
    Ok(())
}

/// Notes which tensors a network asks for.
#[derive(Debug)]
struct Asked<'a> {
    weights: &'a ComponentWeights,
    names: Mutex<HashSet<String>>,
}

impl TensorSource for Asked<'_> {
    fn tensor(&self, name: &str) -> Option<TensorView<'_>> {
        self.outline(name)
    }

    fn outline(&self, name: &str) -> Option<TensorView<'_>> {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        names.insert(name.to_owned());
        self.weights.outline(name)
    }

    fn mapped(&self, name: &str) -> Option<MappedBytes> {
        self.weights.mapped(name)
    }

    fn origin(&self) -> &str {
        self.weights.origin()
    }

    fn refusal(&self, name: &str) -> Option<FileError> {
        self.weights.refusal(name)
    }
}

/// The layers that pictures need; those of an autoencoder's other half are not among them.
fn sizes(model: &ModelFiles, part: Component) -> Sizes {
    let layers = layers(model).unwrap_or_default();
    let layers = layers.into_iter().filter(|layer| layer.part == part);
    layers
        .map(|layer| {
            let size = [layer.size.outputs, layer.size.channels, layer.size.taps, 1];
            (format!("{}.weight", layer.name), size)
        })
        .collect()
}

/// Reads all values of a tensor, which compares it with its hash.
fn values(weights: &ComponentWeights, tensor: TensorInfo<'_>, sizes: &Sizes) -> Result<(), String> {
    let told = |error: FileError| error.to_string();
    let view = weights.view(tensor.name).map_err(told)?;
    if is_scale(tensor.name) {
        return Ok(()); // Read with the integers that it is of.
    }
    if tensor.kind().starts_with("int") {
        let size = sizes.get(tensor.name).copied();
        return panels(weights, tensor.name, size).map(drop).map_err(told);
    }
    let mut values = [0.0; CHUNK];
    for start in (0..view.len()).step_by(CHUNK) {
        let values = &mut values[..CHUNK.min(view.len() - start)];
        view.read_f32(start, values);
        if values.iter().any(|value| !value.is_finite()) {
            return Err(format!(
                "{}: tensor '{}' has a value that is not a finite number",
                weights.origin(),
                tensor.stored
            ));
        }
    }
    Ok(())
}
