//! The command line: a conversion, or one of the commands that look at its result.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use pochade::files::WeightEncoding;

/// Converts a model into one GGUF file that Pochade maps into memory.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Of a conversion; clap asks for them where there is no subcommand.
    #[command(flatten)]
    pub convert: Option<Convert>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {}

/// What to convert, and how.
#[derive(Debug, Args)]
pub(crate) struct Convert {
    /// Diffusers folder (with model_index.json) or GGUF file.
    #[arg(value_name = "IN")]
    pub input: PathBuf,
    /// File to write; it is replaced only when the new one is complete.
    #[arg(short, long, value_name = "OUT.gguf", value_parser = gguf_path)]
    pub output: PathBuf,
    /// Encoding of the weights.
    #[arg(long, value_enum, default_value_t = Weights::Keep)]
    pub weights: Weights,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Weights {
    /// As the model has them.
    Keep,
    /// 32 bits, for comparisons.
    F32,
    /// 16 bits for filters and matrices; norms and biases as the model has them.
    F16,
    /// 8 bits and a step per output for the layers that work in integers; the first and last ones
    /// and those of the time stay in 16 bits.
    Int8,
    /// 4 bits and a multiplier for every 32 channels, in the same layers.
    Int4,
}

impl From<Weights> for WeightEncoding {
    fn from(weights: Weights) -> Self {
        match weights {
            Weights::Keep => Self::Keep,
            Weights::F32 => Self::F32,
            Weights::F16 => Self::F16,
            Weights::Int8 => Self::Int8,
            Weights::Int4 => Self::Int4,
        }
    }
}

/// Pochade knows its files by their extension.
fn gguf_path(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    match path.extension() {
        Some(extension) if extension.eq_ignore_ascii_case("gguf") => Ok(path),
        _ => Err("the name must end in .gguf".to_owned()),
    }
}
