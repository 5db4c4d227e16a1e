//! A request that another pod delegates to this one: what the issuing pod states of the call chain above it. The
//! statement is data, and permits nothing: the pod that receives it authenticates the principal anew and decides again.

use greenroom_protocol::{
    Cause, Deadline, ErrorCode, PrincipalId, Request, RequestId, RunId, TenantId, Timestamp, TraceId,
};
use serde::{Deserialize, Serialize};

use super::authenticated::{Authenticated, Inherited, RequestMeta, SpendingBound};
use super::{AuthMethod, Caller, ResolvedPrincipal};
use crate::permit::Grant;

/// What the issuing pod states of a delegated request. A signature over it binds it to the request
/// ([`DelegationVerifier`]).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DelegatedCall {
    /// The id of the request on the issuing pod: both pods audit one request under it.
    pub id: RequestId,
    /// The id of the request that began the call chain.
    pub outermost: RequestId,
    /// The trace of the request.
    pub trace: TraceId,
    /// The time until which the issuing pod waits.
    pub deadline: Deadline,
    /// When the first pod received the request that began the call chain.
    pub received_at: Timestamp,
    /// The principal behind the call chain. Its rights are not stated: they are those of the moment of each decision.
    pub principal: PrincipalId,
    /// True if the principal is the user for requests without a credential.
    pub is_anonymous: bool,
    /// The call chain, the user first and the caller of the request last.
    pub chain: Vec<Caller>,
    /// The policies of the definitions of all callers.
    pub policies: Vec<String>,
    /// The tenant of the innermost run of the call chain.
    pub run_tenant: Option<TenantId>,
    /// The root of the tree of runs that the call chain belongs to.
    pub root: Option<RunId>,
    /// True if the call chain is the compensation of a step of its innermost run.
    pub is_compensation: bool,
    /// The limits of the runs and executions of the call chain, the outermost first.
    pub spending: Vec<SpendingBound>,
}

/// What a verified token states.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedDelegation {
    /// The call chain.
    pub call: DelegatedCall,
    /// The fence of the owner of the tree of runs `call.root`, for whom the request is executed; `None` outside of a run.
    pub fence: Option<u64>,
}

/// Verifies the token of a delegated request. The composition root implements it, because it has the keys of the
/// cluster.
pub trait DelegationVerifier: Send + Sync {
    /// Returns what the issuing pod states of this request. A token is accepted once.
    ///
    /// # Errors
    /// [`ErrorCode::Unauthenticated`] if the token is none of this cluster, or not for this pod, this request or this
    /// moment; [`ErrorCode::LeaseLost`] if the tree of its run has a later owner.
    fn verify(&self, token: &str, request: &Request, now: Timestamp) -> Result<VerifiedDelegation, Cause>;
}

impl VerifiedDelegation {
    /// Makes the authenticated request of a verified statement.
    pub(super) fn into_authenticated(self, resolved: ResolvedPrincipal, request: Request) -> Authenticated {
        let Self { call, fence } = self;
        let DelegatedCall { id, outermost, trace, deadline, received_at, chain, policies, run_tenant, root, .. } = call;
        let meta = RequestMeta {
            id,
            outermost,
            trace,
            deadline,
            idempotency: None,
            received_at,
            is_delegated: true,
            delegated_fence: fence,
        };
        let inherited = Inherited {
            policies: policies.into_iter().collect(),
            run_tenant,
            root,
            is_compensation: call.is_compensation,
            spending: call.spending.into(),
        };
        Authenticated { meta, resolved, chain: chain.into(), inherited, request }
    }
}

impl DelegatedCall {
    /// Fails if the call chain does not begin with the user of the principal, which no pod states.
    pub(super) fn check_chain(&self) -> Result<(), Cause> {
        match self.chain.first() {
            Some(Caller::User { user }) if *user == self.principal.user => Ok(()),
            Some(_) | None => {
                Err(Cause::new(ErrorCode::Unauthenticated, "the call chain does not begin with its principal"))
            }
        }
    }
}

impl Grant {
    /// What this pod states of the permitted request to a pod that it delegates it to.
    #[must_use]
    pub fn delegated_call(&self) -> DelegatedCall {
        DelegatedCall {
            id: self.request_id().clone(),
            outermost: self.outermost_request().clone(),
            trace: self.trace().clone(),
            deadline: self.deadline(),
            received_at: self.received_at(),
            principal: self.principal().id.clone(),
            is_anonymous: self.auth_method() == AuthMethod::None,
            chain: self.chain().to_vec(),
            policies: self.policies().iter().map(str::to_owned).collect(),
            run_tenant: self.0.inherited.run_tenant.clone(),
            root: self.root().cloned(),
            is_compensation: self.is_compensation(),
            spending: self.spending().to_vec(),
        }
    }

    /// True if another pod has delegated the permitted request to this one.
    #[must_use]
    pub fn is_delegated(&self) -> bool {
        self.0.meta.is_delegated
    }

    /// The fence of the owner of the tree of runs [`Grant::root`], if that owner has had this pod execute the permitted
    /// request, or the one that it is nested in. Whoever has a larger fence repeats the call.
    #[must_use]
    pub fn delegated_fence(&self) -> Option<u64> {
        self.0.meta.delegated_fence
    }
}
