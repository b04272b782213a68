//! The predicted time of a picture on a board, layer by layer, for encodings that are in question.

use std::collections::{BTreeMap, HashMap};

use pochade::boards::Board;
use pochade::files::{Component, FilterEncoding, ModelFiles, PlannedEncodings};
use pochade::paint::{layers, predict_as};
use pochade_engine::LayerSize;

use crate::layer::Layer;
use crate::recipe::Bits;

/// Part of the time that is kept free for what a plan does not foresee: inputs that are split, and
/// matrices that a file has in blocks.
const UNFORESEEN: f64 = 0.01;

/// How long a picture may take.
#[derive(Debug)]
pub(crate) struct TimeLimit {
    board: Board,
    /// Predicted seconds at most, without what is kept free.
    pub seconds: f64,
    /// By part and name: how large a layer is, and how often a picture needs it.
    sizes: HashMap<(Component, String), (LayerSize, usize)>,
}

impl TimeLimit {
    /// A limit for pictures of a model's native size.
    pub fn new(model: &ModelFiles, board: Board, seconds: f64) -> anyhow::Result<Self> {
        let size =
            |l: pochade::paint::PlannedLayer| ((l.part, l.name.to_string()), (l.size, l.calls));
        let sizes = layers(model)?.into_iter().map(size).collect();
        Ok(Self { board, seconds: seconds * (1.0 - UNFORESEEN), sizes })
    }

    /// Predicted seconds that a layer adds to a picture; the encoder's layers add none.
    pub fn of_layer(&self, layer: &Layer, bits: Bits) -> f64 {
        let size = self.sizes.get(&(layer.part, layer.name.clone()));
        size.map_or(0.0, |(size, calls)| {
            *calls as f64 * self.board.layer_seconds(size, filter_encoding(bits))
        })
    }

    /// Predicted seconds of a picture beside those of `layers`, kept as they say.
    pub fn rest(&self, model: &ModelFiles, layers: &[(&Layer, Bits)]) -> anyhow::Result<f64> {
        let mut planned: BTreeMap<Component, PlannedEncodings> = BTreeMap::new();
        let mut own = 0.0;
        for (layer, bits) in layers {
            let part = planned.entry(layer.part).or_default();
            part.insert(layer.weight(), filter_encoding(*bits));
            own += self.of_layer(layer, *bits);
        }
        let predicted = predict_as(model, &[self.board], &planned)?;
        Ok(predicted.iter().map(|p| p.picture()).sum::<f64>() - own)
    }
}

fn filter_encoding(bits: Bits) -> FilterEncoding {
    match bits {
        Bits::Int4 => FilterEncoding::Int4,
        Bits::Int8 => FilterEncoding::Int8,
        Bits::F16 => FilterEncoding::F16,
    }
}
