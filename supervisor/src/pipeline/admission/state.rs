//! The counters of admission control, and the checks of its bounds. Its caller holds the lock.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use greenroom_protocol::{Cause, ErrorCode, TenantId};
use tokio::sync::oneshot;

use crate::config::AdmissionConfig;

/// When a caller may retry after `overloaded`; an estimate.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// When a caller may retry after `shutting_down`: another process may be running by then.
const SHUTDOWN_RETRY_AFTER: Duration = Duration::from_secs(5);

/// What is in flight, and who waits.
#[derive(Default)]
pub(super) struct State {
    pub(super) closed: bool,
    pub(super) in_flight: usize,
    /// Detached runs.
    pub(super) detached: usize,
    pub(super) tenants: HashMap<TenantId, usize>,
    /// Pipeline tickets that are held.
    pub(super) in_pipeline: usize,
    /// Requests that wait for a pipeline ticket, by tenant.
    pub(super) waiters: HashMap<TenantId, VecDeque<oneshot::Sender<()>>>,
    /// Tenants with waiters, each once, in the order in which they get the next tickets.
    pub(super) tenant_queue: VecDeque<TenantId>,
}

impl State {
    /// Fails once the pod is shutting down.
    pub(super) fn check_open(&self) -> Result<(), Cause> {
        if self.closed {
            let cause = Cause::new(ErrorCode::ShuttingDown, "the pod is shutting down and accepts no new requests");
            return Err(cause.with_retry_after(SHUTDOWN_RETRY_AFTER));
        }
        Ok(())
    }

    /// Fails if the pod is at its limit.
    pub(super) fn check_capacity(&self, bounds: &AdmissionConfig) -> Result<(), Cause> {
        if self.in_flight.saturating_add(self.detached) >= bounds.max_in_flight {
            return Err(overloaded("the pod", bounds.max_in_flight));
        }
        Ok(())
    }

    /// Counts one more for a tenant; fails if the tenant is at its limit.
    pub(super) fn charge_tenant(&mut self, tenant: &TenantId, bounds: &AdmissionConfig) -> Result<(), Cause> {
        let in_flight = self.tenants.entry(tenant.clone()).or_insert(0);
        if *in_flight >= bounds.max_in_flight_per_tenant {
            return Err(overloaded("the tenant", bounds.max_in_flight_per_tenant));
        }
        *in_flight += 1;
        Ok(())
    }

    pub(super) fn refund_tenant(&mut self, tenant: &TenantId) {
        if let Some(in_flight) = self.tenants.get_mut(tenant) {
            *in_flight = in_flight.saturating_sub(1);
            if *in_flight == 0 {
                self.tenants.remove(tenant);
            }
        }
    }
}

fn overloaded(subject: &str, limit: usize) -> Cause {
    Cause::new(ErrorCode::Overloaded, format!("{subject} is at its limit of {limit} requests in flight"))
        .with_retry_after(RETRY_AFTER)
}
