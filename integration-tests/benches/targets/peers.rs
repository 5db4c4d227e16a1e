//! Comparisons with peers: the levels of load, the programs of the peers, and the rows of both sides.

use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context, ensure};
use greenroom_integration_tests::bench::{Threshold, missing, record, scaled};
use greenroom_integration_tests::closed_loop::Level;

/// Runs in flight.
pub(crate) const LEVELS: [usize; 4] = [1, 8, 64, 256];
/// Seconds for which the load of each level is sustained.
const LEVEL_SECONDS: u64 = 8;

/// Measurements of a peer, or the reason why it did not run: a machine on which a peer cannot be
/// installed still gets the rest of the table.
pub(crate) type PeerLevels = Result<Vec<Level>, String>;

/// Duration of the load of each level.
pub(crate) fn level_duration() -> Duration {
    Duration::from_secs(scaled(LEVEL_SECONDS))
}

/// Measures a peer and records its rows. A peer on PostgreSQL gets the URL of a database of its own.
pub(crate) fn measure(group: &str, peer: &str, database: Option<&str>) -> anyhow::Result<PeerLevels> {
    if is_off() {
        return Ok(Err("GREENROOM_BENCH_COMPARISONS is off".to_owned()));
    }
    let mut run = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("comparisons/run"));
    run.arg(peer).envs(database.map(|url| ("DATABASE_URL", url)));
    let levels = load_levels(&mut run).map_err(|error| format!("{peer}: {error:#}"));
    if let Ok(levels) = &levels {
        record_levels(group, levels)?;
    }
    Ok(levels)
}

/// True if no peer is to be measured.
pub(crate) fn is_off() -> bool {
    std::env::var_os("GREENROOM_BENCH_COMPARISONS").is_some_and(|word| word == "off")
}

/// Runs a load program, with the seconds and the levels after its other arguments, and reads its lines.
pub(crate) fn load_levels(program: &mut Command) -> anyhow::Result<Vec<Level>> {
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

/// Records the measurements of all levels.
pub(crate) fn record_levels(group: &str, levels: &[Level]) -> anyhow::Result<()> {
    for Level { peer, in_flight, per_second, p50_ms, p99_ms } in levels {
        let name = format!("{peer}, {in_flight} in flight");
        record(group, format!("{name}: five-step workflows"), *per_second, "/s", Threshold::Informational)?;
        record(group, format!("{name}: p50"), *p50_ms, "ms", Threshold::Informational)?;
        record(group, format!("{name}: p99"), *p99_ms, "ms", Threshold::Informational)?;
    }
    Ok(())
}

/// The workflows a second with so many in flight.
pub(crate) fn rate_at(levels: &[Level], in_flight: usize) -> Option<f64> {
    levels.iter().find(|level| level.in_flight == in_flight).map(|level| level.per_second)
}

/// Records our rate divided by that of a peer.
pub(crate) fn record_ratio(
    group: &str,
    name: &str,
    (our_levels, peer_levels): (&[Level], &PeerLevels),
    rate: impl Fn(&[Level]) -> Option<f64>,
    min: f64,
) -> anyhow::Result<()> {
    let threshold = Threshold::AtLeast(min);
    match peer_levels {
        Ok(peer_levels) => match rate(our_levels).zip(rate(peer_levels)) {
            Some((our_rate, peer_rate)) => record(group, name, our_rate / peer_rate, "×", threshold),
            None => missing(group, name, "this level is missing", "×", threshold),
        },
        Err(reason) => missing(group, name, reason, "×", threshold),
    }
}
