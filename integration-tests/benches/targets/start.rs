//! From the start of the process to the end of its first governed execution, with 700 definitions:
//! the real binary, a cold and a warm cache of the compiled policy.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use greenroom_integration_tests::bench::{Latencies, Threshold, record};
use greenroom_integration_tests::definitions_dir::DefinitionsDir;

/// Starts that are measured with a warm cache, and without one.
const WARM: usize = 15;
const COLD: usize = 5;

pub(crate) fn main(_: &[&str]) -> anyhow::Result<()> {
    let binary = binary()?;
    let definitions = tempfile::tempdir()?;
    let stagehand = DefinitionsDir::new(definitions.path())?;
    stagehand.many_agents(700)?;
    let mut cold = Vec::new();
    for _ in 0..COLD {
        let data = tempfile::tempdir()?;
        cold.push(start(&binary, stagehand.dir(), data.path())?);
    }
    let data = tempfile::tempdir()?;
    start(&binary, stagehand.dir(), data.path())?;
    let warm: Vec<_> = (0..WARM).map(|_| start(&binary, stagehand.dir(), data.path())).collect::<Result<_, _>>()?;
    let (cold, warm): (Latencies, Latencies) = (cold.into_iter().collect(), warm.into_iter().collect());
    record(
        "start",
        "start to first governed execution, first ever, p50",
        cold.millis(0.5),
        "ms",
        Threshold::AtMost(600.0),
    )?;
    record("start", "start to first governed execution, warm, p50", warm.millis(0.5), "ms", Threshold::AtMost(150.0))?;
    record("start", "start to first governed execution, warm, worst", warm.millis(1.0), "ms", Threshold::Informational)
}

/// The product's binary, built beside this program.
fn binary() -> anyhow::Result<PathBuf> {
    let me = std::env::current_exe()?;
    let folder = me.parent().and_then(Path::parent).context("no folder above the benchmark")?;
    let binary = folder.join("greenroom");
    ensure!(binary.exists(), "{} is missing: cargo build --release -p greenroom-supervisor", binary.display());
    Ok(binary)
}

/// The whole life of a process that runs one agent: its end is later than its first execution's.
fn start(binary: &Path, definitions: &Path, data: &Path) -> anyhow::Result<Duration> {
    let began = Instant::now();
    let mut command = Command::new(binary);
    // The product refuses variables of its own prefix that it does not know.
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("GREENROOM_")) {
        command.env_remove(name);
    }
    let done = command
        .args(["run", "agent", "generated_000_agent", "--input", "text=hello", "-o", "json", "--definitions"])
        .arg(definitions)
        .env("GREENROOM_DATA_DIR", data)
        .output()?;
    let took = began.elapsed();
    ensure!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    Ok(took)
}
