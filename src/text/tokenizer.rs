//! CLIP's tokenizer: byte-pair encoding over lower-cased words (Sennrich et al. 2016; Radford et
//! al. 2021).
//!
//! A prompt passes through four steps. It is *cleaned*: composed (NFC), white space collapsed,
//! lower-cased. It is *split*: contractions, runs of letters, single digits, runs of anything else.
//! Each piece is *spelled* in the byte alphabet, which has a printable character for every byte,
//! the last one marked `</w>`. Then the pair of neighbours that was learnt first is *merged*, again
//! and again, until no learnt pair is left.
//!
//! The ids stand between a begin and an end token, padded to a fixed length; what does not fit is
//! reported.

mod bpe;
mod load;
mod split;

use std::fmt;

use unicode_normalization::UnicodeNormalization;

use bpe::Merges;
pub use load::TokenizerError;
use split::pieces;

/// A vocabulary with its merges and special tokens.
#[derive(Clone)]
pub struct Tokenizer {
    tokens: Vec<String>,
    merges: Merges,
    special: SpecialTokens,
    /// Special tokens that are recognised inside a text as they are written, with their ids.
    marks: Vec<(String, u32)>,
}

/// Ids with a meaning of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpecialTokens {
    /// Begin of text.
    pub begin: u32,
    /// End of text; CLIP pools the hidden state at its first place.
    pub end: u32,
    /// What fills the rest: the end token in CLIP, `!` in OpenCLIP.
    pub pad: u32,
    /// What stands for a byte that the vocabulary lacks.
    pub unknown: u32,
}

/// A prompt as ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// Exactly as many ids as were asked for: begin, text, end, padding.
    pub ids: Vec<u32>,
    /// How many of them stand for text.
    pub tokens_used: usize,
    /// The text, cleaned, from the first word that did not fit whole; `None` where all of it did.
    pub dropped: Option<String>,
}

impl Tokenizer {
    /// Number of tokens; every id is below it.
    pub fn vocabulary_len(&self) -> usize {
        self.tokens.len()
    }

    /// The tokens, by id.
    pub fn tokens(&self) -> &[String] {
        &self.tokens
    }

    /// The learnt pairs as `first second`, the first learnt first.
    pub fn merges(&self) -> impl Iterator<Item = String> {
        self.merges.pairs().map(|(a, b)| format!("{} {}", self.token(a), self.token(b)))
    }

    /// The ids with a meaning of their own.
    pub fn special(&self) -> SpecialTokens {
        self.special
    }

    /// The same vocabulary, padding with `id`, which is one of its tokens.
    pub fn padded_with(mut self, id: u32) -> Self {
        self.special.pad = id;
        let mark = (self.token(id).to_owned(), id);
        if !self.marks.contains(&mark) {
            self.marks.push(mark);
        }
        self
    }

    /// The spelling of `id`, empty where there is no such token.
    pub fn token(&self, id: u32) -> &str {
        usize::try_from(id).ok().and_then(|i| self.tokens.get(i)).map_or("", String::as_str)
    }

    /// The ids of `prompt`, `max_len` of them. A prompt that is too long keeps its beginning.
    pub fn encode(&self, prompt: &str, max_len: usize) -> Encoded {
        let words = self.words(prompt);
        let room = max_len.saturating_sub(2);
        let mut ids = vec![self.special.begin];
        ids.extend(words.iter().flat_map(|word| &word.ids).take(room));
        let tokens_used = ids.len() - 1;
        ids.push(self.special.end);
        ids.resize(max_len, self.special.pad);
        Encoded { ids, tokens_used, dropped: dropped(&words, room) }
    }

    /// All words of `prompt`, however many.
    fn words(&self, prompt: &str) -> Vec<Word> {
        let mut words = Vec::new();
        let mut rest = prompt;
        while let Some((at, mark, id)) = self.next_mark(rest) {
            self.plain_words(&rest[..at], &mut words);
            words.push(Word { text: mark.to_owned(), spaced: true, ids: vec![id] });
            rest = &rest[at + mark.len()..];
        }
        self.plain_words(rest, &mut words);
        words
    }

    /// The first special token that is written out in `text`.
    fn next_mark(&self, text: &str) -> Option<(usize, &str, u32)> {
        let found = self.marks.iter().filter_map(|(mark, id)| Some((text.find(mark)?, mark, id)));
        found.min_by_key(|(at, ..)| *at).map(|(at, mark, id)| (at, mark.as_str(), *id))
    }

    fn plain_words(&self, text: &str, words: &mut Vec<Word>) {
        let clean = clean(text);
        for piece in pieces(&clean) {
            let before = clean[..piece.start].chars().next_back();
            words.push(Word {
                text: clean[piece.clone()].to_owned(),
                spaced: before.is_none_or(char::is_whitespace),
                ids: self.merges.apply(clean[piece].as_bytes(), self.special.unknown),
            });
        }
    }
}

impl fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tokenizer({} tokens, {:?})", self.tokens.len(), self.special)
    }
}

/// A piece of the cleaned prompt.
struct Word {
    text: String,
    /// Whether a space stood before it.
    spaced: bool,
    ids: Vec<u32>,
}

/// Composed, lower-cased, with single spaces. Lower-casing looks at one character at a time, as the
/// reference does: a Greek sigma at the end of a word stays an inner one.
fn clean(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut in_space = false;
    for c in text.nfc() {
        if c.is_whitespace() {
            if !in_space {
                out.push(' ');
            }
        } else {
            out.extend(c.to_lowercase());
        }
        in_space = c.is_whitespace();
    }
    out
}

/// The words from the first that has an id beyond `room`.
fn dropped(words: &[Word], room: usize) -> Option<String> {
    let mut used = 0;
    let first = words.iter().position(|word| {
        used += word.ids.len();
        used > room
    })?;
    let mut text = String::new();
    for word in &words[first..] {
        if word.spaced && !text.is_empty() {
            text.push(' ');
        }
        text.push_str(&word.text);
    }
    Some(text)
}
