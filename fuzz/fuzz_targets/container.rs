//! Calls `nwc_tests::fuzzing::container`, which says what is checked.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    nwc_tests::fuzzing::container(data);
});
