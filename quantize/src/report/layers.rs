//! What two models' weights are kept in, and how far apart they are.

use std::collections::HashMap;

use pochade::files::{Component, ComponentWeights, ModelFiles, TensorInfo};

use super::folded::{self, Unfold};
use super::model::{self, EncodingShare, Model, Part, Vectors};
use crate::architecture::parts;
use crate::layer::Layer;
use crate::progress::{self, Watch};
use crate::weights::{Values, is_scale, size};

/// Encodings from the widest on, for their order in a report.
const WIDEST_FIRST: [&str; 7] = ["f32", "bf16", "f16", "q8_0", "int8", "q4_0", "int4"];

/// Everything that the weights say.
#[derive(Debug, Default)]
pub(super) struct Weighed {
    pub original: Model,
    pub other: Model,
    pub parts: Vec<Part>,
    pub encodings: Vec<EncodingShare>,
    pub layers: Vec<model::Layer>,
    pub vectors: Vectors,
}

/// The power of a signal and of what disturbs it.
#[derive(Clone, Copy, Debug, Default)]
struct Noise {
    signal: f64,
    error: f64,
}

impl Noise {
    fn add(&mut self, before: &[f32], after: &[f32]) {
        for (a, b) in before.iter().zip(after) {
            self.signal += f64::from(*a).powi(2);
            self.error += (f64::from(*a) - f64::from(*b)).powi(2);
        }
    }

    /// Signal to noise in decibels; `None` without noise.
    fn decibels(self) -> Option<f64> {
        let ratio = self.signal.max(f64::MIN_POSITIVE) / self.error;
        (self.error > 0.0).then(|| 10.0 * ratio.log10())
    }
}

/// Compares the tensors of two models of one network.
pub(super) fn compare(
    original: &ModelFiles,
    other: &ModelFiles,
    watch: &Watch,
) -> anyhow::Result<Weighed> {
    let mut weighed = Weighed {
        original: Model { name: name(original), ..Model::default() },
        other: Model { name: name(other), ..Model::default() },
        ..Weighed::default()
    };
    let layers = Layer::all(original)?;
    let mut count = 0;
    for part in parts(other) {
        count += other.weights(part)?.tensors().filter(|tensor| !is_scale(tensor.name)).count();
    }
    let watch = watch.bar(progress::COUNT, count);
    for part in parts(other) {
        watch.says(part.name());
        let models = [&original.weights(part)?, &other.weights(part)?];
        weighed.add(part, models, &folded::of(part, &layers, models), &watch)?;
    }
    let rank = |share: &EncodingShare| {
        WIDEST_FIRST.iter().position(|name| *name == share.encoding).unwrap_or(usize::MAX)
    };
    weighed.encodings.sort_by_key(rank);
    watch.clear();
    Ok(weighed)
}

impl Model {
    fn add(&mut self, parameters: u64, bytes: u64) {
        self.parameters += parameters;
        self.bytes += bytes;
    }
}

impl Weighed {
    /// Adds a part of both models.
    fn add(
        &mut self,
        part: Component,
        [before, after]: [&ComponentWeights; 2],
        folded: &HashMap<String, Unfold>,
        watch: &Watch,
    ) -> anyhow::Result<()> {
        let counts = counts([before, after]);
        let bytes = |weights: &ComponentWeights| weights.tensors().map(|t| t.bytes as u64).sum();
        let (bytes_before, bytes_after) = (bytes(before), bytes(after));
        let (parameters, kept) = (counts.of(before), counts.of(after));
        self.original.add(parameters, bytes_before);
        self.other.add(kept, bytes_after);
        let name = part.name().to_owned();
        let parameters_left_out = parameters.saturating_sub(kept);
        self.parts.push(Part {
            part: name,
            parameters,
            parameters_left_out,
            bytes_before,
            bytes_after,
        });
        self.add_encodings(after, &counts);
        self.add_layers(part, [before, after], (&counts, folded), watch)
    }

    fn add_layers(
        &mut self,
        part: Component,
        [before, after]: [&ComponentWeights; 2],
        (counts, folded): (&Counts, &HashMap<String, Unfold>),
        watch: &Watch,
    ) -> anyhow::Result<()> {
        for tensor in after.tensors().filter(|tensor| !is_scale(tensor.name)) {
            watch.step()?;
            // Halves of autoencoders that only one of both has.
            let Some(source) = before.tensors().find(|t| t.name == tensor.name) else { continue };
            let unfold = folded.get(tensor.name);
            let sqnr_db = noise((before, source), (after, tensor), unfold)?.decibels();
            if tensor.shape.len() > 1 {
                self.layers.push(model::Layer {
                    part: part.name().to_owned(),
                    layer: tensor.name.trim_end_matches(".weight").to_owned(),
                    encoding: tensor.kind(),
                    parameters: counts.get(tensor.name),
                    sqnr_db,
                });
            } else {
                self.vectors.add(sqnr_db);
            }
        }
        Ok(())
    }

    /// Adds a part's numbers and bytes to the shares of their encodings; scales count with the
    /// integers that they are of.
    fn add_encodings(&mut self, weights: &ComponentWeights, counts: &Counts) {
        let tensors = weights.tensors().filter(|tensor| !is_scale(tensor.name));
        let kinds: HashMap<&str, String> = tensors.map(|t| (t.name, t.kind())).collect();
        for tensor in weights.tensors() {
            let weight = tensor.name.trim_end_matches(".step").trim_end_matches(".multiplier");
            let encoding = kinds.get(weight).cloned().unwrap_or_else(|| tensor.kind());
            let parameters = if is_scale(tensor.name) { 0 } else { counts.get(tensor.name) };
            match self.encodings.iter_mut().find(|share| share.encoding == encoding) {
                Some(share) => {
                    share.parameters += parameters;
                    share.bytes += tensor.bytes as u64;
                }
                None => {
                    let bytes = tensor.bytes as u64;
                    self.encodings.push(EncodingShare { encoding, parameters, bytes });
                }
            }
        }
    }
}

impl Vectors {
    fn add(&mut self, sqnr_db: Option<f64>) {
        self.tensors += 1;
        if let Some(db) = sqnr_db {
            self.different += 1;
            self.least_sqnr_db = Some(self.least_sqnr_db.map_or(db, |least| least.min(db)));
        }
    }
}

fn noise(
    (before, a): (&ComponentWeights, TensorInfo<'_>),
    (after, b): (&ComponentWeights, TensorInfo<'_>),
    unfold: Option<&Unfold>,
) -> anyhow::Result<Noise> {
    let is_float = |tensor: &TensorInfo<'_>| !tensor.kind().starts_with("int");
    let float = [a, b].into_iter().find(is_float);
    let size = float.and_then(|tensor| size(tensor.shape));
    // Integers on both sides come with the zeros behind their channels, which no norm has.
    let unfold = unfold.filter(|_| float.is_some());
    let mut noise = Noise::default();
    let (first, second) = (Values::read(before, a.name, size)?, Values::read(after, b.name, size)?);
    first.zip(&second, |start, a, b| {
        if let Some(unfold) = unfold {
            unfold.apply(start, b);
        }
        noise.add(a, b);
    });
    before.release(a.name);
    after.release(b.name);
    Ok(noise)
}

/// Numbers of the tensors of a part, by name.
struct Counts(HashMap<String, u64>);

impl Counts {
    fn get(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or(0)
    }

    /// Of all tensors that are not scales.
    fn of(&self, weights: &ComponentWeights) -> u64 {
        weights.tensors().filter(|t| !is_scale(t.name)).map(|t| self.get(t.name)).sum()
    }
}

/// Counts the numbers of two models. Panels of integers do not tell how many of theirs only fill
/// them up; the tensor that they were made from does.
fn counts(models: [&ComponentWeights; 2]) -> Counts {
    let mut counts = HashMap::new();
    for tensor in models.into_iter().flat_map(|weights| weights.tensors()) {
        let count = tensor.parameters() as u64;
        let known = counts.entry(tensor.name.to_owned()).or_insert(count);
        *known = count.min(*known);
    }
    Counts(counts)
}

/// The last part of a model's path.
fn name(model: &ModelFiles) -> String {
    let path = std::path::Path::new(model.origin());
    path.file_name().map_or_else(|| model.origin().to_owned(), |n| n.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_is_told_in_decibels_and_its_absence_as_none() {
        let mut noise = Noise::default();
        noise.add(&[3.0, 4.0], &[3.0, 4.0]);
        assert_eq!(noise.decibels(), None);
        noise.add(&[0.0], &[0.5]);
        assert!((noise.decibels().unwrap() - 20.0).abs() < 1e-12);
        let mut silent = Noise::default();
        silent.add(&[0.0], &[1.0]);
        assert!(silent.decibels().unwrap().is_finite());
    }
}
