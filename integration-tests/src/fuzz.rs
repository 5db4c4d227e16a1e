//! What reads bytes that somebody else wrote, each as one function that may fail but not fall over.
//!
//! The same functions serve two drivers: the tests of this crate, which mutate the corpus on stable
//! Rust with a fixed seed, and `integration-tests/fuzz/`, which gives them to cargo-fuzz. A target
//! panics where a property does not hold; that it returns at all, in time and on a small stack, is the
//! first property.

mod mutator;
mod policy;
mod stream;
mod targets;

pub use mutator::Mutator;

/// Something that reads hostile bytes.
#[derive(Debug, Clone, Copy)]
pub struct FuzzTarget {
    /// Its name, which is that of its folder in the corpus.
    pub name: &'static str,
    /// Words that its grammar knows, so that a mutation gets past the first check.
    pub words: &'static [&'static str],
    /// Reads the bytes.
    pub run: fn(&[u8]),
}

/// Every target.
pub const TARGETS: &[FuzzTarget] = &[
    FuzzTarget { name: "definition", words: targets::YAML_WORDS, run: targets::definition },
    FuzzTarget { name: "expression", words: targets::EXPRESSION_WORDS, run: targets::expression },
    FuzzTarget { name: "condition", words: targets::CEL_WORDS, run: targets::condition },
    FuzzTarget { name: "template", words: targets::TEMPLATE_WORDS, run: targets::template },
    FuzzTarget { name: "envelope", words: targets::JSON_WORDS, run: targets::envelope },
    FuzzTarget { name: "policy", words: policy::WORDS, run: policy::policy },
    FuzzTarget { name: "stream", words: stream::WORDS, run: stream::stream },
];

/// The target of this name.
///
/// # Panics
/// If there is none: a driver was built for a target that is gone.
#[must_use]
#[expect(clippy::panic, reason = "a driver without its target can do nothing")]
pub fn target(name: &str) -> FuzzTarget {
    match TARGETS.iter().find(|target| target.name == name) {
        Some(target) => *target,
        None => panic!("no target is called `{name}`"),
    }
}
