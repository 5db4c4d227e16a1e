//! A request whose principal is authenticated. Four functions make it, all in this crate: the authentication of a
//! claimed identity, that of a request that another pod delegates, the recovery of a run, and a grant that issues a
//! nested request.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use greenroom_protocol::raw_input::RawInput;
use greenroom_protocol::{
    CallKey, Cause, ContentHash, Deadline, IdempotencyKey, Json, Request, RequestId, RunId, SpendingLimits, TeamId,
    TenantId, Timestamp, TraceId,
};
use serde::{Deserialize, Serialize};

use super::{AuthMethod, Caller, NameSet, Principal, ResolvedPrincipal};

/// The idempotency key that the client sent, and the hash of its request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idempotency {
    /// The key.
    pub key: IdempotencyKey,
    /// The hash of the request's canonical JSON: the same key with another hash is a conflict.
    pub request_hash: ContentHash,
}

/// The metadata of one request at one hop, apart from its principal, caller and action.
#[derive(Debug, Clone)]
pub(crate) struct RequestMeta {
    pub(crate) id: RequestId,
    /// The id of the request that began the call chain.
    pub(crate) outermost: RequestId,
    pub(crate) trace: TraceId,
    pub(crate) deadline: Deadline,
    pub(crate) idempotency: Option<Idempotency>,
    pub(crate) received_at: Timestamp,
    /// True if another pod has delegated this very request to this one; false for those nested in it.
    pub(crate) is_delegated: bool,
    /// The fence of the owner of the tree for whom this pod executes the delegated request, or the one it is nested in.
    pub(crate) delegated_fence: Option<u64>,
}

/// What a nested request inherits from the permits above it. Only the guard makes it, from the facts that it
/// decided on: neither a caller nor a later change of a definition can remove a policy from it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Inherited {
    /// The policies of the definitions of all callers.
    pub(crate) policies: NameSet,
    /// The tenant of the innermost run of the call chain.
    pub(crate) run_tenant: Option<TenantId>,
    /// The root of the tree of runs that the call chain belongs to.
    pub(crate) root: Option<RunId>,
    /// True if the call chain is the compensation of a step of its innermost run.
    pub(crate) is_compensation: bool,
    /// The limits of the runs and executions of the call chain, the outermost first.
    pub(crate) spending: Arc<[SpendingBound]>,
}

/// Whose spending is limited: that of the run or the execution itself, and of all calls below it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SpendingScope {
    /// A run.
    Run(RunId),
    /// An execution of an agent.
    Execution(CallKey),
}

/// Limits that bind a caller and all calls below it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpendingBound {
    /// Whose limits.
    pub scope: SpendingScope,
    /// The limits.
    pub limits: SpendingLimits,
}

/// A request whose principal is authenticated. It can be neither cloned nor serialized, and only this
/// crate makes it.
#[must_use]
pub struct Authenticated {
    pub(crate) meta: RequestMeta,
    pub(crate) resolved: ResolvedPrincipal,
    pub(crate) chain: Arc<[Caller]>,
    pub(crate) inherited: Inherited,
    pub(crate) request: Request,
}

impl Authenticated {
    /// Makes the first request of a call chain: the user's own.
    pub(crate) fn for_user(resolved: ResolvedPrincipal, request: Request, meta: RequestMeta) -> Self {
        let user = Caller::User { user: resolved.principal.id.user.clone() };
        Self { meta, resolved, chain: Arc::new([user]), inherited: Inherited::default(), request }
    }

    /// The request's id.
    #[must_use]
    pub const fn id(&self) -> &RequestId {
        &self.meta.id
    }

    /// The trace of the request.
    #[must_use]
    pub const fn trace(&self) -> &TraceId {
        &self.meta.trace
    }

    /// The principal behind the call chain.
    #[must_use]
    pub fn principal(&self) -> &Arc<Principal> {
        &self.resolved.principal
    }

    /// How the principal was authenticated.
    #[must_use]
    pub const fn auth_method(&self) -> AuthMethod {
        self.resolved.auth_method
    }

    /// When the principal was last read.
    #[must_use]
    pub const fn principal_read_at(&self) -> Timestamp {
        self.resolved.resolved_at
    }

    /// The caller at this hop.
    #[must_use]
    pub fn caller(&self) -> &Caller {
        self.chain.last().unwrap_or(&Caller::None)
    }

    /// The call chain, the user first and the caller of this hop last.
    #[must_use]
    pub const fn chain(&self) -> &Arc<[Caller]> {
        &self.chain
    }

    /// The request itself.
    #[must_use]
    pub const fn request(&self) -> &Request {
        &self.request
    }

    /// The artifacts that the request refers to, each once.
    #[must_use]
    pub fn artifacts(&mut self) -> Vec<ContentHash> {
        self.request.artifacts()
    }

    /// Replaces the sizes that the request claims of its artifacts by those of the store.
    pub fn set_artifact_sizes(&mut self, sizes: &BTreeMap<ContentHash, u64>) {
        self.request.set_artifact_sizes(sizes);
    }

    /// The raw inputs of a user's own request, by name. A nested request has none: what a model or a step has made is
    /// an ordinary value. Neither has a delegated one, whose pod has replaced them.
    #[must_use]
    pub fn raw_inputs(&self) -> BTreeMap<String, RawInput> {
        let inputs = self.request.inputs().filter(|_| self.may_have_raw_inputs());
        let raw = |(name, value): (&String, &Json)| Some((name.clone(), RawInput::from_json(value)?));
        inputs.into_iter().flatten().filter_map(raw).collect()
    }

    /// Replaces a raw input of a user's own request by its value. Any other input remains as it is.
    pub fn set_raw_input(&mut self, name: &str, value: Json) {
        let inputs = self.request.inputs().filter(|_| self.may_have_raw_inputs());
        let input = inputs.and_then(|inputs| inputs.get(name));
        if input.is_some_and(RawInput::is_marked) {
            self.request.set_input(name, value);
        }
    }

    fn may_have_raw_inputs(&self) -> bool {
        self.chain.len() <= 1 && !self.meta.is_delegated
    }

    /// The deadline of the request.
    #[must_use]
    pub const fn deadline(&self) -> Deadline {
        self.meta.deadline
    }

    /// The idempotency key that the client sent. Nested requests have none here, because their keys are members
    /// of the requests; except for the run that a team starts for its caller.
    #[must_use]
    pub const fn idempotency(&self) -> Option<&Idempotency> {
        self.meta.idempotency.as_ref()
    }

    /// When the pod received the request that began the call chain.
    #[must_use]
    pub const fn received_at(&self) -> Timestamp {
        self.meta.received_at
    }

    /// The innermost run of the call chain; none for a user's own request.
    #[must_use]
    pub fn run(&self) -> Option<&RunId> {
        innermost_run(&self.chain)
    }

    /// The tenant to which the innermost run of the call chain belongs.
    #[must_use]
    pub const fn run_tenant(&self) -> Option<&TenantId> {
        self.inherited.run_tenant.as_ref()
    }

    /// The root of the tree of runs that the call chain belongs to; none outside of a run.
    #[must_use]
    pub const fn root(&self) -> Option<&RunId> {
        self.inherited.root.as_ref()
    }

    /// The limits of the runs and executions of the call chain, the outermost first.
    #[must_use]
    pub const fn spending(&self) -> &Arc<[SpendingBound]> {
        &self.inherited.spending
    }

    /// Checks that a user's own request names what the user may name. A nested request names what its caller calls.
    ///
    /// # Errors
    /// [`greenroom_protocol::ErrorCode::PolicyDenied`], with the reason `key_scope`.
    pub fn check_entry_points(&self) -> Result<(), Cause> {
        match &self.resolved.principal.entry_points {
            Some(entry_points) if self.chain.len() <= 1 && !self.is_recovery() => entry_points.check(&self.request),
            Some(_) | None => Ok(()),
        }
    }

    /// True for the request by which the platform itself resumes a run, in the name of its recorded owner.
    #[must_use]
    pub fn is_recovery(&self) -> bool {
        self.chain.len() == 1 && self.resolved.auth_method == AuthMethod::RecordedOwner
    }

    /// True if another pod has delegated this request to this one, which executes it and passes it to no third pod.
    #[must_use]
    pub const fn is_delegated(&self) -> bool {
        self.meta.is_delegated
    }

    /// The policies of the definitions of all callers, each in the version that was permitted.
    #[must_use]
    pub const fn caller_policies(&self) -> &NameSet {
        &self.inherited.policies
    }

    /// The innermost team of the call chain.
    #[must_use]
    pub fn team(&self) -> Option<&TeamId> {
        innermost_team(&self.chain)
    }

    /// The run that the innermost team was formed for.
    #[must_use]
    pub fn team_run(&self) -> Option<&RunId> {
        innermost_team_run(self.chain.iter())
    }
}

impl fmt::Debug for Authenticated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authenticated")
            .field("id", &self.meta.id)
            .field("principal", &self.resolved.principal.id)
            .field("caller", self.caller())
            .field("verb", &self.request.verb())
            .finish_non_exhaustive()
    }
}

/// The innermost run of a call chain.
pub(crate) fn innermost_run(chain: &[Caller]) -> Option<&RunId> {
    chain.iter().rev().find_map(|caller| match caller {
        Caller::Workflow { run, .. } | Caller::Team { run, .. } => Some(run),
        Caller::User { .. } | Caller::Agent { .. } | Caller::None => None,
    })
}

/// The innermost team of a call chain.
pub(crate) fn innermost_team(chain: &[Caller]) -> Option<&TeamId> {
    chain.iter().rev().find_map(|caller| match caller {
        Caller::Team { team, .. } => Some(team),
        Caller::Workflow { team, .. } => team.as_ref(),
        Caller::User { .. } | Caller::Agent { .. } | Caller::None => None,
    })
}

/// The run that the innermost team of a call chain was formed for: the run of the team, or the outermost of the runs
/// below it. A team that was restored is not a caller itself.
pub(crate) fn innermost_team_run<'c>(chain: impl DoubleEndedIterator<Item = &'c Caller>) -> Option<&'c RunId> {
    let mut outermost = None;
    for caller in chain.rev() {
        match caller {
            Caller::Team { run, .. } => return Some(run),
            Caller::Workflow { run, team: Some(_), .. } => outermost = Some(run),
            // A run without a team calls the team, so the team is below it.
            Caller::Workflow { team: None, .. } => return outermost,
            Caller::User { .. } | Caller::Agent { .. } | Caller::None => {}
        }
    }
    outermost
}
