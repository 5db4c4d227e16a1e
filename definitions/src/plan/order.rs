//! The order of steps, what depends on what, and the circle where there is one.

use std::collections::{BTreeMap, BTreeSet};

/// The names in an order in which each one stands behind all that it depends on; among those that
/// are free at the same time, in the order given.
///
/// # Errors
/// The names of one circle, each one depending on the next, and the last on the first.
pub(crate) fn order<'a>(
    names: &[&'a str],
    depends_on: &BTreeMap<&'a str, BTreeSet<&'a str>>,
) -> Result<Vec<&'a str>, Vec<&'a str>> {
    let mut done: BTreeSet<&str> = BTreeSet::new();
    let mut ordered = Vec::with_capacity(names.len());
    let mut left: Vec<&'a str> = names.to_vec();
    while !left.is_empty() {
        let free = |name: &&str| depends_on.get(*name).is_none_or(|wanted| wanted.iter().all(|one| done.contains(one)));
        let (ready, waiting): (Vec<&str>, Vec<&str>) = left.iter().copied().partition(free);
        if ready.is_empty() {
            return Err(cycle(&waiting, depends_on));
        }
        done.extend(ready.iter().copied());
        ordered.extend(ready);
        left = waiting;
    }
    Ok(ordered)
}

/// Every name that waits depends on another one that waits, so following them leads into a circle.
fn cycle<'a>(waiting: &[&'a str], depends_on: &BTreeMap<&'a str, BTreeSet<&'a str>>) -> Vec<&'a str> {
    let mut path: Vec<&str> = Vec::new();
    let mut next = waiting.first().copied();
    while let Some(name) = next {
        if let Some(start) = path.iter().position(|seen| *seen == name) {
            return path.split_off(start);
        }
        path.push(name);
        next = depends_on.get(name).and_then(|wanted| wanted.iter().find(|one| waiting.contains(one)).copied());
    }
    path
}

/// All that a name depends on, directly or through others, itself not included.
pub(crate) fn ancestors<'a>(name: &str, depends_on: &BTreeMap<&'a str, BTreeSet<&'a str>>) -> BTreeSet<&'a str> {
    let mut found: BTreeSet<&str> = BTreeSet::new();
    let mut queue: Vec<&str> = depends_on.get(name).into_iter().flatten().copied().collect();
    while let Some(next) = queue.pop() {
        if found.insert(next) {
            queue.extend(depends_on.get(next).into_iter().flatten().copied());
        }
    }
    found
}
