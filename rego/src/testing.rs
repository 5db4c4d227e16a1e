//! Constructors for the tests of other crates: users, requests, permits, and evaluators with one fixed
//! decision.
//!
//! The module requires the feature `testing`, which the binary must never enable (a test reads the
//! manifests).

use std::sync::Arc;

use async_trait::async_trait;
use greenroom_protocol::limits::REQUEST_TIMEOUT;
use greenroom_protocol::{Deadline, PrincipalId, Request, RequestId, TenantId, Timestamp, TraceId, UserId};

use crate::access_request::{AccessRequest, Input};
use crate::engine::allowed::{AllowDetails, PolicyDecision};
use crate::engine::explain::Explanation;
use crate::facts::{Facts, Resource};
use crate::guard::{Denied, Evaluator, Guard};
use crate::identity::authenticated::{Authenticated, RequestMeta};
use crate::identity::{AuthMethod, Limits, NameSet, Permissions, Principal, ResolvedPrincipal};
use crate::instance::EvaluationError;
use crate::instance::allowed::Obligations;
use crate::instance::explain::{Check, DenyReason};
use crate::permit::Permitted;

/// Allows every request.
struct PermitAll;

/// Denies every request, with this code as the only reason.
struct DenyAll(String);

#[async_trait]
impl Evaluator for PermitAll {
    async fn decide(&self, input: Arc<Input>) -> Result<PolicyDecision, EvaluationError> {
        let details = AllowDetails {
            checks: Arc::new([Arc::from("access_allowed")]),
            obligations: Obligations::default(),
            revision: Arc::from("testing"),
        };
        Ok(PolicyDecision::new(&input, Some(details)))
    }

    async fn explain(&self, _: Arc<Input>) -> Result<Explanation, EvaluationError> {
        Ok(Explanation {
            allow: true,
            deny: Vec::new(),
            checks: vec![Check { id: "access_allowed".into(), pass: true }],
            obligations: Obligations::default(),
            revision: Arc::from("testing"),
        })
    }
}

#[async_trait]
impl Evaluator for DenyAll {
    async fn decide(&self, input: Arc<Input>) -> Result<PolicyDecision, EvaluationError> {
        Ok(PolicyDecision::new(&input, None))
    }

    async fn explain(&self, _: Arc<Input>) -> Result<Explanation, EvaluationError> {
        Ok(Explanation {
            allow: false,
            deny: vec![DenyReason { code: self.0.clone(), message: "denied by the test".into() }],
            checks: vec![Check { id: self.0.clone(), pass: false }],
            obligations: Obligations::default(),
            revision: Arc::from("testing"),
        })
    }
}

/// An evaluator that allows every request.
#[must_use]
pub fn permit_all() -> Arc<dyn Evaluator> {
    Arc::new(PermitAll)
}

/// An evaluator that denies every request, with this code as the only reason.
#[must_use]
pub fn deny_all(code: &str) -> Arc<dyn Evaluator> {
    Arc::new(DenyAll(code.to_owned()))
}

/// An administrator of the tenant `acme`, without limits except a thousand requests per hour.
#[must_use]
pub fn admin() -> Principal {
    user("admin", &["admin"], &[])
}

/// A user of the tenant `acme` with these roles and categories.
///
/// # Panics
/// Never: the tenant's name is a valid id, and a user's name that is no valid id becomes `user`.
#[must_use]
#[expect(clippy::expect_used, reason = "for tests, and of constants that are valid ids")]
pub fn user(name: &str, roles: &[&str], categories: &[&str]) -> Principal {
    let tenant = TenantId::new("acme").expect("an id");
    Principal {
        id: PrincipalId::local(tenant, UserId::new(name).or_else(|_| UserId::new("user")).expect("an id")),
        roles: roles.iter().copied().collect(),
        permissions: Permissions { allowed_categories: categories.iter().copied().collect(), pii_access: false },
        rate_limit: 1_000,
        query_limit: 1_000,
        limits: Limits::default(),
        tenant_limits: Limits::default(),
        entry_points: None,
    }
}

/// A user's own request that the pod received at `at`, with the default deadline.
pub fn user_request(principal: Principal, id: u128, request: Request, at: Timestamp) -> Authenticated {
    let resolved =
        ResolvedPrincipal { principal: Arc::new(principal), auth_method: AuthMethod::LocalUser, resolved_at: at };
    let meta = RequestMeta {
        id: RequestId::from_u128(id),
        outermost: RequestId::from_u128(id),
        trace: TraceId::from_u128(id),
        deadline: Deadline::after(at, REQUEST_TIMEOUT),
        idempotency: None,
        received_at: at,
        is_delegated: false,
        delegated_fence: None,
    };
    Authenticated::for_user(resolved, request, meta)
}

/// A permit for an administrator's own request, from a guard that allows every request.
///
/// # Errors
/// [`Denied`] if the resource does not match the request.
pub async fn permit(
    id: u128,
    request: Request,
    resource: Resource,
    at: Timestamp,
) -> Result<Permitted<Request>, Denied> {
    permit_request(user_request(admin(), id, request, at), resource).await
}

/// A permit for any authenticated request, such as a nested one that a grant issued.
///
/// # Errors
/// [`Denied`] if the resource does not match the request, or the call chain is too long.
pub async fn permit_request(request: Authenticated, resource: Resource) -> Result<Permitted<Request>, Denied> {
    permit_with_facts(request, Facts { policies: NameSet::default(), ..Facts::for_resource(resource) }).await
}

/// As [`permit_request`], with these facts about its resource.
///
/// # Errors
/// As [`permit_request`].
pub async fn permit_with_facts(request: Authenticated, facts: Facts) -> Result<Permitted<Request>, Denied> {
    Guard::new(permit_all()).permit(AccessRequest::new(request, facts)).await
}
