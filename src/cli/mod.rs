//! The command line: what can be asked, and how answers are shown.
//!
//! Results go to the standard output, everything else to the standard error, so that both can be
//! used apart. What a command needs from the rest of the program is a [`Studio`], for which tests
//! put a stand-in.

mod arguments;
mod bench;
mod completions;
#[cfg(feature = "kiosk")]
mod daemon;
#[cfg(feature = "eval")]
mod eval;
mod explain;
mod frames;
mod inspect;
mod interrupt;
mod output;
mod paint;
mod profile;
mod progress;
mod walk;
mod walk_arguments;
mod workshop;

use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};

pub use arguments::{BenchArgs, HowArgs, InspectArgs, PaintArgs, Parts};
pub use completions::CompletionsArgs;
#[cfg(feature = "kiosk")]
pub use daemon::DaemonArgs;
#[cfg(feature = "eval")]
pub use eval::EvalArgs;
pub use explain::ExplainArgs;
pub use inspect::{BoardInspection, Inspection, PartInspection, TypeInspection};
pub use profile::ProfileView;
pub use walk_arguments::WalkArgs;
pub use workshop::Workshop;

use crate::bench::{Observer, Report, Settings};
use crate::explain::{self as explanation, Explanation};
use crate::paint::preview::Protocol;
use crate::paint::{Paint, Request, random_seed};

/// What the commands need from the rest of the program.
pub trait Studio {
    /// Paints with one model.
    type Painter: Paint;

    /// Opens a model, or the default one, to paint with that many threads.
    ///
    /// # Errors
    /// When the model cannot be read.
    fn open(&self, model: Option<&Path>, threads: Option<usize>) -> anyhow::Result<Self::Painter>;

    /// Paints a picture and what explains it, and tells how far it has come.
    ///
    /// # Errors
    /// When the model cannot be read or does not paint such a picture.
    fn explain(
        &self,
        how: &HowArgs,
        request: &Request,
        observer: &mut explanation::Observer<'_>,
    ) -> anyhow::Result<Explanation>;

    /// Looks into a model without painting.
    ///
    /// # Errors
    /// When the model cannot be read.
    fn inspect(&self, model: &Path) -> anyhow::Result<Inspection>;

    /// Measures this machine, and tells each result as it comes.
    ///
    /// # Errors
    /// When something asked for cannot be measured.
    fn bench(&self, settings: &Settings, observer: &mut Observer<'_>) -> anyhow::Result<Report>;
}

/// Paints pictures from words on small computers, offline.
#[derive(Debug, Parser)]
#[command(name = "pochade", version, arg_required_else_help = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,

    /// Say more of what happens; twice for every detail.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

impl Cli {
    /// The arguments, if they fit together.
    fn checked(self) -> Result<Self, clap::Error> {
        match &self.command {
            Command::Bench(args) => args.settings().map(drop),
            Command::Walk(args) => args.walk(0).map(drop).map_err(|error| error.to_string()),
            _ => Ok(()),
        }
        .map_err(|message| Self::command().error(ErrorKind::ValueValidation, message))?;
        Ok(self)
    }
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Paint a picture from words.
    Paint(PaintArgs),
    /// Morph from picture to picture, for screens that should never stand still.
    Walk(WalkArgs),
    /// Show why a picture looks as it does: the way from noise, what every word did, guidance.
    Explain(ExplainArgs),
    /// Judge a model of the default model's world: does it paint what captions say?
    #[cfg(feature = "eval")]
    Eval(EvalArgs),
    /// Show a model's parts, types, bytes and memory.
    Inspect(InspectArgs),
    /// Measure this machine: its peaks, and networks beside them.
    Bench(BenchArgs),
    /// Paint to a screen, for months.
    #[cfg(feature = "kiosk")]
    Daemon(DaemonArgs),
    /// Check the daemon's configuration and show what it would paint.
    #[cfg(feature = "kiosk")]
    ValidateConfig(DaemonArgs),
    /// Print what a shell needs to complete this command line.
    Completions(CompletionsArgs),
}

impl Command {
    /// Whether nobody sits in front of it, so that its log has to tell what it does.
    fn is_unattended(&self) -> bool {
        #[cfg(feature = "kiosk")]
        return matches!(self, Self::Daemon(_));
        #[cfg(not(feature = "kiosk"))]
        false
    }
}

/// Where answers go, and what the terminal there can show.
pub struct Console<'a> {
    /// Results.
    pub out: &'a mut dyn Write,
    /// Everything else that is said.
    pub notes: &'a mut dyn Write,
    /// How pictures are shown on `out`, if at all.
    pub pictures: Option<Protocol>,
    /// Characters that a picture may be wide.
    pub columns: usize,
}

impl std::fmt::Debug for Console<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Console")
            .field("pictures", &self.pictures)
            .field("columns", &self.columns)
            .finish_non_exhaustive()
    }
}

/// The whole program: reads `arguments`, runs, and says what went wrong. The status is 0, or 1
/// after an error, or 2 when the arguments make no sense.
pub fn main(studio: &impl Studio, arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments).and_then(Cli::checked) {
        Ok(cli) => cli,
        Err(error) => {
            // Help goes to the standard output; nothing can be done when that is closed.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    start_logging(&cli);
    let (mut out, mut notes) = (io::stdout(), io::stderr());
    let mut console = Console {
        pictures: Protocol::detect(out.is_terminal(), |name| std::env::var(name).ok()),
        columns: columns_for_pictures(),
        out: &mut out,
        notes: &mut notes,
    };
    match run(studio, &cli, &mut console) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{} {error:#}", error_label());
            ExitCode::FAILURE
        }
    }
}

/// Runs a command.
///
/// # Errors
/// Whatever keeps it from being done, in sentences for the user.
pub fn run(studio: &impl Studio, cli: &Cli, console: &mut Console<'_>) -> anyhow::Result<()> {
    match &cli.command {
        Command::Paint(args) => {
            let output = output::Output::new(args.output.as_deref(), args.count)?;
            let mut painter = studio.open(args.how.model.as_deref(), args.how.threads)?;
            paint::paint(&mut painter, args, &output, console)
        }
        Command::Walk(args) => {
            let walk = args.walk(args.seed.unwrap_or_else(random_seed))?;
            let interrupt = interrupt::Interrupt::listen()?;
            let target = frames::Target::new(args.output.as_deref(), &walk)?;
            let mut painter = studio.open(args.how.model.as_deref(), args.how.threads)?;
            walk::walk(&mut painter, args, (walk, target, interrupt), console)
        }
        Command::Explain(args) => explain::explain(studio, args, console),
        #[cfg(feature = "eval")]
        Command::Eval(args) => {
            let mut painter = studio.open(args.how.model.as_deref(), args.how.threads)?;
            eval::eval(&mut painter, args, console)
        }
        Command::Inspect(args) => inspect::inspect(studio, args, console),
        Command::Bench(args) => bench::bench(studio, args, console),
        #[cfg(feature = "kiosk")]
        Command::Daemon(args) => daemon::daemon(args),
        #[cfg(feature = "kiosk")]
        Command::ValidateConfig(args) => daemon::validate(args, console),
        Command::Completions(args) => completions::completions(*args, console),
    }
}

/// How wide a square picture may be to be seen whole, at two rows of pixels per line.
fn columns_for_pictures() -> usize {
    terminal_size::terminal_size().map_or(80, |(width, height)| {
        usize::from(width.0).min(2 * usize::from(height.0.saturating_sub(4)).max(8))
    })
}

fn start_logging(cli: &Cli) {
    let level = match cli.verbose + u8::from(cli.command.is_unattended()) {
        0 => log::LevelFilter::Warn,
        1 => log::LevelFilter::Info,
        2 => log::LevelFilter::Debug,
        _ => log::LevelFilter::Trace,
    };
    let mut logger = env_logger::Builder::new();
    logger.filter_level(level).parse_env("POCHADE_LOG");
    if std::env::var_os("JOURNAL_STREAM").is_some() {
        logger.format(|out, record| {
            let priority = journal_priority(record.level());
            writeln!(out, "<{priority}>{}", record.args())
        });
    }
    // Fails only where a test has set a logger already.
    let _ = logger.try_init();
}

/// The journal knows the time, and takes a message's priority from its first characters.
fn journal_priority(level: log::Level) -> u8 {
    match level {
        log::Level::Error => 3,
        log::Level::Warn => 4,
        log::Level::Info => 6,
        log::Level::Debug | log::Level::Trace => 7,
    }
}

fn error_label() -> &'static str {
    let colour = io::stderr().is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    if colour { "\x1b[1;31merror:\x1b[0m" } else { "error:" }
}
