//! How runs relate to the tenant of a request.

use greenroom_registry::runs::RunRecord;
use greenroom_rego::{Authenticated, Relation};

/// True if the tenant of the user owns the run.
pub(super) fn is_own_tenant(request: &Authenticated, record: &RunRecord) -> bool {
    record.owner.tenant == request.principal().id.tenant
}

/// How the innermost run of the call chain relates to the user's tenant. The grants of the chain have its tenant.
pub(super) fn tenant_relation(request: &Authenticated) -> Relation {
    match (request.run(), request.run_tenant()) {
        (None, _) => Relation { without_run: true, ..Relation::default() },
        (Some(_), Some(tenant)) => {
            Relation { own_tenant: *tenant == request.principal().id.tenant, ..Relation::default() }
        }
        (Some(_), None) => Relation::default(),
    }
}
