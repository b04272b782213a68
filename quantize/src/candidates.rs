//! Every layer rounded to all encodings in question.
//!
//! The model paints in floating point while its layers are sampled; groups of layers that read one
//! norm are smoothed where that loses less; every layer is rounded to each encoding; and where there
//! is a choice, each rounding is tried alone in the whole model.

use std::collections::{BTreeSet, HashMap};
use std::fmt;

use anyhow::Context;
use pochade::files::{ModelFiles, NewTensor};
use pochade::paint::{Painter, Request};
use pochade_engine::{DType, Encoding, Engine, PanelShape};

use crate::calibrate::{self, Calibration, Inputs, Samples};
use crate::layer::Layer;
use crate::progress::{self, Watch};
use crate::recipe::Bits;
use crate::rounding::{Problem, Rounded};
use crate::sensitivity::{self, Loss, Reference};
use crate::smoothing::{self, Group};

/// Pictures that candidates are tried on, and their steps at most.
const TRIED_PICTURES: usize = 4;
const TRIED_STEPS: usize = 8;

/// A layer and the ways to keep it.
#[derive(Debug)]
pub(crate) struct Candidates {
    pub layer: Layer,
    pub options: Vec<Candidate>,
    /// What the layer reads; where its norm is smoothed, what it read before.
    pub inputs: Option<Inputs>,
    bias: Option<Vec<f32>>,
    smoothed: Option<Smoothed>,
}

/// A group of layers whose norm was smoothed.
#[derive(Clone, Debug)]
struct Smoothed {
    /// The norm: part and canonical name.
    norm: String,
    /// What becomes of the norm, and of the weights of all that reads it.
    changed: Vec<NewTensor>,
}

/// One way to keep a layer.
pub(crate) struct Candidate {
    pub bits: Bits,
    /// In integers; f16 needs no rounding.
    pub rounded: Option<Rounded>,
    pub bytes: usize,
    /// Of the pictures, where it was measured.
    pub loss: Option<Loss>,
}

impl fmt::Debug for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.bits)?;
        self.rounded.iter().try_for_each(|r| write!(f, " error {:.1e}", r.error))?;
        let Some(Loss { latent, picture }) = self.loss else { return Ok(()) };
        write!(f, " latent {latent:.1e} picture {picture:.3}")
    }
}

impl Candidates {
    /// A layer of which nothing is known but what each option takes.
    pub fn unrounded(layer: Layer, options: &[Bits]) -> Self {
        let candidate = |&bits: &Bits| Candidate {
            bits,
            rounded: None,
            bytes: bytes(&layer, bits),
            loss: None,
        };
        let options = options.iter().map(candidate).collect();
        Self { layer, options, inputs: None, bias: None, smoothed: None }
    }

    /// How an option came to its values, in words.
    pub fn method(&self, option: usize) -> String {
        let smoothed = if self.smoothed.is_some() { "smoothed, " } else { "" };
        let Some(rounded) = &self.options[option].rounded else {
            return format!("{smoothed}as it was");
        };
        let split = if rounded.split.is_some() { ", input split" } else { "" };
        let shifted = if rounded.bias_shift.is_some() { ", bias corrected" } else { "" };
        format!("{smoothed}{}{split}{shifted}", rounded.method.name())
    }

    /// The norm that was smoothed for it: part and canonical name.
    pub fn smoothed_norm(&self) -> Option<&str> {
        self.smoothed.as_ref().map(|smoothed| smoothed.norm.as_str())
    }

    /// The tensors that change with an option, and those that changed before.
    pub fn tensors(&self, option: usize) -> anyhow::Result<Vec<NewTensor>> {
        let mut tensors = self.smoothed.as_ref().map_or_else(Vec::new, |s| s.changed.clone());
        if let Some(rounded) = &self.options[option].rounded {
            tensors.extend(sensitivity::tensors(&self.layer, rounded, self.bias.as_deref())?);
        }
        Ok(tensors)
    }
}

/// Bytes of a layer's weights.
fn bytes(layer: &Layer, bits: Bits) -> usize {
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

/// What all layers are rounded from and to.
pub(crate) struct Rounding<'a> {
    pub painter: &'a mut Painter,
    pub calibration: &'a Calibration,
    /// The encodings in question for a layer.
    pub options: &'a dyn Fn(&Layer) -> Vec<Bits>,
    /// The norms to smooth, by part and canonical name; where none are given, those whose readers
    /// lose less for it.
    pub smoothed: Option<&'a BTreeSet<String>>,
}

impl Rounding<'_> {
    /// Rounds every layer.
    pub fn all(&mut self, watch: &Watch) -> anyhow::Result<Vec<Candidates>> {
        let layers = Layer::all(self.painter.files())?;
        let passes = calibrate::passes(&layers);
        let painted = passes.len() * self.calibration.pictures;
        let watch = watch.bar(progress::COUNT, painted + layers.len());
        let mut engine = Engine::new(None)?;
        let mut all = Vec::with_capacity(layers.len());
        for pass in passes {
            watch.says("listening");
            let samples = calibrate::listen(self.painter, self.calibration, pass, &watch)?;
            watch.says("rounding");
            let mut pass = Pass {
                model: self.painter.files(),
                layers: pass,
                inputs: HashMap::new(),
                samples,
                smoothed: HashMap::new(),
            };
            pass.weigh_inputs();
            pass.smooth(&mut engine, self.options, self.smoothed)?;
            for layer in pass.layers {
                all.push(pass.candidates(layer, &(self.options)(layer), &mut engine)?);
                watch.step()?;
            }
        }
        watch.clear();
        Ok(all)
    }
}

/// A group with its norm smoothed; of each of its layers what it reads then, its own weights and those
/// that make up for it.
struct Trial {
    smoothed: Smoothed,
    samples: Vec<Samples>,
    weights: Vec<Vec<f32>>,
    multiplied: Vec<Vec<f32>>,
}

/// Layers whose samples are in memory together.
struct Pass<'a> {
    model: &'a ModelFiles,
    layers: &'a [Layer],
    /// By the layers' keys.
    inputs: HashMap<String, Inputs>,
    /// By the layers' keys.
    samples: HashMap<String, Samples>,
    /// By the layers' keys.
    smoothed: HashMap<String, Smoothed>,
}

impl Pass<'_> {
    /// Says what the layers read.
    fn weigh_inputs(&mut self) {
        let inputs = self.layers.iter().filter_map(|layer| {
            let samples = self.samples.get(&layer.key())?;
            Some((layer.key(), Inputs::heard(layer, samples)?))
        });
        self.inputs = inputs.collect();
    }

    /// Smooths the `given` groups, or those that lose less for it.
    fn smooth(
        &mut self,
        engine: &mut Engine,
        options: &dyn Fn(&Layer) -> Vec<Bits>,
        given: Option<&BTreeSet<String>>,
    ) -> anyhow::Result<()> {
        for group in smoothing::groups(self.layers) {
            let layers = self.layers.iter().filter(|l| l.part == group.part);
            let members: Vec<&Layer> = layers.filter(|l| group.layers.contains(&l.name)).collect();
            let Some(trial) = self.try_smoothing(&group, &members)? else { continue };
            let keep = match given {
                Some(norms) => norms.contains(&trial.smoothed.norm),
                None => self.loses_less(engine, &members, &trial, options)?,
            };
            if !keep {
                continue;
            }
            for (layer, samples) in members.iter().zip(trial.samples) {
                self.samples.insert(layer.key(), samples);
                self.smoothed.insert(layer.key(), trial.smoothed.clone());
            }
        }
        Ok(())
    }

    /// A group with its norm smoothed, where its layers were heard.
    fn try_smoothing(&self, group: &Group, members: &[&Layer]) -> anyhow::Result<Option<Trial>> {
        let heard: Vec<&Samples> =
            members.iter().filter_map(|layer| self.samples.get(&layer.key())).collect();
        let (Some(first), true) = (heard.first(), heard.len() == members.len()) else {
            return Ok(None);
        };
        let weights = members.iter().map(|layer| self.values(layer, "weight"));
        let weights: Vec<Vec<f32>> = weights.collect::<anyhow::Result<_>>()?;
        let views: Vec<&[f32]> = weights.iter().map(Vec::as_slice).collect();
        let scales = smoothing::scales(first, &views, members[0].size[1]);
        let mut changed = smoothing::norm(self.model, group, &scales)?;
        let multiplied: Vec<Vec<f32>> =
            weights.iter().map(|weights| smoothing::multiplied(weights, &scales)).collect();
        for (layer, weights) in members.iter().zip(&multiplied) {
            let tensor = NewTensor::of_f32(layer.weight(), layer.shape.clone(), weights);
            changed.push(tensor.context("a layer has a matrix")?);
        }
        let norm = format!("{}/{}", group.part, group.norm);
        let samples = heard.into_iter().map(|s| smoothing::divided(s, &scales)).collect();
        let smoothed = Smoothed { norm, changed };
        Ok(Some(Trial { smoothed, samples, weights, multiplied }))
    }

    /// Whether the layers of a group lose less together when their norm is smoothed.
    fn loses_less(
        &self,
        engine: &mut Engine,
        members: &[&Layer],
        trial: &Trial,
        options: &dyn Fn(&Layer) -> Vec<Bits>,
    ) -> anyhow::Result<bool> {
        let (mut plain, mut smooth) = (0.0, 0.0);
        for (i, layer) in members.iter().enumerate() {
            let Some(samples) = self.samples.get(&layer.key()) else { return Ok(false) };
            let mut error = |weights: &[f32], samples: &Samples| {
                let problem = Problem { layer, weights, samples };
                // Of the narrowest encoding, which comes first.
                let rounded = problem.round(engine, &encodings(&options(layer)))?;
                anyhow::Ok(rounded.first().map_or(0.0, |rounded| rounded.error))
            };
            plain += error(&trial.weights[i], samples)?;
            smooth += error(&trial.multiplied[i], &trial.samples[i])?;
        }
        log::debug!("{}: {plain:.2e}, smoothed {smooth:.2e}", trial.smoothed.norm);
        Ok(smooth < plain)
    }

    /// A tensor of a layer.
    fn values(&self, layer: &Layer, kind: &str) -> anyhow::Result<Vec<f32>> {
        let name = format!("{}.{kind}", layer.name);
        let smoothed = self.smoothed.get(&layer.key()).map(|smoothed| &smoothed.changed);
        if let Some(tensor) = smoothed.into_iter().flatten().find(|tensor| tensor.name == name) {
            return Ok(tensor.values());
        }
        Ok(self.model.weights(layer.part)?.view(&name)?.to_f32())
    }

    fn candidates(
        &mut self,
        layer: &Layer,
        options: &[Bits],
        engine: &mut Engine,
    ) -> anyhow::Result<Candidates> {
        let weights = self.values(layer, "weight")?;
        let bias = layer.bias.then(|| self.values(layer, "bias")).transpose()?;
        let samples = self.samples.remove(&layer.key()).unwrap_or_default();
        let inputs = self.inputs.remove(&layer.key());
        let problem = Problem { layer, weights: &weights, samples: &samples };
        let rounded = problem.round(engine, &encodings(options)).with_context(|| layer.key())?;
        let mut rounded = rounded.into_iter();
        let candidate = |&bits: &Bits| {
            let rounded = bits.integers().and_then(|_| rounded.next());
            Candidate { bits, rounded, bytes: bytes(layer, bits), loss: None }
        };
        let options = options.iter().map(candidate).collect();
        let smoothed = self.smoothed.remove(&layer.key());
        Ok(Candidates { layer: layer.clone(), options, inputs, bias, smoothed })
    }
}

fn encodings(options: &[Bits]) -> Vec<Encoding> {
    options.iter().filter_map(|bits| bits.integers()).collect()
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
            if candidates.options[option].rounded.is_none() || !candidates.layer.is_heard() {
                candidates.options[option].loss = Some(Loss::default());
                continue;
            }
            let tensors = candidates.tensors(option)?;
            let loss = reference.loss(painter, candidates.layer.part, tensors)?;
            candidates.options[option].loss = Some(loss);
            watch.step()?;
        }
    }
    watch.clear();
    Ok(())
}
