//! The `pochade` command.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use pochade::cli::{self, Workshop};

fn main() -> ExitCode {
    cli::main(&Workshop, std::env::args_os())
}
