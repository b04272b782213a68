//! The `pochade-quantize` command: a model in, one GGUF file out.
//!
//! It narrows weights to f16, or rounds them to int8 or int4 as the engine's integer kernels read
//! them.
#![forbid(unsafe_code)]

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use clap::{Parser, ValueEnum};
use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use pochade::files::{ModelFiles, Packed, WeightEncoding, pack};
use signal_hook::consts::{SIGINT, SIGTERM};

/// Converts a model into one GGUF file that Pochade maps into memory.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Diffusers folder (with model_index.json) or GGUF file.
    #[arg(value_name = "IN")]
    input: PathBuf,
    /// File to write; it is replaced only when the new one is complete.
    #[arg(short, long, value_name = "OUT.gguf", value_parser = gguf_path)]
    output: PathBuf,
    /// Encoding of the weights.
    #[arg(long, value_enum, default_value_t = Weights::Keep)]
    weights: Weights,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Weights {
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

fn main() -> ExitCode {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("warn")).init();
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let stop = stop_on_signals().context("cannot listen for signals")?;
    let model = ModelFiles::open(&arguments.input)?;
    let bar = progress_bar();
    let packed = pack(&model, &arguments.output, arguments.weights.into(), |progress| {
        bar.set_length(progress.total);
        bar.set_position(progress.done);
        bar.set_message(progress.component.name());
        if stop.load(Ordering::Relaxed) {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    });
    bar.finish_and_clear();
    report(arguments, &packed?);
    Ok(())
}

/// A flag that Ctrl-C or a polite kill raises, so that the temporary file is removed on the way
/// out.
fn stop_on_signals() -> std::io::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    Ok(stop)
}

/// Drawn on standard error where that is a terminal.
fn progress_bar() -> ProgressBar {
    let style = ProgressStyle::with_template("{msg:14} [{bar:30}] {bytes}/{total_bytes} {eta}");
    ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn report(arguments: &Arguments, packed: &Packed) {
    let (count, bytes) = (packed.tensors, HumanBytes(packed.bytes));
    eprintln!("{}: {count} tensors, {bytes}", arguments.output.display());
    if let Some(example) = packed.left_out.first() {
        let count = packed.left_out.len();
        eprintln!("left out {count} tensors that no network uses, such as {example}");
    }
}
