//! Where the attempts of a decision begin in the journal, for the numbers of their deltas.

use std::collections::HashMap;

use greenroom_protocol::journal::{Entry, StepKey};
use greenroom_registry::journal::Seq;

/// The numbers of the entries with which the calls of a decision begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CallOrigins {
    /// The first entry of the decision, such as the resumption that repeats a call.
    first: Seq,
    starts: HashMap<StepKey, Seq>,
}

impl CallOrigins {
    /// Those of entries that follow `after`.
    pub(super) fn new(after: Seq, entries: &[Entry]) -> Self {
        let numbered = (1_u64..).zip(entries).filter_map(|(number, entry)| match entry {
            Entry::StepStarted { key, .. } => Some((key.clone(), after.plus(number))),
            _ => None,
        });
        Self { first: after.plus(1), starts: numbered.collect() }
    }

    /// The entry with which the call of a step begins.
    pub(super) fn of_call(&self, key: &StepKey) -> Seq {
        self.starts.get(key).copied().unwrap_or(self.first)
    }
}

#[cfg(test)]
mod tests {
    use greenroom_protocol::{Deadline, StepId, Timestamp};

    use super::*;

    #[test]
    fn a_call_begins_with_its_start_or_with_the_resumption_that_repeats_it() {
        let key = |step: &str| StepKey { step: StepId::new(step).unwrap(), index: None };
        let started = Entry::StepStarted { key: key("b"), attempt: 1, agent: None };
        let deadline = Deadline(Timestamp::default());
        let resumed = Entry::RunResumed { definitions_changed: false, deadline, restarts: vec![key("a")] };
        let origins = CallOrigins::new(Seq(7), &[resumed, started]);
        assert_eq!((origins.of_call(&key("a")), origins.of_call(&key("b"))), (Seq(8), Seq(9)));
    }
}
