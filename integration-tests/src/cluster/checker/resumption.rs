//! How long the trees of a pod that is out of action remain without progress.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::cluster::history::{History, OwnedTree, RunJournal};
use crate::cluster::moment::Moment;

/// The journals of each tree, by the run.
type Trees<'h> = BTreeMap<&'h str, Vec<(&'h str, &'h RunJournal)>>;

/// From each sudden fault to the next entry of each tree of its pod. A tree without one has not ended, which is another
/// violation.
pub(super) fn latencies(history: &History) -> Vec<Duration> {
    let mut trees = Trees::new();
    for (run, journal) in &history.journals {
        trees.entry(&journal.root).or_default().push((run, journal));
    }
    let mut latencies = Vec::new();
    for fault in history.deadly_faults().filter(|fault| fault.kind.is_sudden()) {
        let next = fault.trees.iter().filter_map(|tree| next_entry(&trees, tree));
        latencies.extend(next.map(|present_at| present_at.since(fault.at)));
    }
    latencies
}

/// When the next entry of a tree was durable.
fn next_entry(trees: &Trees<'_>, tree: &OwnedTree) -> Option<Moment> {
    let journals = trees.get(tree.root.as_str())?;
    let next = journals.iter().filter_map(|(run, journal)| {
        let last = tree.seqs.get(*run).copied().unwrap_or_default();
        journal.records.iter().find(|record| record.seq > last)
    });
    next.map(|record| record.window.present_at).min()
}
