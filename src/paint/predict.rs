//! What a picture will take on boards that are not here, by the cost model of [`crate::boards`] and
//! the plans of memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use pochade_engine::{LayerSize, Plan, Rate};

use super::hints::Hints;
use super::memory::{
    FRESH_BASE, Memory, MemoryPlan, PartMemory, Planned, Work, graph, outline, parts, steps,
};
use super::{PaintError, denoise};
use crate::boards::Board;
use crate::diffusion::Guidance;
use crate::files::{Component, ModelFiles, PlannedEncodings, Weights};

/// Both prompts are encoded.
const PROMPTS: usize = 2;

/// A picture of a model's native size on a board, in as many steps as the model advises. Seconds
/// are predicted, never measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Prediction {
    /// The board.
    pub board: Board,
    /// How many steps.
    pub steps: usize,
    /// Seconds of the text encoders, and of what the network makes of the prompts and the
    /// timesteps.
    pub text: f64,
    /// Seconds of one denoising step, both halves of a guided one.
    pub step: f64,
    /// Seconds of the second stage, in a model that has one.
    pub upscale: f64,
    /// Seconds of the decoder.
    pub decode: f64,
    /// How the board's memory is kept to; where it cannot be, the least that would do, in bytes.
    pub memory: Result<MemoryPlan, usize>,
}

impl Prediction {
    /// Seconds of the picture.
    pub fn picture(&self) -> f64 {
        self.text + self.steps as f64 * self.step + self.upscale + self.decode
    }

    /// The most memory that will be used, or the least that would be needed, in bytes.
    pub fn peak(&self) -> usize {
        self.memory.as_ref().map_or_else(|least| *least, |plan| plan.peak)
    }
}

/// What a picture of `files` takes on every one of `boards`. Reads no weights.
///
/// # Errors
/// When a part's config and weights do not fit together.
pub fn predict(files: &ModelFiles, boards: &[Board]) -> Result<Vec<Prediction>, PaintError> {
    predict_with(files, boards, None)
}

/// What it takes once the layers of `files`, which are in floating point, are kept as `planned`
/// says, and all others as files in integers keep them; parts that are not planned stay as they are.
///
/// # Errors
/// As [`predict`].
pub fn predict_as(
    files: &ModelFiles,
    boards: &[Board],
    planned: &BTreeMap<Component, PlannedEncodings>,
) -> Result<Vec<Prediction>, PaintError> {
    predict_with(files, boards, Some(planned))
}

fn predict_with(
    files: &ModelFiles,
    boards: &[Board],
    planned: Planned<'_>,
) -> Result<Vec<Prediction>, PaintError> {
    let work = guided(files)?;
    let parts = parts(files, work.size)?.into_iter();
    let parts = parts.map(|part| {
        let (plan, steps) = (plan(files, part, (work, planned))?, steps(files, part, work)?);
        Ok(PartPlan { part, plan, steps })
    });
    let parts = parts.collect::<Result<Vec<_>, PaintError>>()?;
    let bytes = parts.iter().map(|part| part.plan.weight_bytes()).sum();
    let mut memories: Vec<(usize, Memory)> = Vec::new();
    let mut predictions = Vec::new();
    for board in boards {
        if !memories.iter().any(|(threads, _)| *threads == board.cores) {
            let work = Work { threads: board.cores, ..work };
            memories.push((board.cores, Memory::plan_for(files, work, planned)?));
        }
        let memory = memories.iter().find(|(threads, _)| *threads == board.cores);
        let Some((_, memory)) = memory else { continue };
        predictions.push(on(board, work, &parts, (memory, bytes)));
    }
    Ok(predictions)
}

/// A part's plan for one picture.
struct PartPlan {
    part: Component,
    plan: Plan,
    /// Steps of its schedule.
    steps: usize,
}

/// What is predicted for one board, from every part's plan, and the memory and bytes of all.
fn on(
    board: &Board,
    work: Work,
    parts: &[PartPlan],
    (memory, bytes): (&Memory, usize),
) -> Prediction {
    let plan = memory.within(board.ram, FRESH_BASE);
    let streamed = |part: Component| {
        let plan = plan.as_ref().ok().filter(|plan| plan.streamed.contains(&part));
        // What fits beside the rest stays in the page cache.
        let plan = plan.filter(|plan| plan.peak + bytes > board.ram);
        plan.map_or(0.0, |plan| storage_seconds(board, memory, part, plan.in_turn))
    };
    let (mut text, mut step, mut upscale, mut decode) = (0.0, 0.0, 0.0, 0.0);
    for PartPlan { part, plan, steps } in parts {
        let once = board.plan_seconds(plan, Rate::Setup)
            + *steps as f64 * board.plan_seconds(plan, Rate::Schedule);
        let run = board.plan_seconds(plan, Rate::Run).max(streamed(*part));
        match part {
            Component::TextEncoder | Component::TextEncoder2 => {
                text += once + PROMPTS as f64 * run;
            }
            Component::Unet => (text, step) = (text + once, run),
            Component::Upscaler => upscale = once + *steps as f64 * run,
            Component::Autoencoder => decode = once + run,
            Component::Scheduler => {}
        }
    }
    Prediction { board: *board, steps: work.steps, text, step, upscale, decode, memory: plan }
}

/// Seconds that storage takes to deliver the weights of a part, twice where halves take turns.
fn storage_seconds(board: &Board, memory: &Memory, part: Component, in_turn: bool) -> f64 {
    let found = memory.parts.iter().find(|memory| memory.part == part);
    let all = found.map_or(0, |PartMemory { streamable, .. }| streamable.all);
    let turns = if in_turn && part == Component::Unet { 2.0 } else { 1.0 };
    turns * all as f64 / (board.storage_gb_per_s * 1e9)
}

/// A layer of a model and how often one picture needs it.
#[derive(Clone, Debug, PartialEq)]
pub struct PlannedLayer {
    /// Part of the model.
    pub part: Component,
    /// Canonical name, without `.weight`.
    pub name: Arc<str>,
    /// Its size in one call.
    pub size: LayerSize,
    /// Calls for one guided picture of the native size, in as many steps as the model advises.
    pub calls: usize,
}

/// The layers of a model, in the order they work.
///
/// # Errors
/// When a part's config and weights do not fit together.
pub fn layers(files: &ModelFiles) -> Result<Vec<PlannedLayer>, PaintError> {
    let work = guided(files)?;
    let mut layers = Vec::new();
    for part in parts(files, work.size)? {
        let weights = files.weights(part)?;
        let steps = steps(files, part, work)?;
        let graph = graph(files, part, &Weights::hollow(&weights), work)?;
        layers.extend(graph.layers().into_iter().map(|(name, rate, size)| {
            let calls = match (part, rate) {
                (Component::TextEncoder | Component::TextEncoder2, _) => PROMPTS,
                (Component::Unet | Component::Upscaler, Rate::Run | Rate::Schedule) => steps,
                _ => 1,
            };
            PlannedLayer { part, name, size, calls }
        }));
    }
    Ok(layers)
}

/// One picture of the native size with the guidance that the model advises.
fn guided(files: &ModelFiles) -> Result<Work, PaintError> {
    let advised = Hints::of(files.config(Component::Scheduler)?).guidance.unwrap_or(f32::INFINITY);
    let embedded = denoise::config(files, Component::Unet)?.guidance_width.is_some();
    let batch = if embedded { 1 } else { Guidance::new(advised).batch() };
    Ok(Work { batch, ..Work::native(files)? })
}

fn plan(
    files: &ModelFiles,
    part: Component,
    (work, planned): (Work, Planned<'_>),
) -> Result<Plan, PaintError> {
    let weights = files.weights(part)?;
    let graph = graph(files, part, &outline(&weights, part, planned), work)?;
    Plan::new(&graph).map_err(|e| PaintError::Graph(part.name(), e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use pochade_engine::DType;
    use std::ops::ControlFlow;
    use std::path::Path;

    /// The parts at work on a picture of the native size.
    fn native(files: &ModelFiles) -> Vec<Component> {
        parts(files, Work::native(files).unwrap().size).unwrap()
    }

    fn tiny() -> ModelFiles {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/files/tiny");
        ModelFiles::open(&folder).unwrap()
    }

    #[test]
    fn faster_boards_are_predicted_to_be_faster() {
        let found = predict(&tiny(), &Board::ALL).unwrap();
        assert_eq!(found.len(), Board::ALL.len());
        let seconds: Vec<f64> = found.iter().map(Prediction::picture).collect();
        assert!(seconds.iter().all(|s| s.is_finite() && *s > 0.0), "{seconds:?}");
        assert!(found.iter().all(|p| p.memory.is_ok() && p.peak() > FRESH_BASE));
        let of = |name| found.iter().find(|p| p.board.name == name).map(Prediction::picture);
        assert!(of("pi5") < of("pi4") && of("pi4") < of("pi3") && of("pi3") < of("zero2"));
    }

    #[test]
    fn a_file_that_is_not_written_yet_is_predicted_as_what_it_will_be() {
        use crate::files::{FilterEncoding, WeightEncoding, is_integer_layer, pack};

        let (files, folder) = (tiny(), tempfile::tempdir().unwrap());
        // Matrices in floating point may be written in blocks, which are f32 in memory.
        let halves = |part| {
            let weights = files.weights(part).unwrap();
            let floats = weights.tensors().filter(|t| t.shape.len() > 1 && !is_integer_layer(t));
            floats.map(|tensor| DType::F16.bytes() * tensor.parameters()).sum::<usize>()
        };
        let blocks: usize = native(&files).into_iter().map(halves).sum();
        for (encoding, filters) in [
            (WeightEncoding::Int8, FilterEncoding::Int8),
            (WeightEncoding::Int4, FilterEncoding::Int4),
        ] {
            let path = folder.path().join("a.gguf");
            pack(&files, &path, encoding, |_| ControlFlow::Continue(())).unwrap();
            let written = predict(&ModelFiles::open(&path).unwrap(), &Board::ALL).unwrap();
            let planned = native(&files).into_iter().map(|part| {
                let weights = files.weights(part).unwrap();
                let layers = weights.tensors().filter(is_integer_layer);
                (part, layers.map(|layer| (layer.name.to_owned(), filters)).collect())
            });
            let expected = predict_as(&files, &Board::ALL, &planned.collect()).unwrap();
            for (written, expected) in written.iter().zip(&expected) {
                let ratio = expected.picture() / written.picture();
                assert!((0.99..1.01).contains(&ratio), "{} {ratio}", written.board);
                let difference = expected.peak().abs_diff(written.peak());
                assert!(difference <= blocks, "{} {difference}", written.board);
            }
        }
    }

    #[test]
    fn weights_that_do_not_fit_wait_for_the_storage() {
        let files = tiny();
        let roomy = predict(&files, &[Board::ALL[1]]).unwrap().remove(0);
        let least = predict(&files, &[Board { ram: 0, ..Board::ALL[1] }]).unwrap().remove(0);
        assert_eq!(least.memory, Err(least.peak()));
        assert!(least.peak() <= roomy.peak());
    }

    #[test]
    fn every_layer_of_every_part_is_planned_with_its_calls() {
        let files = tiny();
        let found = layers(&files).unwrap();
        let steps = guided(&files).unwrap().steps;
        for part in native(&files) {
            assert!(found.iter().any(|layer| layer.part == part), "{part}");
        }
        let calls = |name: &str| {
            found.iter().find(|l| l.part == Component::Unet && &*l.name == name).map(|l| l.calls)
        };
        assert_eq!(calls("input_blocks.0.0"), Some(steps));
        let keys = found.iter().find(|layer| layer.name.ends_with("attn2.to_k"));
        assert!(keys.is_none_or(|layer| layer.calls == 1), "{keys:?}");
    }
}
