//! The `pochade-quantize` command: a model in, one GGUF file out.
//!
//! It narrows weights to f16, or rounds them to int8 or int4 as the engine's integer kernels read
//! them.
#![forbid(unsafe_code)]

mod architecture;
mod arguments;
mod budget;
mod calibrate;
mod candidates;
mod convert;
mod diff;
mod input;
mod layer;
mod left_out;
mod plain;
mod plan;
mod progress;
mod recipe;
mod report;
mod rounding;
mod sensitivity;
mod smoothing;
mod time;
mod verify;
mod weights;

use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};
use pochade::files::Beside;

use crate::arguments::{Arguments, Command, ReportArguments};

fn main() -> ExitCode {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("warn")).init();
    let arguments = Arguments::parse();
    let result = run(arguments);
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> anyhow::Result<()> {
    match (arguments.command, arguments.convert) {
        (Some(Command::Diff { original, other, report }), _) => {
            check(&report)?;
            diff::run(
                [&original, &other].map(|path| (path, Beside::default())),
                &report,
                Vec::new(),
            )
        }
        (Some(Command::Verify { file }), _) => verify::run(&file),
        (None, Some(convert)) => {
            check(&arguments.report)?;
            let choices = convert::run(&convert, &arguments.measured)?;
            let models = [(&convert.input, convert.beside()), (&convert.output, Beside::default())];
            match arguments.report.is_wanted() {
                true => diff::run(models, &arguments.report, choices),
                false => Ok(()),
            }
        }
        (None, None) => Ok(()),
    }
}

/// Refuses what could only fail later. Where arguments contradict each other, the program ends as
/// clap ends it.
fn check(arguments: &ReportArguments) -> anyhow::Result<()> {
    if let Some(problem) = arguments.contradiction() {
        Arguments::command().error(ErrorKind::ArgumentConflict, problem).exit();
    }
    report::check(arguments)
}
