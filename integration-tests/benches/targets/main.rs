//! Measures what `docs/benchmarks.md` shows, beside its bars: `bars` runs every group, `bars GROUP…`
//! those. Each group runs in a process of its own, so that none inherits another's memory.
//!
//! One program rather than nine, because each would be linked anew with everything it measures.

#![expect(clippy::disallowed_methods, reason = "a benchmark spawns what it awaits")]

mod durable;
mod guard;
mod idle;
mod load;
mod recovery;
mod start;
mod step;
mod stream;

use anyhow::ensure;
use greenroom_integration_tests::bench::{Threshold, missing};

/// A group: its name, and what runs it with the words behind the name.
type Group = (&'static str, fn(&[&str]) -> anyhow::Result<()>);

const GROUPS: [Group; 8] = [
    ("guard", guard::main),
    ("start", start::main),
    ("step", step::main),
    ("idle", idle::main),
    ("stream", stream::main),
    ("recovery", recovery::main),
    ("crowd", load::main),
    ("durable", durable::main),
];

fn main() -> anyhow::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.split_first() {
        Some((&"only", [name, rest @ ..])) => {
            let group = GROUPS.iter().find(|(known, _)| known == name);
            ensure!(group.is_some(), "no group is named {name}");
            group.map_or(Ok(()), |(_, run)| run(rest))
        }
        Some(_) => each(words.iter().copied()),
        None => each(GROUPS.iter().map(|(name, _)| *name)),
    }
}

/// Runs these groups. One that fails is said in the table and at the end, and takes no other with it.
fn each<'a>(names: impl Iterator<Item = &'a str>) -> anyhow::Result<()> {
    let mut failed = Vec::new();
    for name in names {
        if let Err(error) = alone(&[name]) {
            missing(name, "the rest of this group", &format!("{error:#}"), "", Threshold::AtLeast(0.0))?;
            failed.push(name);
        }
    }
    ensure!(failed.is_empty(), "not everything could be measured: {}", failed.join(", "));
    Ok(())
}

/// Runs a group, or a part of one, in a process of its own.
fn alone(words: &[&str]) -> anyhow::Result<()> {
    let status = std::process::Command::new(std::env::current_exe()?).arg("only").args(words).status()?;
    ensure!(status.success(), "{} failed", words.join(" "));
    Ok(())
}
