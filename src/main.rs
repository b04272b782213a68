//! The `pochade` command.
#![forbid(unsafe_code)]

fn main() {}
