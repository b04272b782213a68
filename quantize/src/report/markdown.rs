//! The summary for the terminal, in Markdown.

use std::fmt::Write;

use super::model::{Choice, Layer, Report};
use super::text::{bytes, decibels, memory, millions, parameters, percent, seconds};

/// Layers that are told one by one.
const WORST: usize = 10;

/// The summary of a report.
pub(crate) fn summary(report: &Report) -> String {
    let mut out = String::new();
    let names = (&report.other.name, &report.original.name);
    let _ = writeln!(out, "# {} beside {}\n", cell(names.0), cell(names.1));
    size(report, &mut out);
    encodings(report, &mut out);
    quality(report, &mut out);
    layers(report, &mut out);
    boards(report, &mut out);
    choices(report, &mut out);
    out
}

/// Text that cannot end a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace(['\n', '\r'], " ")
}

fn table(out: &mut String, head: &[&str], rows: impl Iterator<Item = Vec<String>>) {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    out.push_str(&line(&head.iter().map(|h| (*h).to_owned()).collect::<Vec<_>>()));
    let rule = |i: usize| if i == 0 { "---" } else { "---:" }.to_owned();
    out.push_str(&line(&(0..head.len()).map(rule).collect::<Vec<_>>()));
    rows.for_each(|cells| out.push_str(&line(&cells)));
    out.push('\n');
}

fn size(report: &Report, out: &mut String) {
    out.push_str("## Size\n\n");
    let share = |before: u64, after: u64| percent(after as f64 / before.max(1) as f64);
    let rows = report.parts.iter().map(|part| {
        let (before, after) = (part.bytes_before, part.bytes_after);
        let numbers = parameters(part.parameters, part.parameters_left_out);
        let sizes = [numbers, bytes(before), bytes(after)];
        [vec![part.part.clone()], sizes.to_vec(), vec![share(before, after)]].concat()
    });
    let (before, after) = (&report.original, &report.other);
    let sizes = [millions(before.parameters), bytes(before.bytes), bytes(after.bytes)];
    let all = [vec!["all".to_owned()], sizes.to_vec(), vec![share(before.bytes, after.bytes)]];
    let rows = rows.chain([all.concat()]);
    table(out, &["part", "parameters", "before", "after", "of it"], rows);
}

fn encodings(report: &Report, out: &mut String) {
    let all: u64 = report.encodings.iter().map(|share| share.parameters).sum();
    let rows = report.encodings.iter().map(|share| {
        let bits = 8.0 * share.bytes as f64 / share.parameters.max(1) as f64;
        let part = percent(share.parameters as f64 / all.max(1) as f64);
        vec![share.encoding.clone(), millions(share.parameters), part, format!("{bits:.2}")]
    });
    table(out, &["encoding", "parameters", "of all", "bits each, all in"], rows);
}

fn quality(report: &Report, out: &mut String) {
    let Some(quality) = &report.quality else { return };
    let _ = writeln!(
        out,
        "## Pictures\n\nThe same seeds, {} steps each; {} of {} identical.\n",
        quality.steps, quality.identical, quality.pictures
    );
    let last = report.trajectory.last().map_or(0.0, |step| step.mean);
    let row = vec![
        decibels(quality.mean_psnr_db),
        decibels(quality.least_psnr_db),
        format!("{:.4}", quality.mean_ssim),
        percent(last),
    ];
    let head = ["PSNR, mean", "PSNR, least", "SSIM, mean", "error of the last latent"];
    table(out, &head, [row].into_iter());
    let rows = report.pictures.iter().map(|picture| {
        let similarity = [decibels(picture.psnr_db), format!("{:.4}", picture.ssim)];
        [vec![cell(&picture.prompt), picture.seed.to_string()], similarity.to_vec()].concat()
    });
    table(out, &["prompt", "seed", "PSNR", "SSIM"], rows);
}

/// The layers that differ, the noisiest first.
pub(super) fn noisiest(report: &Report) -> Vec<&Layer> {
    let mut layers: Vec<&Layer> = report.layers.iter().filter(|l| l.sqnr_db.is_some()).collect();
    layers.sort_by(|a, b| a.sqnr_db.unwrap_or(0.0).total_cmp(&b.sqnr_db.unwrap_or(0.0)));
    layers
}

fn layers(report: &Report, out: &mut String) {
    let noisiest = noisiest(report);
    let identical = report.layers.len() - noisiest.len();
    let _ = writeln!(
        out,
        "## Weights\n\n{} filters and matrices, {identical} identical; {} norms and biases, {} of \
         them different.\n",
        report.layers.len(),
        report.vectors.tensors,
        report.vectors.different
    );
    if noisiest.is_empty() {
        return;
    }
    let rows = noisiest.iter().take(WORST).map(|layer| {
        let sqnr = decibels(layer.sqnr_db);
        vec![format!("{} `{}`", layer.part, layer.layer), layer.encoding.clone(), sqnr]
    });
    table(out, &["noisiest", "encoding", "SQNR"], rows);
}

fn boards(report: &Report, out: &mut String) {
    out.push_str("## Predicted, not measured\n\n");
    let rows = report.boards.iter().map(|board| {
        let time = match board.fits {
            true => seconds(board.predicted_seconds),
            false => "does not fit".to_owned(),
        };
        let original = match board.original_fits {
            true => seconds(board.predicted_seconds_original),
            false => "does not fit".to_owned(),
        };
        let peak = memory(board.peak_bytes);
        vec![board.title.clone(), time, seconds(board.predicted_step_seconds), original, peak]
    });
    let head = ["board", "a picture", "a step", "the original's picture", "peak memory"];
    table(out, &head, rows);
}

/// Choices that are told, the most sensitive first.
const CHOICES: usize = 12;

fn choices(report: &Report, out: &mut String) {
    if report.choices.is_empty() {
        return;
    }
    out.push_str("## Choices\n\n");
    let mut choices: Vec<&Choice> = report.choices.iter().collect();
    choices.sort_by(|a, b| b.sensitivity.total_cmp(&a.sensitivity));
    let rows = choices.iter().take(CHOICES).map(|choice| {
        let name = format!("{} `{}`", choice.part, choice.layer);
        let lost = format!("{:.3e}", choice.sensitivity);
        vec![name, choice.encoding.clone(), cell(&choice.method), lost]
    });
    table(out, &["layer", "encoding", "method", "sensitivity"], rows);
    if let Some(more) = choices.len().checked_sub(CHOICES).filter(|more| *more > 0) {
        out.push_str(&format!("\n{more} less sensitive ones are in the page.\n"));
    }
    let ranges = report.static_ranges();
    out.extend(ranges.map(|sentence| format!("\n{sentence}\n")));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_are_told_where_they_are_known() {
        let mut report = Report::default();
        assert!(!summary(&report).contains("Choices"));
        report.choices.push(Choice {
            part: "unet".to_owned(),
            layer: "input_blocks.1.0.in_layers.2".to_owned(),
            encoding: "int4".to_owned(),
            method: "compensated | scaled".to_owned(),
            sensitivity: 0.000_123,
            inputs: None,
        });
        let summary = summary(&report);
        let row =
            "| unet `input_blocks.1.0.in_layers.2` | int4 | compensated \\| scaled | 1.230e-4 |";
        assert!(summary.contains(row), "{summary}");
    }
}
