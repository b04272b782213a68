//! Listening to a painter's layers: what a quantiser learns a network's ranges and correlations from,
//! and an explanation what the words did.

use pochade_engine::{AttentionTap, Graph, Session, Tap};

use crate::files::Component;

/// Hears what layers read while a picture is painted.
pub trait LayerListener {
    /// Whether to hear of the layer. Those not wanted take neither time nor memory.
    fn wants(&self, part: Component, layer: &str) -> bool;

    /// Takes what a layer reads.
    fn hear(&mut self, input: &LayerInput<'_>);

    /// Whether to hear of the attention whose queries the layer makes.
    fn wants_attention(&self, part: Component, layer: &str) -> bool {
        let _ = (part, layer);
        false
    }

    /// Takes what an attention compares.
    fn hear_attention(&mut self, input: &AttentionInput<'_>) {
        let _ = input;
    }
}

/// What an attention compares for the prompt; that of a guided step's negative prompt is not heard.
#[derive(Clone, Copy, Debug)]
pub struct AttentionInput<'a> {
    /// Part of the model.
    pub part: Component,
    /// The name of the layer that makes the queries, and the number of heads.
    pub tap: &'a AttentionTap,
    /// The denoising step, from 0 on; 0 for the other parts.
    pub step: usize,
    /// `[queries, channels]`; the heads lie side by side in the channels.
    pub queries: &'a [f32],
    /// `[keys, channels]`.
    pub keys: &'a [f32],
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
    /// Of how many; 1 for the other parts.
    pub steps: usize,
    /// `[n, h, w, channels]`.
    pub values: &'a [f32],
}

/// Who listens, if anybody.
pub(super) type Ear<'a, 'b> = Option<&'a mut (dyn LayerListener + 'b)>;

/// What is heard of a network.
#[derive(Debug, Default)]
pub(super) struct Taps {
    layers: Vec<Tap>,
    attentions: Vec<AttentionTap>,
}

/// One run of a network.
pub(super) struct Run<'a> {
    pub part: Component,
    /// The denoising step.
    pub step: usize,
    /// Of how many.
    pub steps: usize,
    /// Which of the pictures that ran together belongs to the prompt, if any.
    pub of_prompt: Option<usize>,
    pub session: &'a Session,
    pub taps: &'a Taps,
}

/// The taps of `g` that somebody wants to hear of.
pub(super) fn taps(g: &mut Graph, part: Component, ear: &Ear<'_, '_>) -> Taps {
    let Some(ear) = ear else { return Taps::default() };
    Taps {
        layers: g.tap(&|layer| ear.wants(part, layer)),
        attentions: g.tap_attention(&|layer| ear.wants_attention(part, layer)),
    }
}

/// Says what the run left at the taps.
pub(super) fn report(ear: &mut Ear<'_, '_>, run: &Run<'_>) {
    let Some(ear) = ear else { return };
    let &Run { part, step, steps, session, taps, .. } = run;
    for tap in &taps.layers {
        ear.hear(&LayerInput { part, tap, step, steps, values: session.output(tap.input) });
    }
    let Some(picture) = run.of_prompt else { return };
    for tap in &taps.attentions {
        let of_picture = |values: &'_ [f32]| {
            let len = values.len() / tap.shape.n;
            picture * len..(picture + 1) * len
        };
        let (queries, keys) = (session.output(tap.queries), session.output(tap.keys));
        let (queries, keys) = (&queries[of_picture(queries)], &keys[of_picture(keys)]);
        ear.hear_attention(&AttentionInput { part, tap, step, queries, keys });
    }
}
