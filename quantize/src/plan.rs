//! From a model and what is asked for to the encoding and the integers of every layer.
//!
//! The model paints in floating point while its layers are sampled; every layer is rounded to each
//! encoding that is in question; where there is a choice, each rounding is tried alone, and a
//! knapsack picks under the budget.

use std::collections::{BTreeMap, HashMap};

use anyhow::Context;
use pochade::files::{
    Component, ModelFiles, NewTensor, Packing, TensorEncoding, TensorInfo, WeightEncoding,
    packed_bytes,
};
use pochade::paint::{Painter, Request};
use pochade_engine::{DType, Encoding, Engine, Filter, PanelShape, TensorView, WeightError};

use crate::budget::{self, Budget, Choice};
use crate::calibrate::{self, Calibration};
use crate::layer::Layer;
use crate::progress::{self, Watch};
use crate::recipe::Bits;
use crate::rounding::{Problem, Rounded};
use crate::sensitivity::{self, Loss, Reference};

/// Pictures that sensitivities are measured on, and their steps at most.
const TRIED_PICTURES: usize = 4;
const TRIED_STEPS: usize = 8;

/// A layer, its roundings, and what each costs.
#[derive(Debug)]
pub(crate) struct Candidates {
    pub layer: Layer,
    bias: Option<Vec<f32>>,
    pub options: Vec<Candidate>,
}

/// One way to keep a layer.
#[derive(Debug)]
pub(crate) struct Candidate {
    pub bits: Bits,
    /// In integers; f16 needs no rounding.
    pub rounded: Option<Rounded>,
    pub bytes: usize,
    /// Of the pictures, where it was measured.
    pub loss: Option<Loss>,
}

impl Bits {
    /// The encoding of integers, `None` for f16.
    pub fn integers(self) -> Option<Encoding> {
        match self {
            Self::Int4 => Some(Encoding::Int4),
            Self::Int8 => Some(Encoding::Int8),
            Self::F16 => None,
        }
    }
}

/// Bytes of a layer's weights.
pub(crate) fn bytes(layer: &Layer, bits: Bits) -> usize {
    let [outputs, channels, ..] = layer.size;
    let shape = PanelShape { outputs, taps: layer.taps(), channels };
    let product = |shape: [usize; 4]| shape.iter().product::<usize>();
    let steps = outputs * DType::F32.bytes();
    match bits.integers() {
        None => layer.parameters() * DType::F16.bytes(),
        Some(Encoding::Int8) => product(shape.weight(Encoding::Int8)) + steps,
        Some(Encoding::Int4) => {
            product(shape.weight(Encoding::Int4)) + product(shape.multipliers()) + steps
        }
    }
}

/// Rounds every layer to the encodings that `options` names for it.
pub(crate) fn round_all(
    painter: &mut Painter,
    calibration: &Calibration,
    options: &dyn Fn(&Layer) -> Vec<Bits>,
    watch: &Watch,
) -> anyhow::Result<Vec<Candidates>> {
    let layers = Layer::all(painter.files())?;
    let passes = calibrate::passes(&layers);
    let watch = watch.bar(progress::COUNT, passes.len() * calibration.pictures + layers.len());
    let mut engine = Engine::new(None)?;
    let mut all = Vec::with_capacity(layers.len());
    for pass in passes {
        watch.says("listening");
        let mut samples = calibrate::listen(painter, calibration, pass, &watch)?;
        watch.says("rounding");
        for layer in pass {
            let samples = samples.remove(&layer.key()).unwrap_or_default();
            all.push(candidates(painter.files(), layer, &samples, &options(layer), &mut engine)?);
            watch.step()?;
        }
    }
    watch.clear();
    Ok(all)
}

fn candidates(
    model: &ModelFiles,
    layer: &Layer,
    samples: &calibrate::Samples,
    options: &[Bits],
    engine: &mut Engine,
) -> anyhow::Result<Candidates> {
    let stored = model.weights(layer.part)?;
    let read = |kind: &str| stored.view(&format!("{}.{kind}", layer.name)).map(|v| v.to_f32());
    let weights = read("weight")?;
    let bias = layer.bias.then(|| read("bias")).transpose()?;
    let problem = Problem { layer, weights: &weights, samples };
    let encodings: Vec<Encoding> = options.iter().filter_map(|bits| bits.integers()).collect();
    let rounded = problem.round(engine, &encodings).with_context(|| layer.key())?;
    let mut rounded = rounded.into_iter();
    let candidate = |&bits: &Bits| {
        let rounded = bits.integers().and_then(|_| rounded.next());
        Candidate { bits, rounded, bytes: bytes(layer, bits), loss: None }
    };
    let found = options.iter().map(candidate).collect();
    Ok(Candidates { layer: layer.clone(), bias, options: found })
}

impl Candidates {
    fn tensors(&self, option: usize) -> anyhow::Result<Vec<NewTensor>> {
        let Some(rounded) = &self.options[option].rounded else { return Ok(Vec::new()) };
        sensitivity::tensors(&self.layer, rounded, self.bias.as_deref())
    }
}

/// Measures what each candidate in integers costs the picture, alone.
pub(crate) fn measure(
    painter: &mut Painter,
    calibration: &Calibration,
    all: &mut [Candidates],
    watch: &Watch,
) -> anyhow::Result<()> {
    let pictures = TRIED_PICTURES.min(calibration.pictures);
    let steps = painter.resolve(&calibration.request(0))?.steps.min(TRIED_STEPS);
    // Those held out, as far as they go.
    let requests = (0..pictures).map(|i| Request {
        steps: Some(steps),
        ..calibration.request(calibration.pictures - 1 - i)
    });
    let reference = Reference::paint(painter, requests.collect())?;
    let trials = all.iter().flat_map(|c| &c.options).filter(|option| option.rounded.is_some());
    let watch = watch.bar(progress::COUNT, trials.count());
    watch.says("trying");
    for candidates in all {
        for option in 0..candidates.options.len() {
            let tensors = candidates.tensors(option)?;
            if tensors.is_empty() {
                candidates.options[option].loss = Some(Loss::default());
                continue;
            }
            let loss = reference.loss(painter, candidates.layer.part, tensors)?;
            candidates.options[option].loss = Some(loss);
            watch.step()?;
        }
    }
    watch.clear();
    Ok(())
}

/// What may not be exceeded.
pub(crate) struct Limits<'a> {
    /// Bytes of the file.
    pub file: Option<u64>,
    /// Bytes of the layers in question.
    pub layers: Option<usize>,
    /// Seconds that these layers take in one picture.
    pub seconds: Option<f64>,
    /// Predicts them for one layer.
    pub predict: &'a dyn Fn(&Layer, Bits) -> f64,
}

/// How often the bytes that belong to no layer are counted anew: a layer in integers has entries in
/// the file's table that one in f16 has not.
const ROUNDS: usize = 8;

/// For every layer, the index of its option within the limits.
pub(crate) fn choose(
    model: &ModelFiles,
    all: &[Candidates],
    limits: &Limits<'_>,
) -> anyhow::Result<Vec<usize>> {
    let choice = |layer: &Layer, option: &Candidate| Choice {
        bytes: option.bytes,
        seconds: (limits.predict)(layer, option.bits),
        loss: option.loss.map_or(0.0, |loss| loss.picture),
    };
    let choices: Vec<Vec<Choice>> =
        all.iter().map(|c| c.options.iter().map(|o| choice(&c.layer, o)).collect()).collect();
    let within = |bytes| budget::choose(&choices, Budget { bytes, seconds: limits.seconds });
    let Some(file) = limits.file else { return Ok(within(limits.layers)?) };
    let mut rest = file_rest(model, all, &vec![0; all.len()])?;
    for _ in 0..ROUNDS {
        let bytes = file.saturating_sub(rest);
        let chosen = within(Some(bytes as usize)).map_err(|e| {
            anyhow::anyhow!("{e}, and all else {:.2} MB: raise the budget", rest as f64 / 1e6)
        })?;
        let found = file_rest(model, all, &chosen)?;
        if found <= rest {
            return Ok(chosen);
        }
        rest = found;
    }
    anyhow::bail!("no mix of encodings was found that keeps the size; raise the budget")
}

/// Bytes of the file that belong to no layer in question.
fn file_rest(model: &ModelFiles, all: &[Candidates], chosen: &[usize]) -> anyhow::Result<u64> {
    let layers: usize = all.iter().zip(chosen).map(|(c, i)| c.options[*i].bytes).sum();
    Ok(packed_bytes(model, &Encodings::new(all, chosen))?.saturating_sub(layers as u64))
}

/// The encodings of all tensors of a model.
#[derive(Debug)]
struct Encodings(HashMap<(Component, String), Bits>);

impl Encodings {
    fn new(all: &[Candidates], chosen: &[usize]) -> Self {
        let entry = |(c, option): (&Candidates, &usize)| {
            ((c.layer.part, c.layer.weight()), c.options[*option].bits)
        };
        Self(all.iter().zip(chosen).map(entry).collect())
    }
}

impl Packing for Encodings {
    fn encoding(&self, part: Component, tensor: &TensorInfo<'_>) -> TensorEncoding {
        match self.0.get(&(part, tensor.name.to_owned())).map(|bits| bits.integers()) {
            None => WeightEncoding::Int8.encoding(part, tensor),
            Some(None) => TensorEncoding::Float(DType::F16),
            Some(Some(integers)) => TensorEncoding::Integers(integers),
        }
    }
}

/// What becomes of every tensor of a model, and the integers of its layers.
#[derive(Debug)]
pub(crate) struct Plan {
    encodings: Encodings,
    /// By part and weight.
    filters: HashMap<(Component, String), Filter>,
    /// Biases that take in what the roundings lose on average.
    biases: BTreeMap<Component, Vec<NewTensor>>,
}

impl Plan {
    /// The plan that keeps of every layer the option of this index.
    pub fn new(all: Vec<Candidates>, chosen: &[usize]) -> anyhow::Result<Self> {
        let encodings = Encodings::new(&all, chosen);
        let mut plan = Self { encodings, filters: HashMap::new(), biases: BTreeMap::new() };
        for (candidates, &option) in all.into_iter().zip(chosen) {
            let tensors = candidates.tensors(option)?;
            let layer = candidates.layer;
            let bias = tensors.into_iter().filter(|t| t.name.ends_with(".bias"));
            plan.biases.entry(layer.part).or_default().extend(bias);
            let rounded = candidates.options.into_iter().nth(option).and_then(|o| o.rounded);
            plan.filters.extend(rounded.map(|r| ((layer.part, layer.weight()), r.filter)));
        }
        Ok(plan)
    }

    /// Puts the biases into the model.
    pub fn replace_biases(&mut self, model: &mut ModelFiles) {
        for (part, biases) in std::mem::take(&mut self.biases) {
            model.replace(part, biases);
        }
    }
}

impl Packing for Plan {
    fn encoding(&self, part: Component, tensor: &TensorInfo<'_>) -> TensorEncoding {
        self.encodings.encoding(part, tensor)
    }

    fn filter(
        &mut self,
        part: Component,
        name: &str,
        weight: &TensorView<'_>,
        integers: Encoding,
    ) -> Result<Filter, WeightError> {
        match self.filters.remove(&(part, name.to_owned())) {
            Some(filter) => Ok(filter),
            None => Filter::rounded(weight, None, integers),
        }
    }
}
