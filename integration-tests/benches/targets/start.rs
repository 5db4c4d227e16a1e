//! Measures the time from the start of the process to the end of its first governed execution: the real binary with 700
//! definitions of a folder and with those that it embeds, with a cold and with a warm cache of the compiled policy.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::ensure;
use greenroom_integration_tests::bench::{Latencies, Threshold, record};
use greenroom_integration_tests::definitions_dir::DefinitionsDir;

/// Measured starts with a warm cache, and with a cold one.
const WARM: usize = 15;
const COLD: usize = 5;
/// An execution of a generated agent.
const GENERATED: [&str; 3] = ["generated_000_agent", "--input", "text=hello"];
/// An execution of an embedded agent that calls no model.
const EMBEDDED: [&str; 3] =
    ["data_visualization_agent", "--input", r#"financial_data={"items": [{"name": "nps", "value": 41}]}"#];

pub(crate) fn main(_: &[&str]) -> anyhow::Result<()> {
    let binary = super::program("greenroom")?;
    let definitions = tempfile::tempdir()?;
    let definitions_dir = DefinitionsDir::new(definitions.path())?;
    definitions_dir.write_many_agents(700)?;
    let mut cold = Vec::new();
    for _ in 0..COLD {
        let data = tempfile::tempdir()?;
        cold.push(start(&binary, &GENERATED, Some(definitions_dir.dir()), data.path())?);
    }
    let warm = warm_starts(&binary, &GENERATED, Some(definitions_dir.dir()))?;
    let embedded = warm_starts(&binary, &EMBEDDED, None)?;
    let cold: Latencies = cold.into_iter().collect();
    record(
        "start",
        "start to first governed execution, first ever, p50",
        cold.millis(0.5),
        "ms",
        Threshold::AtMost(600.0),
    )?;
    record("start", "start to first governed execution, warm, p50", warm.millis(0.5), "ms", Threshold::AtMost(150.0))?;
    record(
        "start",
        "start to first governed execution, warm, worst",
        warm.millis(1.0),
        "ms",
        Threshold::Informational,
    )?;
    record(
        "start",
        "start to first governed execution, embedded catalogue, warm, p50",
        embedded.millis(0.5),
        "ms",
        Threshold::AtMost(150.0),
    )
}

/// Starts with the cache that one start before them has filled.
fn warm_starts(binary: &Path, execution: &[&str], definitions: Option<&Path>) -> anyhow::Result<Latencies> {
    let data = tempfile::tempdir()?;
    start(binary, execution, definitions, data.path())?;
    (0..WARM).map(|_| start(binary, execution, definitions, data.path())).collect()
}

/// Measures the whole lifetime of a process that runs one agent, an upper bound of its first execution.
fn start(binary: &Path, execution: &[&str], definitions: Option<&Path>, data: &Path) -> anyhow::Result<Duration> {
    let started_at = Instant::now();
    let mut command = Command::new(binary);
    // The product rejects unknown variables with its own prefix.
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("GREENROOM_")) {
        command.env_remove(name);
    }
    command.args(["run", "agent"]).args(execution).args(["-o", "json"]);
    if let Some(definitions) = definitions {
        command.arg("--definitions").arg(definitions);
    }
    let output = command.env("GREENROOM_DATA_DIR", data).output()?;
    let elapsed = started_at.elapsed();
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(elapsed)
}
