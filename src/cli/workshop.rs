//! The real [`Studio`]: painters and inspections of model files.

use std::collections::BTreeMap;
use std::path::Path;

use super::{BoardInspection, HowArgs, Inspection, PartInspection, Studio, TypeInspection};
use crate::bench::{self, Observer, Report, Settings};
use crate::boards::Board;
use crate::explain::{self, Explanation};
use crate::files::{Component, ModelFiles};
use crate::paint::{Memory, Painter, Prediction, Request, predict, sizes};

/// Works with model files.
#[derive(Clone, Copy, Debug, Default)]
pub struct Workshop;

impl Studio for Workshop {
    type Painter = Painter;

    fn open(&self, model: Option<&Path>, threads: Option<usize>) -> anyhow::Result<Painter> {
        Ok(Painter::open(model, threads)?)
    }

    fn explain(
        &self,
        how: &HowArgs,
        request: &Request,
        observer: &mut explain::Observer<'_>,
    ) -> anyhow::Result<Explanation> {
        let mut painter = Painter::open(how.model.as_deref(), how.threads)?;
        Ok(explain::explain(&mut painter, request, observer)?)
    }

    fn inspect(&self, model: &Path) -> anyhow::Result<Inspection> {
        let files = ModelFiles::open(model)?;
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let memory = Memory::plan(&files, threads)?;
        let mut parts = Vec::new();
        for planned in &memory.parts {
            parts.push(PartInspection {
                name: planned.part.name().to_owned(),
                types: types(&files, planned.part)?,
                activations: Some(planned.activations as u64),
            });
        }
        let family = files.pipeline().unwrap_or("latent diffusion");
        Ok(Inspection {
            model: files.origin().to_owned(),
            description: format!("{family}, {}", sizes(&files)?),
            parts,
            peak_memory: Some(memory.peak() as u64),
            predicted: predict(&files, &Board::ALL)?.iter().map(board).collect(),
        })
    }

    fn bench(&self, settings: &Settings, observer: &mut Observer<'_>) -> anyhow::Result<Report> {
        Ok(bench::run(settings, observer)?)
    }
}

fn board(prediction: &Prediction) -> BoardInspection {
    BoardInspection {
        board: prediction.board.title.to_owned(),
        seconds: prediction.picture(),
        step_seconds: prediction.step,
        peak_memory: prediction.peak() as u64,
        fits: prediction.memory.is_ok(),
    }
}

/// The tensors of a part, grouped by encoding.
fn types(files: &ModelFiles, part: Component) -> anyhow::Result<Vec<TypeInspection>> {
    let mut groups: BTreeMap<String, TypeInspection> = BTreeMap::new();
    for tensor in files.weights(part)?.tensors() {
        let name = tensor.kind();
        let group = groups.entry(name.clone()).or_default();
        group.name = name;
        group.tensors += 1;
        group.parameters += tensor.parameters() as u64;
        group.bytes += tensor.bytes as u64;
    }
    Ok(groups.into_values().collect())
}
