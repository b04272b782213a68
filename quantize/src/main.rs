//! The `pochade-quantize` command: a model in, one GGUF file out.
//!
//! It narrows weights to f16, or rounds them to int8 or int4 as the engine's integer kernels read
//! them.
#![forbid(unsafe_code)]

mod arguments;
mod budget;
mod calibrate;
mod candidates;
mod convert;
mod layer;
mod left_out;
mod plan;
mod progress;
mod recipe;
mod rounding;
mod sensitivity;
mod smoothing;

use std::process::ExitCode;

use clap::Parser;

use crate::arguments::Arguments;

fn main() -> ExitCode {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("warn")).init();
    let arguments = Arguments::parse();
    let result = match (arguments.command, arguments.convert) {
        (Some(command), _) => match command {},
        (None, Some(convert)) => convert::run(&convert, &arguments.measured),
        (None, None) => Ok(()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
