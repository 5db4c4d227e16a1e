//! A request whose asker is known. It has three makers, all in this crate: a verified claim, a
//! recovery, and a grant that speaks.

use std::fmt;
use std::sync::Arc;

use greenroom_protocol::{
    ContentHash, Deadline, IdempotencyKey, Request, RequestId, RunId, TeamId, Timestamp, TraceId,
};

use super::{AuthMethod, Caller, Principal, ResolvedPrincipal};

/// The caller's idempotency key, and the hash of what came with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idempotency {
    /// The key.
    pub key: IdempotencyKey,
    /// The hash of the request's canonical JSON: the same key with another body is a conflict.
    pub request_hash: ContentHash,
}

/// What belongs to one request at one hop, but for who asks and what.
#[derive(Debug, Clone)]
pub(crate) struct RequestMeta {
    pub(crate) id: RequestId,
    pub(crate) trace: TraceId,
    pub(crate) deadline: Deadline,
    pub(crate) idempotency: Option<Idempotency>,
    pub(crate) received_at: Timestamp,
}

/// A request whose asker is known. It cannot be copied, sent to another process or made elsewhere.
#[must_use]
pub struct Authenticated {
    pub(crate) meta: RequestMeta,
    pub(crate) resolved: ResolvedPrincipal,
    pub(crate) chain: Arc<[Caller]>,
    pub(crate) request: Request,
}

impl Authenticated {
    /// A user's own request: the chain begins.
    pub(crate) fn for_user(resolved: ResolvedPrincipal, request: Request, meta: RequestMeta) -> Self {
        let user = Caller::User { user: resolved.principal.user.clone() };
        Self { meta, resolved, chain: Arc::new([user]), request }
    }

    /// The request's id.
    #[must_use]
    pub const fn id(&self) -> &RequestId {
        &self.meta.id
    }

    /// The trace that it belongs to.
    #[must_use]
    pub const fn trace(&self) -> &TraceId {
        &self.meta.trace
    }

    /// On whose behalf it is asked.
    #[must_use]
    pub fn principal(&self) -> &Arc<Principal> {
        &self.resolved.principal
    }

    /// How it is known that they are who they claim to be.
    #[must_use]
    pub const fn auth_method(&self) -> AuthMethod {
        self.resolved.auth_method
    }

    /// When the principal was last read.
    #[must_use]
    pub const fn principal_read_at(&self) -> Timestamp {
        self.resolved.resolved_at
    }

    /// Who asks at this hop.
    #[must_use]
    pub fn caller(&self) -> &Caller {
        self.chain.last().unwrap_or(&Caller::None)
    }

    /// Everybody who speaks, the user first and the present speaker last.
    #[must_use]
    pub const fn chain(&self) -> &Arc<[Caller]> {
        &self.chain
    }

    /// What is asked.
    #[must_use]
    pub const fn request(&self) -> &Request {
        &self.request
    }

    /// After which nobody waits.
    #[must_use]
    pub const fn deadline(&self) -> Deadline {
        self.meta.deadline
    }

    /// The caller's idempotency key. Inner hops have none: their keys lie in the requests.
    #[must_use]
    pub const fn idempotency(&self) -> Option<&Idempotency> {
        self.meta.idempotency.as_ref()
    }

    /// When the request that began the chain arrived.
    #[must_use]
    pub const fn received_at(&self) -> Timestamp {
        self.meta.received_at
    }

    /// The run in whose name it is asked; none at a user's own request.
    #[must_use]
    pub fn run(&self) -> Option<&RunId> {
        innermost_run(&self.chain)
    }

    /// The team in whose name it is asked.
    #[must_use]
    pub fn team(&self) -> Option<&TeamId> {
        innermost_team(&self.chain)
    }
}

impl fmt::Debug for Authenticated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authenticated")
            .field("id", &self.meta.id)
            .field("user", &self.resolved.principal.user)
            .field("caller", self.caller())
            .field("verb", &self.request.verb())
            .finish_non_exhaustive()
    }
}

/// The innermost run of a chain.
pub(crate) fn innermost_run(chain: &[Caller]) -> Option<&RunId> {
    chain.iter().rev().find_map(|caller| match caller {
        Caller::Workflow { run, .. } | Caller::Team { run, .. } => Some(run),
        Caller::User { .. } | Caller::Agent { .. } | Caller::None => None,
    })
}

/// The innermost team of a chain.
pub(crate) fn innermost_team(chain: &[Caller]) -> Option<&TeamId> {
    chain.iter().rev().find_map(|caller| match caller {
        Caller::Team { team, .. } => Some(team),
        Caller::Workflow { team, .. } => team.as_ref(),
        Caller::User { .. } | Caller::Agent { .. } | Caller::None => None,
    })
}
