//! What the units of a batch change. A batch has at most one unit that changes a run, a tree or a key; what changes it
//! again is left to the next batch, in the order in which it was submitted.

use std::collections::HashSet;

use greenroom_protocol::RunId;

use crate::idempotency::StoredKey;
use crate::postgres::unit::QueuedUnit;
use crate::postgres::unit::run::ChangeRun;

/// A thing that units change.
#[derive(PartialEq, Eq, Hash)]
enum Subject {
    Run(RunId),
    Tree(RunId),
    Key(StoredKey),
}

/// What the units of a batch change, and what the units change that wait for the next one.
#[derive(Default)]
pub(in crate::postgres) struct Footprint {
    changed: HashSet<Subject>,
    /// Trees of which only runs are changed; several units may.
    used: HashSet<Subject>,
}

impl Footprint {
    /// Adds a unit. False if it must wait for the next batch; then what it changes is left to it.
    pub(in crate::postgres) fn admit(&mut self, unit: &QueuedUnit, root_of: impl Fn(&RunId) -> RunId) -> bool {
        let (changed, used) = subjects(unit, root_of);
        let is_free = changed.iter().all(|subject| !self.changed.contains(subject) && !self.used.contains(subject))
            && used.iter().all(|subject| !self.changed.contains(subject));
        self.changed.extend(changed);
        self.used.extend(used);
        is_free
    }
}

/// What a unit changes, and the tree that it uses.
fn subjects(unit: &QueuedUnit, root_of: impl Fn(&RunId) -> RunId) -> (Vec<Subject>, Option<Subject>) {
    let mut changed = Vec::new();
    changed.extend(unit.key.as_ref().map(|key| Subject::Key(key.key.clone())));
    changed.extend(unit.key_reply.as_ref().map(|reply| Subject::Key(reply.key.clone())));
    let used = match &unit.run {
        Some(ChangeRun::Create(create)) => {
            changed.push(Subject::Run(create.new.id().clone()));
            changed.extend(create.key.clone().map(Subject::Key));
            let root = Subject::Tree(create.new.started.root.clone());
            match create.new.caller() {
                Some((caller, _)) => {
                    changed.push(Subject::Run(caller.clone()));
                    Some(root)
                }
                None => {
                    changed.push(root);
                    None
                }
            }
        }
        Some(ChangeRun::Append { run, .. }) => {
            changed.push(Subject::Run(run.clone()));
            Some(Subject::Tree(root_of(run)))
        }
        Some(ChangeRun::Claim { root, .. } | ChangeRun::Release { root, .. }) => {
            changed.push(Subject::Tree(root.clone()));
            None
        }
        None => None,
    };
    (changed, used)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::core::Unit;
    use crate::journal::{AppendPosition, Seq};
    use crate::runs::Fence;
    use crate::suite::{NOW, new_run, run_id, started};

    fn queued(unit: Unit<'_>) -> QueuedUnit {
        QueuedUnit::encode(unit, Duration::ZERO).unwrap().0
    }

    fn append(number: u128) -> QueuedUnit {
        let (run, entries) = (run_id(number), [started("a")]);
        queued(Unit::new(NOW).append(AppendPosition { run: &run, fence: Fence(1), after: Seq(0) }, &entries))
    }

    #[test]
    fn two_units_of_one_run_are_in_two_batches_and_keep_their_order() {
        let root_of = |run: &RunId| if *run == run_id(2) { run_id(1) } else { run.clone() };
        let mut footprint = Footprint::default();
        assert!(footprint.admit(&append(1), root_of));
        assert!(footprint.admit(&append(2), root_of), "another run of the tree");
        assert!(!footprint.admit(&append(1), root_of));
        let root = run_id(1);
        assert!(!footprint.admit(&queued(Unit::new(NOW).release(&root, Fence(1))), root_of));
        assert!(footprint.admit(&append(3), root_of));
        let root = run_id(4);
        assert!(footprint.admit(&queued(Unit::new(NOW).release(&root, Fence(1))), root_of));
        assert!(!footprint.admit(&append(4), root_of), "it was submitted after the release");
    }

    #[test]
    fn two_units_of_one_key_are_in_two_batches() {
        let key = crate::runs::DedupKey::Call(greenroom_protocol::CallKey::new("k").unwrap());
        let mut footprint = Footprint::default();
        let create = |number: u128| queued(Unit::new(NOW).create(new_run(number), Some(&key), &[]));
        assert!(footprint.admit(&create(1), RunId::clone));
        assert!(!footprint.admit(&create(2), RunId::clone));
    }
}
