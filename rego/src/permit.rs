//! The permit: what only a guard can give, only one actor can redeem, and nobody can send.

use std::fmt;
use std::sync::Arc;

use greenroom_protocol::request::{
    CallTool, ContextRead, ContextWrite, Invoke, MemoryRead, MemoryWrite, Query, ResumeRun, SignalRun, StartRun,
    StartTeam,
};
use greenroom_protocol::{ContentHash, Deadline, Request, RequestId, RunId, TeamId, Timestamp, TraceId};

use crate::facts::Resource;
use crate::identity::authenticated::{Authenticated, Idempotency, RequestMeta, innermost_run, innermost_team};
use crate::identity::{Caller, NameSet, Principal, ResolvedPrincipal};

pub use crate::engine::allowed::Obligations;

/// The checks that an allowed request has passed: those of its action, and its definition's policies.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Checks {
    pub(crate) action_checks: Arc<[Arc<str>]>,
    pub(crate) definition_policies: NameSet,
}

impl Checks {
    /// The names, those of the action first.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.action_checks.iter().map(AsRef::as_ref).chain(self.definition_policies.iter())
    }

    /// The names, for a reply or an audit record.
    #[must_use]
    pub fn to_vec(&self) -> Vec<String> {
        self.iter().map(str::to_owned).collect()
    }
}

/// The right to do `T` once, as the guard gave it. There is no other maker, no copy and no way to
/// send one: the pod that hosts an actor judges again.
#[must_use]
pub struct Permitted<T> {
    grant: Grant,
    request: T,
}

impl<T> Permitted<T> {
    pub(crate) const fn new(grant: Grant, request: T) -> Self {
        Self { grant, request }
    }

    /// What was permitted.
    pub const fn request(&self) -> &T {
        &self.request
    }

    /// What came with the permit.
    pub const fn grant(&self) -> &Grant {
        &self.grant
    }

    /// Uses it up.
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

/// A permit, sorted by what it permits.
#[must_use]
#[derive(Debug)]
pub enum TypedPermit {
    /// Let an agent work.
    Invoke(Permitted<Invoke>),
    /// Start a workflow.
    StartRun(Permitted<StartRun>),
    /// Form a team.
    StartTeam(Permitted<StartTeam>),
    /// Tell a run something.
    SignalRun(Permitted<SignalRun>),
    /// Go on with a run.
    ResumeRun(Permitted<ResumeRun>),
    /// Read a context.
    ContextRead(Permitted<ContextRead>),
    /// Write a context.
    ContextWrite(Permitted<ContextWrite>),
    /// Read an agent's memory.
    MemoryRead(Permitted<MemoryRead>),
    /// Change an agent's memory.
    MemoryWrite(Permitted<MemoryWrite>),
    /// Use a tool.
    CallTool(Permitted<CallTool>),
    /// Look at what is known.
    Query(Permitted<Query>),
}

impl Permitted<Request> {
    /// Sorts it.
    pub fn into_typed(self) -> TypedPermit {
        let Self { grant, request: what } = self;
        match what {
            Request::Invoke(what) => TypedPermit::Invoke(Permitted { grant, request: what }),
            Request::StartRun(what) => TypedPermit::StartRun(Permitted { grant, request: what }),
            Request::StartTeam(what) => TypedPermit::StartTeam(Permitted { grant, request: what }),
            Request::SignalRun(what) => TypedPermit::SignalRun(Permitted { grant, request: what }),
            Request::ResumeRun(what) => TypedPermit::ResumeRun(Permitted { grant, request: what }),
            Request::ContextRead(what) => TypedPermit::ContextRead(Permitted { grant, request: what }),
            Request::ContextWrite(what) => TypedPermit::ContextWrite(Permitted { grant, request: what }),
            Request::MemoryRead(what) => TypedPermit::MemoryRead(Permitted { grant, request: what }),
            Request::MemoryWrite(what) => TypedPermit::MemoryWrite(Permitted { grant, request: what }),
            Request::CallTool(what) => TypedPermit::CallTool(Permitted { grant, request: what }),
            Request::Query(what) => TypedPermit::Query(Permitted { grant, request: what }),
        }
    }
}

/// What comes with a permit: in whose name it was given, what was judged, and the voice of what it
/// called on stage. Cheap to clone; it permits nothing by itself.
#[derive(Clone)]
pub struct Grant(Arc<Granted>);

pub(crate) struct Granted {
    pub(crate) meta: RequestMeta,
    pub(crate) resolved: ResolvedPrincipal,
    pub(crate) chain: Arc<[Caller]>,
    pub(crate) callee: Option<Caller>,
    pub(crate) resource: Resource,
    pub(crate) checks: Checks,
    pub(crate) obligations: Obligations,
    pub(crate) revision: Arc<str>,
}

impl Grant {
    pub(crate) fn new(granted: Granted) -> Self {
        Self(Arc::new(granted))
    }

    /// Asks for something as what the permit called on stage: the agent, the workflow's run or the
    /// team. A permit that called nobody, such as one to look at a list, speaks as
    /// [`Speaker::Nobody`], which no rule lets do anything.
    pub fn issue_request(&self, id: RequestId, request: Request) -> Authenticated {
        let Granted { meta: particulars, resolved: known, chain, callee, .. } = &*self.0;
        let caller = callee.clone().unwrap_or(Caller::None);
        Authenticated {
            meta: RequestMeta { id, idempotency: None, ..particulars.clone() },
            resolved: known.clone(),
            chain: chain.iter().cloned().chain([caller]).collect(),
            request,
        }
    }

    /// The same grant with a nearer deadline: what is spoken from it is waited for no longer.
    #[must_use]
    pub fn with_earlier_deadline(&self, deadline: Deadline) -> Self {
        self.with_deadline(self.deadline().earlier(deadline))
    }

    /// The same grant for a run that may go on after the request that started it was answered. It
    /// permits nothing that it did not before: whatever is spoken from it is judged when it is, and
    /// its principal is read anew. For anything but a run this is [`Grant::until`].
    #[must_use]
    pub fn with_run_deadline(&self, deadline: Deadline) -> Self {
        match self.callee() {
            Some(Caller::Workflow { .. }) => self.with_deadline(deadline),
            Some(Caller::User { .. } | Caller::Agent { .. } | Caller::Team { .. } | Caller::None) | None => {
                self.with_earlier_deadline(deadline)
            }
        }
    }

    fn with_deadline(&self, deadline: Deadline) -> Self {
        let Granted {
            meta: particulars,
            resolved: known,
            chain,
            callee,
            resource: target,
            checks,
            obligations,
            revision,
        } = &*self.0;
        let particulars = RequestMeta { deadline, ..particulars.clone() };
        Self::new(Granted {
            meta: particulars,
            resolved: known.clone(),
            chain: chain.clone(),
            callee: callee.clone(),
            resource: target.clone(),
            checks: checks.clone(),
            obligations: *obligations,
            revision: revision.clone(),
        })
    }

    /// On whose behalf.
    #[must_use]
    pub fn principal(&self) -> &Arc<Principal> {
        &self.0.resolved.principal
    }

    /// When the principal was last read.
    #[must_use]
    pub fn principal_read_at(&self) -> Timestamp {
        self.0.resolved.resolved_at
    }

    /// Who asked.
    #[must_use]
    pub fn caller(&self) -> &Caller {
        self.0.chain.last().unwrap_or(&Caller::None)
    }

    /// Whom the permit called on stage; [`Grant::speak`] speaks as them.
    #[must_use]
    pub fn callee(&self) -> Option<&Caller> {
        self.0.callee.as_ref()
    }

    /// Everybody who has spoken, the user first, the one who asked last.
    #[must_use]
    pub fn chain(&self) -> &Arc<[Caller]> {
        &self.0.chain
    }

    /// What was judged; the actor that is seated has exactly this version.
    #[must_use]
    pub fn resource(&self) -> &Resource {
        &self.0.resource
    }

    /// The version that was judged, where the target has versions.
    #[must_use]
    pub fn version(&self) -> Option<&ContentHash> {
        self.0.resource.version()
    }

    /// The checks that were passed.
    #[must_use]
    pub fn checks(&self) -> &Checks {
        &self.0.checks
    }

    /// What has to be kept to while doing it.
    #[must_use]
    pub fn obligations(&self) -> Obligations {
        self.0.obligations
    }

    /// The revision of the policy that decided.
    #[must_use]
    pub fn revision(&self) -> &str {
        &self.0.revision
    }

    /// After which nobody waits.
    #[must_use]
    pub fn deadline(&self) -> Deadline {
        self.0.meta.deadline
    }

    /// The trace that it belongs to.
    #[must_use]
    pub fn trace(&self) -> &TraceId {
        &self.0.meta.trace
    }

    /// The request that it was given for.
    #[must_use]
    pub fn request_id(&self) -> &RequestId {
        &self.0.meta.id
    }

    /// The caller's idempotency key.
    #[must_use]
    pub fn idempotency(&self) -> Option<&Idempotency> {
        self.0.meta.idempotency.as_ref()
    }

    /// When the request that began the chain arrived.
    #[must_use]
    pub fn received_at(&self) -> Timestamp {
        self.0.meta.received_at
    }

    /// The run that the work belongs to: the one that the permit starts or goes on with, else the
    /// innermost one of the chain.
    #[must_use]
    pub fn run(&self) -> Option<&RunId> {
        innermost_run(self.0.callee.as_slice()).or_else(|| innermost_run(&self.0.chain))
    }

    /// The team that the work belongs to: the one that the permit forms, else the innermost one.
    #[must_use]
    pub fn team(&self) -> Option<&TeamId> {
        innermost_team(self.0.callee.as_slice()).or_else(|| innermost_team(&self.0.chain))
    }
}

impl fmt::Debug for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grant")
            .field("request", &self.0.meta.id)
            .field("user", &self.0.resolved.principal.user)
            .field("resource", &self.0.resource.name())
            .finish_non_exhaustive()
    }
}
