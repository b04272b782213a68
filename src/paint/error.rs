//! What can stop a painting.

use std::fmt;

use pochade_engine::{GraphError, IsaError};

use super::Size;
use crate::diffusion::DiffusionError;
use crate::files::FileError;
use crate::nets::{ConfigError, TokenError};

/// Why a picture could not be painted.
#[derive(Clone, Debug, PartialEq)]
pub enum PaintError {
    /// No model was named, and none is part of this binary.
    NoModel,
    /// A model file.
    File(FileError),
    /// A network's config: the part of the model, and what is wrong.
    Config(&'static str, ConfigError),
    /// The sampler or its settings.
    Diffusion(DiffusionError),
    /// A network whose parts do not fit together: the part of the model, and what is wrong.
    Graph(&'static str, GraphError),
    /// The instruction set that the environment asks for.
    Isa(IsaError),
    /// A prompt's tokens do not fit the text encoder.
    Tokens(TokenError),
    /// The picture's width or height.
    Size {
        /// Asked for, in pixels.
        asked: Size,
        /// Both must be multiples of this.
        multiple: usize,
        /// From this size on, where smaller ones are painted otherwise.
        from: Option<Size>,
    },
    /// The budget of memory is too small.
    Memory {
        /// What was allowed, in bytes.
        ram: usize,
        /// The least that would do.
        least: usize,
        /// The picture's size.
        size: Size,
    },
    /// The model is not one that paints pictures from words: what it wants or makes instead.
    Unsuitable(String),
    /// The caller stopped it.
    Interrupted,
}

impl fmt::Display for PaintError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoModel => f.write_str(
                "this pochade was built without a model; name one with --model (a diffusers folder \
                 or a .gguf file)",
            ),
            Self::File(error) => error.fmt(f),
            Self::Config(part, error) => write!(f, "{part}: {error}"),
            Self::Diffusion(error) => error.fmt(f),
            Self::Graph(part, error) => {
                write!(f, "the model's {part} does not fit together: {error}; see its config.json")
            }
            Self::Isa(error) => error.fmt(f),
            Self::Tokens(error) => error.fmt(f),
            Self::Size { asked, multiple, from } => {
                write!(f, "--size {asked}: this model paints widths and heights that are ")?;
                write!(f, "multiples of {multiple}")?;
                from.map_or(Ok(()), |from| write!(f, " from {from} on"))?;
                write!(f, ", up to {MAX_SIDE}")
            }
            Self::Memory { ram, least, size } => write!(
                f,
                "--ram {}M: a picture of {size} with this model takes at least {}M; allow that \
                 much, or paint a smaller one (--size)",
                ram >> 20,
                least.div_ceil(1 << 20)
            ),
            Self::Unsuitable(what) => f.write_str(what),
            Self::Interrupted => f.write_str("stopped"),
        }
    }
}

/// Longest side of a picture in pixels.
pub const MAX_SIDE: usize = 4096;

impl std::error::Error for PaintError {}

impl From<FileError> for PaintError {
    fn from(error: FileError) -> Self {
        Self::File(error)
    }
}

impl From<DiffusionError> for PaintError {
    fn from(error: DiffusionError) -> Self {
        Self::Diffusion(error)
    }
}

impl From<IsaError> for PaintError {
    fn from(error: IsaError) -> Self {
        Self::Isa(error)
    }
}

impl From<TokenError> for PaintError {
    fn from(error: TokenError) -> Self {
        Self::Tokens(error)
    }
}
