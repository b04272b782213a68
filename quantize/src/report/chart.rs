//! Charts of a report as inline SVG, and bars of plain boxes.

use std::fmt::Write;

use super::model::{EncodingShare, Layer, StepError};
use super::text::{decibels, percent};
use pochade::page::escape;

/// Size of a chart in its own units; the page scales it.
const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 200.0;
/// Room for the labels of the axes.
const LEFT: f64 = 56.0;
const BELOW: f64 = 28.0;

/// Columns that are narrower than this stand without gaps, which would flicker.
const NARROW: f64 = 3.0;

/// A vertical axis from 0 to a round number above `most`, and its lines.
struct Axis {
    top: f64,
    step: f64,
}

impl Axis {
    /// About four lines, 1, 2 or 5 times a power of ten apart.
    fn up_to(most: f64) -> Self {
        let rough = most.max(f64::MIN_POSITIVE) / 4.0;
        let power = 10f64.powf(rough.log10().floor());
        let round = [1.0, 2.0, 5.0, 10.0].into_iter().find(|m| m * power >= rough);
        let step = round.unwrap_or(10.0) * power;
        Self { top: (most / step).ceil().max(1.0) * step, step }
    }

    fn y(&self, value: f64) -> f64 {
        HEIGHT * (1.0 - value.clamp(0.0, self.top) / self.top)
    }

    fn draw(&self, out: &mut String, label: impl Fn(f64) -> String) {
        let lines = (self.top / self.step).round() as usize;
        for value in (0..=lines).map(|i| i as f64 * self.step) {
            let y = self.y(value);
            let _ = write!(
                out,
                "<path class=\"grid\" d=\"M{LEFT} {y:.1}H{WIDTH}\"/><text x=\"{:.1}\" y=\"{:.1}\" \
                 text-anchor=\"end\">{}</text>",
                LEFT - 6.0,
                y + 4.0,
                label(value)
            );
        }
    }
}

fn svg(name: &str, content: &str) -> String {
    let height = HEIGHT + BELOW;
    format!(
        "<svg viewBox=\"0 -8 {WIDTH} {:.0}\" role=\"img\" aria-label=\"{}\">{content}</svg>",
        height + 8.0,
        escape(name)
    )
}

/// The error of every step: its mean as a line, the worst picture's as a band.
pub(super) fn trajectory(steps: &[StepError]) -> String {
    let axis = Axis::up_to(steps.iter().map(|step| step.worst).fold(0.0, f64::max));
    let mut out = String::new();
    axis.draw(
        &mut out,
        |share| if axis.step < 0.01 { percent(share) } else { whole_percent(share) },
    );
    let last = steps.len().saturating_sub(1).max(1) as f64;
    let x = |i: usize| LEFT + (WIDTH - LEFT) * i as f64 / last;
    let points = |value: fn(&StepError) -> f64| {
        let point = |(i, step)| format!("{:.1} {:.1}", x(i), axis.y(value(step)));
        steps.iter().enumerate().map(point).collect::<Vec<_>>().join("L")
    };
    let (mean, worst) = (points(|step| step.mean), points(|step| step.worst));
    let _ = write!(
        out,
        "<path class=\"band\" d=\"M{LEFT} {HEIGHT}L{worst}L{:.1} {HEIGHT}Z\"/>\
         <path class=\"way\" d=\"M{mean}\"/>",
        x(steps.len().saturating_sub(1))
    );
    let foot = HEIGHT + 20.0;
    let _ = write!(
        out,
        "<text x=\"{LEFT}\" y=\"{foot}\">first step</text><text x=\"{WIDTH}\" y=\"{foot}\" \
         text-anchor=\"end\">step {}</text>",
        steps.len()
    );
    svg("Relative error of the latent after every step", &out)
}

fn whole_percent(share: f64) -> String {
    format!("{:.0} %", 100.0 * share)
}

/// The signal-to-noise ratio of every layer in the order they work; identical ones have no column.
pub(super) fn layers(layers: &[Layer]) -> String {
    let ratios = layers.iter().filter_map(|layer| layer.sqnr_db);
    let axis = Axis::up_to(ratios.fold(0.0, f64::max));
    let mut out = String::new();
    axis.draw(&mut out, |db| format!("{db:.0} dB"));
    let width = (WIDTH - LEFT) / layers.len().max(1) as f64;
    for (i, layer) in layers.iter().enumerate() {
        let Some(db) = layer.sqnr_db else { continue };
        let (x, y) = (LEFT + i as f64 * width, axis.y(db));
        let _ = write!(
            out,
            "<rect class=\"{}\" x=\"{x:.2}\" y=\"{y:.1}\" width=\"{:.2}\" height=\"{:.1}\">\
             <title>{} {}: {}, {}</title></rect>",
            class(&layer.encoding),
            if width < NARROW { width } else { 0.8 * width },
            HEIGHT - y,
            escape(&layer.part),
            escape(&layer.layer),
            escape(&layer.encoding),
            decibels(Some(db))
        );
    }
    part_names(layers, width, &mut out);
    svg("Signal-to-noise ratio of the weights, layer by layer", &out)
}

/// Parts the parts, and names each below the middle of its layers, or from its first one on where
/// it has few.
fn part_names(layers: &[Layer], width: f64, out: &mut String) {
    const LETTER: f64 = 7.0;
    let mut x = LEFT;
    for part in layers.chunk_by(|a, b| a.part == b.part) {
        let name = part.first().map_or("", |layer| &layer.part);
        let (room, foot) = (part.len() as f64 * width, HEIGHT + 20.0);
        let _ = write!(out, "<path class=\"grid\" d=\"M{x:.1} 0V{:.1}\"/>", HEIGHT + 5.0);
        let fits = LETTER * name.len() as f64 <= room;
        let (at, anchor) = if fits { (x + room / 2.0, "middle") } else { (x, "start") };
        let _ = write!(
            out,
            "<text x=\"{at:.1}\" y=\"{foot}\" text-anchor=\"{anchor}\">{}</text>",
            escape(name)
        );
        x += room;
    }
}

/// The class that colours an encoding.
pub(super) fn class(encoding: &str) -> &'static str {
    const KNOWN: [&str; 5] = ["f32", "bf16", "f16", "int8", "int4"];
    KNOWN.into_iter().find(|name| *name == encoding).unwrap_or("other")
}

/// A bar of boxes, `(class, share of the whole bar, title)`.
pub(super) fn bar(boxes: impl Iterator<Item = (&'static str, f64, String)>) -> String {
    let mut out = String::from("<div class=\"bar\">");
    for (class, share, title) in boxes {
        let (width, title) = (100.0 * share, escape(&title));
        let _ =
            write!(out, "<i class=\"{class}\" style=\"width:{width:.2}%\" title=\"{title}\"></i>");
    }
    out.push_str("</div>");
    out
}

/// The numbers of a model by their encodings, as a bar with its key.
pub(super) fn encodings(shares: &[EncodingShare]) -> String {
    let all = shares.iter().map(|share| share.parameters).sum::<u64>().max(1) as f64;
    let part = |share: &EncodingShare| share.parameters as f64 / all;
    let title = |share: &EncodingShare| format!("{} {}", share.encoding, percent(part(share)));
    let mut out = bar(shares.iter().map(|s| (class(&s.encoding), part(s), title(s))));
    out.push_str("<ul class=\"key\">");
    for share in shares {
        let (class, title) = (class(&share.encoding), escape(&title(share)));
        let _ = write!(out, "<li><i class=\"{class}\"></i>{title}</li>");
    }
    out.push_str("</ul>");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_ends_at_a_round_number_that_nothing_exceeds() {
        for (most, top, step) in [(47.7, 60.0, 20.0), (0.034, 0.04, 0.01), (100.0, 100.0, 50.0)] {
            let axis = Axis::up_to(most);
            assert!((axis.top - top).abs() < 1e-9 && (axis.step - step).abs() < 1e-9, "{most}");
        }
        assert!(Axis::up_to(0.0).top > 0.0);
    }
}
