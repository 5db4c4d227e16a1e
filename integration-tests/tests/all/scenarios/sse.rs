//! Reads the text of a stream of server-sent events.

use anyhow::{Context, Result};
use greenroom_protocol::Json;

/// An event of a run, in the order in which its stream had it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct RunRow {
    /// What a reader sends as `Last-Event-ID` to continue after it.
    pub(super) id: String,
    pub(super) kind: String,
    /// The number of its entry in the journal.
    pub(super) seq: u64,
}

/// The events of a run in a text. What is not numbered is no event of the run, and one that has not arrived as a whole is
/// not read.
pub(super) fn rows(text: &str) -> Result<Vec<RunRow>> {
    let complete = text.rsplit_once("\n\n").map_or("", |(complete, _)| complete);
    complete.split("\n\n").filter(|block| block.lines().any(|line| line.starts_with("id: "))).map(row).collect()
}

fn row(block: &str) -> Result<RunRow> {
    let field = |name: &str| {
        let line = block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        line.map(str::to_owned).with_context(|| format!("no {name}: {block}"))
    };
    let data: Json = serde_json::from_str(&field("data")?)?;
    let seq = data["seq"].as_u64().context("an event has a number")?;
    Ok(RunRow { id: field("id")?, kind: field("event")?, seq })
}

/// What identifies the events of a run: an entry of a journal may have several, of different kinds.
pub(super) fn numbers_and_kinds(rows: &[RunRow]) -> Vec<(u64, &str)> {
    rows.iter().map(|row| (row.seq, row.kind.as_str())).collect()
}
