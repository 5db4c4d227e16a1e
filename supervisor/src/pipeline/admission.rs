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

use greenroom_protocol::{Cause, Code, TenantId};
use tokio::sync::{Notify, oneshot};

use crate::config::Places;

/// After how long a refused caller is told to ask again, where nothing better is known.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// After how long one who came too late is told to ask again: by then another process may be up.
const BACK_AFTER: Duration = Duration::from_secs(5);

/// The gate.
#[derive(Clone)]
pub struct Gate(Arc<Inner>);

struct Inner {
    bounds: Places,
    state: Mutex<State>,
    drained: Notify,
}

#[derive(Default)]
struct State {
    closed: bool,
    inside: usize,
    /// Runs that nobody waits for.
    staying: usize,
    tenants: HashMap<TenantId, usize>,
    turns: usize,
    waiting: HashMap<TenantId, VecDeque<oneshot::Sender<()>>>,
    /// Tenants that wait, each once, in the order of their next turn.
    order: VecDeque<TenantId>,
}

/// A place on this pod; dropping it gives it back.
#[must_use = "the place is given back when the ticket is dropped"]
pub struct Ticket {
    gate: Gate,
    tenant: Option<TenantId>,
}

/// A place on this pod for what goes on when its request was answered; dropping it gives it back.
#[must_use = "the place is given back when the stay is dropped"]
pub struct Stay {
    gate: Gate,
    tenant: TenantId,
}

/// A turn through the stages before dispatch; dropping it lets the next one go.
#[must_use = "the turn ends when it is dropped"]
pub struct Turn(Gate);

impl Gate {
    /// A gate with these bounds.
    #[must_use]
    pub fn new(bounds: Places) -> Self {
        Self(Arc::new(Inner { bounds, state: Mutex::new(State::default()), drained: Notify::new() }))
    }

    /// Takes a place, at once.
    ///
    /// # Errors
    /// [`Code::Overloaded`] if there is none, [`Code::ShuttingDown`] once the gate is closed.
    pub fn enter(&self) -> Result<Ticket, Cause> {
        let mut state = self.state();
        if state.closed {
            let cause = Cause::new(Code::ShuttingDown, "the process is about to end and takes nothing new");
            return Err(cause.retry_after(BACK_AFTER));
        }
        state.has_place(&self.0.bounds)?;
        state.inside += 1;
        Ok(Ticket { gate: self.clone(), tenant: None })
    }

    /// Takes a place beside that of the request, at once, for a run that outlives it.
    ///
    /// # Errors
    /// [`Code::Overloaded`] if the pod or the tenant has none left.
    pub fn stay(&self, tenant: &TenantId) -> Result<Stay, Cause> {
        let mut state = self.state();
        state.has_place(&self.0.bounds)?;
        state.share(tenant, &self.0.bounds)?;
        state.staying += 1;
        Ok(Stay { gate: self.clone(), tenant: tenant.clone() })
    }

    /// Takes nothing new from here on.
    pub fn close(&self) {
        self.state().closed = true;
    }

    /// Waits until every place is back.
    pub async fn drained(&self) {
        loop {
            let notified = self.0.drained.notified();
            if self.state().inside == 0 {
                return;
            }
            notified.await;
        }
    }

    /// How many are inside.
    #[must_use]
    pub fn inside(&self) -> usize {
        self.state().inside
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock; were it so, the numbers would still be whole.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pass_on(&self) {
        let mut state = self.state();
        while let Some(tenant) = state.order.pop_front() {
            let next = state.waiting.get_mut(&tenant).and_then(VecDeque::pop_front);
            let more = state.waiting.get(&tenant).is_some_and(|queue| !queue.is_empty());
            if more {
                state.order.push_back(tenant);
            } else {
                state.waiting.remove(&tenant);
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
    fn has_place(&self, bounds: &Places) -> Result<(), Cause> {
        if self.inside.saturating_add(self.staying) >= bounds.places {
            return Err(overloaded("the pod", bounds.places));
        }
        Ok(())
    }

    /// Counts a place for its tenant, if the tenant has one left.
    fn share(&mut self, tenant: &TenantId, bounds: &Places) -> Result<(), Cause> {
        let share = self.tenants.entry(tenant.clone()).or_insert(0);
        if *share >= bounds.tenant_places {
            return Err(overloaded("the tenant", bounds.tenant_places));
        }
        *share += 1;
        Ok(())
    }

    fn unshare(&mut self, tenant: &TenantId) {
        if let Some(share) = self.tenants.get_mut(tenant) {
            *share = share.saturating_sub(1);
            if *share == 0 {
                self.tenants.remove(tenant);
            }
        }
    }
}

impl Ticket {
    /// Counts the place for its tenant and waits for a turn, at most `patience` long.
    ///
    /// # Errors
    /// [`Code::Overloaded`] if the tenant has its share of places, [`Code::TimedOut`] if the turn does
    /// not come in time.
    pub async fn turn(&mut self, tenant: &TenantId, patience: Duration) -> Result<Turn, Cause> {
        let turn = {
            let mut state = self.gate.state();
            state.share(tenant, &self.gate.0.bounds)?;
            self.tenant = Some(tenant.clone());
            if state.turns < self.gate.0.bounds.turns.max(1) {
                state.turns += 1;
                return Ok(Turn(self.gate.clone()));
            }
            let (waiter, turn) = oneshot::channel();
            let queue = state.waiting.entry(tenant.clone()).or_default();
            queue.push_back(waiter);
            if queue.len() == 1 {
                state.order.push_back(tenant.clone());
            }
            turn
        };
        let waited = Waited { turn: Some(turn), gate: &self.gate };
        match tokio::time::timeout(patience, waited.come()).await {
            Ok(()) => Ok(Turn(self.gate.clone())),
            Err(_) => Err(Cause::new(Code::TimedOut, "the deadline passed before the request's turn came")),
        }
    }
}

/// A wait for a turn that may be given up. A turn that was handed over in that very moment is passed
/// on, or it would be lost for good.
struct Waited<'a> {
    turn: Option<oneshot::Receiver<()>>,
    gate: &'a Gate,
}

impl Waited<'_> {
    async fn come(mut self) {
        if let Some(turn) = self.turn.as_mut() {
            // The sender is dropped only when its turn is passed over, which needs this end to be gone.
            let _ = turn.await;
        }
        self.turn = None;
    }
}

impl Drop for Waited<'_> {
    fn drop(&mut self) {
        if let Some(turn) = self.turn.as_mut() {
            turn.close();
            if turn.try_recv().is_ok() {
                self.gate.pass_on();
            }
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.pass_on();
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut state = self.gate.state();
        state.inside = state.inside.saturating_sub(1);
        if let Some(tenant) = &self.tenant {
            state.unshare(tenant);
        }
        if state.inside == 0 {
            self.gate.0.drained.notify_waiters();
        }
    }
}

impl Drop for Stay {
    fn drop(&mut self) {
        let mut state = self.gate.state();
        state.staying = state.staying.saturating_sub(1);
        state.unshare(&self.tenant);
    }
}

fn overloaded(whose: &str, places: usize) -> Cause {
    Cause::new(Code::Overloaded, format!("{whose} has all its {places} places taken")).retry_after(RETRY_AFTER)
}

#[cfg(test)]
mod tests;
