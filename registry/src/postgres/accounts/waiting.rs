//! The calls of this pod that wait for their budgets, in the order of their arrival. A call waits for the budget that has
//! refused it last, and later calls for this budget do not overtake it. Between pods there is no order.

use std::collections::HashSet;
use std::time::Duration;

use greenroom_protocol::Timestamp;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::error::StoreError;
use crate::ledger::reservation::ReservationId;
use crate::ledger::waiting::OwnedRequest;
use crate::ledger::{Budget, Limit, ReserveError, ReserveTicket, WAITING_MAX};

/// How often waiting calls are decided again, because another pod may have settled something.
pub(in crate::postgres) const RETRY_INTERVAL: Duration = Duration::from_millis(200);

/// A call that waits.
pub(in crate::postgres) struct WaitingCall {
    pub(in crate::postgres) id: ReservationId,
    pub(in crate::postgres) request: OwnedRequest,
    pub(in crate::postgres) at: Timestamp,
    /// The budget that has refused it last, and the refusal.
    pub(in crate::postgres) budget: Budget,
    pub(in crate::postgres) error: ReserveError,
    pub(in crate::postgres) reply: oneshot::Sender<Result<ReserveTicket, ReserveError>>,
    pub(in crate::postgres) until: Instant,
}

/// The calls that wait.
#[derive(Default)]
pub(in crate::postgres) struct WaitingCalls(Vec<WaitingCall>);

impl WaitingCalls {
    /// When the next call has waited for as long as it may, or is to be decided again.
    pub(in crate::postgres) fn next_at(&self, now: Instant) -> Option<Instant> {
        let until = self.0.iter().map(|call| call.until).min()?;
        Some(until.min(now + RETRY_INTERVAL))
    }

    /// Adds a call in the order of its number, which is that of its arrival. Returns it if too many wait already.
    pub(in crate::postgres) fn insert(&mut self, call: WaitingCall) -> Option<WaitingCall> {
        if self.0.len() >= WAITING_MAX {
            return Some(call);
        }
        let index = self.0.partition_point(|waiting| waiting.id < call.id);
        self.0.insert(index, call);
        None
    }

    /// Replies to the calls that have waited in vain, and drops those whose callers do not wait any more.
    pub(in crate::postgres) fn expire(&mut self, now: Instant) {
        self.0.retain(|call| !call.reply.is_closed());
        for call in self.0.extract_if(.., |call| call.until <= now) {
            // Its caller may not wait any more.
            let _ = call.reply.send(Err(call.error));
        }
    }

    /// Takes the first call for each budget, to decide it again.
    pub(in crate::postgres) fn take_first(&mut self) -> Vec<WaitingCall> {
        let mut budgets = HashSet::new();
        self.0.extract_if(.., |call| budgets.insert(call.budget.clone())).collect()
    }

    /// The budgets for which a call waits.
    pub(in crate::postgres) fn budgets(&self) -> HashSet<Budget> {
        self.0.iter().map(|call| call.budget.clone()).collect()
    }

    /// True if no call waits.
    pub(in crate::postgres) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Rejects every call, because the lane ends.
    pub(in crate::postgres) fn end(&mut self) {
        for call in std::mem::take(&mut self.0) {
            // Its caller may not wait any more.
            let _ = call.reply.send(Err(StoreError::Closed.into()));
        }
    }
}

/// The first budget among these limits for which an earlier call waits. A budget that is only charged has nothing to
/// wait for.
pub(in crate::postgres) fn first_queue<'l>(waiting: &HashSet<Budget>, limits: &'l [Limit]) -> Option<&'l Budget> {
    let limiting = limits.iter().filter(|limit| limit.cost_max.is_some() || limit.tokens_max.is_some());
    limiting.map(|limit| &limit.budget).find(|budget| waiting.contains(*budget))
}

#[cfg(test)]
mod tests {
    use greenroom_protocol as protocol;
    use protocol::{AgentId, CallKey, MicroUsd, PriceBasis, PrincipalId, TenantId};

    use super::*;
    use crate::ledger::{Account, Amount, Period};
    use crate::suite::{NOW, principal, tenant};

    type Reply = oneshot::Receiver<Result<ReserveTicket, ReserveError>>;

    fn call(number: u64, name: &str, until: Instant) -> (WaitingCall, Reply) {
        let (reply, receiver) = oneshot::channel();
        let budget = Budget::Tenant(TenantId::new(name).unwrap());
        let account = Account {
            principal: PrincipalId { tenant: tenant(name), ..principal("alice") },
            agent: AgentId::new("writer").unwrap(),
            workflow: None,
            run: None,
            model: "play.one".into(),
            price: PriceBasis::Listed,
        };
        let (upper_bound, key) = (Amount::of_cost(MicroUsd(1)), CallKey::new("k").unwrap());
        let request = OwnedRequest { account, limits: Vec::new(), upper_bound, key };
        let error = ReserveError::Store(StoreError::Timeout);
        (WaitingCall { id: ReservationId(number), request, at: NOW, budget, error, reply, until }, receiver)
    }

    #[test]
    fn the_first_call_for_each_budget_is_decided_again_and_the_others_keep_their_order() {
        let until = Instant::now() + Duration::from_secs(60);
        let mut waiting = WaitingCalls::default();
        let mut replies = Vec::new();
        for (number, name) in [(3, "acme"), (1, "acme"), (2, "globex")] {
            let (call, reply) = call(number, name, until);
            assert!(waiting.insert(call).is_none());
            replies.push(reply);
        }
        let first: Vec<_> = waiting.take_first().into_iter().map(|call| call.id.0).collect();
        assert_eq!(first, [1, 2]);
        let acme = Budget::Tenant(tenant("acme"));
        assert_eq!(waiting.budgets(), HashSet::from([acme.clone()]));
        let limit = |cost_max| [Limit { budget: acme.clone(), period: Period::AllTime, cost_max, tokens_max: None }];
        assert_eq!(first_queue(&waiting.budgets(), &limit(Some(MicroUsd(1)))), Some(&acme));
        assert_eq!(first_queue(&waiting.budgets(), &limit(None)), None, "it is only charged");
    }

    #[test]
    fn a_call_that_has_waited_in_vain_gets_its_last_refusal() {
        let now = Instant::now();
        let mut waiting = WaitingCalls::default();
        let ((overdue, mut reply), (dropped, _)) = (call(1, "acme", now), call(2, "acme", now + RETRY_INTERVAL));
        assert!(waiting.insert(overdue).is_none() && waiting.insert(dropped).is_none());
        assert_eq!(waiting.next_at(now), Some(now));
        waiting.expire(now);
        assert!(matches!(reply.try_recv(), Ok(Err(ReserveError::Store(StoreError::Timeout)))));
        assert_eq!(waiting.next_at(now), None, "the caller of the other one does not wait");
    }
}
