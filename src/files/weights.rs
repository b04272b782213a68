//! Where a network finds its weights: a source of named tensors, and a cursor that walks it by
//! canonical names.
//!
//! Canonical names are those of the latent diffusion checkpoints
//! (`input_blocks.1.0.in_layers.2.weight`). A source that stores other names (diffusers')
//! translates on lookup; the networks never know.

use std::collections::HashMap;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use pochade_engine::{
    DType, Encoding, Filter, MappedBytes, Norm, PanelShape, Storage, StoredPanels, TensorView,
    WeightError,
};

use super::{FileError, FilterEncoding, RandomWeights, packing, precision};

/// Bytes of a table that are copied before their pages are given back.
const COPIED_AT_ONCE: usize = 1 << 20;

/// A container of named tensors.
pub trait TensorSource: fmt::Debug + Send + Sync {
    /// The tensor of a canonical name.
    fn tensor(&self, name: &str) -> Option<TensorView<'_>>;

    /// The same tensor for its shape and encoding alone: where [`TensorSource::tensor`] checks the
    /// bytes, this does not read them.
    fn outline(&self, name: &str) -> Option<TensorView<'_>> {
        self.tensor(name)
    }

    /// The bytes of a tensor where they lie in a mapped file, in one piece and as they are.
    fn mapped(&self, _name: &str) -> Option<MappedBytes> {
        None
    }

    /// Says that the tensor's values were copied: its pages may be given back.
    fn release(&self, _name: &str) {}

    /// The file or folder, for messages.
    fn origin(&self) -> &str;

    /// Why a tensor that is stored under this name cannot be read, for sources that list more than
    /// they read.
    fn refusal(&self, _name: &str) -> Option<FileError> {
        None
    }
}

/// The bytes of a table: its own, or those of a mapped file.
#[derive(Clone, Debug)]
pub enum TableBytes {
    /// A copy.
    Own(Vec<u8>),
    /// Read as they are looked at.
    Mapped(MappedBytes),
}

impl Deref for TableBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Own(bytes) => bytes,
            Self::Mapped(bytes) => bytes,
        }
    }
}

/// Encodings of the weights of layers, by the weights' canonical names (`X.weight`).
pub type PlannedEncodings = HashMap<String, FilterEncoding>;

/// Packs a weight and its bias.
type Pack<'a> = fn(&TensorView<'a>, Option<&TensorView<'a>>) -> Result<Filter, WeightError>;

/// A cursor into a [`TensorSource`]: all names are looked up behind its prefix.
#[derive(Clone, Debug)]
pub struct Weights<'a> {
    source: &'a dyn TensorSource,
    prefix: String,
    hollow: bool,
    planned: Option<&'a PlannedEncodings>,
    random: Option<&'a RandomWeights>,
    unbiased: bool,
}

impl<'a> Weights<'a> {
    /// A cursor at the root of `source`.
    pub fn new(source: &'a dyn TensorSource) -> Self {
        Self {
            source,
            prefix: String::new(),
            hollow: false,
            planned: None,
            random: None,
            unbiased: false,
        }
    }

    /// A cursor that gives filters their shapes without their values: enough to plan what painting
    /// will take.
    pub fn hollow(source: &'a dyn TensorSource) -> Self {
        Self { hollow: true, ..Self::new(source) }
    }

    /// The same for a file that is not written yet: the layers of a source in floating point as
    /// `planned` says, all others as files in integers keep them.
    pub fn hollow_as(source: &'a dyn TensorSource, planned: &'a PlannedEncodings) -> Self {
        Self { planned: Some(planned), ..Self::hollow(source) }
    }

    /// A cursor at which every layer is there, in the shape it is asked for, with random values.
    pub fn random(source: &'a RandomWeights) -> Self {
        Self { random: Some(source), ..Self::new(source) }
    }

    /// The same cursor for a layer that has no bias by its architecture. Any other layer must have
    /// one: a file that lost it would paint a wrong picture without a word.
    pub fn unbiased(&self) -> Self {
        Self { unbiased: true, prefix: self.prefix.clone(), ..*self }
    }

    /// The cursor for the part `name` below this one.
    pub fn at(&self, name: impl fmt::Display) -> Self {
        Self { prefix: format!("{}{name}.", self.prefix), ..*self }
    }

    /// Whether the tensor `name` is there, readable or not.
    pub fn contains(&self, name: &str) -> bool {
        self.find(name).is_some() || self.source.refusal(&self.full(name)).is_some()
    }

    /// The tensor `name`, whatever its shape.
    ///
    /// # Errors
    /// When there is none, or it is in integers.
    pub fn tensor(&self, name: &str) -> Result<TensorView<'a>, FileError> {
        let tensor = self.stored(name)?;
        match tensor.dtype() {
            DType::I8 => Err(FileError::Encoding {
                file: self.source.origin().to_owned(),
                tensor: self.full(name),
                encoding: DType::I8.to_string(),
            }),
            _ => Ok(tensor),
        }
    }

    /// The tensor `name`, whatever its shape and encoding.
    fn stored(&self, name: &str) -> Result<TensorView<'a>, FileError> {
        self.find(name).ok_or_else(|| {
            let tensor = self.full(name);
            let missing = || FileError::MissingTensor {
                file: self.source.origin().to_owned(),
                tensor: tensor.clone(),
            };
            self.source.refusal(&tensor).unwrap_or_else(missing)
        })
    }

    /// The tensor `name` of exactly the given shape.
    ///
    /// # Errors
    /// When there is none, or it has another shape.
    pub fn shaped(&self, name: &str, shape: &[usize]) -> Result<TensorView<'a>, FileError> {
        let tensor = self.tensor(name)?;
        if tensor.shape() == shape {
            return Ok(tensor);
        }
        Err(self.wrong_shape(name, format!("{:?}", tensor.shape()), format!("{shape:?}")))
    }

    /// The convolution here: `weight: [outputs, channels, kernel, kernel]` or the integer panels of
    /// these sizes, `bias: [outputs]` unless [`Weights::unbiased`].
    ///
    /// # Errors
    /// When one is missing or has another shape.
    pub fn conv(
        &self,
        outputs: usize,
        channels: usize,
        kernel: usize,
    ) -> Result<Arc<Filter>, FileError> {
        if let Some(random) = self.random {
            return Ok(self.make_up(random, [outputs, channels, kernel, kernel]));
        }
        if self.stored("weight")?.dtype() == DType::I8 {
            return self.panels([outputs, channels, kernel, kernel]);
        }
        let weight = self.shaped("weight", &[outputs, channels, kernel, kernel])?;
        self.filter(&weight, outputs, Filter::conv)
    }

    /// The convolution here, as [`Weights::conv`]; in two where its file says that the input is two
    /// values side by side that are rounded apart: `weight.split: [1]`, the channels of the first
    /// (Q-Diffusion, Li et al. 2023, section 4.2).
    ///
    /// # Errors
    /// As [`Weights::conv`], and when the number is not one of channels.
    pub fn conv_of_joined(
        &self,
        outputs: usize,
        channels: usize,
        kernel: usize,
    ) -> Result<Vec<Arc<Filter>>, FileError> {
        let whole = self.conv(outputs, channels, kernel)?;
        if self.random.is_some() || self.find("weight.split").is_none() {
            return Ok(vec![whole]);
        }
        let at = self.shaped("weight.split", &[1])?.to_f32()[0];
        let parts = whole.split(at as usize).filter(|_| at.fract() == 0.0).ok_or_else(|| {
            let tensor = self.full("weight.split");
            let problem = format!("tensor '{tensor}' cannot split {channels} channels at {at}");
            FileError::malformed(self.source.origin(), problem)
        })?;
        let named =
            |(i, part): (usize, Filter)| Arc::new(part.named(&format!("{}.{i}", self.layer())));
        Ok(parts.into_iter().enumerate().map(named).collect())
    }

    /// The linear layer here: `weight: [outputs, channels]` (or with two trailing ones) or the
    /// integer panels of these sizes, `bias: [outputs]` unless [`Weights::unbiased`].
    ///
    /// # Errors
    /// When one is missing or has another shape.
    pub fn linear(&self, outputs: usize, channels: usize) -> Result<Arc<Filter>, FileError> {
        if let Some(random) = self.random {
            return Ok(self.make_up(random, [outputs, channels, 1, 1]));
        }
        if self.stored("weight")?.dtype() == DType::I8 {
            return self.panels([outputs, channels, 1, 1]);
        }
        let weight = self.tensor("weight")?;
        if weight.shape() != [outputs, channels] && weight.shape() != [outputs, channels, 1, 1] {
            let want = format!("[{outputs}, {channels}]");
            return Err(self.wrong_shape("weight", format!("{:?}", weight.shape()), want));
        }
        self.filter(&weight, outputs, Filter::linear)
    }

    /// The normalisation here: `weight: [channels]`, `bias: [channels]`.
    ///
    /// # Errors
    /// When either is missing or has another shape.
    pub fn norm(&self, channels: usize) -> Result<Arc<Norm>, FileError> {
        if let Some(random) = self.random {
            return Ok(Arc::new(random.norm(channels)));
        }
        let (scale, shift) =
            (self.shaped("weight", &[channels])?, self.shaped("bias", &[channels])?);
        Norm::new(&scale, &shift)
            .map(Arc::new)
            .map_err(|e| self.wrong_shape("bias", e.to_string(), format!("[{channels}]")))
    }

    /// The matrix `name` of exactly the given shape, in the encoding it is stored in; a copy where its
    /// file is not mapped.
    ///
    /// # Errors
    /// When there is none, or it has another shape.
    pub fn table(&self, name: &str, shape: [usize; 2]) -> Result<(DType, TableBytes), FileError> {
        if let Some(random) = self.random {
            let (dtype, bytes) = random.table(shape);
            return Ok((dtype, TableBytes::Own(bytes)));
        }
        let tensor = self.shaped(name, &shape)?;
        if let Some(mapped) = self.source.mapped(&self.full(name)) {
            return Ok((tensor.dtype(), TableBytes::Mapped(mapped)));
        }
        // Piece by piece, so that a large table is not in memory twice.
        let mut bytes = Vec::with_capacity(tensor.bytes().len());
        for piece in tensor.bytes().chunks(COPIED_AT_ONCE) {
            bytes.extend_from_slice(piece);
            self.source.release(&self.full(name));
        }
        Ok((tensor.dtype(), TableBytes::Own(bytes)))
    }

    fn make_up(&self, random: &RandomWeights, shape: [usize; 4]) -> Arc<Filter> {
        Arc::new(random.filter(self.layer(), shape, !self.unbiased).named(self.layer()))
    }

    /// The canonical name of the layer here.
    fn layer(&self) -> &str {
        self.prefix.trim_end_matches('.')
    }

    fn bias(&self, outputs: usize) -> Result<Option<TensorView<'a>>, FileError> {
        if self.unbiased { Ok(None) } else { self.shaped("bias", &[outputs]).map(Some) }
    }

    fn filter(
        &self,
        weight: &TensorView<'a>,
        outputs: usize,
        pack: Pack<'a>,
    ) -> Result<Arc<Filter>, FileError> {
        let bias = self.bias(outputs)?;
        let packed = match (self.rounds(weight), self.hollow) {
            (None, true) => self.outlined(weight, bias.is_some()),
            (None, false) => pack(weight, bias.as_ref()),
            (Some(size), true) => {
                Ok(Filter::hollow_in(size, Storage::Int(Encoding::Int8), bias.is_some()))
            }
            (Some(_), false) => Filter::rounded(weight, bias.as_ref(), Encoding::Int8),
        };
        self.source.release(&self.full("weight"));
        self.finished(packed)
    }

    /// The layer of `weight` without its values, in the encoding that is planned for it.
    fn outlined(&self, weight: &TensorView<'_>, bias: bool) -> Result<Filter, WeightError> {
        let Some(planned) = self.planned else { return Filter::hollow(weight, bias) };
        let Some(size) = precision::size(weight.shape()) else {
            return Filter::hollow(weight, bias);
        };
        let storage = match planned.get(&self.full("weight")) {
            Some(FilterEncoding::Int8) => Storage::Int(Encoding::Int8),
            Some(FilterEncoding::Int4) => Storage::Int(Encoding::Int4),
            Some(FilterEncoding::F16) => Storage::F16,
            Some(FilterEncoding::F32) => Storage::F32,
            // The blocks of matrices that work in floating point are read as f32.
            None if packing::is_in_rows_of_blocks(weight.shape()) => Storage::F32,
            None => Storage::F16,
        };
        Ok(Filter::hollow_in(size, storage, bias))
    }

    /// The sizes of a layer whose weights are in ggml's blocks, where it works in integers: they
    /// are rounded once more, to one step per output.
    fn rounds(&self, weight: &TensorView<'_>) -> Option<[usize; 4]> {
        let in_blocks = weight.dtype().block() > 1;
        let size = precision::size(weight.shape())?;
        (in_blocks && precision::is_integer(&self.full("weight"), weight.shape())).then_some(size)
    }

    /// The layer `[outputs, channels, kh, kw]` here, whose weights are stored as integer panels:
    /// `weight`, `weight.step: [outputs]` and, of int4, `weight.multiplier`.
    fn panels(&self, size: [usize; 4]) -> Result<Arc<Filter>, FileError> {
        let [outputs, channels, kh, kw] = size;
        let shape = PanelShape { outputs, taps: kh * kw, channels };
        let weight = self.stored("weight")?;
        let int4 = weight.shape() == shape.weight(Encoding::Int4);
        if !int4 && weight.shape() != shape.weight(Encoding::Int8) {
            let wanted = format!(
                "{:?} in int8 or {:?} in int4",
                shape.weight(Encoding::Int8),
                shape.weight(Encoding::Int4)
            );
            return Err(self.wrong_shape("weight", format!("{:?}", weight.shape()), wanted));
        }
        let steps = self.shaped("weight.step", &[outputs])?;
        let multipliers = int4.then(|| self.stored("weight.multiplier")).transpose()?;
        let stored = StoredPanels { weight, steps, multipliers };
        let bias = self.bias(outputs)?;
        let filter = match self.hollow {
            true => Ok(Filter::hollow_in(size, Storage::Int(stored.encoding()), bias.is_some())),
            false => {
                let mapped = self.source.mapped(&self.full("weight"));
                Filter::from_panels(size, &stored, mapped, bias.as_ref())
            }
        };
        ["weight", "weight.step", "weight.multiplier", "weight.split"]
            .iter()
            .for_each(|name| self.source.release(&self.full(name)));
        self.finished(filter)
    }

    fn finished(&self, filter: Result<Filter, WeightError>) -> Result<Arc<Filter>, FileError> {
        let filter = filter.map_err(|error| {
            let problem = format!("tensor '{}': {error}", self.full("weight"));
            FileError::malformed(self.source.origin(), problem)
        })?;
        Ok(Arc::new(filter.named(self.layer())))
    }

    fn find(&self, name: &str) -> Option<TensorView<'a>> {
        let name = self.full(name);
        if self.hollow { self.source.outline(&name) } else { self.source.tensor(&name) }
    }

    fn full(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    fn wrong_shape(&self, name: &str, found: String, wanted: String) -> FileError {
        FileError::WrongShape {
            file: self.source.origin().to_owned(),
            tensor: self.full(name),
            found,
            wanted,
        }
    }
}
