//! The permit: only the guard makes it, the dispatcher consumes it once, and it cannot be serialized.

use std::fmt;
use std::sync::Arc;

use greenroom_protocol::request::{
    CallTool, ContextRead, ContextWrite, Invoke, Maintenance, MemoryRead, MemoryWrite, Query, ResumeRun, SignalRun,
    StartRun, StartTeam,
};
use greenroom_protocol::{
    CallKey, ContentHash, Deadline, Request, RequestId, RunId, SpendingLimits, TeamId, Timestamp, TraceId,
};

use crate::facts::Resource;
use crate::identity::authenticated::{
    Authenticated, Idempotency, Inherited, RequestMeta, SpendingBound, SpendingScope, innermost_run, innermost_team,
    innermost_team_run,
};
use crate::identity::{AuthMethod, Caller, NameSet, Principal, ResolvedPrincipal};
use crate::instance::allowed::Obligations;

/// The check by which an action is bound by the policies of definitions.
const POLICIES_CHECK: &str = "policies_ok";

/// The checks that an allowed request has passed: those of its action, and the policies that bind it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Checks {
    pub(crate) action_checks: Arc<[Arc<str>]>,
    pub(crate) definition_policies: NameSet,
}

impl Checks {
    /// The checks of an action. If none of them is about the policies of definitions, as for the
    /// cancellation of a run, no policy was checked.
    pub(crate) fn new(action_checks: Arc<[Arc<str>]>, policies: &NameSet) -> Self {
        let is_bound = action_checks.iter().any(|check| &**check == POLICIES_CHECK);
        Self { action_checks, definition_policies: if is_bound { policies.clone() } else { NameSet::default() } }
    }

    /// The names of the checks, those of the action first.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.action_checks.iter().map(AsRef::as_ref).chain(self.definition_policies.iter())
    }

    /// The names of the checks, for a reply or an audit entry.
    #[must_use]
    pub fn to_vec(&self) -> Vec<String> {
        self.iter().map(str::to_owned).collect()
    }
}

/// Proof that the guard allows `T` once. Only the guard makes it, and it can be neither cloned nor
/// serialized: the pod that hosts an actor decides again.
#[must_use]
pub struct Permitted<T> {
    grant: Grant,
    request: T,
}

impl<T> Permitted<T> {
    pub(crate) const fn new(grant: Grant, request: T) -> Self {
        Self { grant, request }
    }

    /// The permitted request.
    pub const fn request(&self) -> &T {
        &self.request
    }

    /// The grant of the permit.
    pub const fn grant(&self) -> &Grant {
        &self.grant
    }

    /// Consumes the permit.
    #[must_use]
    pub fn redeem(self) -> (Grant, T) {
        (self.grant, self.request)
    }
}

impl<T> fmt::Debug for Permitted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permitted").field("grant", &self.grant).finish_non_exhaustive()
    }
}

/// A permit, typed by the request that it permits.
#[must_use]
#[derive(Debug)]
pub enum TypedPermit {
    /// Invoke an agent.
    Invoke(Permitted<Invoke>),
    /// Start a workflow.
    StartRun(Permitted<StartRun>),
    /// Form a team.
    StartTeam(Permitted<StartTeam>),
    /// Send a signal to a run.
    SignalRun(Permitted<SignalRun>),
    /// Resume a run.
    ResumeRun(Permitted<ResumeRun>),
    /// Read a team's shared context.
    ContextRead(Permitted<ContextRead>),
    /// Write a team's shared context.
    ContextWrite(Permitted<ContextWrite>),
    /// Read an agent's memory.
    MemoryRead(Permitted<MemoryRead>),
    /// Change an agent's memory.
    MemoryWrite(Permitted<MemoryWrite>),
    /// Call a tool.
    CallTool(Permitted<CallTool>),
    /// Query the catalogue, runs, the audit or costs.
    Query(Permitted<Query>),
    /// Maintain the stores.
    Maintain(Permitted<Maintenance>),
}

impl Permitted<Request> {
    /// Converts the permit to that of its request's type.
    pub fn into_typed(self) -> TypedPermit {
        let Self { grant, request } = self;
        match request {
            Request::Invoke(request) => TypedPermit::Invoke(Permitted { grant, request }),
            Request::StartRun(request) => TypedPermit::StartRun(Permitted { grant, request }),
            Request::StartTeam(request) => TypedPermit::StartTeam(Permitted { grant, request }),
            Request::SignalRun(request) => TypedPermit::SignalRun(Permitted { grant, request }),
            Request::ResumeRun(request) => TypedPermit::ResumeRun(Permitted { grant, request }),
            Request::ContextRead(request) => TypedPermit::ContextRead(Permitted { grant, request }),
            Request::ContextWrite(request) => TypedPermit::ContextWrite(Permitted { grant, request }),
            Request::MemoryRead(request) => TypedPermit::MemoryRead(Permitted { grant, request }),
            Request::MemoryWrite(request) => TypedPermit::MemoryWrite(Permitted { grant, request }),
            Request::CallTool(request) => TypedPermit::CallTool(Permitted { grant, request }),
            Request::Query(request) => TypedPermit::Query(Permitted { grant, request }),
            Request::Maintain(request) => TypedPermit::Maintain(Permitted { grant, request }),
        }
    }
}

/// The part of a permit that a run or an execution holds: the principal, the call chain, the authorized
/// resource, and the right to issue nested requests as the callee. It is cheap to clone and permits
/// nothing by itself.
#[derive(Clone)]
pub struct Grant(pub(crate) Arc<GrantParts>);

#[derive(Clone)]
pub(crate) struct GrantParts {
    pub(crate) meta: RequestMeta,
    pub(crate) resolved: ResolvedPrincipal,
    pub(crate) chain: Arc<[Caller]>,
    pub(crate) callee: Option<Caller>,
    pub(crate) inherited: Inherited,
    pub(crate) resource: Resource,
    pub(crate) checks: Checks,
    pub(crate) obligations: Obligations,
    pub(crate) revision: Arc<str>,
}

impl Grant {
    pub(crate) fn new(granted: GrantParts) -> Self {
        Self(Arc::new(granted))
    }

    /// Issues a nested request as the callee of the permit: the agent, the workflow's run or the team.
    /// If the permit has no callee, as that of a query, the caller is [`Caller::None`], which every
    /// policy denies.
    pub fn issue_request(&self, id: RequestId, request: Request) -> Authenticated {
        let GrantParts { meta, resolved, chain, callee, inherited, .. } = &*self.0;
        let caller = callee.clone().unwrap_or(Caller::None);
        Authenticated {
            meta: RequestMeta { id, idempotency: None, is_delegated: false, ..meta.clone() },
            resolved: resolved.clone(),
            chain: chain.iter().cloned().chain([caller]).collect(),
            inherited: inherited.clone(),
            request,
        }
    }

    /// As [`Grant::issue_request`], for a request that has the effect of the permitted one, as the run has that a team
    /// starts: it carries the idempotency key of the caller.
    pub fn issue_request_with_key(&self, id: RequestId, request: Request) -> Authenticated {
        let mut issued = self.issue_request(id, request);
        issued.meta.idempotency = self.0.meta.idempotency.clone();
        issued
    }

    /// As [`Grant::issue_request`], for a request that the callee makes on behalf of a definition with these
    /// policies: they bind it too.
    pub fn issue_request_for(&self, id: RequestId, request: Request, policies: &NameSet) -> Authenticated {
        let mut issued = self.issue_request(id, request);
        issued.inherited.policies = issued.inherited.policies.union(policies);
        issued
    }

    /// The same grant with this deadline, if it is earlier than the grant's own.
    #[must_use]
    pub fn with_earlier_deadline(&self, deadline: Deadline) -> Self {
        self.with_deadline(self.deadline().earlier(deadline))
    }

    /// The same grant for a run that may continue after the reply to the request that started it. This
    /// extends no right: the guard decides each nested request when it is issued, with a refreshed
    /// principal. For any callee but a run this is [`Grant::with_earlier_deadline`].
    #[must_use]
    pub fn with_run_deadline(&self, deadline: Deadline) -> Self {
        match self.callee() {
            Some(Caller::Workflow { .. }) => self.with_deadline(deadline),
            Some(Caller::User { .. } | Caller::Agent { .. } | Caller::Team { .. } | Caller::None) | None => {
                self.with_earlier_deadline(deadline)
            }
        }
    }

    /// The same grant with a limit on the spending of its callee and of all calls below it. A limit only ever becomes
    /// tighter: another one of the same scope is combined with it.
    #[must_use]
    pub fn with_spending_limits(&self, scope: SpendingScope, limits: SpendingLimits) -> Self {
        if limits.is_empty() {
            return self.clone();
        }
        let mut bounds = self.0.inherited.spending.to_vec();
        match bounds.iter_mut().find(|bound| bound.scope == scope) {
            Some(bound) => bound.limits = bound.limits.tightest(limits),
            None => bounds.push(SpendingBound { scope, limits }),
        }
        let mut parts = (*self.0).clone();
        parts.inherited.spending = bounds.into();
        Self::new(parts)
    }

    fn with_deadline(&self, deadline: Deadline) -> Self {
        let mut parts = (*self.0).clone();
        parts.meta.deadline = deadline;
        Self::new(parts)
    }

    /// The principal behind the call chain.
    #[must_use]
    pub fn principal(&self) -> &Arc<Principal> {
        &self.0.resolved.principal
    }

    /// How the principal was authenticated.
    #[must_use]
    pub fn auth_method(&self) -> AuthMethod {
        self.0.resolved.auth_method
    }

    /// When the principal was last read.
    #[must_use]
    pub fn principal_read_at(&self) -> Timestamp {
        self.0.resolved.resolved_at
    }

    /// The caller of the permitted request.
    #[must_use]
    pub fn caller(&self) -> &Caller {
        self.0.chain.last().unwrap_or(&Caller::None)
    }

    /// The policies that bind every nested request: those of the resource's definition, and those of the
    /// definitions of all callers.
    #[must_use]
    pub fn policies(&self) -> &NameSet {
        &self.0.inherited.policies
    }

    /// The callee of the permitted request, in whose name [`Grant::issue_request`] issues requests.
    #[must_use]
    pub fn callee(&self) -> Option<&Caller> {
        self.0.callee.as_ref()
    }

    /// The call chain: the user first, the caller of the permitted request last.
    #[must_use]
    pub fn chain(&self) -> &Arc<[Caller]> {
        &self.0.chain
    }

    /// The authorized resource; the dispatcher invokes exactly this version.
    #[must_use]
    pub fn resource(&self) -> &Resource {
        &self.0.resource
    }

    /// The authorized version, if the resource has versions.
    #[must_use]
    pub fn version(&self) -> Option<&ContentHash> {
        self.0.resource.version()
    }

    /// The checks that passed.
    #[must_use]
    pub fn checks(&self) -> &Checks {
        &self.0.checks
    }

    /// The obligations of the request's executor.
    #[must_use]
    pub fn obligations(&self) -> Obligations {
        self.0.obligations
    }

    /// The revision of the policy that decided.
    #[must_use]
    pub fn revision(&self) -> &str {
        &self.0.revision
    }

    /// The deadline of the request.
    #[must_use]
    pub fn deadline(&self) -> Deadline {
        self.0.meta.deadline
    }

    /// The trace of the request.
    #[must_use]
    pub fn trace(&self) -> &TraceId {
        &self.0.meta.trace
    }

    /// The id of the permitted request.
    #[must_use]
    pub fn request_id(&self) -> &RequestId {
        &self.0.meta.id
    }

    /// The id of the request that began the call chain: that of the permitted request, if it is not nested.
    #[must_use]
    pub fn outermost_request(&self) -> &RequestId {
        &self.0.meta.outermost
    }

    /// The idempotency key that the client sent.
    #[must_use]
    pub fn idempotency(&self) -> Option<&Idempotency> {
        self.0.meta.idempotency.as_ref()
    }

    /// The key of the effect of the permitted request, which its executor passes on to whoever can recognise a repeated
    /// effect: for a request with an idempotency key it is the same at each repetition.
    #[must_use]
    pub fn effect_key(&self) -> CallKey {
        match self.idempotency() {
            Some(Idempotency { key, request_hash }) => CallKey::for_caller(&self.principal().id, key, request_hash),
            None => CallKey::for_request(self.request_id()),
        }
    }

    /// When the pod received the request that began the call chain.
    #[must_use]
    pub fn received_at(&self) -> Timestamp {
        self.0.meta.received_at
    }

    /// The run of the request: the one that the permit starts or resumes, else the innermost one of the call chain.
    #[must_use]
    pub fn run(&self) -> Option<&RunId> {
        innermost_run(self.0.callee.as_slice()).or_else(|| innermost_run(&self.0.chain))
    }

    /// The root of the tree of runs that the request belongs to; none outside of a run.
    #[must_use]
    pub fn root(&self) -> Option<&RunId> {
        self.0.inherited.root.as_ref()
    }

    /// True if the request is a part of the compensation of its run.
    #[must_use]
    pub fn is_compensation(&self) -> bool {
        self.0.inherited.is_compensation
    }

    /// The limits on the spending of the runs and executions above, and of the callee, the outermost first.
    #[must_use]
    pub fn spending(&self) -> &Arc<[SpendingBound]> {
        &self.0.inherited.spending
    }

    /// The run that the team of the request was formed for; its id is that of the team's shared context.
    #[must_use]
    pub fn team_run(&self) -> Option<&RunId> {
        innermost_team_run(self.0.chain.iter().chain(self.0.callee.as_ref()))
    }

    /// The team of the request: the one that the permit forms, else the innermost one of the call chain.
    #[must_use]
    pub fn team(&self) -> Option<&TeamId> {
        innermost_team(self.0.callee.as_slice()).or_else(|| innermost_team(&self.0.chain))
    }
}

impl fmt::Debug for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grant")
            .field("request", &self.0.meta.id)
            .field("principal", &self.0.resolved.principal.id)
            .field("resource", &self.0.resource.name())
            .finish_non_exhaustive()
    }
}
