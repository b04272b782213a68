//! Listening to a painter's layers: what a quantiser learns a network's ranges and correlations from.

use pochade_engine::{Graph, Session, Tap};

use crate::files::Component;

/// Hears what layers read while a picture is painted.
pub trait LayerListener {
    /// Whether to hear of the layer. Those not wanted take neither time nor memory.
    fn wants(&self, part: Component, layer: &str) -> bool;

    /// Takes what a layer reads.
    fn hear(&mut self, input: &LayerInput<'_>);
}

/// What a layer reads once.
#[derive(Clone, Copy, Debug)]
pub struct LayerInput<'a> {
    /// Part of the model.
    pub part: Component,
    /// The layer's canonical name, its shapes, and how its kernel moves.
    pub tap: &'a Tap,
    /// The denoising step, from 0 on; 0 for the other parts.
    pub step: usize,
    /// `[n, h, w, channels]`.
    pub values: &'a [f32],
}

/// Who listens, if anybody.
pub(super) type Ear<'a, 'b> = Option<&'a mut (dyn LayerListener + 'b)>;

/// The taps of the layers of `g` that somebody wants to hear of.
pub(super) fn taps(g: &mut Graph, part: Component, ear: &Ear<'_, '_>) -> Vec<Tap> {
    ear.as_ref().map_or_else(Vec::new, |ear| g.tap(&|layer| ear.wants(part, layer)))
}

/// Says what the last run left at the taps.
pub(super) fn report(
    ear: &mut Ear<'_, '_>,
    part: Component,
    step: usize,
    (session, taps): (&Session, &[Tap]),
) {
    let Some(ear) = ear else { return };
    for tap in taps {
        ear.hear(&LayerInput { part, tap, step, values: session.output(tap.input) });
    }
}
