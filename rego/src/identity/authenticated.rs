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
    pub body: ContentHash,
}

/// What belongs to one request at one hop, but for who asks and what.
#[derive(Debug, Clone)]
pub(crate) struct RequestMeta {
    pub(crate) id: RequestId,
    pub(crate) trace: TraceId,
    pub(crate) deadline: Deadline,
    pub(crate) idempotency: Option<Idempotency>,
    pub(crate) at: Timestamp,
}

/// A request whose asker is known. It cannot be copied, sent to another process or made elsewhere.
#[must_use]
pub struct Authenticated {
    pub(crate) particulars: RequestMeta,
    pub(crate) known: ResolvedPrincipal,
    pub(crate) chain: Arc<[Caller]>,
    pub(crate) request: Request,
}

impl Authenticated {
    /// A user's own request: the chain begins.
    pub(crate) fn of_user(known: ResolvedPrincipal, request: Request, particulars: RequestMeta) -> Self {
        let user = Caller::User { user: known.principal.user.clone() };
        Self { particulars, known, chain: Arc::new([user]), request }
    }

    /// The request's id.
    #[must_use]
    pub const fn id(&self) -> &RequestId {
        &self.particulars.id
    }

    /// The trace that it belongs to.
    #[must_use]
    pub const fn trace(&self) -> &TraceId {
        &self.particulars.trace
    }

    /// On whose behalf it is asked.
    #[must_use]
    pub fn principal(&self) -> &Arc<Principal> {
        &self.known.principal
    }

    /// How it is known that they are who they claim to be.
    #[must_use]
    pub const fn proof(&self) -> AuthMethod {
        self.known.proof
    }

    /// When the principal was last read.
    #[must_use]
    pub const fn principal_read_at(&self) -> Timestamp {
        self.known.at
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
        self.particulars.deadline
    }

    /// The caller's idempotency key. Inner hops have none: their keys lie in the requests.
    #[must_use]
    pub const fn idempotency(&self) -> Option<&Idempotency> {
        self.particulars.idempotency.as_ref()
    }

    /// When the request that began the chain arrived.
    #[must_use]
    pub const fn at(&self) -> Timestamp {
        self.particulars.at
    }

    /// The run in whose name it is asked; none at a user's own request.
    #[must_use]
    pub fn run(&self) -> Option<&RunId> {
        run_of(&self.chain)
    }

    /// The team in whose name it is asked.
    #[must_use]
    pub fn team(&self) -> Option<&TeamId> {
        team_of(&self.chain)
    }
}

impl fmt::Debug for Authenticated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authenticated")
            .field("id", &self.particulars.id)
            .field("user", &self.known.principal.user)
            .field("caller", self.caller())
            .field("verb", &self.request.verb())
            .finish_non_exhaustive()
    }
}

/// The innermost run of a chain.
pub(crate) fn run_of(chain: &[Caller]) -> Option<&RunId> {
    chain.iter().rev().find_map(|caller| match caller {
        Caller::Workflow { run, .. } | Caller::Team { run, .. } => Some(run),
        Caller::User { .. } | Caller::Agent { .. } | Caller::None => None,
    })
}

/// The innermost team of a chain.
pub(crate) fn team_of(chain: &[Caller]) -> Option<&TeamId> {
    chain.iter().rev().find_map(|caller| match caller {
        Caller::Team { team, .. } => Some(team),
        Caller::Workflow { team, .. } => team.as_ref(),
        Caller::User { .. } | Caller::Agent { .. } | Caller::None => None,
    })
}
