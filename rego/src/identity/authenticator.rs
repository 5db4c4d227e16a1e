//! From a claim to a known user: the second stage of every request from outside.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use greenroom_protocol::received::ClaimedIdentity;
use greenroom_protocol::request::ResumeRun;
use greenroom_protocol::{
    Cause, Credential, Deadline, ErrorCode, Received, Request, RequestId, RunId, Timestamp, TraceId, UserId,
};

use super::authenticated::{Authenticated, Idempotency, RequestMeta};
use super::{AuthMethod, Principal, ResolvedPrincipal};

/// How old a principal may be before it is read anew: a right that was withdrawn ends within it.
pub const PRINCIPAL_AGE_MAX: Duration = Duration::from_secs(60);

/// Who exists, and what they show to be known. Implemented by the composition root; it can only
/// answer who somebody is, never what they asked.
#[async_trait]
pub trait IdentityProvider: Send + Sync {
    /// The user whom a credential belongs to; `None` if it belongs to nobody (any more).
    ///
    /// # Errors
    /// A cause if this cannot be found out now; the request is then refused with it.
    async fn verify_credential(&self, credential: &Credential, now: Timestamp) -> Result<Option<Principal>, Cause>;

    /// The user of that name; `None` if there is none (any more).
    ///
    /// # Errors
    /// As [`Identities::verify`].
    async fn find_user(&self, user: &UserId, now: Timestamp) -> Result<Option<Principal>, Cause>;

    /// The user as whom somebody without a credential is taken. By default there is none.
    ///
    /// # Errors
    /// As [`Identities::verify`].
    async fn anonymous(&self, _now: Timestamp) -> Result<Option<Principal>, Cause> {
        Ok(None)
    }
}

/// What a run that was interrupted says of itself. Its owner is read anew: no token is ever stored.
#[derive(Debug, Clone)]
pub struct RecoveryRequest {
    /// A fresh id.
    pub id: RequestId,
    /// The trace of the run.
    pub trace: TraceId,
    /// Who owns the run, as it was recorded.
    pub owner: UserId,
    /// The run.
    pub run: RunId,
    /// After which nobody waits.
    pub deadline: Deadline,
    /// The present moment.
    pub now: Timestamp,
}

/// Makes a request of a known user out of what has arrived.
#[derive(Clone)]
pub struct Authenticator {
    identities: Arc<dyn IdentityProvider>,
}

impl Authenticator {
    /// An authenticator that asks there.
    #[must_use]
    pub fn new(identities: Arc<dyn IdentityProvider>) -> Self {
        Self { identities }
    }

    /// Finds out who asks.
    ///
    /// # Errors
    /// [`ErrorCode::Unauthenticated`] if that is nobody; what [`Identities`] says if it cannot be found out.
    pub async fn authenticate(&self, received: Received) -> Result<Authenticated, Cause> {
        let parts = received.into_parts();
        let (principal, proof) = match &parts.identity {
            ClaimedIdentity::LocalUser(user) => {
                (self.identities.find_user(user, parts.at).await?, AuthMethod::LocalUser)
            }
            ClaimedIdentity::Credential(credential) => {
                (self.identities.verify_credential(credential, parts.at).await?, AuthMethod::Credential)
            }
            ClaimedIdentity::Anonymous => (self.identities.anonymous(parts.at).await?, AuthMethod::None),
        };
        let principal = principal.ok_or_else(|| match &parts.identity {
            ClaimedIdentity::LocalUser(user) => {
                Cause::new(ErrorCode::Unauthenticated, format!("the configuration has no user `{user}`"))
            }
            ClaimedIdentity::Credential(_) => {
                Cause::new(ErrorCode::Unauthenticated, "the credential belongs to nobody")
            }
            ClaimedIdentity::Anonymous => Cause::new(ErrorCode::Unauthenticated, "the request has no credential"),
        })?;
        let known = ResolvedPrincipal { principal: Arc::new(principal), auth_method: proof, resolved_at: parts.at };
        let idempotency =
            parts.idempotency_key.zip(parts.body_hash).map(|(key, body)| Idempotency { key, request_hash: body });
        let particulars = RequestMeta {
            id: parts.id,
            trace: parts.trace,
            deadline: parts.deadline,
            idempotency,
            received_at: parts.at,
        };
        Ok(Authenticated::for_user(known, parts.request, particulars))
    }

    /// Takes a run up again in the name of its recorded owner, who is read anew.
    ///
    /// # Errors
    /// [`ErrorCode::Unauthenticated`] if the owner is gone; what [`Identities`] says if that is not known.
    pub async fn recover(&self, recovery: RecoveryRequest) -> Result<Authenticated, Cause> {
        let RecoveryRequest { id, trace, owner, run, deadline, now } = recovery;
        let principal = self.recall(&owner, now).await?;
        let known = ResolvedPrincipal {
            principal: Arc::new(principal),
            auth_method: AuthMethod::RecordedOwner,
            resolved_at: now,
        };
        let particulars = RequestMeta { id, trace, deadline, idempotency: None, received_at: now };
        Ok(Authenticated::for_user(known, Request::ResumeRun(ResumeRun { run }), particulars))
    }

    /// Reads the principal anew if it is older than [`PRINCIPAL_AGE_MAX`]. The pipeline does so at
    /// every hop, since a run may wait a week between two of them.
    ///
    /// # Errors
    /// [`ErrorCode::Unauthenticated`] if the user is gone; what [`Identities`] says if that is not known.
    pub async fn refresh(&self, mut authenticated: Authenticated, now: Timestamp) -> Result<Authenticated, Cause> {
        let known = &authenticated.resolved;
        if now.saturating_duration_since(known.resolved_at) <= PRINCIPAL_AGE_MAX {
            return Ok(authenticated);
        }
        let principal = match known.auth_method {
            AuthMethod::None => self.identities.anonymous(now).await?.ok_or_else(|| gone(&known.principal.user))?,
            AuthMethod::LocalUser | AuthMethod::Credential | AuthMethod::RecordedOwner => {
                self.recall(&known.principal.user, now).await?
            }
        };
        authenticated.resolved =
            ResolvedPrincipal { principal: Arc::new(principal), auth_method: known.auth_method, resolved_at: now };
        Ok(authenticated)
    }

    async fn recall(&self, user: &UserId, now: Timestamp) -> Result<Principal, Cause> {
        self.identities.find_user(user, now).await?.ok_or_else(|| gone(user))
    }
}

fn gone(user: &UserId) -> Cause {
    Cause::new(ErrorCode::Unauthenticated, format!("the user `{user}` is not known any more"))
}
