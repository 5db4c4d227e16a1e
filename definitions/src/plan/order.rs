//! Topological order, dependencies and cycles.

use std::collections::{BTreeMap, BTreeSet};

/// Sorts names topologically: each one after its dependencies, otherwise in the given order.
///
/// # Errors
/// The names of one cycle: each depends on the next one, and the last on the first.
pub(crate) fn order<'a>(
    names: &[&'a str],
    depends_on: &BTreeMap<&'a str, BTreeSet<&'a str>>,
) -> Result<Vec<&'a str>, Vec<&'a str>> {
    let mut done: BTreeSet<&str> = BTreeSet::new();
    let mut ordered = Vec::with_capacity(names.len());
    let mut remaining: Vec<&'a str> = names.to_vec();
    while !remaining.is_empty() {
        let is_ready = |name: &&str| {
            depends_on.get(*name).is_none_or(|dependencies| dependencies.iter().all(|one| done.contains(one)))
        };
        let (ready, blocked): (Vec<&str>, Vec<&str>) = remaining.iter().copied().partition(is_ready);
        if ready.is_empty() {
            return Err(find_cycle(&blocked, depends_on));
        }
        done.extend(ready.iter().copied());
        ordered.extend(ready);
        remaining = blocked;
    }
    Ok(ordered)
}

/// Every blocked name depends on another blocked name, so following them leads into a cycle.
fn find_cycle<'a>(blocked: &[&'a str], depends_on: &BTreeMap<&'a str, BTreeSet<&'a str>>) -> Vec<&'a str> {
    let mut path: Vec<&str> = Vec::new();
    let mut next = blocked.first().copied();
    while let Some(name) = next {
        if let Some(start) = path.iter().position(|ids| *ids == name) {
            return path.split_off(start);
        }
        path.push(name);
        next = depends_on
            .get(name)
            .and_then(|dependencies| dependencies.iter().find(|one| blocked.contains(one)).copied());
    }
    path
}

/// Returns the direct and indirect dependencies of a name, without itself.
pub(crate) fn ancestors<'a>(name: &str, depends_on: &BTreeMap<&'a str, BTreeSet<&'a str>>) -> BTreeSet<&'a str> {
    let mut ancestors: BTreeSet<&str> = BTreeSet::new();
    let mut queue: Vec<&str> = depends_on.get(name).into_iter().flatten().copied().collect();
    while let Some(next) = queue.pop() {
        if ancestors.insert(next) {
            queue.extend(depends_on.get(next).into_iter().flatten().copied());
        }
    }
    ancestors
}
