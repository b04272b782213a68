//! `diff A B`: one model beside another, by the machinery of the report.

use std::path::Path;

use anyhow::Context;
use pochade::files::Beside;

use crate::arguments::ReportArguments;
use crate::input;
use crate::progress::Watch;
use crate::report::{self, Choice};

/// Compares the second model with the first, each with what lies beside it, prints the summary,
/// writes the report where it is asked for, and holds the pictures against the bar.
pub(crate) fn run<P: AsRef<Path>>(
    models: [(P, Beside); 2],
    arguments: &ReportArguments,
    choices: Vec<Choice>,
) -> anyhow::Result<()> {
    let watch = Watch::start().context("cannot listen for signals")?;
    let [original, other] = models.map(|(path, beside)| input::open(path.as_ref(), &beside));
    let comparison = report::compare([original?, other?], arguments, choices, &watch)?;
    print!("{}", report::summary(&comparison.report));
    if let Some(folder) = &arguments.report {
        comparison.write(folder)?;
        eprintln!("wrote {}", folder.join("report.html").display());
    }
    arguments.min_psnr.map_or(Ok(()), |least| comparison.gate(least))
}
