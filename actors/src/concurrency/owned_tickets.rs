//! The tickets of the work that a task does. A blocking thread that the task has started holds them too: a thread
//! cannot be stopped, so its work continues after the task was dropped, and the capacity that it uses is not free
//! before it ends.

use std::sync::Arc;

use tokio::task::JoinHandle;
use tokio::task::futures::TaskLocalFuture;

tokio::task_local! {
    static TICKETS: OwnedTickets;
}

/// The tickets of a task: of its execution, its run and the request that began the call chain. They are released with
/// the last clone. Cheap to clone.
#[derive(Clone, Default)]
pub struct OwnedTickets {
    _innermost: Option<Arc<Link>>,
}

/// A ticket, and the tickets of the work that this work is a part of.
struct Link {
    _ticket: Arc<dyn Send + Sync>,
    _outer: OwnedTickets,
}

impl OwnedTickets {
    /// The tickets of the current task; none outside of any [`OwnedTickets::scope`].
    #[must_use]
    pub fn of_task() -> Self {
        TICKETS.try_with(Clone::clone).unwrap_or_default()
    }

    /// These tickets and another one.
    #[must_use]
    pub fn with(self, ticket: Arc<dyn Send + Sync>) -> Self {
        Self { _innermost: Some(Arc::new(Link { _ticket: ticket, _outer: self })) }
    }

    /// As [`OwnedTickets::with`], if there is another one.
    #[must_use]
    pub fn with_optional(self, ticket: Option<Arc<dyn Send + Sync>>) -> Self {
        match ticket {
            Some(ticket) => self.with(ticket),
            None => self,
        }
    }

    /// Holds the tickets until the work ends or is dropped; blocking threads that it starts by [`spawn_blocking`] hold
    /// them too.
    pub fn scope<F: Future>(self, work: F) -> TaskLocalFuture<Self, F> {
        TICKETS.scope(self, work)
    }
}

/// Runs `work` on a blocking thread, which holds the tickets of the current task until it ends.
pub fn spawn_blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    let tickets = OwnedTickets::of_task();
    tokio::task::spawn_blocking(move || {
        let _tickets = tickets;
        work()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_blocking_thread_holds_the_tickets_of_a_task_that_was_dropped() {
        let (outer, inner): (Arc<()>, Arc<()>) = (Arc::default(), Arc::default());
        let (release, gate) = std::sync::mpsc::channel::<()>();
        let owned = OwnedTickets::default().with(outer.clone()).with(inner.clone());
        let mut thread = None;
        owned.scope(async { thread = Some(spawn_blocking(move || gate.recv())) }).await;
        assert_eq!((Arc::strong_count(&outer), Arc::strong_count(&inner)), (2, 2), "the scope has ended");
        release.send(()).unwrap();
        thread.unwrap().await.unwrap().unwrap();
        assert_eq!((Arc::strong_count(&outer), Arc::strong_count(&inner)), (1, 1));
        assert!(OwnedTickets::of_task()._innermost.is_none());
    }
}
