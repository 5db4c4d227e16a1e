//! What is known of a server: its connection changes it, callers read it and wait for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rmcp::{Peer, RoleClient};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::tool_list::ToolList;

/// How old a list may be.
pub(super) const LIST_AGE_MAX: Duration = Duration::from_secs(300);

/// The live connection to a server.
#[derive(Clone)]
pub(super) struct Link {
    /// Sends requests.
    pub(super) peer: Peer<RoleClient>,
    /// True once the connection was cut because of a message that was too long.
    pub(super) is_exceeded: Arc<AtomicBool>,
    /// True once the connection was cut because it does not read what is sent to it.
    pub(super) is_unread: Arc<AtomicBool>,
}

impl Link {
    /// Why the connection has ended.
    pub(super) fn end_reason(&self) -> &'static str {
        if self.is_exceeded.load(Ordering::Relaxed) {
            "it sent a message that is too long"
        } else if self.is_unread.load(Ordering::Relaxed) {
            "it does not read what is sent to it"
        } else {
            "it has ended"
        }
    }
}

/// A failure, and when the next attempt follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) reason: String,
    pub(super) retry_at: Instant,
}

/// The state of a server.
#[derive(Default)]
struct State {
    link: Option<Link>,
    list: Arc<ToolList>,
    listed_at: Option<Instant>,
    /// Notifications of changes so far, and those before the list was fetched.
    changes: u64,
    listed_changes: u64,
    /// Fetches and attempts to connect that have ended.
    rounds: u64,
    failure: Option<Failure>,
}

impl State {
    fn is_fresh(&self) -> bool {
        self.link.is_some()
            && self.changes == self.listed_changes
            && self.listed_at.is_some_and(|at| at.elapsed() < LIST_AGE_MAX)
    }

    fn is_backing_off(&self) -> bool {
        self.link.is_none() && self.failure.as_ref().is_some_and(|failure| failure.retry_at > Instant::now())
    }
}

/// The state that a connection and its callers share.
pub(super) struct Shared {
    state: watch::Sender<State>,
    demand: Notify,
}

impl Shared {
    /// The state of a server that is not connected.
    pub(super) fn new() -> Self {
        Self { state: watch::Sender::new(State::default()), demand: Notify::new() }
    }

    /// True if the server is connected, and its list is the present one as far as is known.
    pub(super) fn is_fresh(&self) -> bool {
        self.state.borrow().is_fresh()
    }

    /// Waits until the list is fresh, or an attempt to fetch it has failed. Returns at once while the next attempt is
    /// not due.
    pub(super) async fn wait_fresh(&self, wait_max: Duration) {
        let mut state = self.state.subscribe();
        let rounds = {
            let current = state.borrow();
            if current.is_fresh() || current.is_backing_off() {
                return;
            }
            current.rounds
        };
        self.demand.notify_one();
        let is_decided = |state: &State| state.is_fresh() || state.rounds > rounds;
        let _ = tokio::time::timeout(wait_max, state.wait_for(is_decided)).await;
    }

    /// Waits until a caller needs the server, or a fresh list of it.
    pub(super) async fn demanded(&self) {
        self.demand.notified().await;
    }

    /// The live connection.
    pub(super) fn link(&self) -> Option<Link> {
        self.state.borrow().link.clone()
    }

    /// The list that was fetched last.
    pub(super) fn list(&self) -> Arc<ToolList> {
        Arc::clone(&self.state.borrow().list)
    }

    /// When the list was fetched last; now if it never was.
    pub(super) fn listed_at(&self) -> Instant {
        self.state.borrow().listed_at.unwrap_or_else(Instant::now)
    }

    /// Notifications of changes so far.
    pub(super) fn changes(&self) -> u64 {
        self.state.borrow().changes
    }

    /// The last failure, while the server is not connected.
    pub(super) fn failure(&self) -> Option<Failure> {
        let state = self.state.borrow();
        if state.link.is_some() { None } else { state.failure.clone() }
    }

    /// The server has notified of a change of its list, or is in doubt: the list is fetched, and a server that does not
    /// send it is connected again.
    pub(super) fn on_changed(&self) {
        self.state.send_modify(|state| state.changes = state.changes.saturating_add(1));
        self.demand.notify_one();
    }

    /// A list was fetched after so many notifications. Returns true if it differs from the one before.
    pub(super) fn on_listed(&self, link: &Link, list: ToolList, changes: u64) -> bool {
        let mut is_different = false;
        self.state.send_modify(|state| {
            is_different = *state.list != list;
            state.list = Arc::new(list);
            state.link = Some(link.clone());
            state.listed_at = Some(Instant::now());
            state.listed_changes = changes;
            state.rounds = state.rounds.saturating_add(1);
            state.failure = None;
        });
        is_different
    }

    /// The connection has ended, or was not possible.
    pub(super) fn on_failure(&self, reason: String, retry_at: Instant) {
        self.state.send_modify(|state| {
            state.link = None;
            state.rounds = state.rounds.saturating_add(1);
            state.failure = Some(Failure { reason, retry_at });
        });
    }

    /// The pod ends the connection.
    pub(super) fn on_stopped(&self) {
        self.state.send_modify(|state| state.link = None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(1_000);

    #[tokio::test(start_paused = true)]
    async fn a_caller_waits_for_the_outcome_of_one_attempt_only() {
        let shared = Shared::new();
        let (waited, ()) = tokio::join!(
            async {
                let since = Instant::now();
                shared.wait_fresh(LONG).await;
                since.elapsed()
            },
            async {
                shared.demanded().await;
                tokio::time::advance(Duration::from_secs(3)).await;
                shared.on_failure("no such program".to_owned(), Instant::now() + Duration::from_secs(60));
            }
        );
        assert!(waited < Duration::from_secs(4), "{waited:?}");
        let since = Instant::now();
        shared.wait_fresh(LONG).await;
        assert!(since.elapsed() < Duration::from_secs(1), "the next attempt is not due");
        assert_eq!(shared.failure().unwrap().reason, "no such program");
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_waits_no_longer_than_its_bound() {
        let shared = Shared::new();
        let since = Instant::now();
        shared.wait_fresh(Duration::from_secs(5)).await;
        assert!(since.elapsed() >= Duration::from_secs(5) && !shared.is_fresh());
        assert_eq!((shared.link().is_none(), shared.list().tools.len()), (true, 0));
    }
}
