//! Measures the time from the start of the process to the end of its first governed execution, with 700
//! definitions: the real binary, with a cold and with a warm cache of the compiled policy.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::ensure;
use greenroom_integration_tests::bench::{Latencies, Threshold, record};
use greenroom_integration_tests::definitions_dir::DefinitionsDir;

/// Measured starts with a warm cache, and with a cold one.
const WARM: usize = 15;
const COLD: usize = 5;

pub(crate) fn main(_: &[&str]) -> anyhow::Result<()> {
    let binary = super::program("greenroom")?;
    let definitions = tempfile::tempdir()?;
    let definitions_dir = DefinitionsDir::new(definitions.path())?;
    definitions_dir.write_many_agents(700)?;
    let mut cold = Vec::new();
    for _ in 0..COLD {
        let data = tempfile::tempdir()?;
        cold.push(start(&binary, definitions_dir.dir(), data.path())?);
    }
    let data = tempfile::tempdir()?;
    start(&binary, definitions_dir.dir(), data.path())?;
    let warm: Vec<_> =
        (0..WARM).map(|_| start(&binary, definitions_dir.dir(), data.path())).collect::<Result<_, _>>()?;
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

/// Measures the whole lifetime of a process that runs one agent, an upper bound of its first execution.
fn start(binary: &Path, definitions: &Path, data: &Path) -> anyhow::Result<Duration> {
    let started_at = Instant::now();
    let mut command = Command::new(binary);
    // The product rejects unknown variables with its own prefix.
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("GREENROOM_")) {
        command.env_remove(name);
    }
    let output = command
        .args(["run", "agent", "generated_000_agent", "--input", "text=hello", "-o", "json", "--definitions"])
        .arg(definitions)
        .env("GREENROOM_DATA_DIR", data)
        .output()?;
    let elapsed = started_at.elapsed();
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(elapsed)
}
