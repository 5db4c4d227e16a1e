//! Makers for the tests of other crates: a user, a question, and guards that always say the same.
//!
//! Behind the feature `testing`, which the binary must never turn on (a test reads the manifests).

use std::sync::Arc;

use async_trait::async_trait;
use greenroom_protocol::limits::REQUEST_TIMEOUT;
use greenroom_protocol::{Deadline, Request, RequestId, TenantId, Timestamp, TraceId, UserId};

use crate::access_request::{AccessRequest, Input};
use crate::engine::EvaluationError;
use crate::engine::allowed::{AllowDetails, Obligations, PolicyDecision};
use crate::engine::explain::{Check, DenyReason, Explanation};
use crate::facts::{Facts, Resource};
use crate::guard::{Denied, Evaluator, Guard};
use crate::identity::authenticated::{Authenticated, RequestMeta};
use crate::identity::{AuthMethod, Limits, NameSet, Permissions, Principal, ResolvedPrincipal};
use crate::permit::Permitted;

/// Says yes to everything.
struct PermitAll;

/// Says no to everything, with one rule.
struct DenyAll(String);

#[async_trait]
impl Evaluator for PermitAll {
    async fn allowed(&self, input: Arc<Input>) -> Result<PolicyDecision, EvaluationError> {
        let grounds = AllowDetails {
            checks: Arc::new([Arc::from("access_allowed")]),
            obligations: Obligations::default(),
            revision: Arc::from("testing"),
        };
        Ok(PolicyDecision::new(&input, Some(grounds)))
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
    async fn allowed(&self, input: Arc<Input>) -> Result<PolicyDecision, EvaluationError> {
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

/// An evaluator that says yes to everything.
#[must_use]
pub fn permit_all() -> Arc<dyn Evaluator> {
    Arc::new(PermitAll)
}

/// An evaluator that says no to everything, naming this rule.
#[must_use]
pub fn deny_all(code: &str) -> Arc<dyn Evaluator> {
    Arc::new(DenyAll(code.to_owned()))
}

/// An administrator of the tenant `acme`, without limits but for a thousand requests an hour.
#[must_use]
pub fn admin() -> Principal {
    user("admin", &["admin"], &[])
}

/// A user of the tenant `acme` with these roles and categories.
///
/// # Panics
/// Never: the tenant's name is an id; a user's name that is not one becomes `user`.
#[must_use]
#[expect(clippy::expect_used, reason = "for tests, and of a constant")]
pub fn user(name: &str, roles: &[&str], categories: &[&str]) -> Principal {
    Principal {
        tenant: TenantId::new("acme").expect("an id"),
        user: UserId::new(name).or_else(|_| UserId::new("user")).expect("an id"),
        roles: roles.iter().copied().collect(),
        permissions: Permissions { allowed_categories: categories.iter().copied().collect(), pii_access: false },
        rate_limit: 1_000,
        limits: Limits::default(),
        tenant_limits: Limits::default(),
    }
}

/// A user's own request that arrived at `at`, with the usual deadline.
pub fn user_request(principal: Principal, id: u128, request: Request, at: Timestamp) -> Authenticated {
    let known =
        ResolvedPrincipal { principal: Arc::new(principal), auth_method: AuthMethod::LocalUser, resolved_at: at };
    let particulars = RequestMeta {
        id: RequestId::from_u128(id),
        trace: TraceId::from_u128(id),
        deadline: Deadline::after(at, REQUEST_TIMEOUT),
        idempotency: None,
        received_at: at,
    };
    Authenticated::for_user(known, request, particulars)
}

/// A permit for an administrator's own request, as a guard that says yes to everything gives it.
///
/// # Errors
/// [`Denied`] if the target does not fit the request.
pub async fn permit(id: u128, request: Request, target: Resource, at: Timestamp) -> Result<Permitted<Request>, Denied> {
    permit_request(user_request(admin(), id, request, at), target).await
}

/// A permit for a request that was asked by whomever, such as one that a grant spoke.
///
/// # Errors
/// [`Denied`] if the target does not fit the request, or the chain is too long.
pub async fn permit_request(asked: Authenticated, target: Resource) -> Result<Permitted<Request>, Denied> {
    let facts = Facts { policies: NameSet::default(), ..Facts::for_resource(target) };
    Guard::new(permit_all()).permit(AccessRequest::new(asked, facts)).await
}
