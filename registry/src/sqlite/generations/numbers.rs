//! The numbers of the current generations in the one process that writes the file.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::generation_store::Generations;

/// The numbers of the current generations.
#[derive(Debug, Default)]
pub(in crate::sqlite) struct Numbers {
    /// As the commands so far have decided, some of which may not be committed yet.
    decided: Mutex<Generations>,
    committed: watch::Sender<Generations>,
}

impl Numbers {
    /// Sets them as they are stored, before the first command.
    pub(in crate::sqlite) fn load(&self, stored: Generations) {
        *self.decided() = stored;
        self.committed.send_replace(stored);
    }

    /// As they are stored.
    pub(super) fn committed(&self) -> Generations {
        *self.committed.borrow()
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<Generations> {
        self.committed.subscribe()
    }

    /// Decides the next numbers, unless another command has changed those that the caller has checked.
    pub(super) fn decide(&self, checked: Generations, next: Generations) -> bool {
        let mut decided = self.decided();
        let is_current = *decided == checked;
        if is_current {
            *decided = next;
        }
        is_current
    }

    /// Follows the commit of a decision. If a commit fails, all its decisions are void.
    pub(super) fn on_committed(&self, next: Generations, is_durable: bool) {
        if is_durable {
            self.committed.send_replace(next);
        } else {
            *self.decided() = self.committed();
        }
    }

    fn decided(&self) -> MutexGuard<'_, Generations> {
        // It is changed in one step.
        self.decided.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
