//! From a prompt to token numbers.

mod tokenizer;

pub use tokenizer::{Encoded, SpecialTokens, Tokenizer, TokenizerError};
