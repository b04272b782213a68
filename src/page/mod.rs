//! Pages of HTML that need nothing beside themselves, and no script: what reports have in common.

use image::RgbImage;

use crate::paint::png::{self, PngError};
use crate::paint::preview::base64;

/// Colours of day and night, type and rules.
pub const STYLE: &str = include_str!("style.css");

/// Text that stays text in HTML, in elements and in attributes.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

/// The page up to its body, which is open, with these styles one after the other.
pub fn head(title: &str, styles: &[&str]) -> String {
    let mut out = format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"/><meta name=\"viewport\" \
         content=\"width=device-width, initial-scale=1\"/><title>{}</title><style>",
        escape(title)
    );
    styles.iter().for_each(|style| out.push_str(style));
    out.push_str("</style></head>\n<body>");
    out
}

/// A picture as the address of an image.
///
/// # Errors
/// When it has no pixels.
pub fn data(picture: &RgbImage) -> Result<String, PngError> {
    Ok(format!("data:image/png;base64,{}", base64(&png::encode(picture, "")?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_become_markup() {
        assert_eq!(escape("<i a='\"'>&\n"), "&lt;i a=&#39;&quot;&#39;&gt;&amp; ");
        assert!(head("</title>", &["b{}"]).contains("<title>&lt;/title&gt;</title><style>b{}"));
    }
}
