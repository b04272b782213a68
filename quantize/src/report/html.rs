//! The page: pictures first, then what was lost, the size, the layers and the boards. It needs
//! nothing beside itself, and no script.

use std::fmt::Write;

use image::RgbImage;
use pochade::page::{STYLE as BASE, data, escape, head};

use super::chart;
use super::markdown::noisiest;
use super::model::{BoardPrediction, Layer, Picture, Quality, Report};
use super::text::{bytes, decibels, memory, millions, parameters, percent, seconds};

const STYLE: &str = include_str!("style.css");
/// Pictures that are shown at once; the others are folded away.
const SHOWN: usize = 9;
/// The board of the heading, and the smallest one.
const HEADLINE_BOARDS: [&str; 2] = ["pi5", "zero2"];

/// The whole page. `images` belong to the report's pictures.
pub(super) fn page(report: &Report, images: &[[RgbImage; 2]]) -> anyhow::Result<String> {
    let (name, original) = (escape(&report.other.name), escape(&report.original.name));
    let title = format!("{} beside {}", report.other.name, report.original.name);
    let mut out = head(&title, &[BASE, STYLE]);
    let _ = write!(out, "<header><h1>{name}</h1><p class=\"soft\">beside {original}</p>");
    figures(report, &mut out);
    out.push_str("</header>\n<main>");
    pictures(report, images, &mut out)?;
    trajectory(report, &mut out);
    size(report, &mut out);
    layers(report, &mut out);
    boards(report, &mut out);
    choices(report, &mut out);
    let _ = writeln!(out, "</main>\n<footer>{}</footer></body></html>", footer(report));
    Ok(out)
}

/// The figures that matter most.
fn figures(report: &Report, out: &mut String) {
    out.push_str("<dl class=\"figures\">");
    let mut figure = |name: &str, value: &str, note: &str| {
        let [name, value, note] = [name, value, note].map(escape);
        let _ = write!(out, "<div><dt>{name}</dt><dd>{value}<small>{note}</small></dd></div>");
    };
    let (before, after) = (&report.original, &report.other);
    let share = percent(after.bytes as f64 / before.bytes.max(1) as f64);
    figure("size", &bytes(after.bytes), &format!("{share} of {}", bytes(before.bytes)));
    if let Some(Quality { pictures, identical, mean_psnr_db, least_psnr_db, mean_ssim, .. }) =
        report.quality
    {
        let note = match (least_psnr_db, identical) {
            (None, _) => format!("all {pictures} pictures"),
            (least, 0) => format!("least {} of {pictures} pictures", decibels(least)),
            (least, same) => format!("least {}; {same} identical", decibels(least)),
        };
        figure("PSNR, mean", &decibels(mean_psnr_db), &note);
        figure("SSIM, mean", &format!("{mean_ssim:.4}"), "1 is identical");
    }
    for name in HEADLINE_BOARDS {
        let Some(board) = report.boards.iter().find(|board| board.board == name) else { continue };
        let note = format!("predicted; {} at most", memory(board.peak_bytes));
        let value =
            if board.fits { seconds(board.predicted_seconds) } else { "does not fit".into() };
        figure(board.title.split(',').next().unwrap_or(name), &value, &note);
    }
    out.push_str("</dl>");
}

fn pictures(report: &Report, images: &[[RgbImage; 2]], out: &mut String) -> anyhow::Result<()> {
    let Some(quality) = &report.quality else { return Ok(()) };
    let _ = write!(
        out,
        "<section><h2>The same seeds</h2><p class=\"note\">The original on the left. {} steps \
         each.</p><div class=\"pairs\">",
        quality.steps
    );
    for (i, (picture, images)) in report.pictures.iter().zip(images).enumerate() {
        if i == SHOWN {
            let more = report.pictures.len() - SHOWN;
            let _ =
                write!(out, "</div><details><summary>{more} more</summary><div class=\"pairs\">");
        }
        pair(picture, images, out)?;
    }
    let folded = report.pictures.len().min(images.len()) > SHOWN;
    out.push_str(if folded { "</div></details></section>\n" } else { "</div></section>\n" });
    Ok(())
}

fn pair(picture: &Picture, images: &[RgbImage; 2], out: &mut String) -> anyhow::Result<()> {
    let prompt = escape(&picture.prompt);
    out.push_str("<figure><div class=\"pair\">");
    for (image, whose) in images.iter().zip(["original", "judged"]) {
        let (width, height) = image.dimensions();
        let data = data(image)?;
        let _ = write!(
            out,
            "<img width=\"{width}\" height=\"{height}\" alt=\"{prompt}, {whose}\" src=\"{data}\"/>"
        );
    }
    let psnr = decibels(picture.psnr_db);
    let similarity = match picture.psnr_db {
        Some(_) => format!("{psnr}, SSIM {:.4}", picture.ssim),
        None => psnr,
    };
    let _ = write!(
        out,
        "</div><figcaption><b>{prompt}</b>seed {}: {similarity}</figcaption></figure>",
        picture.seed
    );
    Ok(())
}

fn trajectory(report: &Report, out: &mut String) {
    let [.., last] = &report.trajectory[..] else { return };
    if report.trajectory.iter().all(|step| step.worst == 0.0) {
        return;
    }
    let _ = writeln!(
        out,
        "<section><h2>On the way</h2><p class=\"note\">How far the latent is from the original's \
         after every step, relative to its length: {} at the end on average (line), {} at \
         worst (band).</p>{}</section>",
        percent(last.mean),
        percent(last.worst),
        chart::trajectory(&report.trajectory)
    );
}

fn size(report: &Report, out: &mut String) {
    out.push_str("<section><h2>Size</h2>");
    let all = report.original.bytes.max(report.other.bytes).max(1) as f64;
    const SHADES: [&str; 4] = ["p0", "p1", "p2", "p3"];
    for (title, model) in [("before", &report.original), ("after", &report.other)] {
        let of = |part: &super::model::Part| match title {
            "before" => part.bytes_before,
            _ => part.bytes_after,
        };
        let boxes = report.parts.iter().zip(SHADES.into_iter().cycle()).map(|(part, shade)| {
            (shade, of(part) as f64 / all, format!("{}: {}", part.part, bytes(of(part))))
        });
        let _ = write!(out, "<p class=\"note\">{title}: {}</p>", bytes(model.bytes));
        out.push_str(&chart::bar(boxes));
    }
    out.push_str("<ul class=\"key\">");
    for (part, shade) in report.parts.iter().zip(SHADES.into_iter().cycle()) {
        let _ = write!(
            out,
            "<li><i class=\"{shade}\"></i>{}: {} to {}, parameters {}</li>",
            escape(&part.part),
            bytes(part.bytes_before),
            bytes(part.bytes_after),
            parameters(part.parameters, part.parameters_left_out)
        );
    }
    out.push_str("</ul><h2>Bits</h2><p class=\"note\">What the numbers are kept in.</p>");
    out.push_str(&chart::encodings(&report.encodings));
    out.push_str("</section>\n");
}

fn layers(report: &Report, out: &mut String) {
    let noisiest = noisiest(report);
    let vectors = &report.vectors;
    let _ = write!(
        out,
        "<section><h2>Layer by layer</h2><p class=\"note\">How far the weights are above the noise \
         of rounding them, in the order the layers work. {} of {} filters and matrices are \
         identical and have no column; of {} norms and biases {} differ.</p>",
        report.layers.len() - noisiest.len(),
        report.layers.len(),
        vectors.tensors,
        vectors.different
    );
    if !noisiest.is_empty() {
        out.push_str(&chart::layers(&report.layers));
        let name = |layer: &Layer| (layer.part.clone(), layer.layer.clone());
        let rows = noisiest.iter().map(|layer| {
            (
                name(layer),
                [layer.encoding.clone(), millions(layer.parameters), decibels(layer.sqnr_db)],
            )
        });
        let _ =
            write!(out, "<details><summary>All {}, the noisiest first</summary>", noisiest.len());
        layer_table(out, ["encoding", "parameters", "SQNR"], rows);
        out.push_str("</details>");
    }
    out.push_str("</section>\n");
}

/// A table with a row per layer, `((part, layer), cells)`.
fn layer_table(
    out: &mut String,
    head: [&str; 3],
    rows: impl Iterator<Item = ((String, String), [String; 3])>,
) {
    out.push_str("<div class=\"scroll\"><table><thead><tr><th>layer</th>");
    head.iter().for_each(|name| {
        let _ = write!(out, "<th>{name}</th>");
    });
    out.push_str("</tr></thead><tbody>");
    for ((part, layer), cells) in rows {
        let _ = write!(out, "<tr><td>{} <code>{}</code></td>", escape(&part), escape(&layer));
        for cell in cells {
            let _ = write!(out, "<td>{}</td>", escape(&cell));
        }
        out.push_str("</tr>");
    }
    out.push_str("</tbody></table></div>");
}

fn boards(report: &Report, out: &mut String) {
    let Some(first) = report.boards.first() else { return };
    let _ = write!(
        out,
        "<section><h2>On boards, predicted</h2><p class=\"note\">One guided picture of {} steps, by \
         a cost model; no board was measured. The original's below.</p><div \
         class=\"scroll\"><table><thead><tr><th>board</th><th>a picture</th><th>a step</th>\
         <th>peak memory</th></tr></thead><tbody>",
        first.steps
    );
    report.boards.iter().for_each(|board| board_row(board, out));
    out.push_str("</tbody></table></div></section>\n");
}

fn board_row(board: &BoardPrediction, out: &mut String) {
    let picture =
        |fits: bool, time: f64| if fits { seconds(time) } else { "does not fit".to_owned() };
    let _ = write!(
        out,
        "<tr><td>{}{}</td><td>{}<br/><span class=\"before\">{}</span></td><td>{}</td><td>{}<br/>\
         <span class=\"before\">{}</span></td></tr>",
        escape(&board.title),
        way(&board.memory),
        picture(board.fits, board.predicted_seconds),
        picture(board.original_fits, board.predicted_seconds_original),
        seconds(board.predicted_step_seconds),
        memory(board.peak_bytes),
        memory(board.peak_bytes_original)
    );
}

/// How memory is kept to, below a board's name.
fn way(words: &str) -> String {
    match words {
        "" => String::new(),
        words => format!("<br/><span class=\"before\">{}</span>", escape(words)),
    }
}

fn choices(report: &Report, out: &mut String) {
    if report.choices.is_empty() {
        return;
    }
    let _ = write!(
        out,
        "<section><h2>Choices</h2><p class=\"note\">How every layer came to its encoding. Its \
         sensitivity is the squared error of the pictures where it was tried alone, in levels of 0 \
         to 255, and else that of its own outputs relative to their square. {}</p><details><summary>{} \
         layers</summary>",
        report.static_ranges().unwrap_or_default(),
        report.choices.len()
    );
    let rows = report.choices.iter().map(|choice| {
        let cells =
            [choice.encoding.clone(), choice.method.clone(), format!("{:.3e}", choice.sensitivity)];
        ((choice.part.clone(), choice.layer.clone()), cells)
    });
    layer_table(out, ["encoding", "method", "sensitivity"], rows);
    out.push_str("</details></section>\n");
}

fn footer(report: &Report) -> String {
    format!(
        "By {}. PSNR is over the 8-bit values of all channels, its mean over the pictures that \
         differ. SSIM is that of Wang et al. (2004) with Gaussian windows of 11 x 11, the mean of \
         the channels. The data behind this page is in report.json.",
        escape(&report.tool)
    )
}

#[cfg(test)]
mod tests {
    use super::super::model::Choice;
    use super::*;

    #[test]
    fn choices_are_shown_where_they_are_known() {
        let mut report = Report::default();
        assert!(!page(&report, &[]).unwrap().contains("Choices"));
        let [part, layer, encoding, method] =
            ["unet", "out<2>", "int4", "compensated"].map(str::to_owned);
        report.choices.push(Choice {
            part,
            layer,
            encoding,
            method,
            sensitivity: 0.5,
            inputs: None,
        });
        let page = page(&report, &[]).unwrap();
        let row = "<td>unet <code>out&lt;2&gt;</code></td><td>int4</td><td>compensated</td>\
                   <td>5.000e-1</td>";
        assert!(page.contains(row), "{page}");
    }
}
