//! Admission control as the runs see it: what has no waiting request, and how much of it can be admitted now.

use std::sync::Arc;

use greenroom_actors::dispatcher::{RunAdmission, RunTicket, RunVacancy};
use greenroom_protocol::{Cause, TenantId};

use super::AdmissionControl;

impl RunAdmission for AdmissionControl {
    fn admit(&self, tenant: &TenantId) -> Result<RunTicket, Cause> {
        Ok(Arc::new(self.admit_detached_run(tenant)?))
    }

    fn vacancy(&self) -> RunVacancy {
        let (state, bounds) = (self.state(), self.0.outer_bounds());
        if state.closed {
            return RunVacancy::default();
        }
        let in_use = state.in_flight.saturating_add(state.detached);
        let full = state.tenants.iter().filter(|(_, in_flight)| **in_flight >= bounds.max_in_flight_per_tenant);
        let full_tenants = full.map(|(tenant, _)| tenant.clone()).collect();
        RunVacancy { runs: bounds.max_in_flight.saturating_sub(in_use), full_tenants }
    }
}
