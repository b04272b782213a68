//! Bytes as a vocabulary, merges and a prompt.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| pochade_fuzz::bodies::tokenizer(bytes));
