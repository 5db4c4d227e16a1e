//! The first stage: how many requests may be inside. A place on the pod is given at once or not at
//! all; the turn through the stages up to dispatch is given fairly, tenant after tenant.
//!
//! A [`Ticket`] is the place; it comes back when the reply is made, and once all are back the pod is
//! drained. A [`Turn`] ends at dispatch. Inner hops ride on their root's ticket: two nested waits for
//! one bound could block each other. A run that nobody waits for has a [`Stay`] instead, which comes
//! back at its end: the pod is drained without it, since the next process goes on with the run.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use greenroom_protocol::{Cause, ErrorCode, TenantId};
use tokio::sync::{Notify, oneshot};

use crate::config::AdmissionConfig;

/// After how long a refused caller is told to ask again, where nothing better is known.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// After how long one who came too late is told to ask again: by then another process may be up.
const SHUTDOWN_RETRY_AFTER: Duration = Duration::from_secs(5);

/// The gate.
#[derive(Clone)]
pub struct AdmissionControl(Arc<Inner>);

struct Inner {
    bounds: AdmissionConfig,
    state: Mutex<State>,
    drained: Notify,
}

#[derive(Default)]
struct State {
    closed: bool,
    in_flight: usize,
    /// Runs that nobody waits for.
    detached: usize,
    tenants: HashMap<TenantId, usize>,
    turns: usize,
    waiters: HashMap<TenantId, VecDeque<oneshot::Sender<()>>>,
    /// Tenants that wait, each once, in the order of their next turn.
    tenant_queue: VecDeque<TenantId>,
}

/// A place on this pod; dropping it gives it back.
#[must_use = "the place is given back when the ticket is dropped"]
pub struct InFlightTicket {
    admission: AdmissionControl,
    tenant: Option<TenantId>,
}

/// A place on this pod for what goes on when its request was answered; dropping it gives it back.
#[must_use = "the place is given back when the stay is dropped"]
pub struct DetachedRunTicket {
    admission: AdmissionControl,
    tenant: TenantId,
}

/// A turn through the stages before dispatch; dropping it lets the next one go.
#[must_use = "the turn ends when it is dropped"]
pub struct PipelineTicket(AdmissionControl);

impl AdmissionControl {
    /// A gate with these bounds.
    #[must_use]
    pub fn new(bounds: AdmissionConfig) -> Self {
        Self(Arc::new(Inner { bounds, state: Mutex::new(State::default()), drained: Notify::new() }))
    }

    /// Takes a place, at once.
    ///
    /// # Errors
    /// [`ErrorCode::Overloaded`] if there is none, [`ErrorCode::ShuttingDown`] once the gate is closed.
    pub fn admit(&self) -> Result<InFlightTicket, Cause> {
        let mut state = self.state();
        if state.closed {
            let cause = Cause::new(ErrorCode::ShuttingDown, "the process is about to end and takes nothing new");
            return Err(cause.with_retry_after(SHUTDOWN_RETRY_AFTER));
        }
        state.check_capacity(&self.0.bounds)?;
        state.in_flight += 1;
        Ok(InFlightTicket { admission: self.clone(), tenant: None })
    }

    /// Takes a place beside that of the request, at once, for a run that outlives it.
    ///
    /// # Errors
    /// [`ErrorCode::Overloaded`] if the pod or the tenant has none left.
    pub fn admit_detached_run(&self, tenant: &TenantId) -> Result<DetachedRunTicket, Cause> {
        let mut state = self.state();
        state.check_capacity(&self.0.bounds)?;
        state.charge_tenant(tenant, &self.0.bounds)?;
        state.detached += 1;
        Ok(DetachedRunTicket { admission: self.clone(), tenant: tenant.clone() })
    }

    /// Takes nothing new from here on.
    pub fn close(&self) {
        self.state().closed = true;
    }

    /// Waits until every place is back.
    pub async fn drained(&self) {
        loop {
            let notified = self.0.drained.notified();
            if self.state().in_flight == 0 {
                return;
            }
            notified.await;
        }
    }

    /// How many are inside.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.state().in_flight
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock; were it so, the numbers would still be whole.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn grant_next(&self) {
        let mut state = self.state();
        while let Some(tenant) = state.tenant_queue.pop_front() {
            let next = state.waiters.get_mut(&tenant).and_then(VecDeque::pop_front);
            let more = state.waiters.get(&tenant).is_some_and(|queue| !queue.is_empty());
            if more {
                state.tenant_queue.push_back(tenant);
            } else {
                state.waiters.remove(&tenant);
            }
            // Who went away while waiting is passed over.
            if next.is_some_and(|waiter| waiter.send(()).is_ok()) {
                return;
            }
        }
        state.turns = state.turns.saturating_sub(1);
    }
}

impl State {
    /// Refuses where the pod has no place left.
    fn check_capacity(&self, bounds: &AdmissionConfig) -> Result<(), Cause> {
        if self.in_flight.saturating_add(self.detached) >= bounds.max_in_flight {
            return Err(overloaded("the pod", bounds.max_in_flight));
        }
        Ok(())
    }

    /// Counts a place for its tenant, if the tenant has one left.
    fn charge_tenant(&mut self, tenant: &TenantId, bounds: &AdmissionConfig) -> Result<(), Cause> {
        let share = self.tenants.entry(tenant.clone()).or_insert(0);
        if *share >= bounds.max_in_flight_per_tenant {
            return Err(overloaded("the tenant", bounds.max_in_flight_per_tenant));
        }
        *share += 1;
        Ok(())
    }

    fn refund_tenant(&mut self, tenant: &TenantId) {
        if let Some(share) = self.tenants.get_mut(tenant) {
            *share = share.saturating_sub(1);
            if *share == 0 {
                self.tenants.remove(tenant);
            }
        }
    }
}

impl InFlightTicket {
    /// Counts the place for its tenant and waits for a turn, at most `patience` long.
    ///
    /// # Errors
    /// [`ErrorCode::Overloaded`] if the tenant has its share of places, [`ErrorCode::TimedOut`] if the turn does
    /// not come in time.
    pub async fn wait_turn(&mut self, tenant: &TenantId, patience: Duration) -> Result<PipelineTicket, Cause> {
        let turn = {
            let mut state = self.admission.state();
            state.charge_tenant(tenant, &self.admission.0.bounds)?;
            self.tenant = Some(tenant.clone());
            if state.turns < self.admission.0.bounds.pipeline_concurrency.max(1) {
                state.turns += 1;
                return Ok(PipelineTicket(self.admission.clone()));
            }
            let (waiter, turn) = oneshot::channel();
            let queue = state.waiters.entry(tenant.clone()).or_default();
            queue.push_back(waiter);
            if queue.len() == 1 {
                state.tenant_queue.push_back(tenant.clone());
            }
            turn
        };
        let waited = TurnWaiter { turn: Some(turn), admission: &self.admission };
        match tokio::time::timeout(patience, waited.wait()).await {
            Ok(()) => Ok(PipelineTicket(self.admission.clone())),
            Err(_) => Err(Cause::new(ErrorCode::TimedOut, "the deadline passed before the request's turn came")),
        }
    }
}

/// A wait for a turn that may be given up. A turn that was handed over in that very moment is passed
/// on, or it would be lost for good.
struct TurnWaiter<'a> {
    turn: Option<oneshot::Receiver<()>>,
    admission: &'a AdmissionControl,
}

impl TurnWaiter<'_> {
    async fn wait(mut self) {
        if let Some(turn) = self.turn.as_mut() {
            // The sender is dropped only when its turn is passed over, which needs this end to be gone.
            let _ = turn.await;
        }
        self.turn = None;
    }
}

impl Drop for TurnWaiter<'_> {
    fn drop(&mut self) {
        if let Some(turn) = self.turn.as_mut() {
            turn.close();
            if turn.try_recv().is_ok() {
                self.admission.grant_next();
            }
        }
    }
}

impl Drop for PipelineTicket {
    fn drop(&mut self) {
        self.0.grant_next();
    }
}

impl Drop for InFlightTicket {
    fn drop(&mut self) {
        let mut state = self.admission.state();
        state.in_flight = state.in_flight.saturating_sub(1);
        if let Some(tenant) = &self.tenant {
            state.refund_tenant(tenant);
        }
        if state.in_flight == 0 {
            self.admission.0.drained.notify_waiters();
        }
    }
}

impl Drop for DetachedRunTicket {
    fn drop(&mut self) {
        let mut state = self.admission.state();
        state.detached = state.detached.saturating_sub(1);
        state.refund_tenant(&self.tenant);
    }
}

fn overloaded(whose: &str, places: usize) -> Cause {
    Cause::new(ErrorCode::Overloaded, format!("{whose} has all its {places} places taken"))
        .with_retry_after(RETRY_AFTER)
}

#[cfg(test)]
mod tests;
