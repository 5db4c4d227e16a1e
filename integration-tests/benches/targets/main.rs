//! Measures the rows of `docs/benchmarks.md` against their targets: `targets` runs every group, `targets
//! GROUP…` only those. Each group runs in a process of its own, so that none inherits another's memory.
//!
//! The groups are one program, because separate programs would each link everything that they measure.

#![expect(clippy::disallowed_methods, reason = "a benchmark awaits every task that it spawns")]

mod artifacts;
mod caller;
mod catalogue;
mod child_process;
mod durable;
mod for_each;
mod guard;
mod http;
mod http_connection;
mod identity;
mod idle;
mod load;
mod nats;
mod peers;
mod pod_folder;
mod postgres;
mod recovery;
mod running_bridge;
mod running_pod;
mod runpod;
mod start;
mod step;
mod stream;
mod tools;
mod wire_load;

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use greenroom_integration_tests::bench::{Threshold, missing};

/// A group: its name, and the function that runs it with the arguments after the name.
type Group = (&'static str, fn(&[&str]) -> anyhow::Result<()>);

const GROUPS: [Group; 17] = [
    ("guard", guard::main),
    ("start", start::main),
    ("catalogue", catalogue::main),
    ("step", step::main),
    ("for_each", for_each::main),
    ("idle", idle::main),
    ("stream", stream::main),
    ("recovery", recovery::main),
    ("load", load::main),
    ("artifacts", artifacts::main),
    ("http", http::main),
    ("identity", identity::main),
    ("tools", tools::main),
    ("durable", durable::main),
    ("postgres", postgres::main),
    ("nats", nats::main),
    ("runpod", runpod::main),
];

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.split_first() {
        Some((&"only", [name, rest @ ..])) => {
            let group = GROUPS.iter().find(|(candidate, _)| candidate == name);
            ensure!(group.is_some(), "no group is named {name}");
            group.map_or(Ok(()), |(_, run)| run(rest))
        }
        Some(_) => run_groups(arguments.iter().copied()),
        None => run_groups(GROUPS.iter().map(|(name, _)| *name)),
    }
}

/// Runs these groups. A group that fails is reported in the table and at the end; the others still run.
fn run_groups<'a>(names: impl Iterator<Item = &'a str>) -> anyhow::Result<()> {
    let mut failed = Vec::new();
    for name in names {
        if let Err(error) = run_separately(&[name]) {
            missing(name, "the rest of this group", &format!("{error:#}"), "", Threshold::AtLeast(0.0))?;
            failed.push(name);
        }
    }
    ensure!(failed.is_empty(), "these groups failed: {}", failed.join(", "));
    Ok(())
}

/// Runs a group, or a part of one, in a process of its own.
fn run_separately(arguments: &[&str]) -> anyhow::Result<()> {
    let status = std::process::Command::new(std::env::current_exe()?).arg("only").args(arguments).status()?;
    ensure!(status.success(), "{} failed", arguments.join(" "));
    Ok(())
}

/// Names the program to measure, if it is not that beside this one.
const PROGRAM_VARIABLE: &str = "GREENROOM_BENCH_PROGRAM";

/// Path of a program: of Greenroom, the one that the variable names; else one that `scripts/bench` builds into the same
/// folder as this one.
fn program(name: &str) -> anyhow::Result<PathBuf> {
    if let Some(program) = std::env::var_os(PROGRAM_VARIABLE).filter(|_| name == "greenroom") {
        return Ok(program.into());
    }
    let own = std::env::current_exe()?;
    let folder = own.parent().and_then(Path::parent).context("no folder above the benchmark")?;
    let program = folder.join(name);
    ensure!(program.exists(), "{} is missing; scripts/bench builds it", program.display());
    Ok(program)
}
