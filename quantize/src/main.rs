//! The `pochade-quantize` command.
#![forbid(unsafe_code)]

fn main() {}
