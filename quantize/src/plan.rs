//! From a model and what is asked for to the encoding and the integers of every layer.
//!
//! The model paints in floating point while its layers are sampled; every layer is rounded to each
//! encoding that is in question; where there is a choice, each rounding is tried alone, and a
//! knapsack picks under the budget.

use std::collections::{BTreeMap, HashMap};

use anyhow::Context;
use indicatif::ProgressBar;
use pochade::files::{
    Component, ModelFiles, NewTensor, Packing, TensorEncoding, TensorInfo, WeightEncoding,
};
use pochade::paint::Painter;
use pochade_engine::{DType, Encoding, Engine, Filter, PanelShape, TensorView, WeightError};

use crate::budget::{self, Budget, Choice};
use crate::calibrate::{self, Calibration};
use crate::layer::Layer;
use crate::recipe::Bits;
use crate::rounding::{Problem, Rounded};
use crate::sensitivity::{self, Loss, Reference};

/// Pictures that sensitivities are measured on.
const SENSITIVITY_PICTURES: usize = 6;

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
    bar: &ProgressBar,
) -> anyhow::Result<Vec<Candidates>> {
    let layers = Layer::all(painter.files())?;
    let passes = calibrate::passes(&layers);
    bar.set_length((passes.len() * calibration.pictures + layers.len()) as u64);
    let mut engine = Engine::new(None)?;
    let mut all = Vec::with_capacity(layers.len());
    for pass in passes {
        bar.set_message("listening");
        let mut samples = calibrate::listen(painter, calibration, pass, bar)?;
        bar.set_message("rounding");
        for layer in pass {
            let samples = samples.remove(&layer.key()).unwrap_or_default();
            all.push(candidates(painter.files(), layer, &samples, &options(layer), &mut engine)?);
            bar.inc(1);
        }
    }
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
    bar: &ProgressBar,
) -> anyhow::Result<()> {
    let pictures = SENSITIVITY_PICTURES.min(calibration.pictures);
    // Those held out, as far as they go.
    let requests = (0..pictures).map(|i| calibration.request(calibration.pictures - 1 - i));
    let reference = Reference::paint(painter, requests.collect())?;
    let trials = all.iter().flat_map(|c| &c.options).filter(|option| option.rounded.is_some());
    bar.set_position(0);
    bar.set_length(trials.count() as u64);
    bar.set_message("trying");
    for candidates in all {
        for option in 0..candidates.options.len() {
            let tensors = candidates.tensors(option)?;
            if tensors.is_empty() {
                candidates.options[option].loss = Some(Loss::default());
                continue;
            }
            let loss = reference.loss(painter, candidates.layer.part, tensors)?;
            candidates.options[option].loss = Some(loss);
            bar.inc(1);
        }
    }
    Ok(())
}

/// For every layer, the index of its option under `budget`; `seconds` predicts the time of an option.
pub(crate) fn choose(
    all: &[Candidates],
    budget: Budget,
    seconds: &dyn Fn(&Layer, Bits) -> f64,
) -> Result<Vec<usize>, budget::Unreachable> {
    let choice = |layer: &Layer, option: &Candidate| Choice {
        bytes: option.bytes,
        seconds: seconds(layer, option.bits),
        loss: option.loss.map_or(0.0, |loss| loss.picture),
    };
    let choices: Vec<Vec<Choice>> =
        all.iter().map(|c| c.options.iter().map(|o| choice(&c.layer, o)).collect()).collect();
    budget::choose(&choices, budget)
}

/// What becomes of every tensor of a model.
#[derive(Debug)]
pub(crate) struct Plan {
    /// By part and weight: the integers, or nothing for f16.
    layers: HashMap<(Component, String), Option<Filter>>,
    /// Biases that take in what the roundings lose on average.
    biases: BTreeMap<Component, Vec<NewTensor>>,
}

impl Plan {
    /// The plan that keeps of every layer the option of this index.
    pub fn new(all: Vec<Candidates>, chosen: &[usize]) -> anyhow::Result<Self> {
        let mut plan = Self { layers: HashMap::new(), biases: BTreeMap::new() };
        for (candidates, &option) in all.into_iter().zip(chosen) {
            let tensors = candidates.tensors(option)?;
            let bias = tensors.into_iter().filter(|t| t.name.ends_with(".bias"));
            plan.biases.entry(candidates.layer.part).or_default().extend(bias);
            let key = (candidates.layer.part, format!("{}.weight", candidates.layer.name));
            let rounded = candidates.options.into_iter().nth(option).and_then(|o| o.rounded);
            plan.layers.insert(key, rounded.map(|rounded| rounded.filter));
        }
        Ok(plan)
    }

    /// Puts the biases into the model.
    pub fn replace_biases(&mut self, model: &mut ModelFiles) {
        for (part, biases) in std::mem::take(&mut self.biases) {
            model.replace(part, biases);
        }
    }

    fn layer(&self, part: Component, name: &str) -> Option<&Option<Filter>> {
        self.layers.get(&(part, name.to_owned()))
    }
}

impl Packing for Plan {
    fn encoding(&self, part: Component, tensor: &TensorInfo<'_>) -> TensorEncoding {
        let Some(filter) = self.layer(part, tensor.name) else {
            return WeightEncoding::Int8.encoding(part, tensor);
        };
        let panels = filter.as_ref().and_then(Filter::to_store);
        panels.map_or(TensorEncoding::Float(DType::F16), |panels| {
            TensorEncoding::Integers(panels.encoding)
        })
    }

    fn filter(
        &mut self,
        part: Component,
        name: &str,
        weight: &TensorView<'_>,
        integers: Encoding,
    ) -> Result<Filter, WeightError> {
        match self.layer(part, name) {
            Some(Some(filter)) => Ok(filter.clone()),
            _ => Filter::rounded(weight, None, integers),
        }
    }
}
