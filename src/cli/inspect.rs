//! `pochade inspect`: a model's parts, types, bytes and memory.

use std::io::{self, Write};

use serde::Serialize;

use super::{Console, InspectArgs, Studio};

/// What a model is made of.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Inspection {
    /// The file or folder.
    pub model: String,
    /// What the model is, in words: its family and native size.
    pub description: String,
    /// Its networks.
    pub parts: Vec<PartInspection>,
    /// The most memory that painting one picture of the native size takes, weights included, in
    /// bytes; known before anything is run.
    pub peak_memory: Option<u64>,
    /// What such a picture is predicted to take on named boards. None of them was measured.
    pub predicted: Vec<BoardInspection>,
}

/// A picture on a board that is not here.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct BoardInspection {
    /// The board's name.
    pub board: String,
    /// Predicted seconds of the picture.
    pub seconds: f64,
    /// Predicted seconds of one of its steps.
    pub step_seconds: f64,
    /// The most memory that the process takes, or the least that it would need, in bytes.
    pub peak_memory: u64,
    /// Whether the board has that.
    pub fits: bool,
}

/// One network of a model.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PartInspection {
    /// Its name: text encoder, unet, autoencoder.
    pub name: String,
    /// Its tensors, grouped by the type of their numbers.
    pub types: Vec<TypeInspection>,
    /// Memory for its activations at the native size, in bytes.
    pub activations: Option<u64>,
}

/// The tensors of one type in a network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TypeInspection {
    /// The type's name, such as `F16`.
    pub name: String,
    /// How many tensors.
    pub tensors: u64,
    /// How many numbers.
    pub parameters: u64,
    /// How many bytes they take in the file.
    pub bytes: u64,
}

impl PartInspection {
    /// How many numbers of all types.
    pub fn parameters(&self) -> u64 {
        self.types.iter().map(|t| t.parameters).sum()
    }

    /// How many bytes of all types.
    pub fn bytes(&self) -> u64 {
        self.types.iter().map(|t| t.bytes).sum()
    }
}

/// Looks into the model and prints what is there.
pub(super) fn inspect(
    studio: &impl Studio,
    args: &InspectArgs,
    console: &mut Console<'_>,
) -> anyhow::Result<()> {
    let inspection = studio.inspect(&args.model)?;
    if args.json {
        writeln!(console.out, "{}", serde_json::to_string(&inspection)?)?;
    } else {
        print_table(&inspection, console.out)?;
    }
    Ok(())
}

fn print_table(inspection: &Inspection, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{}\n{}\n", inspection.model, inspection.description)?;
    print_row(out, ["part", "parameters", "bytes", "activations", "types"])?;
    for part in &inspection.parts {
        let shown = |t: &TypeInspection| format!("{} x{} ({})", t.name, t.tensors, bytes(t.bytes));
        let types: Vec<String> = part.types.iter().map(shown).collect();
        let activations = part.activations.map_or_else(|| "-".to_owned(), bytes);
        let (parameters, size) = (millions(part.parameters()), bytes(part.bytes()));
        print_row(out, [&part.name, &parameters, &size, &activations, &types.join(", ")])?;
    }
    let all = |count: fn(&PartInspection) -> u64| inspection.parts.iter().map(count).sum();
    let (parameters, size) = (all(PartInspection::parameters), all(PartInspection::bytes));
    print_row(out, ["together", &millions(parameters), &bytes(size), "", ""])?;
    if let Some(peak) = inspection.peak_memory {
        writeln!(out, "\npeak memory while painting: {}", bytes(peak))?;
    }
    print_predictions(&inspection.predicted, out)
}

fn print_predictions(predicted: &[BoardInspection], out: &mut dyn Write) -> io::Result<()> {
    if predicted.is_empty() {
        return Ok(());
    }
    let heads = ["a picture", "a step", "memory"];
    writeln!(out, "\n{:<32} {:>10} {:>10} {:>11}", "predicted", heads[0], heads[1], heads[2])?;
    for BoardInspection { board, seconds, step_seconds, peak_memory, fits } in predicted {
        let picture = if *fits { duration(*seconds) } else { "no room".to_owned() };
        let (step, memory) = (duration(*step_seconds), bytes(*peak_memory));
        writeln!(out, "{board:<32} {picture:>10} {step:>10} {memory:>11}")?;
    }
    Ok(())
}

/// Seconds to two digits or so, since more would be a promise.
fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 0.01 => format!("{:.1} ms", s * 1e3),
        s if s < 0.1 => format!("{:.0} ms", s * 1e3),
        s if s < 10.0 => format!("{s:.1} s"),
        s if s < 120.0 => format!("{s:.0} s"),
        s => format!("{:.0} min", s / 60.0),
    }
}

fn print_row(
    out: &mut dyn Write,
    [part, parameters, size, memory, types]: [&str; 5],
) -> io::Result<()> {
    let row = format!("{part:<14} {parameters:>11} {size:>11} {memory:>12}  {types}");
    writeln!(out, "{}", row.trim_end())
}

fn millions(count: u64) -> String {
    format!("{:.2} M", count as f64 / 1e6)
}

/// Bytes in the largest unit that leaves a number above 1.
pub(super) fn bytes(count: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    let unit = UNITS.into_iter().find(|(size, _)| count >= *size);
    unit.map_or_else(
        || format!("{count} B"),
        |(size, name)| format!("{:.1} {name}", count as f64 / size as f64),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(name: &str, types: &[(&str, u64, u64)], activations: Option<u64>) -> PartInspection {
        let inspected = |(name, tensors, parameters): &(&str, u64, u64)| TypeInspection {
            name: (*name).to_owned(),
            tensors: *tensors,
            parameters: *parameters,
            bytes: 2 * parameters,
        };
        let types = types.iter().map(inspected).collect();
        PartInspection { name: name.to_owned(), types, activations }
    }

    fn board(name: &str, [seconds, step_seconds]: [f64; 2], fits: bool) -> BoardInspection {
        let board = name.to_owned();
        BoardInspection { board, seconds, step_seconds, peak_memory: 84 << 20, fits }
    }

    #[test]
    fn a_model_is_shown_as_a_table() {
        let inspection = Inspection {
            model: "models/default.gguf".to_owned(),
            description: "latent diffusion, 128x128".to_owned(),
            parts: vec![
                part("text encoder", &[("F16", 30, 470_000)], None),
                part("unet", &[("F16", 200, 9_700_000), ("F32", 90, 12_345)], Some(3 << 20)),
                part("autoencoder", &[("F16", 60, 1_200_000)], Some(900)),
            ],
            peak_memory: Some(48 << 20),
            predicted: vec![
                board("Raspberry Pi 5, 4 GB", [0.0912, 0.0036], true),
                board("Raspberry Pi 4, 2 GB", [13.04, 1.25], true),
                board("Raspberry Pi Zero 2 W, 512 MB", [1423.0, 69.0], false),
            ],
        };
        let mut out = Vec::new();
        print_table(&inspection, &mut out).unwrap();
        insta::assert_snapshot!(String::from_utf8(out).unwrap());
    }
}
