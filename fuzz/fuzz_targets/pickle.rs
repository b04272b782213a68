//! Bytes as a pickled checkpoint.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    pochade_fuzz::pickles::pickle(bytes).ok();
});
