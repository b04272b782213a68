//! `pochade eval`: paints captions, has them read, and tells how well the model did.

use std::io::IsTerminal;
use std::time::Instant;

use clap::Args;
use serde::Serialize;

use super::arguments::number;
use super::interrupt::Interrupt;
use super::paint::rounded;
use super::progress::Bar;
use super::{Console, HowArgs};
use crate::eval::{Evaluation, Judge};
use crate::paint::{Paint, Resolved};

/// Which model to judge, and by how much.
#[derive(Clone, Debug, Args)]
pub struct EvalArgs {
    /// How many captions to paint, up to 1000. The distance is that of so many pictures: more give a
    /// smaller one.
    #[arg(long, value_name = "N", value_parser = captions, default_value = "200")]
    pub captions: usize,

    /// With what, and how.
    #[command(flatten)]
    pub how: HowArgs,

    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

fn captions(text: &str) -> Result<usize, &'static str> {
    number(text, "captions are a whole number from 2 to 1000", |n| (2..=1000).contains(n))
}

/// Judges a model.
pub(super) fn eval<P: Paint>(
    painter: &mut P,
    args: &EvalArgs,
    console: &mut Console<'_>,
) -> anyhow::Result<()> {
    let (judge, interrupt, start) = (Judge::new()?, Interrupt::listen()?, Instant::now());
    let bar = Bar::new(std::io::stderr().is_terminal(), None);
    let judged = judge.judge(painter, (&args.how.request(), args.captions), &mut |index, p| {
        bar.show_of((index, args.captions), p);
        interrupt.flow()
    });
    drop(bar);
    anyhow::ensure!(!interrupt.raised(), "stopped before all pictures were read");
    let (evaluation, settings) = judged?;
    let seconds = rounded(start.elapsed());
    if args.json {
        let record = Record::of(&evaluation, &settings, seconds);
        writeln!(console.out, "{}", serde_json::to_string(&record)?)?;
    } else {
        table(&evaluation, &settings, console)?;
        writeln!(console.notes, "{seconds:.0} s")?;
    }
    Ok(())
}

fn table(
    evaluation: &Evaluation,
    settings: &Resolved,
    console: &mut Console<'_>,
) -> std::io::Result<()> {
    let Resolved { model, steps, sampler, guidance, size, .. } = settings;
    let out = &mut console.out;
    writeln!(
        out,
        "{model}, {} pictures of {size}, {steps} steps of {sampler}, guidance {guidance}\n",
        evaluation.pictures
    )?;
    writeln!(out, "read as asked")?;
    for (name, right, asked) in &evaluation.attributes {
        writeln!(out, "  {name:<16}{:>6}  of {asked}", share(*right, *asked))?;
    }
    writeln!(out, "  {:<16}{:>5.1}%\n", "all", 100.0 * evaluation.accuracy())?;
    writeln!(out, "Fréchet distance to fresh renders  {:.2}", evaluation.frechet)
}

fn share(right: usize, asked: usize) -> String {
    match asked {
        0 => "-".to_owned(),
        asked => format!("{:.1}%", 100.0 * right as f64 / asked as f64),
    }
}

/// What is said to machines.
#[derive(Serialize)]
struct Record<'a> {
    model: &'a str,
    model_hash: Option<&'a str>,
    pictures: usize,
    width: usize,
    height: usize,
    steps: usize,
    guidance: f32,
    sampler: &'static str,
    attributes: Vec<AttributeRecord<'a>>,
    accuracy: f64,
    frechet_distance: f64,
    seconds: f64,
}

#[derive(Serialize)]
struct AttributeRecord<'a> {
    name: &'a str,
    right: usize,
    asked: usize,
}

impl<'a> Record<'a> {
    fn of(evaluation: &'a Evaluation, settings: &'a Resolved, seconds: f64) -> Self {
        let record = |(name, right, asked): &'a (String, usize, usize)| AttributeRecord {
            name,
            right: *right,
            asked: *asked,
        };
        Self {
            model: &settings.model,
            model_hash: settings.model_hash.as_deref(),
            pictures: evaluation.pictures,
            width: settings.size.width,
            height: settings.size.height,
            steps: settings.steps,
            guidance: settings.guidance,
            sampler: settings.sampler.name(),
            attributes: evaluation.attributes.iter().map(record).collect(),
            accuracy: evaluation.accuracy(),
            frechet_distance: evaluation.frechet,
            seconds,
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::cli::paint::tests::WashStudio;
    use crate::cli::{Cli, Console, run};
    use clap::{CommandFactory, Parser};

    #[test]
    fn figures_are_shown_as_a_table_and_as_json() {
        let eval = |more: &[&str]| {
            let words = ["pochade", "eval", "--captions", "3"];
            let cli = Cli::try_parse_from(words.iter().chain(more)).unwrap();
            let (mut out, mut notes) = (Vec::new(), Vec::new());
            let mut console =
                Console { out: &mut out, notes: &mut notes, pictures: None, columns: 80 };
            run(&WashStudio, &cli, &mut console).unwrap();
            String::from_utf8(out).unwrap()
        };
        let table = eval(&[]);
        assert!(table.contains("wash, 3 pictures of 2x2, 20 steps of DDIM, guidance 3"), "{table}");
        let json: serde_json::Value = serde_json::from_str(&eval(&["--json"])).unwrap();
        assert_eq!(json["attributes"].as_array().unwrap().len(), 5);
        assert!(
            json["attributes"][0]["asked"] == 3 && json["frechet_distance"].as_f64() > Some(0.0)
        );
    }

    #[test]
    fn help_tells_every_argument_of_an_evaluation() {
        let mut command = Cli::command();
        let eval = command.find_subcommand_mut("eval").unwrap();
        insta::assert_snapshot!(eval.clone().term_width(100).render_help());
    }
}
