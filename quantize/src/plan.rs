//! The choice among all candidates, and the plan that packs a model by it.

use std::collections::{BTreeMap, HashMap};

use pochade::files::{
    Component, ModelFiles, NewTensor, Packing, TensorEncoding, TensorInfo, WeightEncoding,
    packed_bytes,
};
use pochade_engine::{DType, Encoding, Filter, TensorView, WeightError};

use crate::budget::{self, Budget, Choice};
use crate::candidates::{Candidate, Candidates};
use crate::layer::Layer;
use crate::left_out::WithoutEncoder;
use crate::recipe::Bits;
use crate::time::TimeLimit;

/// What may not be exceeded.
#[derive(Debug)]
pub(crate) struct Limits {
    /// Bytes of the file.
    pub file: Option<u64>,
    /// Bytes of the layers in question.
    pub layers: Option<usize>,
    /// Predicted time of a picture.
    pub time: Option<TimeLimit>,
    /// Whether the file has no encoder.
    pub without_encoder: bool,
}

/// How often what belongs to no layer is counted anew: a layer in integers has entries in the file's
/// table that one in f16 has not, and steps beside it that take time.
const ROUNDS: usize = 8;

/// For every layer, the index of its option within the limits.
pub(crate) fn choose(
    model: &ModelFiles,
    all: &[Candidates],
    limits: &Limits,
) -> anyhow::Result<Vec<usize>> {
    let choice = |layer: &Layer, option: &Candidate| Choice {
        bytes: option.bytes,
        seconds: limits.time.as_ref().map_or(0.0, |time| time.of_layer(layer, option.bits)),
        loss: option.loss.map_or(0.0, |loss| loss.picture),
    };
    let choices: Vec<Vec<Choice>> =
        all.iter().map(|c| c.options.iter().map(|o| choice(&c.layer, o)).collect()).collect();
    // What all else takes; counted anew for what was chosen, until it is no more than was thought.
    let mut rest = Rest::of(model, all, limits, &vec![0; all.len()])?;
    for _ in 0..ROUNDS {
        let chosen = budget::choose(&choices, rest.left(limits)).map_err(|e| {
            anyhow::anyhow!(
                "{e}, and all else {:.2} MB and {:.3} s",
                rest.megabytes(),
                rest.seconds
            )
        })?;
        let found = Rest::of(model, all, limits, &chosen)?;
        if found.bytes <= rest.bytes && found.seconds <= rest.seconds * (1.0 + EQUAL) {
            return Ok(chosen);
        }
        rest.bytes = rest.bytes.max(found.bytes);
        rest.seconds = rest.seconds.max(found.seconds);
    }
    anyhow::bail!("no mix of encodings was found that keeps it")
}

/// Seconds that differ by less, relatively, are the same.
const EQUAL: f64 = 1e-9;

/// What a file and its pictures take beside the layers in question.
#[derive(Clone, Copy, Debug)]
struct Rest {
    bytes: u64,
    seconds: f64,
}

impl Rest {
    fn of(
        model: &ModelFiles,
        all: &[Candidates],
        limits: &Limits,
        chosen: &[usize],
    ) -> anyhow::Result<Self> {
        let mut rest = Self { bytes: 0, seconds: 0.0 };
        if limits.file.is_some() {
            rest.bytes = file_rest(model, all, chosen, limits.without_encoder)?;
        }
        if let Some(time) = &limits.time {
            let bits = all.iter().zip(chosen).map(|(c, i)| (&c.layer, c.options[*i].bits));
            rest.seconds = time.rest(model, &bits.collect::<Vec<_>>())?;
        }
        Ok(rest)
    }

    /// What is left of the limits for the layers.
    fn left(&self, limits: &Limits) -> Budget {
        let bytes = limits.file.map(|file| file.saturating_sub(self.bytes) as usize);
        Budget {
            bytes: bytes.or(limits.layers),
            seconds: limits.time.as_ref().map(|time| time.seconds - self.seconds),
        }
    }

    fn megabytes(&self) -> f64 {
        self.bytes as f64 / 1e6
    }
}

/// Bytes of the file that belong to no layer in question.
fn file_rest(
    model: &ModelFiles,
    all: &[Candidates],
    chosen: &[usize],
    leaves_out: bool,
) -> anyhow::Result<u64> {
    let mut encodings = Encodings::new(all, chosen);
    let packing = WithoutEncoder { packing: &mut encodings, leaves_out };
    let layers: usize = all.iter().zip(chosen).map(|(c, i)| c.options[*i].bytes).sum();
    Ok(packed_bytes(model, &packing)?.saturating_sub(layers as u64))
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
    /// What else is not the model's own: smoothed norms, biases that take in what the roundings lose
    /// on average.
    changed: BTreeMap<Component, Vec<NewTensor>>,
}

impl Plan {
    /// The plan that keeps of every layer the option of this index.
    pub fn new(all: Vec<Candidates>, chosen: &[usize]) -> anyhow::Result<Self> {
        let encodings = Encodings::new(&all, chosen);
        let mut plan = Self { encodings, filters: HashMap::new(), changed: BTreeMap::new() };
        for (candidates, &option) in all.into_iter().zip(chosen) {
            let tensors = candidates.tensors(option)?;
            let layer = candidates.layer;
            // Panels come from the filters.
            let floats = tensors.into_iter().filter(NewTensor::is_float);
            plan.changed.entry(layer.part).or_default().extend(floats);
            let rounded = candidates.options.into_iter().nth(option).and_then(|o| o.rounded);
            plan.filters.extend(rounded.map(|r| ((layer.part, layer.weight()), r.filter)));
        }
        Ok(plan)
    }

    /// Puts what changes in floating point into the model.
    pub fn change(&mut self, model: &mut ModelFiles) {
        for (part, tensors) in std::mem::take(&mut self.changed) {
            model.replace(part, tensors);
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
