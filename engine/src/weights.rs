//! Weights in the form the kernels read: filters packed into panels of 16 outputs, norms,
//! codebooks.
//!
//! A filter is a matrix of `outputs` rows and `kh * kw * channels` columns. It is stored as panels
//! of [`LANES`] outputs: `panel[o / 16][tap][channel][o % 16]`, the last panel padded with zeros,
//! whatever the instruction set. One vector of a panel meets one activation value in the inner
//! loop, so every output owns a lane and accumulates over `k` in one order. Panels keep the
//! encoding of the file (f32 or f16); those of narrower encodings are decoded, block by block, into
//! a scratch buffer that stays in the second-level cache while all pixels pass over it.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use crate::aligned::Aligned;
use crate::int_weights::{Encoding, IntPanels, Integers, PanelBytes, PanelShape, StoredPanels};
use crate::mapped::MappedBytes;
use crate::random::Storage;
use crate::tensor::{DType, TensorView};

/// Outputs per panel, on every instruction set.
pub const LANES: usize = 16;

/// A tensor did not have the shape that its place in the network asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WeightError(pub(crate) String);

impl fmt::Display for WeightError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for WeightError {}

fn expect_shape(what: &str, found: &[usize], want: &[usize]) -> Result<(), WeightError> {
    if found == want {
        return Ok(());
    }
    Err(WeightError(format!("{what} has shape {found:?} where {want:?} is needed")))
}

/// A matrix or filter as `[out, in, kh, kw]`.
fn extent(weight: &TensorView<'_>) -> Result<[usize; 4], WeightError> {
    match *weight.shape() {
        [n, k] => Ok([n, k, 1, 1]),
        [n, c, kh, kw] => Ok([n, c, kh, kw]),
        _ => Err(WeightError(format!("a filter is needed, not {:?}", weight.shape()))),
    }
}

/// A bias `[n]`, padded with zeros to whole panels.
fn pad_bias(bias: Option<&TensorView<'_>>, n: usize) -> Result<Option<Vec<f32>>, WeightError> {
    let Some(bias) = bias else { return Ok(None) };
    expect_shape("the bias", bias.shape(), &[n])?;
    let mut values = bias.to_f32();
    values.resize(n.next_multiple_of(LANES), 0.0);
    Ok(Some(values))
}

/// The panels of a filter, in the encoding they are kept in.
#[derive(Clone, Debug)]
pub(crate) enum Panels {
    F32(Aligned<f32>),
    F16(Aligned<u16>),
    Int(IntPanels),
}

/// A convolution's or linear layer's weights and bias.
#[derive(Clone, Debug)]
pub struct Filter {
    pub(crate) panels: Panels,
    /// Padded with zeros to whole panels.
    pub(crate) bias: Option<Vec<f32>>,
    outputs: usize,
    channels: usize,
    kernel: (usize, usize),
    name: Option<Arc<str>>,
}

impl Filter {
    /// Packs a linear layer: `weight: [n, k]`, `bias: [n]`. A 1 x 1 convolution `[n, k, 1, 1]` is
    /// the same thing.
    ///
    /// # Errors
    /// When the shapes are not these.
    pub fn linear(
        weight: &TensorView<'_>,
        bias: Option<&TensorView<'_>>,
    ) -> Result<Self, WeightError> {
        match *weight.shape() {
            [n, k] | [n, k, 1, 1] => Self::pack(weight, [n, k, 1, 1], bias),
            _ => Err(WeightError(format!("a matrix is needed, not {:?}", weight.shape()))),
        }
    }

    /// Packs a convolution: `weight: [out, in, kh, kw]`, `bias: [out]`.
    ///
    /// # Errors
    /// When the shapes are not these.
    pub fn conv(
        weight: &TensorView<'_>,
        bias: Option<&TensorView<'_>>,
    ) -> Result<Self, WeightError> {
        match *weight.shape() {
            [n, c, kh, kw] => Self::pack(weight, [n, c, kh, kw], bias),
            _ => Err(WeightError(format!(
                "a filter [out, in, kh, kw] is needed, not {:?}",
                weight.shape()
            ))),
        }
    }

    /// Rounds a matrix `[n, k]` or a filter `[out, in, kh, kw]` to integers, each weight to the
    /// nearest. Bias `[out]` stays in f32.
    ///
    /// # Errors
    /// When the shapes are not these, a weight is not finite, or sums would not fit 32 bits.
    pub fn rounded(
        weight: &TensorView<'_>,
        bias: Option<&TensorView<'_>>,
        encoding: Encoding,
    ) -> Result<Self, WeightError> {
        let [n, c, kh, kw] = extent(weight)?;
        let row = c * kh * kw;
        let shape = PanelShape { outputs: n, taps: kh * kw, channels: c };
        let read = |o: usize, out: &mut [f32]| weight.read_f32(o * row, out);
        let panels = Panels::Int(IntPanels::round(encoding, shape, &read)?);
        Ok(Self::from_parts(panels, pad_bias(bias, n)?, [n, c, kh, kw]))
    }

    /// A layer `[out, in, kh, kw]` of integers that were found elsewhere. Bias `[out]`.
    ///
    /// # Errors
    /// When there are not as many as the sizes ask for, they are beyond the encoding's range, or
    /// sums would not fit 32 bits.
    pub fn from_integers(
        [outputs, channels, kh, kw]: [usize; 4],
        integers: &Integers,
        bias: Option<&TensorView<'_>>,
    ) -> Result<Self, WeightError> {
        let shape = PanelShape { outputs, taps: kh * kw, channels };
        let panels = Panels::Int(IntPanels::from_integers(shape, integers)?);
        Ok(Self::from_parts(panels, pad_bias(bias, outputs)?, [outputs, channels, kh, kw]))
    }

    /// A filter `[out, in, kh, kw]` of packed panels and a bias padded to whole panels.
    pub(crate) fn from_parts(
        panels: Panels,
        bias: Option<Vec<f32>>,
        [outputs, channels, kh, kw]: [usize; 4],
    ) -> Self {
        Self { panels, bias, outputs, channels, kernel: (kh, kw), name: None }
    }

    /// The same filter under the name of its layer.
    pub fn named(self, name: &str) -> Self {
        Self { name: Some(name.into()), ..self }
    }

    /// The filter of the first `channels`, without bias, and that of the rest: what they make of the
    /// two parts of an input adds up to what the whole filter makes of it, but that each part is
    /// rounded by its own range. Weights in int4 become int8, which holds them too. `None` for weights
    /// in floating point, and where there is nothing on one side.
    pub fn split(&self, channels: usize) -> Option<[Self; 2]> {
        let Panels::Int(panels) = &self.panels else { return None };
        if channels == 0 || channels >= self.channels {
            return None;
        }
        let part = |range: Range<usize>, bias| {
            let size = [self.outputs, range.len(), self.kernel.0, self.kernel.1];
            Self::from_parts(Panels::Int(panels.channels(range)), bias, size)
        };
        Some([part(0..channels, None), part(channels..self.channels, self.bias.clone())])
    }

    /// The name of its layer, if it was given one.
    pub fn name(&self) -> Option<&Arc<str>> {
        self.name.as_ref()
    }

    /// Takes the integer weights of a layer `[out, in, kh, kw]` as a file stores them. Bias `[out]`.
    /// Where the values lie in a mapped file, which `mapped` says, they stay there and are read
    /// from it as they are needed.
    ///
    /// # Errors
    /// When a shape is not what the layer's sizes ask for, or values are not such as
    /// [`Filter::rounded`] makes: kernels rely on that no int8 is -128 and no multiplier beyond 15.
    pub fn from_panels(
        [outputs, channels, kh, kw]: [usize; 4],
        stored: &StoredPanels<'_>,
        mapped: Option<MappedBytes>,
        bias: Option<&TensorView<'_>>,
    ) -> Result<Self, WeightError> {
        let shape = PanelShape { outputs, taps: kh * kw, channels };
        let panels = Panels::Int(IntPanels::stored(shape, stored, mapped)?);
        Ok(Self::from_parts(panels, pad_bias(bias, outputs)?, [outputs, channels, kh, kw]))
    }

    fn pack(
        weight: &TensorView<'_>,
        [n, c, kh, kw]: [usize; 4],
        bias: Option<&TensorView<'_>>,
    ) -> Result<Self, WeightError> {
        if weight.dtype() == DType::I8 {
            return Err(WeightError("integers have no meaning without their steps".to_owned()));
        }
        let taps = kh * kw;
        let bias = pad_bias(bias, n)?;
        let len = n.next_multiple_of(LANES) * taps * c;
        let mut row = vec![0.0; c * taps];
        let mut each = |put: &mut dyn FnMut(usize, f32)| {
            for o in 0..n {
                weight.read_f32(o * c * taps, &mut row);
                let base = (o / LANES) * taps * c * LANES + o % LANES;
                for (ic, per_tap) in row.chunks_exact(taps).enumerate() {
                    for (tap, &value) in per_tap.iter().enumerate() {
                        put(base + (tap * c + ic) * LANES, value);
                    }
                }
            }
        };
        let panels = match weight.dtype() {
            DType::F16 => {
                let mut panels = Aligned::zeros(len);
                each(&mut |at, value| panels[at] = half::f16::from_f32(value).to_bits());
                Panels::F16(panels)
            }
            _ => {
                let mut panels = Aligned::zeros(len);
                each(&mut |at, value| panels[at] = value);
                Panels::F32(panels)
            }
        };
        Ok(Self::from_parts(panels, bias, [n, c, kh, kw]))
    }

    /// A filter of a weight's shape and encoding without its values: enough to plan, not to run.
    ///
    /// # Errors
    /// When `weight` is neither a matrix nor a filter.
    pub fn hollow(weight: &TensorView<'_>, bias: bool) -> Result<Self, WeightError> {
        let storage = if weight.dtype() == DType::F16 { Storage::F16 } else { Storage::F32 };
        Ok(Self::hollow_in(extent(weight)?, storage, bias))
    }

    /// The same for a layer `[out, in, kh, kw]` whose weights are kept in `storage`.
    pub fn hollow_in(
        [outputs, channels, kh, kw]: [usize; 4],
        storage: Storage,
        bias: bool,
    ) -> Self {
        let shape = PanelShape { outputs, taps: kh * kw, channels };
        let panels = match storage {
            Storage::F32 => Panels::F32(Aligned::zeros(0)),
            Storage::F16 => Panels::F16(Aligned::zeros(0)),
            Storage::Int(encoding) => Panels::Int(IntPanels::hollow(encoding, shape)),
        };
        Self::from_parts(panels, bias.then(Vec::new), [outputs, channels, kh, kw])
    }

    /// The bytes that [`Filter::from_panels`] takes; `None` for weights in floating point.
    pub fn to_store(&self) -> Option<PanelBytes<'_>> {
        match &self.panels {
            Panels::Int(panels) => Some(panels.to_store()),
            Panels::F32(_) | Panels::F16(_) => None,
        }
    }

    /// Output channels.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Input channels.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// Kernel height and width.
    pub fn kernel(&self) -> (usize, usize) {
        self.kernel
    }

    /// Length of one accumulation: `kh * kw * channels`.
    pub fn depth(&self) -> usize {
        self.kernel.0 * self.kernel.1 * self.channels
    }

    /// Bytes held by panels and bias.
    pub fn bytes(&self) -> usize {
        let lanes = self.outputs.next_multiple_of(LANES);
        let values = match &self.panels {
            Panels::F32(_) => lanes * self.depth() * 4,
            Panels::F16(_) => lanes * self.depth() * 2,
            Panels::Int(panels) => panels.bytes(),
        };
        values + if self.bias.is_some() { lanes * 4 } else { 0 }
    }

    /// The numbers that integer weights stand for, in the order of the tensor they were rounded
    /// from; `None` for weights in floating point.
    pub fn rounded_values(&self) -> Option<Vec<f32>> {
        match &self.panels {
            Panels::Int(panels) => Some(panels.to_f32()),
            Panels::F32(_) | Panels::F16(_) => None,
        }
    }

    /// The weights that stay in their file, if they do.
    pub(crate) fn mapped(&self) -> Option<&MappedBytes> {
        match &self.panels {
            Panels::Int(panels) => panels.mapped(),
            Panels::F32(_) | Panels::F16(_) => None,
        }
    }

    /// Whether products with this filter are computed in integers.
    pub fn is_integer(&self) -> bool {
        matches!(self.panels, Panels::Int(_))
    }
}

/// Scale and shift of a normalisation.
#[derive(Clone, Debug)]
pub struct Norm {
    pub(crate) scale: Vec<f32>,
    pub(crate) shift: Vec<f32>,
}

impl Norm {
    /// Takes `scale: [c]` and `shift: [c]`.
    ///
    /// # Errors
    /// When the two lengths differ.
    pub fn new(scale: &TensorView<'_>, shift: &TensorView<'_>) -> Result<Self, WeightError> {
        expect_shape("the norm's shift", shift.shape(), scale.shape())?;
        Ok(Self { scale: scale.to_f32(), shift: shift.to_f32() })
    }

    /// Channels.
    pub fn channels(&self) -> usize {
        self.scale.len()
    }
}

/// The codes of a vector-quantised autoencoder.
#[derive(Clone, Debug)]
pub struct Codebook {
    pub(crate) codes: Vec<f32>,
    channels: usize,
}

impl Codebook {
    /// Takes `codes: [n, c]`.
    ///
    /// # Errors
    /// When it is not a matrix or has no codes.
    pub fn new(codes: &TensorView<'_>) -> Result<Self, WeightError> {
        match *codes.shape() {
            [n, c] if n > 0 && c > 0 => Ok(Self { codes: codes.to_f32(), channels: c }),
            _ => Err(WeightError(format!(
                "a codebook [codes, channels] is needed, not {:?}",
                codes.shape()
            ))),
        }
    }

    /// Channels of one code.
    pub fn channels(&self) -> usize {
        self.channels
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_a_split_filter_are_the_weights_of_the_whole() {
        let (outputs, channels, at) = (18, 40, 23);
        let values: Vec<u8> = (0..outputs * channels)
            .flat_map(|i| ((i * 37 % 101) as f32 - 50.0).to_le_bytes())
            .collect();
        let shape = [outputs, channels];
        let weight = TensorView::new(DType::F32, &shape, &values).expect("a matrix");
        for encoding in [Encoding::Int8, Encoding::Int4] {
            let whole = Filter::rounded(&weight, None, encoding).expect("it is finite");
            let [first, second] = whole.split(at).expect("a split within the channels");
            let rows = |filter: &Filter| filter.rounded_values().expect("integers");
            let (whole, first, second) = (rows(&whole), rows(&first), rows(&second));
            for (o, row) in whole.chunks_exact(channels).enumerate() {
                assert_eq!(row[..at], first[o * at..(o + 1) * at], "{encoding:?}");
                let rest = channels - at;
                assert_eq!(row[at..], second[o * rest..(o + 1) * rest], "{encoding:?}");
            }
        }
    }

    #[test]
    fn nothing_is_split_where_one_side_would_be_empty_or_in_floating_point() {
        let values = [0; 16];
        let weight = TensorView::new(DType::F32, &[2, 2], &values).expect("a matrix");
        let rounded = Filter::rounded(&weight, None, Encoding::Int8).expect("zeros");
        assert!(rounded.split(0).is_none() && rounded.split(2).is_none());
        assert!(Filter::linear(&weight, None).expect("a matrix").split(1).is_none());
    }
}
