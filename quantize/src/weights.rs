//! The numbers of a stored weight, in whatever encoding, as f32: what two models are compared by.

use pochade::files::{ComponentWeights, FileError, TensorSource};
use pochade_engine::{DType, Filter, StoredPanels, TensorView, WeightError};

/// Values that are read at a time.
const CHUNK: usize = 1 << 12;
/// Outputs of a panel, and channels of a block.
const LANES: usize = 16;

/// Behind the name of a weight in integers.
const STEP: &str = ".step";
const MULTIPLIER: &str = ".multiplier";
/// Behind the name of one whose input is rounded in two parts.
const SPLIT: &str = ".split";

/// Whether a tensor only says what integers are worth, or how they are used.
pub(crate) fn is_scale(name: &str) -> bool {
    [STEP, MULTIPLIER, SPLIT].iter().any(|end| name.ends_with(end))
}

/// A weight that is ready to be read.
pub(crate) enum Values<'a> {
    /// As it is stored.
    Float(TensorView<'a>),
    /// Integers times their steps, `[outputs][channels][taps]`.
    Integers(Vec<f32>),
}

impl<'a> Values<'a> {
    /// The values of a tensor. Integer panels do not say how many channels they have beside zeros;
    /// `size` does, `[outputs, channels, kh, kw]`.
    pub fn read(
        weights: &'a ComponentWeights,
        name: &str,
        size: Option<[usize; 4]>,
    ) -> Result<Self, FileError> {
        let view = weights.view(name)?;
        if view.dtype() != DType::I8 {
            return Ok(Self::Float(view));
        }
        let filter = panels(weights, name, size)?;
        Ok(Self::Integers(filter.rounded_values().unwrap_or_default()))
    }

    /// How many.
    pub fn len(&self) -> usize {
        match self {
            Self::Float(view) => view.len(),
            Self::Integers(values) => values.len(),
        }
    }

    /// Calls `f` with all values of both, a piece at a time, and where it begins.
    pub fn zip(&self, other: &Self, mut f: impl FnMut(usize, &[f32], &mut [f32])) {
        let (mut a, mut b) = ([0.0; CHUNK], [0.0; CHUNK]);
        let len = self.len().min(other.len());
        for start in (0..len).step_by(CHUNK) {
            let piece = CHUNK.min(len - start);
            self.piece(start, &mut a[..piece]);
            other.piece(start, &mut b[..piece]);
            f(start, &a[..piece], &mut b[..piece]);
        }
    }

    fn piece(&self, start: usize, out: &mut [f32]) {
        match self {
            Self::Float(view) => view.read_f32(start, out),
            Self::Integers(values) => out.copy_from_slice(&values[start..][..out.len()]),
        }
    }
}

/// The integer weights called `name`, checked as a painter would check them.
pub(crate) fn panels(
    weights: &ComponentWeights,
    name: &str,
    size: Option<[usize; 4]>,
) -> Result<Filter, FileError> {
    let wrong = |error: WeightError| FileError::Malformed {
        file: weights.origin().to_owned(),
        problem: format!("tensor '{name}': {error}"),
    };
    let weight = weights.view(name)?;
    let steps = weights.view(&format!("{name}{STEP}"))?;
    let size = size.unwrap_or_else(|| padded(&weight, &steps));
    let multipliers = match weight.shape() {
        [.., 128] => Some(weights.view(&format!("{name}{MULTIPLIER}"))?),
        _ => None,
    };
    let stored = StoredPanels { weight, steps, multipliers };
    Filter::from_panels(size, &stored, None, None).map_err(wrong)
}

/// The size of panels with the zeros that fill up the last block of channels.
fn padded(weight: &TensorView<'_>, steps: &TensorView<'_>) -> [usize; 4] {
    match *weight.shape() {
        [_, taps, blocks, _] => [steps.len(), blocks * LANES, taps, 1],
        _ => [0; 4],
    }
}

/// The size of a filter or matrix, `[outputs, channels, kh, kw]`; `None` for other tensors.
pub(crate) fn size(shape: &[usize]) -> Option<[usize; 4]> {
    match *shape {
        [outputs, channels] => Some([outputs, channels, 1, 1]),
        [outputs, channels, kh, kw] => Some([outputs, channels, kh, kw]),
        _ => None,
    }
}
