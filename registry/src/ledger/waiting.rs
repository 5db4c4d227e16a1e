//! Calls that wait for the reservations of calls in flight: one queue for each budget, in the order of arrival.
//!
//! A call waits only for a budget in which other calls have reserved something, so it is woken by their settlement. It
//! is in one queue at a time: that of the budget that rejected it last.

use std::collections::{HashMap, VecDeque};

use greenroom_protocol as protocol;
use protocol::CallKey;
use tokio::sync::oneshot;

use crate::ledger::reservation::ReservationId;
use crate::ledger::{Account, Amount, Budget, Limit, ReservationRequest, ReserveError};

/// A [`ReservationRequest`] that waits, or that is in the queue of a writer.
#[derive(Debug, Clone)]
pub(crate) struct OwnedRequest {
    pub(crate) account: Account,
    pub(crate) limits: Vec<Limit>,
    pub(crate) upper_bound: Amount,
    pub(crate) key: CallKey,
}

impl From<ReservationRequest<'_>> for OwnedRequest {
    fn from(request: ReservationRequest<'_>) -> Self {
        let ReservationRequest { account, limits, upper_bound, key } = request;
        Self { account: account.clone(), limits: limits.to_vec(), upper_bound, key: key.clone() }
    }
}

/// The position of a waiting call: a smaller one has arrived earlier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Arrival(u64);

/// The outcome of a request for a reservation that was not rejected.
#[derive(Debug)]
pub(crate) enum ReserveOutcome {
    /// It is reserved, for a unit that must confirm it.
    Reserved(ReservationId),
    /// It waits; the receiver has the outcome.
    Waiting(Arrival, oneshot::Receiver<Result<ReservationId, ReserveError>>),
}

/// The caller does not wait any more.
#[derive(Debug)]
pub(crate) struct Abandoned;

/// A call that waits.
#[derive(Debug)]
pub(crate) struct WaitingCall {
    arrival: Arrival,
    pub(crate) request: OwnedRequest,
    /// The rejection that its caller gets if it waits in vain.
    pub(crate) error: ReserveError,
    reply: oneshot::Sender<Result<ReservationId, ReserveError>>,
}

impl WaitingCall {
    /// Replies to the caller; an error if the caller does not wait any more.
    pub(crate) fn reply(self, result: Result<ReservationId, ReserveError>) -> Result<(), Abandoned> {
        self.reply.send(result).map_err(|_| Abandoned)
    }

    /// True if its caller does not wait any more.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.reply.is_closed()
    }
}

/// The queues of all budgets.
#[derive(Debug, Default)]
pub(crate) struct WaitingCalls {
    queues: HashMap<Budget, VecDeque<WaitingCall>>,
    last_arrival: u64,
    count: usize,
}

impl WaitingCalls {
    /// Number of calls that wait.
    pub(crate) const fn count(&self) -> usize {
        self.count
    }

    /// The budget among these limits for which a call waits already. A budget that is only charged has nothing to wait
    /// for.
    pub(crate) fn first_queue<'l>(&self, limits: &'l [Limit]) -> Option<&'l Budget> {
        let limiting = limits.iter().filter(|limit| limit.cost_max.is_some() || limit.tokens_max.is_some());
        limiting.map(|limit| &limit.budget).find(|budget| self.queues.contains_key(*budget))
    }

    /// Adds a call to the queue of a budget.
    pub(crate) fn push(&mut self, budget: Budget, request: OwnedRequest, error: ReserveError) -> ReserveOutcome {
        self.last_arrival = self.last_arrival.saturating_add(1);
        let arrival = Arrival(self.last_arrival);
        let (reply, receiver) = oneshot::channel();
        self.insert(budget, WaitingCall { arrival, request, error, reply });
        ReserveOutcome::Waiting(arrival, receiver)
    }

    /// Adds a call to the queue of a budget, before those that have arrived later.
    pub(crate) fn insert(&mut self, budget: Budget, call: WaitingCall) {
        let queue = self.queues.entry(budget).or_default();
        let index = queue.partition_point(|waiting| waiting.arrival < call.arrival);
        queue.insert(index, call);
        self.count += 1;
    }

    /// Removes the first call from the queue of a budget.
    pub(crate) fn pop(&mut self, budget: &Budget) -> Option<WaitingCall> {
        let queue = self.queues.get_mut(budget)?;
        let call = queue.pop_front()?;
        if queue.is_empty() {
            self.queues.remove(budget);
        }
        self.count -= 1;
        Some(call)
    }

    /// Removes a call whose caller does not wait any more. Returns it with the budget for which it waited.
    pub(crate) fn remove(&mut self, arrival: Arrival) -> Option<(Budget, WaitingCall)> {
        let find = |(budget, queue): (&Budget, &VecDeque<WaitingCall>)| {
            let index = queue.binary_search_by_key(&arrival, |waiting| waiting.arrival).ok()?;
            Some((budget.clone(), index))
        };
        let (budget, index) = self.queues.iter().find_map(find)?;
        let queue = self.queues.get_mut(&budget)?;
        let call = queue.remove(index)?;
        if queue.is_empty() {
            self.queues.remove(&budget);
        }
        self.count -= 1;
        Some((budget, call))
    }
}
