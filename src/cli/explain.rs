//! `pochade explain`: paints the picture and what explains it, and writes a sheet or a page.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;

use super::arguments::seed;
use super::interrupt::Interrupt;
use super::output::free_name;
use super::progress::Bar;
use super::{Console, HowArgs, Studio};
use crate::explain::{Explanation, page, sheet};
use crate::files::NewFile;
use crate::paint::infotext::Infotext;
use crate::paint::write::{WriteError, replace};
use crate::paint::{Request, file_name, png, random_seed};

/// Which picture to explain.
#[derive(Clone, Debug, Args)]
pub struct ExplainArgs {
    /// What should be seen.
    pub prompt: String,

    /// Where the explanation goes: a sheet where the name ends in .png, a page where it ends in
    /// .html. A folder gets a sheet with a name made from the prompt [default: here].
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,

    /// The number that decides the picture [default: drawn at random].
    #[arg(long, value_name = "N", value_parser = seed)]
    pub seed: Option<u64>,

    /// With what, and how.
    #[command(flatten)]
    pub how: HowArgs,

    /// Print nothing but the path.
    #[arg(short, long)]
    pub quiet: bool,
}

/// Explains a picture.
pub(super) fn explain(
    studio: &impl Studio,
    args: &ExplainArgs,
    console: &mut Console<'_>,
) -> anyhow::Result<()> {
    let interrupt = Interrupt::listen()?;
    let seed = args.seed.unwrap_or_else(random_seed);
    let path =
        target(args.output.as_deref(), &format!("{}-explained", file_name(&args.prompt, seed)))?;
    let start = Instant::now();
    let bar = Bar::new(!args.quiet && std::io::stderr().is_terminal(), None);
    let request = Request { prompt: args.prompt.clone(), seed, ..args.how.request() };
    let explained = studio.explain(&args.how, &request, &mut |index, count, progress| {
        bar.show_of((index, count), progress);
        interrupt.flow()
    });
    drop(bar);
    anyhow::ensure!(!interrupt.raised(), "stopped; nothing was written");
    let explanation = explained?;
    replace(&path, &file(&path, &explanation)?)?;
    if !args.quiet {
        for warning in &explanation.painting.warnings {
            writeln!(console.notes, "warning: {warning}")?;
        }
        if explanation.words.is_none() {
            writeln!(console.notes, "this model looks at no words, so there are no maps of them")?;
        }
        writeln!(console.notes, "seed {seed}, {:.1} s", start.elapsed().as_secs_f64())?;
    }
    writeln!(console.out, "{}", path.display())?;
    Ok(())
}

/// The explanation in the format that the file's name asks for.
fn file(path: &Path, explanation: &Explanation) -> anyhow::Result<Vec<u8>> {
    if is(path, "html") {
        return Ok(page(explanation)?.into_bytes());
    }
    let parameters = Infotext::of(&explanation.painting.request).to_string();
    Ok(png::encode(&sheet(explanation), &parameters)?)
}

fn is(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|found| found.eq_ignore_ascii_case(extension))
}

/// Where the explanation goes when `asked` was given. That it can be written to is found out here,
/// before anything is painted.
fn target(asked: Option<&Path>, name: &str) -> anyhow::Result<PathBuf> {
    let path = match asked {
        None => free_name(Path::new(""), name),
        Some(folder) if folder.is_dir() => free_name(folder, name),
        Some(path) => path.to_owned(),
    };
    anyhow::ensure!(
        is(&path, "png") || is(&path, "html"),
        "cannot write '{}': an explanation is a sheet or a page; end its name in '.png' or '.html'",
        path.display()
    );
    NewFile::create(&path).map_err(|source| WriteError { path: path.clone(), source })?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::paint::tests::WashStudio;
    use crate::cli::{Cli, run};
    use clap::{CommandFactory, Parser};

    fn refused(folder: &Path, name: &str) -> String {
        let path = folder.join(name);
        let words = ["pochade", "explain", "sun", "-o", path.to_str().unwrap()];
        let cli = Cli::try_parse_from(words).unwrap();
        let (mut out, mut notes) = (Vec::new(), Vec::new());
        let mut console = Console { out: &mut out, notes: &mut notes, pictures: None, columns: 80 };
        let error = run(&WashStudio, &cli, &mut console).unwrap_err();
        format!("{error:#}").replace(folder.to_str().unwrap(), "FOLDER")
    }

    #[test]
    fn what_cannot_be_explained_is_said_and_leaves_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let errors = ["a.gif", "a", "a.html"].map(|name| refused(folder.path(), name));
        insta::assert_snapshot!(errors.join("\n"));
        assert!(refused(folder.path(), "no/a.png").ends_with("make the folder first"));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn help_tells_every_argument_of_an_explanation() {
        let mut command = Cli::command();
        let explain = command.find_subcommand_mut("explain").unwrap();
        insta::assert_snapshot!(explain.clone().term_width(100).render_help());
    }
}
