//! Times tract or rten on an ONNX file of float inputs and prints one JSON object:
//! `peers ENGINE MODEL.onnx --folder DIR --threads N --seconds S`.
//!
//! The folder holds `input-0.f32`, `input-1.f32` ... in the order of the model's inputs, and
//! `reference.f32`: raw little-endian floats.

mod engine;
mod rten;
mod timing;
mod tract;

use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};

/// What the command line says.
struct Arguments {
    engine: String,
    model: PathBuf,
    folder: PathBuf,
    threads: usize,
    seconds: f64,
}

impl Arguments {
    fn read() -> Result<Self> {
        let words: Vec<String> = std::env::args().skip(1).collect();
        let [engine, model, flags @ ..] = words.as_slice() else {
            bail!("peers ENGINE MODEL.onnx --folder DIR --threads N --seconds S");
        };
        Ok(Self {
            engine: engine.clone(),
            model: model.into(),
            folder: flag(flags, "--folder")?.into(),
            threads: flag(flags, "--threads")?.parse().context("--threads takes a number")?,
            seconds: flag(flags, "--seconds")?.parse().context("--seconds takes a number")?,
        })
    }
}

/// The word after a flag.
fn flag<'a>(words: &'a [String], name: &str) -> Result<&'a str> {
    let place = words.iter().position(|word| word == name);
    let value = place.and_then(|place| words.get(place + 1));
    value.map(String::as_str).with_context(|| format!("{name} is missing"))
}

fn floats(path: &Path) -> Result<Vec<f32>> {
    let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
    let (numbers, _) = bytes.as_chunks::<4>();
    Ok(numbers.iter().map(|number| f32::from_le_bytes(*number)).collect())
}

/// The files `input-0.f32`, `input-1.f32` ... up to the first that is not there.
fn inputs(folder: &Path) -> Result<Vec<Vec<f32>>> {
    let files = (0..).map(|i| folder.join(format!("input-{i}.f32")));
    files.take_while(|file| file.exists()).map(|file| floats(&file)).collect()
}

fn main() -> Result<()> {
    let arguments = Arguments::read()?;
    let inputs = inputs(&arguments.folder)?;
    let watch = timing::Stopwatch::start();
    let engine = match arguments.engine.as_str() {
        "tract" => tract::load(&arguments.model, &inputs, arguments.threads)?,
        "rten" => rten::load(&arguments.model, &inputs, arguments.threads)?,
        other => bail!("{other} is neither tract nor rten"),
    };
    let (load_wall, load_cpu) = watch.read();
    let (runs, answer) = timing::measure(engine.as_ref(), arguments.seconds)?;
    let reference = floats(&arguments.folder.join("reference.f32"))?;
    let mut record = runs.figures();
    record["load_wall"] = load_wall.into();
    record["load_cpu"] = load_cpu.into();
    record["relative_rmse"] = timing::relative_rmse(&answer, &reference).into();
    println!("{record}");
    Ok(())
}
