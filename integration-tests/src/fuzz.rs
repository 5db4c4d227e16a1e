//! Fuzz targets: each parser of untrusted bytes as one function that may return an error but not panic.
//!
//! Two drivers use the same functions: the tests of this crate, which mutate the corpus on stable Rust
//! with a fixed seed, and `integration-tests/fuzz/`, which passes them to cargo-fuzz. A target panics
//! where a property is violated; the first property is that it returns in time and on a small stack.

mod cluster;
mod message;
mod mutator;
mod policy;
mod session;
mod stream;
mod targets;

pub use mutator::Mutator;

/// A parser of untrusted bytes.
#[derive(Debug, Clone, Copy)]
pub struct FuzzTarget {
    /// The name, which is also that of its folder in the corpus.
    pub name: &'static str,
    /// Tokens of its grammar, so that mutations pass the first checks.
    pub words: &'static [&'static str],
    /// Parses the bytes and checks the properties.
    pub run: fn(&[u8]),
}

/// All targets.
pub const TARGETS: &[FuzzTarget] = &[
    FuzzTarget { name: "definition", words: targets::YAML_WORDS, run: targets::definition },
    FuzzTarget { name: "expression", words: targets::EXPRESSION_WORDS, run: targets::expression },
    FuzzTarget { name: "condition", words: targets::CEL_WORDS, run: targets::condition },
    FuzzTarget { name: "template", words: targets::TEMPLATE_WORDS, run: targets::template },
    FuzzTarget { name: "envelope", words: targets::JSON_WORDS, run: targets::envelope },
    FuzzTarget { name: "message", words: message::WORDS, run: message::message },
    FuzzTarget { name: "cluster", words: cluster::WORDS, run: cluster::cluster },
    FuzzTarget { name: "session", words: session::WORDS, run: session::session },
    FuzzTarget { name: "policy", words: policy::WORDS, run: policy::policy },
    FuzzTarget { name: "stream", words: stream::WORDS, run: stream::stream },
];

/// Returns the target with this name.
///
/// # Panics
/// If there is none: a driver was built for a target that no longer exists.
#[must_use]
#[expect(clippy::panic, reason = "a driver without its target can do nothing")]
pub fn target(name: &str) -> FuzzTarget {
    match TARGETS.iter().find(|target| target.name == name) {
        Some(target) => *target,
        None => panic!("no target is called `{name}`"),
    }
}
