//! The worker of RunPod's Python SDK and ours are played the same scripts by the RunPod of tests. The difference is a table in
//! docs/runpod.md: `scripts/runpod-comparison` plays both and writes it, and a test plays ours and compares its column.

mod requests;
mod scripts;
mod worker_kind;

use anyhow::{Context, ensure};
use futures::future::try_join_all;

pub use worker_kind::WorkerKind;

/// Where the table begins in a page, and where it ends.
const BEGIN: &str = "<!-- comparison: begin -->\n";
const END: &str = "<!-- comparison: end -->";
const HEAD: &str =
    "| what RunPod does | worker of the Python SDK 1.12.0 | `greenroom runpod worker` |\n|---|---|---|\n";

/// A row of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// What the script does.
    pub subject: String,
    /// What the worker of the SDK has done.
    pub sdk: String,
    /// What ours has done.
    pub own: String,
}

/// Plays every script to ours; returns the subject of each with what it has done.
///
/// # Errors
/// Those of a script that cannot be played.
pub async fn play_own() -> anyhow::Result<Vec<(String, String)>> {
    let playing = scripts::SCRIPTS.iter().map(|script| async move {
        let outcome = (script.play)(&WorkerKind::Own).await.with_context(|| script.subject.to_owned())?;
        anyhow::Ok((script.subject.to_owned(), outcome))
    });
    try_join_all(playing).await
}

/// Plays every script to both, one after the other.
///
/// # Errors
/// As [`play_own`]; if the requests of both for jobs without faults differ.
pub async fn play_both(sdk: &WorkerKind) -> anyhow::Result<Vec<Row>> {
    let jobs = requests::compare(sdk).await?;
    let subject = format!("{jobs} jobs with values, failures and streams, without faults");
    let same = "the same requests: addresses, headers and bodies";
    let mut rows = vec![Row { subject, sdk: same.to_owned(), own: same.to_owned() }];
    for script in &scripts::SCRIPTS {
        let play = async |kind: &WorkerKind| (script.play)(kind).await.with_context(|| script.subject.to_owned());
        let (theirs, ours) = (play(sdk).await?, play(&WorkerKind::Own).await?);
        rows.push(Row { subject: script.subject.to_owned(), sdk: theirs, own: ours });
    }
    Ok(rows)
}

/// Reads the table of a page.
///
/// # Errors
/// If the page has no table.
pub fn read_table(page: &str) -> anyhow::Result<Vec<Row>> {
    let (_, table, _) = split(page)?;
    let rows = table.strip_prefix(HEAD).context("the table has another head")?.lines().map(|line| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [subject, sdk, own] = cells.as_slice() else { anyhow::bail!("three cells: {line}") };
        Ok(Row { subject: (*subject).to_owned(), sdk: (*sdk).to_owned(), own: (*own).to_owned() })
    });
    rows.collect()
}

/// Replaces the table of a page.
///
/// # Errors
/// If the page has no table.
pub fn write_table(page: &str, rows: &[Row]) -> anyhow::Result<String> {
    let (before, _, after) = split(page)?;
    let lines: String =
        rows.iter().map(|Row { subject, sdk, own }| format!("| {subject} | {sdk} | {own} |\n")).collect();
    ensure!(lines.lines().all(|line| line.matches('|').count() == 4), "a cell has a `|`: {lines}");
    Ok(format!("{before}{BEGIN}{HEAD}{lines}{END}{after}"))
}

fn split(page: &str) -> anyhow::Result<(&str, &str, &str)> {
    let (before, rest) = page.split_once(BEGIN).context("the page has no table of the comparison")?;
    let (table, after) = rest.split_once(END).context("the table of the comparison has no end")?;
    Ok((before, table, after))
}
