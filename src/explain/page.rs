//! An explanation as a page that needs nothing beside itself, and no script.

use std::fmt::Write;

use image::RgbImage;

use super::colours::overlay;
use super::sheet::small_maps;
use super::{Explanation, Guided, Moment, Which, Words, percent, settings_line};
use crate::page::{STYLE as BASE, data, escape, head};
use crate::paint::png::PngError;

const STYLE: &str = include_str!("style.css");

/// The whole page.
///
/// # Errors
/// When a picture has no pixels.
pub fn page(explanation: &Explanation) -> Result<String, PngError> {
    let request = &explanation.painting.request;
    let mut out = head(&request.prompt, &[BASE, STYLE]);
    let prompt = escape(&request.prompt);
    let settings = escape(&settings_line(request));
    let _ = write!(
        out,
        "<header class=\"made\">{}<div><h1>{prompt}</h1><p class=\"soft\">{settings}</p>",
        image(&explanation.painting.image, &request.prompt)?
    );
    if !request.negative.is_empty() {
        let _ = write!(out, "<p class=\"soft\">not: {}</p>", escape(&request.negative));
    }
    out.push_str("</div></header>\n<main>");
    way(&explanation.moments, &mut out)?;
    if let Some(found) = &explanation.words {
        words(found, &explanation.painting.image, &mut out)?;
    }
    guidance(&explanation.guided, request.guidance, &mut out)?;
    let version = env!("CARGO_PKG_VERSION");
    let _ = writeln!(out, "</main>\n<footer>By pochade {version}.</footer></body></html>");
    Ok(out)
}

fn image(picture: &RgbImage, what: &str) -> Result<String, PngError> {
    let (width, height) = picture.dimensions();
    let (what, data) = (escape(what), data(picture)?);
    Ok(format!("<img width=\"{width}\" height=\"{height}\" alt=\"{what}\" src=\"{data}\"/>"))
}

fn way(moments: &[Moment], out: &mut String) -> Result<(), PngError> {
    out.push_str(
        "<section><h2>From noise to picture</h2><p class=\"note\">Above what the network was given \
         at a step, below what it took that for; both decoded. The next step begins a little nearer \
         to the lower one.</p><div class=\"cells\">",
    );
    for Moment { step, timestep, noisy, clean } in moments {
        let (given, taken) = (format!("step {step}, given"), format!("step {step}, taken for"));
        let _ = write!(
            out,
            "<figure><figcaption><b>step {step}</b> t = {timestep}</figcaption>{}{}</figure>",
            image(noisy, &given)?,
            image(clean, &taken)?
        );
    }
    out.push_str("</div></section>\n");
    Ok(())
}

fn words(words: &Words, picture: &RgbImage, out: &mut String) -> Result<(), PngError> {
    out.push_str(
        "<section><h2>Where every word was looked at</h2><p class=\"note\">Cross-attention of all \
         heads, layers and steps: bright where the word counted most in what was painted there, each \
         map on its own scale; beside the word its share of all attention. Small: thirds of the way, \
         then feature maps of each size.</p><div class=\"cells\">",
    );
    let small = small_maps(words);
    for token in &words.tokens {
        let Some(map) = words.map(token, Which::default()) else { continue };
        let (text, share) = (escape(&token.text), escape(&percent(map.mean())));
        let class = if token.of_prompt { "" } else { " class=\"soft\"" };
        let _ = write!(
            out,
            "<figure{class}><figcaption><b>{text}</b> {share}</figcaption>{}<div \
             class=\"small\">",
            image(&overlay(picture, &map), &token.text)?
        );
        for (name, which) in &small {
            let Some(map) = words.map(token, *which) else { continue };
            let what = format!("{}, {name}", token.text);
            let _ = write!(
                out,
                "<div>{}<small>{name}</small></div>",
                image(&overlay(picture, &map), &what)?
            );
        }
        out.push_str("</div></figure>");
    }
    out.push_str("</div></section>\n");
    Ok(())
}

fn guidance(guided: &[Guided], asked: f32, out: &mut String) -> Result<(), PngError> {
    out.push_str(
        "<section><h2>What guidance did</h2><p class=\"note\">The same noise, without words and at \
         rising scales of classifier-free guidance.</p><div class=\"cells\">",
    );
    for Guided { scale, image: picture } in guided {
        let label = scale.map_or("no words".to_owned(), |scale| format!("guidance {scale}"));
        let class = if *scale == Some(asked) { " class=\"asked\"" } else { "" };
        let _ = write!(
            out,
            "<figure{class}><figcaption><b>{label}</b></figcaption>{}</figure>",
            image(picture, &label)?
        );
    }
    out.push_str("</div></section>\n");
    Ok(())
}
