//! Reading a vocabulary: `vocab.json` with `merges.txt`, or `tokenizer.json`, with the special
//! tokens' configs.

use std::collections::HashMap;
use std::fmt;

use serde_json::{Map, Value};

use super::bpe::Merges;
use super::{SpecialTokens, Tokenizer};

/// More tokens than any vocabulary has.
const TOKEN_CAP: usize = 1 << 22;

/// Why a vocabulary cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenizerError {
    /// File the fault is in, as the tokenizer's folder names it.
    pub file: &'static str,
    /// What is wrong with it.
    pub problem: String,
}

impl fmt::Display for TokenizerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.file, self.problem)
    }
}

impl std::error::Error for TokenizerError {}

fn wrong<T>(file: &'static str, problem: impl Into<String>) -> Result<T, TokenizerError> {
    Err(TokenizerError { file, problem: problem.into() })
}

const VOCAB: &str = "vocab.json";
const MERGES: &str = "merges.txt";
const TOKENIZER: &str = "tokenizer.json";

/// The special tokens' names and defaults: CLIP's.
const BEGIN: (&str, &str) = ("bos_token", "<|startoftext|>");
const END: (&str, &str) = ("eos_token", "<|endoftext|>");

impl Tokenizer {
    /// Reads `vocab.json`, `merges.txt`, and the object of `tokenizer_config.json` or
    /// `special_tokens_map.json`, where there is one.
    ///
    /// # Errors
    /// When the ids are not `0..n`, a merge names an unknown token, or a special token is missing.
    pub fn from_vocab(
        vocab: &[u8],
        merges: &str,
        config: Option<&Value>,
    ) -> Result<Self, TokenizerError> {
        let vocab: HashMap<String, usize> = serde_json::from_slice(vocab)
            .map_err(|e| TokenizerError { file: VOCAB, problem: e.to_string() })?;
        let lines = merges.lines().filter(|line| !line.starts_with("#version") && !line.is_empty());
        let pairs = lines.map(|line| line.split_once(' ').ok_or(line));
        Self::build(by_id(vocab, VOCAB)?, pairs, config, (VOCAB, MERGES))
    }

    /// Reads `tokenizer.json`, the single-file form, with the same optional config.
    ///
    /// # Errors
    /// As [`Tokenizer::from_vocab`].
    pub fn from_json(json: &[u8], config: Option<&Value>) -> Result<Self, TokenizerError> {
        let root: Value = serde_json::from_slice(json)
            .map_err(|e| TokenizerError { file: TOKENIZER, problem: e.to_string() })?;
        let model = &root["model"];
        let (Some(vocab), Some(merges)) = (model["vocab"].as_object(), model["merges"].as_array())
        else {
            return wrong(TOKENIZER, "has no 'model' with 'vocab' and 'merges'");
        };
        let mut ids = HashMap::new();
        for (token, id) in vocab {
            let id = id.as_u64().and_then(|id| usize::try_from(id).ok()).unwrap_or(usize::MAX);
            ids.insert(token.clone(), id);
        }
        let pairs = merges.iter().map(|pair| match pair {
            Value::String(line) => line.split_once(' ').ok_or(line.as_str()),
            pair => pair[0].as_str().zip(pair[1].as_str()).ok_or("not a pair"),
        });
        Self::build(by_id(ids, TOKENIZER)?, pairs, config, (TOKENIZER, TOKENIZER))
    }

    /// Takes tokens by id and merges as `first second`: what a GGUF file holds.
    ///
    /// # Errors
    /// As [`Tokenizer::from_vocab`].
    pub fn from_lists(
        tokens: Vec<String>,
        merges: &[&str],
        config: Option<&Value>,
    ) -> Result<Self, TokenizerError> {
        let pairs = merges.iter().map(|line| line.split_once(' ').ok_or(*line));
        Self::build(tokens, pairs, config, ("tokens", "merges"))
    }

    /// The config that [`Tokenizer::from_lists`] needs to make this tokenizer again.
    pub fn config(&self) -> Value {
        let SpecialTokens { begin, end, pad, unknown } = self.special;
        let config = [("bos_token", begin), ("eos_token", end), ("pad_token", pad)];
        let config = config.into_iter().chain([("unk_token", unknown)]);
        Value::Object(config.map(|(key, id)| (key.to_owned(), self.token(id).into())).collect())
    }

    fn build<'a>(
        tokens: Vec<String>,
        pairs: impl Iterator<Item = Result<(&'a str, &'a str), &'a str>>,
        config: Option<&Value>,
        (vocab_file, merges_file): (&'static str, &'static str),
    ) -> Result<Self, TokenizerError> {
        let ids: HashMap<&str, u32> =
            tokens.iter().enumerate().map(|(id, token)| (token.as_str(), id as u32)).collect();
        if tokens.len() > TOKEN_CAP || ids.len() != tokens.len() {
            return wrong(vocab_file, "has a token twice, or more tokens than any vocabulary");
        }
        let id_of = |token: &str| ids.get(token).copied();
        let mut merges = Merges::new(id_of);
        for (number, pair) in pairs.enumerate() {
            let known =
                pair.ok().and_then(|(a, b)| Some((id_of(a)?, id_of(b)?, joined(a, b, id_of)?)));
            let Some((first, second, joined)) = known else {
                let problem = format!("merge {} is not two tokens whose join is one", number + 1);
                return wrong(merges_file, problem);
            };
            merges.push(first, second, joined);
        }
        let special = special(config, id_of)
            .or_else(|name| wrong(vocab_file, format!("has no special token '{name}'")))?;
        // The reference takes all four out of a text, be it an OpenCLIP padding of '!'.
        let mut marks = vec![special.begin, special.end, special.pad, special.unknown];
        marks.sort_unstable();
        marks.dedup();
        let marks = marks.into_iter().map(|id| (tokens[id as usize].clone(), id)).collect();
        Ok(Self { merges, special, marks, tokens })
    }
}

fn joined(first: &str, second: &str, id_of: impl Fn(&str) -> Option<u32>) -> Option<u32> {
    id_of(&format!("{first}{second}"))
}

/// The tokens in the order of their ids, which must be `0..n`.
fn by_id(ids: HashMap<String, usize>, file: &'static str) -> Result<Vec<String>, TokenizerError> {
    let mut tokens = vec![None; ids.len()];
    for (token, id) in ids {
        match tokens.get_mut(id) {
            Some(place @ None) => *place = Some(token),
            _ => return wrong(file, format!("the id {id} of '{token}' is repeated or too large")),
        }
    }
    Ok(tokens.into_iter().flatten().collect())
}

/// Looks the special tokens up; the error is the name of one that the vocabulary lacks.
fn special(
    config: Option<&Value>,
    id_of: impl Fn(&str) -> Option<u32>,
) -> Result<SpecialTokens, String> {
    let empty = Map::new();
    let config = config.and_then(Value::as_object).unwrap_or(&empty);
    // A token is a string, or an object that has it as its content.
    let named = |key: &str| {
        let token = config.get(key)?;
        token.as_str().or_else(|| token["content"].as_str())
    };
    let find = |name: &str| id_of(name).ok_or_else(|| name.to_owned());
    let end = find(named(END.0).unwrap_or(END.1))?;
    Ok(SpecialTokens {
        begin: find(named(BEGIN.0).unwrap_or(BEGIN.1))?,
        end,
        pad: named("pad_token").map_or(Ok(end), find)?,
        unknown: named("unk_token").and_then(&id_of).unwrap_or(end),
    })
}
