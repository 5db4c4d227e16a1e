//! Every fuzz target over its corpus, and over mutations of it with a fixed seed: what cargo-fuzz looks
//! for at length, a test run looks for briefly and always in the same places.
//!
//! `GREENROOM_FUZZ_SECONDS` makes it go on with fresh seeds for that long, a target.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use greenroom_integration_tests::fuzz::{FuzzTarget, Mutator, TARGETS};

/// Mutated inputs of a target in an ordinary test run.
const ROUNDS: u64 = 2_000;
/// The seed of an ordinary test run.
const SEED: u64 = 20_241_122;
/// How long one input may take, in a debug build on a busy machine.
const ONE_INPUT_MAX: Duration = Duration::from_secs(5);
/// Bytes of stack: those of a worker thread of tokio.
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

/// Runs the target. What it is given lies in a file first, so that it is found after an abort.
fn survives(target: &FuzzTarget, input: &[u8], kept: &Path) {
    std::fs::write(kept, input).expect("the input can be kept");
    let begun = Instant::now();
    let outcome = std::panic::catch_unwind(|| (target.run)(input));
    let (name, file) = (target.name, kept.display());
    assert!(outcome.is_ok(), "`{name}` panicked on {file}: keep it in the corpus, and mend what reads it");
    assert!(begun.elapsed() < ONE_INPUT_MAX, "`{name}` took {:?} on {file}", begun.elapsed());
}

fn attack(target: FuzzTarget, until: Option<Instant>) {
    let seeds = corpus(&target);
    let seeds: Vec<&[u8]> = seeds.iter().map(Vec::as_slice).collect();
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("fuzz-{}", target.name));
    for seed in &seeds {
        survives(&target, seed, &kept);
    }
    let mut chance = Mutator::of(SEED);
    let mut round = 0;
    while round < ROUNDS || until.is_some_and(|until| Instant::now() < until) {
        survives(&target, &chance.mutate(&seeds, target.words), &kept);
        round += 1;
    }
    std::fs::remove_file(&kept).expect("the kept input can be removed");
}

#[test]
fn what_reads_foreign_bytes_neither_falls_over_nor_stalls() {
    let seconds = std::env::var("GREENROOM_FUZZ_SECONDS").ok();
    let longer = seconds.map(|text| Duration::from_secs(text.parse().expect("GREENROOM_FUZZ_SECONDS is a number")));
    for target in TARGETS {
        let until = longer.map(|longer| Instant::now() + longer);
        let thread = std::thread::Builder::new().name(target.name.to_owned()).stack_size(STACK_BYTES);
        let ended = thread.spawn(move || attack(*target, until)).expect("a thread can be started").join();
        assert!(ended.is_ok(), "`{}` does not hold", target.name);
    }
}
