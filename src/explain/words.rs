//! The tokens of a prompt as people read them.

use crate::files::{Component, FileError, ModelFiles};
use crate::text::Tokenizer;

/// A token of the context.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// What it stands for: its letters, or a word for a special one.
    pub text: String,
    /// Its places in the context; all the padding is one token here.
    pub places: Vec<usize>,
    /// Whether it is of the prompt.
    pub of_prompt: bool,
}

/// The tokens of `prompt`, by the model's first tokenizer, which has `positions` places: beginning,
/// words, end, padding.
pub(super) fn tokens(
    files: &ModelFiles,
    prompt: &str,
    positions: usize,
) -> Result<Vec<Token>, FileError> {
    Ok(of(&files.tokenizer(Component::TextEncoder)?, prompt, positions))
}

fn of(tokenizer: &Tokenizer, prompt: &str, positions: usize) -> Vec<Token> {
    let encoded = tokenizer.encode(prompt, positions);
    let used = encoded.tokens_used + 1;
    let special =
        |text: &str, places: Vec<usize>| Token { text: text.to_owned(), places, of_prompt: false };
    let mut tokens = vec![special("(begin)", vec![0])];
    for (place, id) in encoded.ids.iter().enumerate().take(used).skip(1) {
        let text = readable(tokenizer.token(*id));
        tokens.push(Token { text, places: vec![place], of_prompt: true });
    }
    tokens.push(special("(end)", vec![used]));
    if used + 1 < positions {
        tokens.push(special("(padding)", (used + 1..positions).collect()));
    }
    tokens
}

/// A token without the mark of a word's end; one that ends within its word gets a hyphen.
fn readable(spelled: &str) -> String {
    match spelled.strip_suffix("</w>") {
        Some(word) => word.to_owned(),
        None => format!("{spelled}-"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paint::default_model;

    #[test]
    fn every_place_of_the_context_belongs_to_one_token() {
        let files = default_model().unwrap();
        let tokens = tokens(&files, "a red sun, watercolour xylophone", 32).unwrap();
        let texts: Vec<&str> = tokens.iter().map(|token| token.text.as_str()).collect();
        assert_eq!(texts[..5], ["(begin)", "a", "red", "sun", ","]);
        assert_eq!(texts[texts.len() - 2..], ["(end)", "(padding)"]);
        let word: String =
            texts[6..texts.len() - 2].iter().map(|t| t.trim_end_matches('-')).collect();
        assert_eq!(word, "xylophone", "{texts:?}");
        let places: Vec<usize> = tokens.iter().flat_map(|token| token.places.clone()).collect();
        assert_eq!(places, (0..32).collect::<Vec<_>>());
    }

    #[test]
    fn a_prompt_that_fills_the_context_has_no_padding() {
        let files = default_model().unwrap();
        let tokens = tokens(&files, &"sun ".repeat(50), 32).unwrap();
        assert_eq!(tokens.len(), 32);
        assert_eq!(tokens[31].text, "(end)");
    }
}
