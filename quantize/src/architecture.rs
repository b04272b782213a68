//! Whether two models are the same network, so that they can be compared number by number.

use std::collections::HashMap;

use anyhow::bail;
use pochade::files::{Component, ComponentWeights, ModelFiles};

use crate::weights::{is_scale, size};

/// The sizes of a tensor, as far as its encoding says.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Extent {
    /// Of a filter or matrix: outputs, channels, pixels of the kernel.
    Filter([usize; 3]),
    /// The same with channels in blocks of 16.
    Panels([usize; 3]),
    Other(Vec<usize>),
}

impl Extent {
    /// Whether both may be the same tensor.
    fn suits(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Filter(filter), Self::Panels(panels))
            | (Self::Panels(panels), Self::Filter(filter)) => {
                let [outputs, channels, taps] = *filter;
                *panels == [outputs, channels.div_ceil(16), taps]
            }
            _ => self == other,
        }
    }

    fn words(&self) -> String {
        match self {
            Self::Filter(filter) => format!("{filter:?}"),
            Self::Panels([outputs, blocks, taps]) => {
                format!("[{outputs}, {}, {taps}]", 16 * blocks)
            }
            Self::Other(shape) => format!("{shape:?}"),
        }
    }
}

/// The parts that have weights, in the order they work.
pub(crate) fn parts(model: &ModelFiles) -> impl Iterator<Item = Component> {
    model.components().filter(|part| *part != Component::Scheduler)
}

/// Refuses two models that are different networks, in a sentence that names the first difference.
pub(crate) fn expect_same(a: &ModelFiles, b: &ModelFiles) -> anyhow::Result<()> {
    for (model, other) in [(a, b), (b, a)] {
        if let Some(part) = parts(model).find(|part| !other.has(*part)) {
            bail!(
                "{} has a {part} and {} has none; compare two files of one model",
                model.origin(),
                other.origin()
            );
        }
    }
    for part in parts(a) {
        same_part(a, b, part)?;
    }
    Ok(())
}

fn same_part(a: &ModelFiles, b: &ModelFiles, part: Component) -> anyhow::Result<()> {
    let (first, second) = (a.weights(part)?, b.weights(part)?);
    let (before, after) = (extents(&first), extents(&second));
    let differs = |what: String| {
        anyhow::anyhow!(
            "{} and {} are different networks: {what}; compare two files of one model",
            a.origin(),
            b.origin()
        )
    };
    for tensor in first.tensors().map(|t| t.name).filter(|name| is_painting(part, name)) {
        let Some(extent) = before.get(tensor) else { continue };
        match after.get(tensor) {
            None => return Err(differs(format!("only the first has '{tensor}' in its {part}"))),
            Some(other) if !extent.suits(other) => {
                let (one, two) = (extent.words(), other.words());
                return Err(differs(format!("'{tensor}' of the {part} is {one} and {two}")));
            }
            Some(_) => {}
        }
    }
    let more = second.tensors().map(|t| t.name).filter(|name| is_painting(part, name));
    match more.filter(|name| !is_scale(name)).find(|name| !before.contains_key(*name)) {
        Some(tensor) => Err(differs(format!("only the second has '{tensor}' in its {part}"))),
        None => Ok(()),
    }
}

/// Whether a tensor matters to pictures from words: an autoencoder may lack its other half.
fn is_painting(part: Component, name: &str) -> bool {
    let halves = ["encoder.", "quant_conv."];
    part != Component::Autoencoder || !halves.iter().any(|half| name.starts_with(half))
}

fn extents(weights: &ComponentWeights) -> HashMap<String, Extent> {
    let outputs: HashMap<&str, usize> = weights
        .tensors()
        .filter_map(|t| Some((t.name.strip_suffix(".step")?, t.shape.iter().product())))
        .collect();
    let tensors = weights.tensors().filter(|tensor| !is_scale(tensor.name));
    tensors
        .map(|tensor| {
            let extent = match *tensor.shape {
                [_, taps, blocks, _] if tensor.kind().starts_with("int") => {
                    let outputs = outputs.get(tensor.name).copied().unwrap_or(0);
                    Extent::Panels([outputs, blocks, taps])
                }
                _ => size(tensor.shape).map_or_else(
                    || Extent::Other(tensor.shape.to_vec()),
                    |[outputs, channels, kh, kw]| Extent::Filter([outputs, channels, kh * kw]),
                ),
            };
            (tensor.name.to_owned(), extent)
        })
        .collect()
}
