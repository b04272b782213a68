//! Bytes as names and shapes of a checkpoint whose configs are inferred.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    pochade_fuzz::bodies::checkpoint(bytes).ok();
});
