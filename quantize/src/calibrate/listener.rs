//! Keeps some rows of what every layer reads, evenly over pictures and steps.

use std::collections::HashMap;

use pochade::files::Component;
use pochade::paint::{LayerInput, LayerListener};

use super::activation::{self, Span};
use super::{BUCKETS, Calibration, HELD_OUT_ROWS, Samples, patch, rows};
use crate::layer::Layer;

/// What is kept of one layer.
#[derive(Debug)]
struct Kept {
    samples: Samples,
    /// Rows that each picture gives, to fit to and to hold out.
    per_picture: [usize; 2],
    /// State of the generator of positions.
    random: u64,
}

/// The listener of one pass.
#[derive(Debug)]
pub(super) struct Listener {
    kept: HashMap<(Component, String), Kept>,
    /// Pictures to fit to.
    fitted: usize,
    holds_out: bool,
}

impl Listener {
    pub fn new(layers: &[Layer], calibration: &Calibration) -> Self {
        let held_out = calibration.held_out();
        let fitted = calibration.pictures - held_out;
        let kept = layers.iter().map(|layer| {
            let per_picture = [rows(layer).div_ceil(fitted), HELD_OUT_ROWS.div_ceil(held_out)];
            let random = layer.columns() as u64;
            let kept = Kept { samples: Samples::default(), per_picture, random };
            ((layer.part, layer.name.clone()), kept)
        });
        Self { kept: kept.collect(), fitted, holds_out: false }
    }

    /// What is heard from now on belongs to this picture.
    pub fn start_picture(&mut self, index: usize) {
        self.holds_out = index >= self.fitted;
    }

    /// All that was kept, by the layers' keys.
    pub fn samples(self) -> HashMap<String, Samples> {
        let key = |(part, name): (Component, String)| format!("{part}/{name}");
        self.kept.into_iter().map(|(layer, kept)| (key(layer), kept.samples)).collect()
    }
}

impl LayerListener for Listener {
    fn wants(&self, part: Component, layer: &str) -> bool {
        self.kept.contains_key(&(part, layer.to_owned()))
    }

    fn hear(&mut self, input: &LayerInput<'_>) {
        let layer = (input.part, input.tap.layer.to_string());
        let Some(kept) = self.kept.get_mut(&layer) else { return };
        let (height, width) = patch::output_size(input.tap);
        let (tap, samples) = (input.tap, &mut kept.samples);
        samples.joined_at = tap.joined_at.filter(|_| tap.kernel == (1, 1));
        let pictures = input.values.chunks_exact(input.values.len() / tap.shape.n);
        let spans: Vec<Span> = pictures.map(activation::span).collect();
        let bucket = (input.step * BUCKETS / input.steps).min(BUCKETS - 1);
        if !self.holds_out {
            samples.buckets[bucket].add(input.values);
        }
        for _ in 0..kept.per_picture[usize::from(self.holds_out)].div_ceil(input.steps) {
            let mut pick = |below: usize| next(&mut kept.random) % below;
            let at = [pick(tap.shape.n), pick(height), pick(width)];
            if self.holds_out {
                patch::append(&mut samples.held_out, input.values, tap, at);
                samples.spans.push(spans[at[0]]);
                samples.bucket_of.push(bucket);
            } else {
                patch::append(&mut samples.fitted, input.values, tap, at);
            }
        }
    }
}

/// Knuth's linear congruential generator: the upper bits, which are good enough to pick pixels.
fn next(state: &mut u64) -> usize {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 33) as usize
}
