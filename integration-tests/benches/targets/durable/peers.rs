//! Runs the programs of the peers and reads their lines.

use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context, ensure};
use greenroom_integration_tests::closed_loop::Level;

use super::{LEVELS, level_duration, record_levels};

/// Measurements of a peer, or the reason why it did not run: a machine on which a peer cannot be
/// installed still gets the rest of the table.
pub(super) type PeerLevels = Result<Vec<Level>, String>;

/// Measures a peer and records its rows.
pub(super) fn measure(peer: &str) -> anyhow::Result<PeerLevels> {
    if std::env::var_os("GREENROOM_BENCH_COMPARISONS").is_some_and(|word| word == "off") {
        return Ok(Err("GREENROOM_BENCH_COMPARISONS is off".to_owned()));
    }
    let run = Path::new(env!("CARGO_MANIFEST_DIR")).join("comparisons/run");
    let levels = load_levels(Command::new(&run).arg(peer)).map_err(|error| format!("{peer}: {error:#}"));
    if let Ok(levels) = &levels {
        record_levels(levels)?;
    }
    Ok(levels)
}

/// Runs a load program, with the seconds and the levels after its other arguments, and reads its lines.
pub(super) fn load_levels(program: &mut Command) -> anyhow::Result<Vec<Level>> {
    let levels = LEVELS.map(|level| level.to_string());
    let output = program.arg(level_duration().as_secs().to_string()).args(levels).output()?;
    let Output { status, stdout, stderr } = output;
    ensure!(status.success(), "{}", String::from_utf8_lossy(&stderr));
    let text = String::from_utf8(stdout)?;
    let levels: Vec<Level> = text
        .lines()
        .map(|line| serde_json::from_str(line).with_context(|| line.to_owned()))
        .collect::<Result<_, _>>()?;
    ensure!(levels.len() == LEVELS.len(), "{} levels were reported", levels.len());
    Ok(levels)
}
