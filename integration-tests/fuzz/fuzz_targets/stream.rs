//! cargo-fuzz's driver of the target `stream`; what it does is in `integration-tests/src/fuzz`.

#![no_main]

use greenroom_integration_tests::fuzz;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| (fuzz::target("stream").run)(bytes));
