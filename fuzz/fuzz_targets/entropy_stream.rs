//! Calls `nwc_tests::fuzzing::entropy_stream`, which says what is checked.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    nwc_tests::fuzzing::entropy_stream(data);
});
