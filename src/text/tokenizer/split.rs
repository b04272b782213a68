//! CLIP's splitting pattern, as a scanner: `<|startoftext|>`, `<|endoftext|>`, `'s 't 're 've 'm
//! 'll 'd`, `\p{L}+`, `\p{N}`, `[^\s\p{L}\p{N}]+`.
//!
//! The two names of special tokens only get here when they were written in capitals. The reference
//! splits them once more by the rest of the pattern, so all they do is end a piece.

use std::ops::Range;

use unicode_properties::{GeneralCategoryGroup, UnicodeGeneralCategory};

const CONTRACTIONS: [&str; 7] = ["'s", "'t", "'re", "'ve", "'m", "'ll", "'d"];
const MARKS: [&str; 2] = ["<|startoftext|>", "<|endoftext|>"];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Space,
    Letter,
    Digit,
    Other,
}

/// The classes are Unicode general categories: `char::is_alphabetic` would also count vowel signs
/// and circled letters.
fn class(c: char) -> Class {
    if c.is_whitespace() {
        return Class::Space;
    }
    match c.general_category_group() {
        GeneralCategoryGroup::Letter => Class::Letter,
        GeneralCategoryGroup::Number => Class::Digit,
        _ => Class::Other,
    }
}

/// The pieces of a cleaned text, as ranges of bytes; white space belongs to none.
pub(super) fn pieces(text: &str) -> impl Iterator<Item = Range<usize>> {
    let mut at = 0;
    let mut mark_end = 0;
    std::iter::from_fn(move || {
        at += text[at..].find(|c| class(c) != Class::Space)?;
        let start = at;
        if start >= mark_end {
            let mark = MARKS.iter().find(|mark| text[start..].starts_with(**mark));
            mark_end = mark.map_or(0, |mark| start + mark.len());
        }
        let end = if start < mark_end { mark_end } else { text.len() };
        at = start + piece_len(&text[start..end]);
        Some(start..at)
    })
}

/// Bytes of the piece that `text`, which does not begin with white space, begins with.
fn piece_len(text: &str) -> usize {
    if let Some(literal) = CONTRACTIONS.iter().find(|literal| text.starts_with(**literal)) {
        return literal.len();
    }
    let Some(first) = text.chars().next() else { return 0 };
    let kind = class(first);
    if kind == Class::Digit {
        return first.len_utf8();
    }
    text.find(|c| class(c) != kind).unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str) -> Vec<&str> {
        pieces(text).map(|range| &text[range]).collect()
    }

    #[test]
    fn words_digits_and_signs_are_apart() {
        assert_eq!(split(" it's 42nd,  no?! "), ["it", "'s", "4", "2", "nd", ",", "no", "?!"]);
    }

    #[test]
    fn a_contraction_is_one_only_where_a_piece_begins() {
        assert_eq!(split("''s 'sun"), ["''", "s", "'s", "un"]);
    }

    #[test]
    fn a_special_tokens_name_ends_with_its_piece() {
        assert_eq!(split("<|endoftext|>!!"), ["<|", "endoftext", "|>", "!!"]);
        assert_eq!(split("<|begin|>!!"), ["<|", "begin", "|>!!"]);
    }

    #[test]
    fn vowel_signs_are_not_letters() {
        assert_eq!(split("कि"), ["क", "ि"]);
    }
}
