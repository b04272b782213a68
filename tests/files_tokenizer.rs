//! The tokenizer against transformers' `CLIPTokenizer` (fixtures made by `make_fixtures.py`).
#![allow(clippy::unwrap_used)] // A fixture that cannot be read is a failed test.

use std::path::PathBuf;

use pochade::text::Tokenizer;
use proptest::prelude::*;
use serde_json::{Value, json};

fn fixtures() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/files")
}

fn read(name: &str) -> String {
    std::fs::read_to_string(fixtures().join("tiny/tokenizer").join(name)).unwrap()
}

fn tokenizer() -> Tokenizer {
    let config: Value = serde_json::from_str(&read("tokenizer_config.json")).unwrap();
    Tokenizer::from_vocab(read("vocab.json").as_bytes(), &read("merges.txt"), Some(&config))
        .unwrap()
}

#[test]
fn ids_are_those_of_transformers_for_odd_strings() {
    let tokenizer = tokenizer();
    let pad = tokenizer.special().pad;
    let cases = std::fs::read(fixtures().join("tokenizer_cases.json")).unwrap();
    let cases: Vec<(String, Vec<u32>)> = serde_json::from_slice(&cases).unwrap();
    assert!(cases.len() > 400);
    let mut wrong = Vec::new();
    for (text, mut ids) in cases {
        ids.resize(77, pad);
        let found = tokenizer.encode(&text, 77).ids;
        if found != ids {
            let first = found.iter().zip(&ids).position(|(a, b)| a != b).unwrap();
            wrong.push(format!("{text:?} from {first}: {:?} not {:?}", found[first], ids[first]));
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn what_does_not_fit_is_said() {
    let tokenizer = tokenizer();
    let whole = tokenizer.encode("a red  SUN over blue mountains", 77);
    assert_eq!(whole.dropped, None);
    let cut = tokenizer.encode("a red  SUN over blue mountains", whole.tokens_used + 1);
    assert_eq!(cut.dropped.as_deref(), Some("mountains"));
    assert_eq!(cut.ids.len(), whole.tokens_used + 1);
    assert_eq!(*cut.ids.last().unwrap(), tokenizer.special().end);
    let short = tokenizer.encode("the sun's light", 4);
    assert_eq!(short.dropped.as_deref(), Some("'s light"));
}

#[test]
fn padding_is_what_the_config_says() {
    let tokenizer = tokenizer();
    assert_eq!(tokenizer.token(tokenizer.special().pad), "!");
    let own =
        Tokenizer::from_vocab(read("vocab.json").as_bytes(), &read("merges.txt"), None).unwrap();
    assert_eq!(own.special().pad, own.special().end);
    let wrapped = json!({"pad_token": {"content": "a", "special": true}});
    let wrapped =
        Tokenizer::from_vocab(read("vocab.json").as_bytes(), &read("merges.txt"), Some(&wrapped));
    assert_eq!(wrapped.unwrap().special().pad, own.encode("a", 4).ids[1] - 256);
}

#[test]
fn the_three_stored_forms_are_one_tokenizer() {
    let first = tokenizer();
    let merges: Vec<String> = first.merges().collect();
    let lines: Vec<&str> = merges.iter().map(String::as_str).collect();
    let lists =
        Tokenizer::from_lists(first.tokens().to_vec(), &lines, Some(&first.config())).unwrap();
    let vocab: Value = serde_json::from_str(&read("vocab.json")).unwrap();
    let pairs: Vec<Vec<&str>> = lines.iter().map(|line| line.split(' ').collect()).collect();
    for merges in [json!(lines), json!(pairs)] {
        let json = json!({"model": {"vocab": vocab, "merges": merges}}).to_string();
        let json = Tokenizer::from_json(json.as_bytes(), Some(&first.config())).unwrap();
        let text = "the sun's light on the mountains, 42 times!";
        assert_eq!(json.encode(text, 40), first.encode(text, 40));
        assert_eq!(lists.encode(text, 40), first.encode(text, 40));
    }
    assert_eq!(lists.special(), first.special());
}

#[test]
fn vocabularies_that_contradict_themselves_are_refused() {
    let refused = |vocab: &str, merges: &str| {
        Tokenizer::from_vocab(vocab.as_bytes(), merges, None).unwrap_err().to_string()
    };
    assert!(refused("{\"a\": 5}", "").contains("id 5 of 'a'"));
    assert!(refused("{\"a\": 0, \"b\": 0}", "").contains("id 0"));
    assert!(refused("{\"a\": -1}", "").contains("vocab.json"));
    assert!(refused("[]", "").contains("vocab.json"));
    assert!(refused("{\"a\": 0}", "").contains("<|endoftext|>"));
    assert!(refused("{\"a\": 0, \"b\": 1}", "#version: 0.2\na b\n").contains("merge 1"));
}

proptest! {
    #[test]
    fn any_text_gives_ids_of_the_vocabulary(text in any::<String>(), max_len in 0usize..90) {
        let tokenizer = tokenizer();
        let encoded = tokenizer.encode(&text, max_len);
        prop_assert_eq!(encoded.ids.len(), max_len);
        prop_assert!(encoded.ids.iter().all(|&id| (id as usize) < tokenizer.vocabulary_len()));
        prop_assert!(encoded.tokens_used <= max_len.saturating_sub(2));
        let all = tokenizer.encode(&text, 100_000);
        prop_assert_eq!(all.dropped, None);
        prop_assert_eq!(encoded.dropped.is_some(), all.tokens_used > max_len.saturating_sub(2));
    }
}

#[test]
fn a_very_long_word_is_cut_in_reasonable_time() {
    let encoded = tokenizer().encode(&"mountain".repeat(50_000), 77);
    assert_eq!(encoded.tokens_used, 75);
}
