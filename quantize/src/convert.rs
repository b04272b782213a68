//! A conversion: a model in, one GGUF file out.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use pochade::files::{ModelFiles, Packed, pack};
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::arguments::Convert;

pub(crate) fn run(arguments: &Convert) -> anyhow::Result<()> {
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

fn report(arguments: &Convert, packed: &Packed) {
    let (count, bytes) = (packed.tensors, HumanBytes(packed.bytes));
    eprintln!("{}: {count} tensors, {bytes}", arguments.output.display());
    if let Some(example) = packed.left_out.first() {
        let count = packed.left_out.len();
        eprintln!("left out {count} tensors that no network uses, such as {example}");
    }
}
