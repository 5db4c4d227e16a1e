//! Runs every fuzz target with its corpus and with mutations of it from a fixed seed: cargo-fuzz searches at
//! length, a test run briefly and always with the same inputs.
//!
//! `GREENROOM_FUZZ_SECONDS` makes it continue with further mutations for that many seconds per target.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use greenroom_integration_tests::fuzz::{FuzzTarget, Mutator, TARGETS};

/// Mutated inputs per target in an ordinary test run.
const ROUNDS: u64 = 2_000;
/// The seed of an ordinary test run.
const SEED: u64 = 20_241_122;
/// Bound of the time for one input, in a debug build on a busy machine.
const ONE_INPUT_MAX: Duration = Duration::from_secs(5);
/// Stack size in bytes: that of a worker thread of tokio.
const STACK_BYTES: usize = 2 * 1024 * 1024;

fn corpus(target: &FuzzTarget) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target.name);
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{} cannot be read: {error}", folder.display()))
        .map(|entry| entry.expect("an entry of the corpus can be read").path())
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{} is empty", folder.display());
    files.iter().map(|file| std::fs::read(file).expect("a file of the corpus can be read")).collect()
}

/// Runs the target. The input is written to a file first, so that it is available after an abort.
fn run_target(target: &FuzzTarget, input: &[u8], input_file: &Path) {
    std::fs::write(input_file, input).expect("the input can be written");
    let started_at = Instant::now();
    let outcome = std::panic::catch_unwind(|| (target.run)(input));
    let (name, file) = (target.name, input_file.display());
    assert!(outcome.is_ok(), "`{name}` panicked on {file}: add it to the corpus and fix the parser");
    assert!(started_at.elapsed() < ONE_INPUT_MAX, "`{name}` took {:?} on {file}", started_at.elapsed());
}

fn fuzz_target(target: FuzzTarget, ends_at: Option<Instant>) {
    let seeds = corpus(&target);
    let seeds: Vec<&[u8]> = seeds.iter().map(Vec::as_slice).collect();
    let input_file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("fuzz-{}", target.name));
    for seed in &seeds {
        run_target(&target, seed, &input_file);
    }
    let mut mutator = Mutator::from_seed(SEED);
    let mut round = 0;
    while round < ROUNDS || ends_at.is_some_and(|ends_at| Instant::now() < ends_at) {
        run_target(&target, &mutator.mutate(&seeds, target.words), &input_file);
        round += 1;
    }
    std::fs::remove_file(&input_file).expect("the input file can be removed");
}

#[test]
fn parsers_of_untrusted_bytes_neither_panic_nor_stall() {
    let seconds = std::env::var("GREENROOM_FUZZ_SECONDS").ok();
    let extra_time = seconds.map(|text| Duration::from_secs(text.parse().expect("GREENROOM_FUZZ_SECONDS is a number")));
    for target in TARGETS {
        let ends_at = extra_time.map(|extra_time| Instant::now() + extra_time);
        let thread = std::thread::Builder::new().name(target.name.to_owned()).stack_size(STACK_BYTES);
        let outcome = thread.spawn(move || fuzz_target(*target, ends_at)).expect("a thread can be started").join();
        assert!(outcome.is_ok(), "the target `{}` failed", target.name);
    }
}
