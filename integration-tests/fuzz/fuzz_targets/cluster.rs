//! The cargo-fuzz driver of the target `cluster`, which is defined in `integration-tests/src/fuzz`.

#![no_main]

use greenroom_integration_tests::fuzz;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| (fuzz::target("cluster").run)(bytes));
