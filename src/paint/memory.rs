//! What painting with a model takes, known before anything runs.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;

use pochade_engine::{Graph, Plan, PlanOptions, Streamable};

use super::hints::Hints;
use super::limits::Limits;
use super::upscale::Upscaling;
use super::{PaintError, Size, decode, denoise, text_stage};
use crate::files::{Component, ComponentWeights, ModelFiles, PlannedEncodings, Weights};
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
    /// Bytes of its intermediates, for one guided picture, and of what a UNet keeps for all steps
    /// of its schedule.
    pub activations: usize,
    /// Bytes of its intermediates where the halves of a guided step take turns.
    pub activations_in_turn: usize,
    /// Bytes of its intermediates where a decoder computes its largest maps anew for all that read
    /// them.
    pub activations_recomputing: usize,
    /// Which of the weights may stay in the model's file.
    pub streamable: Streamable,
}

/// How a part is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Way {
    /// Whether the halves of a guided step take turns, so that the network is asked twice.
    in_turn: bool,
    /// Whether the weights of one step at a time are in memory. While a step runs, the next one's are
    /// read ahead into the page cache, which is not the process's memory.
    streamed: bool,
    /// Whether the largest maps are computed anew for all that read them.
    recomputes: bool,
}

impl Way {
    /// From the fastest on.
    const ALL: [Self; 5] = [
        Self { in_turn: false, streamed: false, recomputes: false },
        Self { in_turn: true, streamed: false, recomputes: false },
        Self { in_turn: false, streamed: true, recomputes: false },
        Self { in_turn: true, streamed: true, recomputes: false },
        Self { in_turn: false, streamed: true, recomputes: true },
    ];
}

impl PartMemory {
    fn bytes(&self, way: Way) -> usize {
        let Streamable { all, most } = self.streamable;
        let weights = if way.streamed { self.weights - all + most } else { self.weights };
        weights
            + match way {
                Way { in_turn: true, .. } => self.activations_in_turn,
                Way { recomputes: true, .. } => self.activations_recomputing,
                _ => self.activations,
            }
    }

    /// The fastest way that takes at most `room` bytes.
    fn within(&self, room: usize) -> Option<Way> {
        Way::ALL.into_iter().find(|way| self.bytes(*way) <= room)
    }

    /// Bytes of the way that takes least.
    fn least(&self) -> usize {
        Way::ALL.into_iter().map(|way| self.bytes(way)).min().unwrap_or(0)
    }
}

/// What is painted, as far as memory goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Work {
    pub size: Size,
    /// Pictures that the UNet works on at a time: two with guidance.
    pub batch: usize,
    /// How often it works on them.
    pub steps: usize,
    pub threads: usize,
}

impl Work {
    /// One guided picture of the model's native size, in as many steps as it advises, by one thread.
    pub fn native(files: &ModelFiles) -> Result<Self, PaintError> {
        let size = Limits::of(files)?.sizes.native;
        let steps = Hints::of(files.config(Component::Scheduler)?).steps();
        Ok(Self { size, batch: 2, steps, threads: 1 })
    }
}

/// How the parts' layers will be kept in a file that is not written yet.
pub(super) type Planned<'a> = Option<&'a BTreeMap<Component, PlannedEncodings>>;

/// How a model is kept within a budget.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryPlan {
    /// The most that may be used, in bytes.
    pub ram: usize,
    /// The most that will be used.
    pub peak: usize,
    /// The parts whose weights are read from the file as they are needed.
    pub streamed: Vec<Component>,
    /// Whether the halves of a guided step take turns.
    pub in_turn: bool,
    /// Whether the decoder computes its largest maps anew for all that read them.
    pub recomputes: bool,
    /// Whether all parts stay loaded, or take turns.
    pub(super) keeps_all: bool,
}

impl fmt::Display for MemoryPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = |bytes: usize| bytes.div_ceil(1 << 20);
        write!(f, "memory: at most {} of {} MiB", mib(self.peak), mib(self.ram))?;
        let names: Vec<_> = self.streamed.iter().map(|part| part.name()).collect();
        match names.is_empty() {
            true if self.keeps_all => f.write_str(", all parts loaded")?,
            true => f.write_str(", parts loaded in turn")?,
            false => write!(f, ", weights of {} read as needed", names.join(" and "))?,
        }
        f.write_str(if self.in_turn { ", both prompts in turn" } else { "" })?;
        f.write_str(if self.recomputes { ", large maps of the decoder computed anew" } else { "" })
    }
}

/// Memory of a whole model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Its parts.
    pub parts: Vec<PartMemory>,
    /// Whether all parts stay loaded, or take turns.
    pub keeps_all: bool,
    /// Bytes of the encoder where a picture is begun with, which has its turn before the others.
    pub encoder: usize,
}

impl Memory {
    /// Plans every part of a model for one guided picture of its native size, painted by `threads`
    /// threads in as many steps as the model advises. Reads no weights.
    ///
    /// # Errors
    /// When a part's config and weights do not fit together.
    pub fn plan(files: &ModelFiles, threads: usize) -> Result<Self, PaintError> {
        Self::plan_for(files, Work { threads, ..Work::native(files)? }, None)
    }

    /// Plans every part for certain work.
    pub(super) fn plan_for(
        files: &ModelFiles,
        work: Work,
        planned: Planned<'_>,
    ) -> Result<Self, PaintError> {
        let parts = parts(files, work.size)?.into_iter();
        let parts =
            parts.map(|part| plan_part(files, part, (work, planned))).collect::<Result<_, _>>()?;
        Ok(Self { parts, keeps_all: keeps_all(files)?, encoder: 0 })
    }

    /// How to stay within `ram`, of which `base` is taken already. `Err` holds the least that
    /// would do.
    pub(super) fn within(&self, ram: usize, base: usize) -> Result<MemoryPlan, usize> {
        let whole = |part: &PartMemory| part.bytes(Way::default());
        let all = base + self.encoder + self.parts.iter().map(whole).sum::<usize>();
        if self.keeps_all && all <= ram {
            let (peak, streamed) = (all, Vec::new());
            return Ok(MemoryPlan {
                ram,
                peak,
                streamed,
                in_turn: false,
                recomputes: false,
                keeps_all: true,
            });
        }
        let room = ram.saturating_sub(base);
        let ways: Option<Vec<_>> = self.parts.iter().map(|p| Some((p, p.within(room)?))).collect();
        let Some(ways) = ways.filter(|_| self.encoder <= room) else {
            let least = self.parts.iter().map(PartMemory::least).max().unwrap_or(0);
            return Err(base + least.max(self.encoder));
        };
        let most = ways.iter().map(|(part, way)| part.bytes(*way)).max().unwrap_or(0);
        Ok(MemoryPlan {
            ram,
            peak: base + most.max(self.encoder),
            streamed: ways.iter().filter(|(_, way)| way.streamed).map(|(p, _)| p.part).collect(),
            in_turn: ways.iter().any(|(_, way)| way.in_turn),
            recomputes: ways.iter().any(|(_, way)| way.recomputes),
            keeps_all: false,
        })
    }

    /// Bytes of weights and intermediates at the worst moment.
    pub fn peak(&self) -> usize {
        let sizes = self.parts.iter().map(|p| p.weights + p.activations);
        if self.keeps_all { sizes.sum() } else { sizes.max().unwrap_or(0) }
    }
}

/// The parts with networks that paint a picture of a size, in the order they work.
pub(super) fn parts(files: &ModelFiles, size: Size) -> Result<Vec<Component>, PaintError> {
    let enlarges = Limits::of(files)?.enlarges(size);
    let works = |part: &Component| match part {
        Component::Upscaler => enlarges,
        Component::Scheduler => false,
        _ => true,
    };
    Ok(files.components().filter(works).collect())
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
    (work, planned): (Work, Planned<'_>),
) -> Result<PartMemory, PaintError> {
    let weights = files.weights(part)?;
    let steps = steps(files, part, work)?;
    let plan = |work, recompute| {
        let graph = graph(files, part, &outline(&weights, part, planned), work)?;
        let options = PlanOptions { recompute, ..PlanOptions::default() };
        Plan::with(&graph, &options).map_err(|e| PaintError::Graph(part.name(), e))
    };
    let whole = plan(work, false)?;
    let bytes = |plan: &Plan, runs| plan.activation_bytes(work.threads) + plan.table_bytes(runs);
    let activations = bytes(&whole, steps);
    let activations_in_turn = match part {
        Component::Unet => bytes(&plan(Work { batch: 1, ..work }, false)?, work.batch * steps),
        _ => activations,
    };
    let (mut activations_recomputing, mut streamable) = (activations, whole.streamable_bytes());
    if part == Component::Autoencoder {
        let plan = plan(work, true)?;
        activations_recomputing = bytes(&plan, steps);
        streamable.most = streamable.most.max(plan.streamable_bytes().most);
    }
    Ok(PartMemory {
        part,
        weights: whole.weight_bytes(),
        activations,
        activations_in_turn,
        activations_recomputing,
        streamable,
    })
}

/// The weights of a part without their values, as they are or as they are planned.
pub(super) fn outline<'a>(
    weights: &'a ComponentWeights,
    part: Component,
    planned: Planned<'a>,
) -> Weights<'a> {
    match planned {
        None => Weights::hollow(weights),
        Some(planned) => match planned.get(&part) {
            Some(encodings) => Weights::hollow_as(weights, encodings),
            None => Weights::hollow(weights),
        },
    }
}

/// How many steps of its own schedule a part takes for some work.
pub(super) fn steps(files: &ModelFiles, part: Component, work: Work) -> Result<usize, PaintError> {
    let upscaling = match part {
        Component::Upscaler => Upscaling::of(files)?,
        _ => None,
    };
    Ok(upscaling.map_or(work.steps, |upscaling| upscaling.steps))
}

/// The graph of a part for some work.
pub(super) fn graph(
    files: &ModelFiles,
    part: Component,
    weights: &Weights<'_>,
    work: Work,
) -> Result<Graph, PaintError> {
    let limits = Limits::of(files)?;
    let step = |batch, size, tokens| -> Result<Graph, PaintError> {
        let (height, width) = limits.latent(size);
        let extent = UNetExtent { batch, height, width, tokens };
        Ok(denoise::graph(part, &denoise::load(files, part, weights)?, extent).0)
    };
    Ok(match part {
        Component::TextEncoder | Component::TextEncoder2 => {
            text_stage::graph(&text_stage::load(files, part, weights)?).0
        }
        Component::Unet => {
            let tokens = text_stage::positions(files)?.max(1);
            step(work.batch, limits.base(work.size), tokens)?
        }
        Component::Upscaler => step(1, work.size, 0)?,
        Component::Autoencoder => {
            decode::graph(&decode::load(files, weights)?, limits.latent(work.size)).0
        }
        Component::Scheduler => Graph::new(),
    })
}

/// Bytes that a process needs beside the plan: stacks, the picture, and tensors on their way from the
/// file.
const BESIDE: usize = 28 << 20;
/// Bytes that a process holds which has hardly begun.
const FRESH: usize = 8 << 20;
/// Bytes beside the plan in a process that does nothing else.
pub(super) const FRESH_BASE: usize = BESIDE + FRESH;

/// Bytes that the process holds now, and what it will need beside the plan.
pub(super) fn base() -> usize {
    BESIDE + resident().unwrap_or(FRESH)
}

/// The process's resident set in bytes, where the system tells.
fn resident() -> Option<usize> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: usize = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kib << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decoder_computes_its_maps_anew_only_where_it_must() {
        let decoder = PartMemory {
            part: Component::Autoencoder,
            weights: 50,
            activations: 400,
            activations_in_turn: 400,
            activations_recomputing: 200,
            streamable: Streamable { all: 45, most: 5 },
        };
        let memory = Memory { parts: vec![decoder], keeps_all: false, encoder: 0 };
        let way = |ram| memory.within(ram, 20).map(|plan| (plan.recomputes, plan.peak));
        assert_eq!(way(470), Ok((false, 470)));
        assert_eq!(way(469), Ok((false, 430)));
        assert_eq!(way(429), Ok((true, 230)));
        assert_eq!(way(229), Err(230));
    }
}
