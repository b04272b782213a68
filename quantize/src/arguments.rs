//! The command line: a conversion, or one of the commands that look at its result.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use pochade::boards::Board;
use pochade::files::{Beside, Predicts, WeightEncoding};

/// Converts a model into one GGUF file that Pochade maps into memory.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Of a conversion; clap asks for them where there is no subcommand.
    #[command(flatten)]
    pub convert: Option<Convert>,
    #[command(flatten)]
    pub measured: Measured,
    #[command(flatten)]
    pub report: ReportArguments,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Compares a model with the one it was made from: weights, pictures, size, predicted time
    Diff {
        /// Diffusers folder or GGUF file that is held to be right.
        #[arg(value_name = "ORIGINAL")]
        original: PathBuf,
        /// Diffusers folder or GGUF file that is judged.
        #[arg(value_name = "OTHER")]
        other: PathBuf,
        #[command(flatten)]
        report: ReportArguments,
    },
    /// Checks a model: hashes, shapes against its config, ranges of its numbers
    Verify {
        /// Diffusers folder or GGUF file.
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
}

/// What to convert, and how.
#[derive(Debug, Args)]
pub(crate) struct Convert {
    /// Diffusers folder (with model_index.json), GGUF file, checkpoint (.safetensors, .ckpt) or ONNX
    /// folder.
    #[arg(value_name = "IN")]
    pub input: PathBuf,
    /// File to write; it is replaced only when the new one is complete.
    #[arg(short, long, value_name = "OUT.gguf", value_parser = gguf_path)]
    pub output: PathBuf,
    /// Encoding of the weights.
    #[arg(long, value_enum, default_value_t = Weights::Keep)]
    pub weights: Weights,
    /// Leave out the half of the autoencoder that turns pictures into latents: painting from words
    /// does not need it.
    #[arg(long)]
    pub without_encoder: bool,
    /// Write ggml's standard types alone, which other readers of GGUF know: matrices in Q8_0 (int8)
    /// or Q4_0 (int4), filters in f16.
    #[arg(long, conflicts_with_all = ["calibrate", "recipe"])]
    pub gguf_plain: bool,
    /// Diffusers folder whose configs and tokenizer go with a checkpoint's weights; without it the
    /// configs are inferred from the weights.
    #[arg(long, value_name = "FOLDER")]
    pub config: Option<PathBuf>,
    /// Folder with vocab.json and merges.txt, or a diffusers folder: the tokenizer, which no
    /// checkpoint contains. A folder "tokenizer" beside the checkpoint is found without this.
    #[arg(long, value_name = "FOLDER")]
    pub tokenizer: Option<PathBuf>,
    /// What the network predicts, which weights do not tell: v for Stable Diffusion 2 at 768
    /// pixels, epsilon (the default) for the others.
    #[arg(long, value_enum)]
    pub prediction: Option<Prediction>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Prediction {
    /// The noise.
    Epsilon,
    /// The velocity.
    V,
}

impl Convert {
    /// What belongs to the model without being in its files.
    pub fn beside(&self) -> Beside {
        let predicts = self.prediction.map(|prediction| match prediction {
            Prediction::Epsilon => Predicts::Epsilon,
            Prediction::V => Predicts::Velocity,
        });
        Beside { configs: self.config.clone(), tokenizer: self.tokenizer.clone(), predicts }
    }
}

/// Of conversions to integers that look at what the model paints.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Measured conversions")]
pub(crate) struct Measured {
    /// File of prompts, one to a line: the model paints them, and every layer is rounded so that it
    /// loses least on what it then reads.
    #[arg(long, value_name = "PROMPTS")]
    pub calibrate: Option<PathBuf>,
    /// Pictures to paint for that; a quarter of them only judges.
    #[arg(long, value_name = "N", default_value_t = 16, requires = "calibrate")]
    pub pictures: usize,
    /// Size of the file at most, in millions of bytes (mixed).
    #[arg(long, value_name = "N")]
    pub budget_mb: Option<f64>,
    /// Predicted time of a picture at most, in milliseconds (mixed).
    #[arg(long, value_name = "N", requires = "board")]
    pub budget_ms: Option<f64>,
    /// The board that paints it: orin, pi5, pi4, jetson-nano, pi3 or zero2.
    #[arg(long, value_name = "NAME", requires = "budget_ms")]
    pub board: Option<Board>,
    /// Follow a recipe that --save-recipe wrote, instead of --weights and --calibrate.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["weights", "calibrate", "budget_mb", "budget_ms"])]
    pub recipe: Option<PathBuf>,
    /// Write down what was chosen, so that the same file can be made again.
    #[arg(long, value_name = "FILE")]
    pub save_recipe: Option<PathBuf>,
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
    /// 4, 8 or 16 bits for each of these layers, by what it loses; needs --calibrate.
    Mixed,
}

impl Weights {
    /// The one encoding of all weights, `None` for a mix.
    pub fn uniform(self) -> Option<WeightEncoding> {
        match self {
            Self::Keep => Some(WeightEncoding::Keep),
            Self::F32 => Some(WeightEncoding::F32),
            Self::F16 => Some(WeightEncoding::F16),
            Self::Int8 => Some(WeightEncoding::Int8),
            Self::Int4 => Some(WeightEncoding::Int4),
            Self::Mixed => None,
        }
    }
}

/// What to say of a model beside the one it was made from.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Report")]
pub(crate) struct ReportArguments {
    /// Folder for a page that shows what was lost, and the same as JSON and Markdown.
    #[arg(long, value_name = "DIR")]
    pub report: Option<PathBuf>,
    /// Fail where the mean PSNR of the pictures is below this many decibels.
    #[arg(long, value_name = "DB", value_parser = decibels)]
    pub min_psnr: Option<f64>,
    /// File of prompts to paint, one to a line; the model's own or a built-in list without one.
    #[arg(long, value_name = "FILE")]
    pub prompts: Option<PathBuf>,
    /// Seeds of every prompt.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = count)]
    pub report_seeds: usize,
    /// Pictures to paint by both models, 0 for none; all prompts and seeds of a small model, 2 of a
    /// large one without it.
    #[arg(long, value_name = "N")]
    pub report_pictures: Option<usize>,
    /// Steps of each; as many as the model advises without it.
    #[arg(long, value_name = "N", value_parser = count)]
    pub report_steps: Option<usize>,
}

impl ReportArguments {
    /// Whether anything is to be said.
    pub fn is_wanted(&self) -> bool {
        self.report.is_some() || self.min_psnr.is_some()
    }

    /// Why these do not go together.
    pub fn contradiction(&self) -> Option<&'static str> {
        let blind = self.min_psnr.is_some() && self.report_pictures == Some(0);
        blind.then_some("--min-psnr needs pictures: give --report-pictures a number above 0")
    }
}

/// A number of decibels.
fn decibels(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|db: &f64| db.is_finite() && *db > 0.0);
    number.ok_or_else(|| "give a number of decibels above 0, such as 34".to_owned())
}

/// A number of things, one at least.
fn count(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|n| (1..=1000).contains(n));
    number.ok_or_else(|| "give a whole number from 1 to 1000".to_owned())
}

/// Pochade knows its files by their extension.
fn gguf_path(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    match path.extension() {
        Some(extension) if extension.eq_ignore_ascii_case("gguf") => Ok(path),
        _ => Err("the name must end in .gguf".to_owned()),
    }
}
