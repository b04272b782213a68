//! Bytes as a GGUF file.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    pochade_fuzz::bodies::gguf(bytes).ok();
});
