//! What painting with a model takes, known before anything runs.

use pochade_engine::{Graph, Plan};

use super::limits::Limits;
use super::{PaintError, decode, denoise, text_stage};
use crate::files::{Component, ModelFiles, Weights};
use crate::nets::UNetExtent;

/// Models with fewer bytes of weights keep all parts loaded between pictures.
const KEEP_ALL_BELOW: usize = 256 << 20;

/// Memory of one part of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartMemory {
    /// Which part.
    pub part: Component,
    /// Bytes of its weights as they are kept.
    pub weights: usize,
    /// Bytes of its intermediates, for one guided picture of the native size.
    pub activations: usize,
}

/// Memory of a whole model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Its parts.
    pub parts: Vec<PartMemory>,
    /// Whether all parts stay loaded, or take turns.
    pub keeps_all: bool,
}

impl Memory {
    /// Plans every part of a model for `threads` threads. Reads no weights.
    ///
    /// # Errors
    /// When a part's config and weights do not fit together.
    pub fn plan(files: &ModelFiles, threads: usize) -> Result<Self, PaintError> {
        let parts = files.components().filter(|part| *part != Component::Scheduler);
        let parts = parts.map(|part| plan_part(files, part, threads)).collect::<Result<_, _>>()?;
        Ok(Self { parts, keeps_all: keeps_all(files)? })
    }

    /// Bytes of weights and intermediates at the worst moment.
    pub fn peak(&self) -> usize {
        let sizes = self.parts.iter().map(|p| p.weights + p.activations);
        if self.keeps_all { sizes.sum() } else { sizes.max().unwrap_or(0) }
    }
}

/// Whether a model is small enough to keep all its parts loaded.
pub(super) fn keeps_all(files: &ModelFiles) -> Result<bool, PaintError> {
    let mut bytes = 0;
    for part in files.components().filter(|part| *part != Component::Scheduler) {
        bytes += files.weights(part)?.tensors().map(|t| t.bytes).sum::<usize>();
    }
    Ok(bytes < KEEP_ALL_BELOW)
}

fn plan_part(
    files: &ModelFiles,
    part: Component,
    threads: usize,
) -> Result<PartMemory, PaintError> {
    let weights = files.weights(part)?;
    let graph = graph(files, part, &Weights::hollow(&weights))?;
    let plan = Plan::new(&graph).map_err(|e| PaintError::Graph(part.name(), e))?;
    Ok(PartMemory {
        part,
        weights: plan.weight_bytes(),
        activations: plan.activation_bytes(threads),
    })
}

fn graph(files: &ModelFiles, part: Component, weights: &Weights<'_>) -> Result<Graph, PaintError> {
    let limits = Limits::of(files)?;
    let (height, width) = limits.latent(limits.native);
    Ok(match part {
        Component::TextEncoder | Component::TextEncoder2 => {
            text_stage::graph(&text_stage::load(files, part, weights)?).0
        }
        Component::Unet => {
            let tokens = text_stage::positions(files)?.max(1);
            let extent = UNetExtent { batch: 2, height, width, tokens };
            denoise::graph(&denoise::load(files, weights)?, extent).0
        }
        Component::Autoencoder => decode::graph(&decode::load(files, weights)?, (height, width)).0,
        Component::Scheduler => Graph::new(),
    })
}
