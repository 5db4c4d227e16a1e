//! The first stage: admission control. It bounds the requests in flight of the pod and of each tenant,
//! and rejects at once what exceeds the bounds. Requests are scheduled through the stages up to dispatch
//! fairly across tenants.
//!
//! The capacity belongs to the work and not to its caller. An [`InFlightTicket`] is held until the reply
//! is written, and the run that a request starts shares its capacity, so a caller that disconnects from a
//! run frees none. A [`PipelineTicket`] is held until dispatch. Nested requests use the tickets of their
//! root request: two nested waits for one bound could deadlock. A detached run, and a run that was
//! resumed, has a [`DetachedRunTicket`] until it ends.
//!
//! If pods share the store, a detached run for which this pod has no capacity is left to the others, and a pod whose
//! lease has lapsed admits nothing.
//!
//! If other pods send calls to this one, a quarter of its capacity, and of that of each tenant, is reserved for them:
//! they are the inner hops of requests that other pods have admitted, and these wait for them.
//!
//! A drain waits for the replies that a caller waits for: [`ResponseTicket`]. It does not wait for a run
//! without a caller, since the next process resumes the run.

mod state;
mod vacancy;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use greenroom_actors::dispatcher::RunTicket;
use greenroom_protocol::{Cause, ErrorCode, TenantId};
use greenroom_registry::cluster::{ClusterStore, one_pod};
use greenroom_rego::{Caller, Grant};
use tokio::sync::{Notify, oneshot};

use self::state::State;
use crate::config::AdmissionConfig;

/// Admission control of one pod.
#[derive(Clone)]
pub struct AdmissionControl(Arc<Inner>);

struct Inner {
    bounds: AdmissionConfig,
    cluster: Arc<dyn ClusterStore>,
    /// True if a part of the capacity is reserved for the calls of other pods.
    reserves: bool,
    state: Mutex<State>,
    /// Replies that callers wait for.
    unanswered: AtomicUsize,
    drained: Notify,
}

/// Counts a reply that a caller waits for, until it is dropped: once the reply is written.
#[must_use = "a drain does not wait once the ticket is dropped"]
pub struct ResponseTicket(AdmissionControl);

/// Counts a request in flight until it is dropped, together with the run that it has started.
#[must_use = "the capacity is released when the ticket is dropped"]
pub struct InFlightTicket {
    capacity: Arc<Capacity>,
    /// The bounds that it was admitted within.
    bounds: AdmissionConfig,
    _response: ResponseTicket,
}

/// One unit of the bounds, shared by a request and the run that it has started.
struct Capacity {
    admission: AdmissionControl,
    /// Set once the request is authenticated.
    tenant: OnceLock<TenantId>,
}

/// Counts a detached run, which outlives the request that started it, until it is dropped.
#[must_use = "the capacity is released when the ticket is dropped"]
pub struct DetachedRunTicket {
    admission: AdmissionControl,
    tenant: TenantId,
}

/// Counts a request between authentication and dispatch; dropping it grants the next waiter.
#[must_use = "the next waiter is granted when the ticket is dropped"]
pub struct PipelineTicket(AdmissionControl);

impl AdmissionControl {
    /// Admission control with these bounds, of the only pod of its store.
    #[must_use]
    pub fn new(bounds: AdmissionConfig) -> Self {
        Self::for_pod(bounds, one_pod())
    }

    /// Admission control with these bounds, of one of these pods.
    #[must_use]
    pub fn for_pod(bounds: AdmissionConfig, cluster: Arc<dyn ClusterStore>) -> Self {
        Self::with_reserve(bounds, cluster, false)
    }

    /// As [`AdmissionControl::for_pod`]; `reserves` if other pods send calls to this one.
    #[must_use]
    pub fn with_reserve(bounds: AdmissionConfig, cluster: Arc<dyn ClusterStore>, reserves: bool) -> Self {
        let (state, unanswered) = (Mutex::new(State::default()), AtomicUsize::new(0));
        Self(Arc::new(Inner { bounds, cluster, reserves, state, unanswered, drained: Notify::new() }))
    }

    /// Admits a request, at once.
    ///
    /// # Errors
    /// [`ErrorCode::Overloaded`] if the pod is at its limit, [`ErrorCode::ShuttingDown`] after
    /// [`AdmissionControl::close`], [`ErrorCode::LeaseLost`] without the lease of the pod.
    pub fn admit(&self) -> Result<InFlightTicket, Cause> {
        self.admit_within(self.0.outer_bounds())
    }

    /// As [`AdmissionControl::admit`], for the call of another pod, which may use the reserve too.
    ///
    /// # Errors
    /// As [`AdmissionControl::admit`].
    pub fn admit_inner(&self) -> Result<InFlightTicket, Cause> {
        self.admit_within(self.0.bounds)
    }

    fn admit_within(&self, bounds: AdmissionConfig) -> Result<InFlightTicket, Cause> {
        self.0.cluster.check_lease().map_err(|error| error.cause())?;
        let mut state = self.state();
        state.check_open()?;
        state.check_capacity(&bounds)?;
        state.in_flight += 1;
        let capacity = Arc::new(Capacity { admission: self.clone(), tenant: OnceLock::new() });
        Ok(InFlightTicket { capacity, bounds, _response: self.count_response() })
    }

    /// Counts a reply that a drain has to wait for.
    ///
    /// # Errors
    /// [`ErrorCode::ShuttingDown`] after [`AdmissionControl::close`].
    pub fn await_response(&self) -> Result<ResponseTicket, Cause> {
        let state = self.state();
        state.check_open()?;
        Ok(self.count_response())
    }

    /// The caller holds the lock of the state, so that a drain cannot begin between its check and this.
    fn count_response(&self) -> ResponseTicket {
        self.0.unanswered.fetch_add(1, Ordering::AcqRel);
        ResponseTicket(self.clone())
    }

    /// Admits a run that outlives its request, at once.
    ///
    /// # Errors
    /// [`ErrorCode::Overloaded`] if the pod or the tenant is at its limit.
    pub fn admit_detached_run(&self, tenant: &TenantId) -> Result<DetachedRunTicket, Cause> {
        let (mut state, bounds) = (self.state(), self.0.outer_bounds());
        state.check_capacity(&bounds)?;
        state.charge_tenant(tenant, &bounds)?;
        state.detached += 1;
        Ok(DetachedRunTicket { admission: self.clone(), tenant: tenant.clone() })
    }

    /// Admits the detached run that a request starts. None if the run is to be created without an owner, because other
    /// pods may have capacity for it; that of a team belongs to the pod that has formed the team.
    ///
    /// # Errors
    /// As [`AdmissionControl::admit_detached_run`].
    pub fn admit_start(&self, grant: &Grant) -> Result<Option<RunTicket>, Cause> {
        let may_leave = self.0.cluster.is_shared() && matches!(grant.caller(), Caller::User { .. });
        match self.admit_detached_run(&grant.principal().id.tenant) {
            Ok(ticket) => Ok(Some(Arc::new(ticket))),
            Err(_) if may_leave => Ok(None),
            Err(cause) => Err(cause),
        }
    }

    /// Rejects every request from here on.
    pub fn close(&self) {
        self.state().closed = true;
    }

    /// True once every request is rejected.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.state().closed
    }

    /// Waits until no caller waits for a reply.
    pub async fn drained(&self) {
        loop {
            let notified = self.0.drained.notified();
            if self.unanswered() == 0 {
                return;
            }
            notified.await;
        }
    }

    /// Replies that callers wait for.
    #[must_use]
    pub fn unanswered(&self) -> usize {
        self.0.unanswered.load(Ordering::Acquire)
    }

    /// Requests in flight, and the runs that they have started.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.state().in_flight
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No code panics while it holds the lock, and the counters would be consistent even then.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Grants a released pipeline ticket to the next tenant that has a waiter.
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
            // A waiter that was dropped meanwhile is skipped.
            if next.is_some_and(|waiter| waiter.send(()).is_ok()) {
                return;
            }
        }
        state.in_pipeline = state.in_pipeline.saturating_sub(1);
    }
}

impl Inner {
    /// The bounds of what other pods have not admitted.
    fn outer_bounds(&self) -> AdmissionConfig {
        if self.reserves { self.bounds.without_reserve() } else { self.bounds }
    }
}

impl InFlightTicket {
    /// The tenant of the request, once it is authenticated.
    #[must_use]
    pub fn tenant(&self) -> Option<&TenantId> {
        self.capacity.tenant.get()
    }

    /// The capacity of this request for the run that it starts, which may outlive its caller.
    #[must_use]
    pub fn share(&self) -> RunTicket {
        self.capacity.clone()
    }

    /// Counts the request for its tenant and waits for a pipeline ticket, at most `timeout`.
    ///
    /// # Errors
    /// [`ErrorCode::Overloaded`] if the tenant is at its limit, [`ErrorCode::TimedOut`] if no ticket is granted
    /// in time.
    pub async fn wait_pipeline_ticket(
        &mut self,
        tenant: &TenantId,
        timeout: Duration,
    ) -> Result<PipelineTicket, Cause> {
        let admission = &self.capacity.admission;
        let granted = {
            let mut state = admission.state();
            state.charge_tenant(tenant, &self.bounds)?;
            if self.capacity.tenant.set(tenant.clone()).is_err() {
                state.refund_tenant(tenant);
            }
            if state.in_pipeline < admission.0.bounds.pipeline_concurrency.max(1) {
                state.in_pipeline += 1;
                return Ok(PipelineTicket(admission.clone()));
            }
            let (waiter, granted) = oneshot::channel();
            let queue = state.waiters.entry(tenant.clone()).or_default();
            queue.push_back(waiter);
            if queue.len() == 1 {
                state.tenant_queue.push_back(tenant.clone());
            }
            granted
        };
        let waiter = TicketWaiter { granted: Some(granted), admission };
        match tokio::time::timeout(timeout, waiter.wait()).await {
            Ok(()) => Ok(PipelineTicket(admission.clone())),
            Err(_) => Err(Cause::new(ErrorCode::TimedOut, "the deadline passed while the request was queued")),
        }
    }
}

/// Waits for a pipeline ticket and may be dropped meanwhile. A ticket that is granted at that very time
/// is passed on, or its capacity would be lost for good.
struct TicketWaiter<'a> {
    granted: Option<oneshot::Receiver<()>>,
    admission: &'a AdmissionControl,
}

impl TicketWaiter<'_> {
    async fn wait(mut self) {
        if let Some(granted) = self.granted.as_mut() {
            // The sender is dropped unsent only after this receiver is dropped, so it cannot fail here.
            let _ = granted.await;
        }
        self.granted = None;
    }
}

impl Drop for TicketWaiter<'_> {
    fn drop(&mut self) {
        if let Some(granted) = self.granted.as_mut() {
            granted.close();
            if granted.try_recv().is_ok() {
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

impl Drop for Capacity {
    fn drop(&mut self) {
        let mut state = self.admission.state();
        state.in_flight = state.in_flight.saturating_sub(1);
        if let Some(tenant) = self.tenant.get() {
            state.refund_tenant(tenant);
        }
    }
}

impl Drop for ResponseTicket {
    fn drop(&mut self) {
        if self.0.0.unanswered.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.0.drained.notify_waiters();
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

#[cfg(test)]
mod tests;
