//! The text in which AUTOMATIC1111's web UI notes how a picture was made, and many programs with
//! it: the prompt, `Negative prompt: ...`, and a last line of `Key: value` pairs.
//!
//! Values with a comma, a colon or a line break are written as JSON strings. The format cannot
//! hold spaces at the ends of a prompt's lines, nor a prompt line that begins with
//! `Negative prompt:`.

use std::fmt;

use super::{Resolved, Toward};

const NEGATIVE: &str = "Negative prompt:";

/// The last line must have this many pairs to be taken for one.
const LEAST_FIELDS: usize = 3;

/// Longer keys are no keys; bounds the work on hostile text.
const LONGEST_KEY: usize = 64;

/// How a picture was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Infotext {
    /// What should be seen.
    pub prompt: String,
    /// What should not be seen.
    pub negative: String,
    /// The pairs of the last line, in order.
    pub fields: Vec<(String, String)>,
}

impl Infotext {
    /// The note for a finished picture.
    pub fn of(request: &Resolved) -> Self {
        let mut infotext = Self {
            prompt: request.prompt.clone(),
            negative: request.negative.clone(),
            fields: Vec::new(),
        };
        infotext.push("Steps", &request.steps);
        infotext.push("Sampler", &request.sampler);
        infotext.push("CFG scale", &request.guidance);
        infotext.push("Seed", &request.seed);
        if let Some(Toward { prompt, seed, share }) = &request.toward {
            infotext.push("Toward", prompt);
            infotext.push("Toward seed", seed);
            infotext.push("Toward share", share);
        }
        if let Some(strength) = &request.strength {
            infotext.push("Denoising strength", strength);
        }
        infotext.push("Size", &request.size);
        if let Some(hash) = &request.model_hash {
            infotext.push("Model hash", hash);
        }
        infotext.push("Model", &request.model);
        infotext.push("Version", &format!("pochade {}", env!("CARGO_PKG_VERSION")));
        infotext
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.fields.iter().find(|(k, _)| k == key).map(|(_, value)| value.as_str())
    }

    /// Reads a note; any text is one, if only a prompt.
    pub fn parse(text: &str) -> Self {
        let mut lines: Vec<&str> = text.trim().split('\n').collect();
        let mut fields = lines.last().map(|line| parse_fields(line)).unwrap_or_default();
        if fields.len() < LEAST_FIELDS {
            fields.clear();
        } else {
            lines.pop();
        }
        let negative_at = lines.iter().position(|line| line.trim().starts_with(NEGATIVE));
        let (prompt, negative) = lines.split_at(negative_at.unwrap_or(lines.len()));
        let negative = join(negative);
        let negative = negative.strip_prefix(NEGATIVE).unwrap_or(&negative).trim_start();
        Self { prompt: join(prompt), negative: negative.to_owned(), fields }
    }

    fn push(&mut self, key: &str, value: &dyn fmt::Display) {
        self.fields.push((key.to_owned(), value.to_string()));
    }
}

impl fmt::Display for Infotext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.prompt.is_empty() {
            writeln!(f, "{}", self.prompt)?;
        }
        if !self.negative.is_empty() {
            writeln!(f, "{NEGATIVE} {}", self.negative)?;
        }
        let pair = |(key, value): &(String, String)| format!("{key}: {}", quoted(value));
        write!(f, "{}", self.fields.iter().map(pair).collect::<Vec<_>>().join(", "))
    }
}

fn join(lines: &[&str]) -> String {
    lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join("\n")
}

/// The value as it stands in the line.
fn quoted(value: &str) -> String {
    if value.contains([',', '\n', ':']) || value.starts_with('"') {
        serde_json::Value::from(value).to_string()
    } else {
        value.to_owned()
    }
}

/// The value behind what stands in the line.
fn unquoted(value: &str) -> String {
    let quoted = value.len() > 1 && value.starts_with('"') && value.ends_with('"');
    let text = quoted.then(|| serde_json::from_str(value).ok()).flatten();
    text.unwrap_or_else(|| value.to_owned())
}

/// All pairs of a line; what is none is passed over.
fn parse_fields(line: &str) -> Vec<(String, String)> {
    let mut fields = Vec::new();
    let mut rest = line;
    while let Some(first) = rest.chars().next() {
        if let Some((key, value, behind)) = parse_field(rest) {
            fields.push((key.to_owned(), unquoted(value)));
            rest = behind;
        } else {
            rest = &rest[first.len_utf8()..];
        }
    }
    fields
}

/// The pair at the start of the text: key, value as it stands, and what follows the comma.
fn parse_field(text: &str) -> Option<(&str, &str, &str)> {
    let text = text.trim_start();
    let word = |c: char| c.is_alphanumeric() || c == '_';
    let inner = |c: char| word(c) || " -/".contains(c);
    let colon = text
        .char_indices()
        .take(LONGEST_KEY)
        .find(|(at, c)| !(if *at == 0 { word(*c) } else { inner(*c) }))?;
    if colon.1 != ':' || text[..colon.0].chars().count() < 2 {
        return None;
    }
    let value = text[colon.0 + 1..].trim_start();
    let end = quoted_end(value).unwrap_or_else(|| value.find(',').unwrap_or(value.len()));
    let behind = value[end..].strip_prefix(',').unwrap_or(&value[end..]);
    Some((&text[..colon.0], &value[..end], behind))
}

/// Where the quoted value at the start of the text ends, if one stands there and a comma or the
/// end follows.
fn quoted_end(text: &str) -> Option<usize> {
    let mut escaped = false;
    let closes = |(_, c): &(usize, char)| {
        let closes = *c == '"' && !escaped;
        escaped = *c == '\\' && !escaped;
        closes
    };
    let body = text.strip_prefix('"')?;
    let (at, _) = body.char_indices().find(closes)?;
    let end = at + 2;
    let alone = end > 2 && (text.len() == end || text[end..].starts_with(','));
    alone.then_some(end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diffusion::SamplerKind;
    use crate::paint::Size;
    use proptest::prelude::*;

    fn resolved() -> Resolved {
        Resolved {
            prompt: "a red sun over blue mountains at dusk".to_owned(),
            negative: "blurry, text".to_owned(),
            seed: 965_400_086,
            toward: None,
            strength: None,
            steps: 20,
            guidance: 7.5,
            size: Size { width: 512, height: 384 },
            sampler: SamplerKind::EulerAncestral,
            model: "tiny: a, b".to_owned(),
            model_hash: Some("45dee52b".to_owned()),
        }
    }

    #[test]
    fn a_note_reads_as_others_write_it() {
        let text = Infotext::of(&resolved()).to_string().replace(env!("CARGO_PKG_VERSION"), "1");
        insta::assert_snapshot!(text);
    }

    #[test]
    fn a_picture_on_a_way_says_where_to() {
        let toward = Toward { prompt: "a blue sea, calm".to_owned(), seed: 8, share: 0.25 };
        let text = Infotext::of(&Resolved { toward: Some(toward), ..resolved() }).to_string();
        let read = Infotext::parse(&text);
        assert_eq!(read.get("Toward"), Some("a blue sea, calm"));
        assert_eq!((read.get("Toward seed"), read.get("Toward share")), (Some("8"), Some("0.25")));
    }

    #[test]
    fn a_note_of_another_program_is_understood() {
        let infotext = Infotext::parse(
            "a cat,\n sitting \nNegative prompt: dog\nbird\nSteps: 20, Sampler: DPM++ 2M Karras, \
             CFG scale: 7, Seed: 1, Size: 512x512, Model hash: 45dee52b, \
             Lora hashes: \"a: 1, b: \\\"2\\\"\", Version: v1.6.0",
        );
        assert_eq!(infotext.prompt, "a cat,\nsitting");
        assert_eq!(infotext.negative, "dog\nbird");
        assert_eq!(infotext.get("Sampler"), Some("DPM++ 2M Karras"));
        assert_eq!(infotext.get("Lora hashes"), Some("a: 1, b: \"2\""));
        assert_eq!(infotext.fields.len(), 8);
    }

    #[test]
    fn a_last_line_with_few_pairs_is_part_of_the_prompt() {
        let infotext = Infotext::parse("a clock\ntime: noon, light: low");
        assert_eq!(infotext.prompt, "a clock\ntime: noon, light: low");
        assert!(infotext.fields.is_empty());
    }

    /// Lines as the format can hold them.
    fn lines() -> impl Strategy<Value = String> {
        let line = "[a-z(][a-z0-9:,()\" é波]{0,20}[a-z)]";
        prop::collection::vec(line, 0..3).prop_map(|lines| lines.join("\n"))
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            prompt in lines(), negative in lines(), seed in any::<u64>(), steps in 1usize..1000,
            guidance in 0f32..20.0, model in "[a-z][a-zé:,\"\\\\ \n波]{0,12}[a-z]",
        ) {
            let other = Resolved { model_hash: None, ..resolved() };
            let request = Resolved { prompt, negative, seed, steps, guidance, model, ..other };
            let written = Infotext::of(&request);
            prop_assert_eq!(Infotext::parse(&written.to_string()), written);
        }

        #[test]
        fn any_text_can_be_read(text in "\\PC{0,80}", line in "[a-z:,\" \\\\]{0,80}") {
            let _ = Infotext::parse(&format!("{text}\n{line}"));
        }
    }
}
