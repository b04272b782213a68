//! What smoothing folded into a model's weights: the channels of a norm divided by what the layers
//! that read it were multiplied by. Taken back before weights are compared, since it changes no
//! product.

use std::collections::HashMap;
use std::rc::Rc;

use pochade::files::{Component, ComponentWeights};

use crate::layer::Layer;
use crate::smoothing;

/// By how much a norm's shift may differ from its folded self for the folding to be believed.
const ROUNDING: f32 = 1e-3;

/// What the channels of a tensor `[..][channels]` are to be multiplied by, to be compared with the
/// original's.
#[derive(Clone, Debug)]
pub(super) struct Unfold(Rc<[f32]>);

impl Unfold {
    /// Scales values that begin at `start` of the tensor.
    pub fn apply(&self, start: usize, values: &mut [f32]) {
        let factors = self.0.iter().cycle().skip(start % self.0.len());
        values.iter_mut().zip(factors).for_each(|(value, factor)| *value *= factor);
    }
}

/// What is to be taken back of the tensors of a part, by their names.
pub(super) fn of(
    part: Component,
    layers: &[Layer],
    models: [&ComponentWeights; 2],
) -> HashMap<String, Unfold> {
    let mut found = HashMap::new();
    for group in smoothing::groups(layers).into_iter().filter(|group| group.part == part) {
        let Some(scales) = scales(&group.norm, models) else { continue };
        let inverse: Rc<[f32]> = scales.iter().map(|scale| 1.0 / scale).collect();
        for kind in ["weight", "bias"] {
            found.insert(format!("{}.{kind}", group.norm), Unfold(scales.clone()));
        }
        let layers = group.layers.iter().map(|layer| format!("{layer}.weight"));
        found.extend(layers.map(|weight| (weight, Unfold(inverse.clone()))));
    }
    found
}

/// What every channel of a norm was divided by; `None` where nothing was folded into it, or it is
/// another norm.
fn scales(norm: &str, models: [&ComponentWeights; 2]) -> Option<Rc<[f32]>> {
    let read = |kind| {
        let name = format!("{norm}.{kind}");
        let [before, after] = models.map(|weights| weights.view(&name).map(|view| view.to_f32()));
        before.ok().zip(after.ok()).filter(|(before, after)| before.len() == after.len())
    };
    let ((before, after), (shift, shifted)) = (read("weight")?, read("bias")?);
    let scale = |(a, b): (&f32, &f32)| if *b == 0.0 { 1.0 } else { a / b };
    let scales: Rc<[f32]> = before.iter().zip(&after).map(scale).collect();
    let is_folded = |((a, b), scale): ((&f32, &f32), &f32)| {
        *scale > 0.0 && (a - b * scale).abs() <= ROUNDING * a.abs()
    };
    let folded = shift.iter().zip(&shifted).zip(scales.iter()).all(is_folded);
    (folded && scales.iter().any(|scale| *scale != 1.0)).then_some(scales)
}

#[cfg(test)]
mod tests {
    use super::*;
    use pochade::files::{ModelFiles, NewTensor};
    use std::path::Path;

    const PART: Component = Component::Unet;

    fn tiny() -> ModelFiles {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/files/tiny");
        ModelFiles::open(&folder).unwrap()
    }

    /// The tiny model with its first norm smoothed by powers of two, and its group.
    fn smoothed(shift: f32) -> (ModelFiles, smoothing::Group) {
        let mut model = tiny();
        let group = smoothing::groups(&Layer::all(&model).unwrap())
            .into_iter()
            .find(|group| group.part == PART)
            .unwrap();
        let weights = model.weights(PART).unwrap();
        let new = |name: String, change: &dyn Fn(usize, f32) -> f32| {
            let view = weights.view(&name).unwrap();
            let values: Vec<f32> =
                view.to_f32().iter().enumerate().map(|(i, v)| change(i, *v)).collect();
            NewTensor::of_f32(name, view.shape().to_vec(), &values).unwrap()
        };
        let channels = weights.view(&format!("{}.weight", group.norm)).unwrap().len();
        let scale = |i: usize| [2.0, 0.5, 1.0][i % channels % 3];
        let mut tensors = vec![
            new(format!("{}.weight", group.norm), &|i, v| v / scale(i)),
            new(format!("{}.bias", group.norm), &|i, v| v / scale(i) + shift),
        ];
        let layers = group.layers.iter().map(|layer| format!("{layer}.weight"));
        tensors.extend(layers.map(|name| new(name, &|i, v| v * scale(i))));
        drop(weights);
        model.replace(PART, tensors);
        (model, group)
    }

    #[test]
    fn what_smoothing_folded_in_is_taken_back() {
        let (model, group) = smoothed(0.0);
        let models = [tiny().weights(PART).unwrap(), model.weights(PART).unwrap()];
        let layers = Layer::all(&model).unwrap();
        let found = of(PART, &layers, [&models[0], &models[1]]);
        assert_eq!(found.len(), 2 + group.layers.len());
        for (name, unfold) in found {
            let [before, mut after] =
                [&models[0], &models[1]].map(|weights| weights.view(&name).unwrap().to_f32());
            let (first, rest) = after.split_at_mut(7);
            unfold.apply(0, first);
            unfold.apply(7, rest);
            assert_eq!(before, after, "{name}");
        }
    }

    #[test]
    fn a_norm_that_was_trained_on_is_not_taken_for_a_smoothed_one() {
        let (model, _) = smoothed(0.25);
        let models = [tiny().weights(PART).unwrap(), model.weights(PART).unwrap()];
        let layers = Layer::all(&model).unwrap();
        assert!(of(PART, &layers, [&models[0], &models[1]]).is_empty());
        assert!(of(PART, &layers, [&models[0], &models[0]]).is_empty());
    }
}
