//! Authenticates the claimed identity of a received request: the second stage of the pipeline.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use greenroom_protocol::received::{ClaimedIdentity, Parts};
use greenroom_protocol::request::ResumeRun;
use greenroom_protocol::{
    Cause, Credential, Deadline, ErrorCode, IngressKind, PrincipalId, Received, Request, RequestId, RunId, Timestamp,
    TraceId, UserId,
};

use super::authenticated::{Authenticated, Idempotency, RequestMeta};
use super::delegated_call::DelegationVerifier;
use super::{AuthMethod, Principal, ResolvedPrincipal};

/// Maximum age of the principal of a user's own request before it is read again. Nested requests read it anew each time.
pub const PRINCIPAL_AGE_MAX: Duration = Duration::from_secs(60);

/// Resolves credentials and names to principals. The composition root implements it; it never learns
/// what is requested.
#[async_trait]
pub trait IdentityProvider: Send + Sync {
    /// Returns the user of a credential; `None` if the credential has no user (any more).
    ///
    /// # Errors
    /// A cause if the provider is unavailable; the request is then rejected with it.
    async fn verify_credential(&self, credential: &Credential, now: Timestamp) -> Result<Option<Principal>, Cause>;

    /// Returns the configured user of this name, whom the operating system has authenticated; `None` if there is none.
    ///
    /// # Errors
    /// As [`IdentityProvider::verify_credential`].
    async fn find_local_user(&self, user: &UserId, now: Timestamp) -> Result<Option<Principal>, Cause>;

    /// Returns exactly this principal with the roles, permissions and limits of now; `None` if it does not exist (any
    /// more), also if its user belongs to another tenant now.
    ///
    /// # Errors
    /// As [`IdentityProvider::verify_credential`].
    async fn find_user(&self, id: &PrincipalId, now: Timestamp) -> Result<Option<Principal>, Cause>;

    /// Returns the user for requests without a credential. By default there is none.
    ///
    /// # Errors
    /// As [`IdentityProvider::verify_credential`].
    async fn find_anonymous_user(&self, _now: Timestamp) -> Result<Option<Principal>, Cause> {
        Ok(None)
    }
}

/// A request to resume an interrupted run. Its owner is resolved again: no token is ever stored.
#[derive(Debug, Clone)]
pub struct RecoveryRequest {
    /// The id of the new request.
    pub id: RequestId,
    /// The trace of the run.
    pub trace: TraceId,
    /// The recorded owner of the run.
    pub owner: PrincipalId,
    /// The run to resume.
    pub run: RunId,
    /// The deadline of the request.
    pub deadline: Deadline,
    /// The current time.
    pub now: Timestamp,
}

/// Makes authenticated requests from received ones.
#[derive(Clone)]
pub struct Authenticator {
    identities: Arc<dyn IdentityProvider>,
    delegations: Option<Arc<dyn DelegationVerifier>>,
}

impl Authenticator {
    /// Makes an authenticator over this identity provider.
    #[must_use]
    pub fn new(identities: Arc<dyn IdentityProvider>) -> Self {
        Self { identities, delegations: None }
    }

    /// The same authenticator, which accepts the delegations of other pods too.
    #[must_use]
    pub fn with_delegations(self, verifier: Arc<dyn DelegationVerifier>) -> Self {
        Self { delegations: Some(verifier), ..self }
    }

    /// True if a principal still exists, for what lasts longer than the request that was authenticated.
    ///
    /// # Errors
    /// Those of the [`IdentityProvider`].
    pub async fn has_principal(&self, id: &PrincipalId, now: Timestamp) -> Result<bool, Cause> {
        Ok(self.identities.find_user(id, now).await?.is_some())
    }

    /// Resolves the claimed identity of a received request.
    ///
    /// # Errors
    /// [`ErrorCode::Unauthenticated`] if it resolves to no user; the cause of the [`IdentityProvider`] if
    /// that is unavailable; that of the [`DelegationVerifier`] for a delegation.
    pub async fn authenticate(&self, received: Received) -> Result<Authenticated, Cause> {
        let parts = received.into_parts();
        if let ClaimedIdentity::Credential(Credential::Delegation(token)) = &parts.identity {
            let token = token.clone();
            return self.authenticate_delegated(&token, parts).await;
        }
        let (principal, auth_method) = match &parts.identity {
            ClaimedIdentity::LocalUser(user) => {
                (self.identities.find_local_user(user, parts.at).await?, AuthMethod::LocalUser)
            }
            ClaimedIdentity::Credential(credential) => {
                (self.identities.verify_credential(credential, parts.at).await?, AuthMethod::Credential)
            }
            ClaimedIdentity::Anonymous => (self.identities.find_anonymous_user(parts.at).await?, AuthMethod::None),
        };
        let principal = principal.ok_or_else(|| match &parts.identity {
            ClaimedIdentity::LocalUser(user) => {
                Cause::new(ErrorCode::Unauthenticated, format!("the configuration has no user `{user}`"))
            }
            ClaimedIdentity::Credential(_) => {
                Cause::new(ErrorCode::Unauthenticated, "the credential belongs to no user")
            }
            ClaimedIdentity::Anonymous => Cause::new(ErrorCode::Unauthenticated, "the request has no credential"),
        })?;
        let resolved = ResolvedPrincipal { principal: Arc::new(principal), auth_method, resolved_at: parts.at };
        let idempotency =
            parts.idempotency_key.zip(parts.body_hash).map(|(key, body)| Idempotency { key, request_hash: body });
        let id = match parts.is_named {
            true => RequestId::for_caller(&resolved.principal.id, &parts.id),
            false => parts.id,
        };
        let meta = RequestMeta {
            outermost: id.clone(),
            id,
            trace: parts.trace,
            deadline: parts.deadline,
            idempotency,
            received_at: parts.at,
            is_delegated: false,
            delegated_fence: None,
        };
        Ok(Authenticated::for_user(resolved, parts.request, meta))
    }

    /// Verifies the delegation of another pod, and reads its principal anew: the rights of a delegated request are those
    /// of this moment, as for every nested request.
    async fn authenticate_delegated(&self, token: &str, parts: Parts) -> Result<Authenticated, Cause> {
        let Parts { ingress, request, at: now, .. } = parts;
        let verifier = self.delegations.as_ref().filter(|_| ingress == IngressKind::Peer).ok_or_else(|| {
            Cause::new(ErrorCode::Unauthenticated, "delegations are accepted from the pods of the cluster only")
        })?;
        let verified = verifier.verify(token, &request, now)?;
        let call = &verified.call;
        call.check_chain()?;
        let (principal, auth_method) = match call.is_anonymous {
            true => (require_same(&call.principal, self.identities.find_anonymous_user(now).await?)?, AuthMethod::None),
            false => (self.find_existing(&call.principal, now).await?, AuthMethod::Delegation),
        };
        let resolved = ResolvedPrincipal { principal: Arc::new(principal), auth_method, resolved_at: now };
        Ok(verified.into_authenticated(resolved, request))
    }

    /// Makes the request that resumes a run in the name of its recorded owner, whom it resolves again.
    ///
    /// # Errors
    /// [`ErrorCode::Unauthenticated`] if the owner does not exist any more, or belongs to another tenant now; the cause
    /// of the [`IdentityProvider`] if that is unavailable.
    pub async fn recover(&self, recovery: RecoveryRequest) -> Result<Authenticated, Cause> {
        let RecoveryRequest { id, trace, owner, run, deadline, now } = recovery;
        let principal = self.find_existing(&owner, now).await?;
        let resolved = ResolvedPrincipal {
            principal: Arc::new(principal),
            auth_method: AuthMethod::RecordedOwner,
            resolved_at: now,
        };
        let meta = RequestMeta {
            outermost: id.clone(),
            id,
            trace,
            deadline,
            idempotency: None,
            received_at: now,
            is_delegated: false,
            delegated_fence: None,
        };
        Ok(Authenticated::for_user(resolved, Request::ResumeRun(ResumeRun { run, dead: false }), meta))
    }

    /// Resolves the principal of a nested request again, and that of a user's own request if it is older than
    /// [`PRINCIPAL_AGE_MAX`]. The pipeline does so at every hop: a run may wait a week between two of them, and each
    /// is permitted what its owner may do at that time.
    ///
    /// # Errors
    /// [`ErrorCode::Unauthenticated`] if the user does not exist any more, or belongs to another tenant now; the cause
    /// of the [`IdentityProvider`] if that is unavailable. The request is as it was then.
    pub async fn refresh(&self, authenticated: &mut Authenticated, now: Timestamp) -> Result<(), Cause> {
        let resolved = &authenticated.resolved;
        let is_own = authenticated.chain.len() <= 1;
        if is_own && now.saturating_duration_since(resolved.resolved_at) <= PRINCIPAL_AGE_MAX {
            return Ok(());
        }
        let id = &resolved.principal.id;
        let principal = match resolved.auth_method {
            AuthMethod::None => require_same(id, self.identities.find_anonymous_user(now).await?)?,
            AuthMethod::LocalUser | AuthMethod::Credential | AuthMethod::RecordedOwner | AuthMethod::Delegation => {
                self.find_existing(id, now).await?
            }
        };
        authenticated.resolved =
            ResolvedPrincipal { principal: Arc::new(principal), auth_method: resolved.auth_method, resolved_at: now };
        Ok(())
    }

    async fn find_existing(&self, id: &PrincipalId, now: Timestamp) -> Result<Principal, Cause> {
        require_same(id, self.identities.find_user(id, now).await?)
    }
}

/// The principal that was found for this id. A principal of another tenant or issuer has nothing of this one, whatever
/// the provider resolves: its rights must not be those of an earlier request.
fn require_same(id: &PrincipalId, found: Option<Principal>) -> Result<Principal, Cause> {
    found.filter(|principal| principal.id == *id).ok_or_else(|| {
        let PrincipalId { user, tenant, .. } = id;
        let message = format!("the user `{user}` does not exist any more in the tenant `{tenant}`");
        Cause::new(ErrorCode::Unauthenticated, message)
    })
}
