//! The events that were published to a run: which of them it knows, and which no step has waited for yet.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use greenroom_protocol::limits::{PENDING_EVENTS_MAX, RUN_EVENTS_MAX};
use greenroom_protocol::request::PublishedEvent;
use greenroom_protocol::{Cause, ErrorCode, EventId, EventName};

/// The events of a run.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct ReceivedEvents {
    ids: BTreeSet<EventId>,
    /// Those that no step has consumed, in the order in which they came.
    pending: VecDeque<Arc<PublishedEvent>>,
}

impl ReceivedEvents {
    /// True if the event was received before.
    pub(super) fn has(&self, id: &EventId) -> bool {
        self.ids.contains(id)
    }

    /// Adds an event; one that was received before is not added again.
    pub(super) fn add(&mut self, id: &EventId, event: &PublishedEvent) {
        if self.ids.insert(id.clone()) {
            self.pending.push_back(Arc::new(event.clone()));
        }
    }

    /// The oldest event of this name that no step has consumed.
    pub(super) fn first(&self, name: &EventName) -> Option<&Arc<PublishedEvent>> {
        self.pending.iter().find(|event| event.name == *name)
    }

    /// Removes the oldest event of this name.
    pub(super) fn consume(&mut self, name: &EventName) {
        if let Some(index) = self.pending.iter().position(|event| event.name == *name) {
            self.pending.remove(index);
        }
    }

    /// Checks that another event may be added; `is_awaited` if a step waits for it.
    ///
    /// # Errors
    /// [`ErrorCode::RunNotActive`] if the run has received as many as it may; [`ErrorCode::Overloaded`] if too many
    /// wait for a step.
    pub(super) fn require_capacity(&self, is_awaited: bool) -> Result<(), Cause> {
        if self.ids.len() >= RUN_EVENTS_MAX {
            let message = format!("the run has received {RUN_EVENTS_MAX} events and accepts no more");
            return Err(Cause::new(ErrorCode::RunNotActive, message));
        }
        if !is_awaited && self.pending.len() >= PENDING_EVENTS_MAX {
            let message = format!("{PENDING_EVENTS_MAX} events wait for a step of the run; publish it again later");
            return Err(Cause::new(ErrorCode::Overloaded, message));
        }
        Ok(())
    }
}
