//! Who a caller is: a user of the configuration, an API key, or a user that an issuer vouches for. Each is found anew at
//! each hop, so a run ends at its next one once its principal is revoked.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use greenroom_protocol::{Cause, Credential, ErrorCode, PrincipalId, Timestamp, UserId};
use greenroom_registry::Stores;
use greenroom_rego::{IdentityProvider, Permissions, Principal};
use reqwest::Url;
use tokio::time::timeout;

use super::api_key::KeyName;
use super::credentials::Credentials;
use super::jwt::claims::{Refusal, Rights};
use super::jwt::fetch::{FetchKeys, HttpKeys, ObservedKeys};
use super::jwt::{JwtIssuer, UnverifiedToken, Verified};
use super::narrow::{KEY_ISSUER, is_valid, key_principal_id, narrow};
use super::observer::{IdentityObserver, KeyRefusal, Unobserved};
use super::{ConfigIdentityProvider, to_limits};
use crate::config::{Config, IssuerConfig};

/// Longest time that it may take to verify a credential.
const VERIFY_TIMEOUT: Duration = Duration::from_secs(5);

/// The identity provider of a pod.
pub struct Identities {
    users: Arc<ConfigIdentityProvider>,
    credentials: Arc<Credentials>,
    issuers: Vec<JwtIssuer>,
    observer: Arc<dyn IdentityObserver>,
}

impl Identities {
    /// A provider over these stores, with the users and the issuers of a configuration.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidConfiguration`] if the key of an issuer cannot be read.
    pub fn from_config(config: &Config, stores: &Stores) -> Result<Self, Cause> {
        let users = Arc::new(ConfigIdentityProvider::new(config.users.clone()));
        let credentials = Arc::new(Credentials::new(Arc::clone(&stores.credentials)));
        Self::open(users, credentials, &config.issuers, Arc::new(Unobserved))
    }

    /// A provider over these users, keys and issuers.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidConfiguration`] if the key of an issuer cannot be read.
    pub(crate) fn open(
        users: Arc<ConfigIdentityProvider>,
        credentials: Arc<Credentials>,
        issuers: &[IssuerConfig],
        observer: Arc<dyn IdentityObserver>,
    ) -> Result<Self, Cause> {
        let open = |issuer: &IssuerConfig| JwtIssuer::open(issuer, published_keys(issuer, &observer)?);
        let issuers = issuers.iter().map(open).collect::<Result<_, Cause>>()?;
        Ok(Self { users, credentials, issuers, observer })
    }

    async fn verify(&self, credential: &Credential, now: Timestamp) -> Result<Option<Principal>, Cause> {
        let (Credential::Bearer(text) | Credential::ApiKey(text)) = credential else {
            return self.users.verify_credential(credential, now).await;
        };
        if let Some(name) = KeyName::parse(text) {
            return self.verify_key(&name, now).await;
        }
        if let Some(principal) = self.users.verify_credential(credential, now).await? {
            return Ok(Some(principal));
        }
        if self.issuers.is_empty() || !UnverifiedToken::has_form(text) {
            self.observer.on_key_refused(KeyRefusal::Unknown);
            return Ok(None);
        }
        match self.verify_token(text, now).await? {
            Ok((principal, is_remembered)) => {
                self.observer.on_token_accepted(is_remembered);
                Ok(Some(principal))
            }
            Err(refusal) => {
                self.observer.on_token_refused(refusal);
                tracing::info!(token.refusal = refusal.as_str(), "a token was refused");
                Ok(None)
            }
        }
    }

    async fn verify_key(&self, name: &KeyName, now: Timestamp) -> Result<Option<Principal>, Cause> {
        let refusal = match self.credentials.find_key(&name.id).await?.filter(|key| key.hash == name.hash) {
            None => KeyRefusal::Unknown,
            Some(key) if key.revocation.is_some() => KeyRefusal::Revoked,
            Some(key) if !is_valid(&key, now) => KeyRefusal::Ended,
            // The rights are those that the owner has now; an owner who was removed has none.
            Some(key) => match self.users.find_user(&key.owner, now).await? {
                Some(owner) => return Ok(narrow(owner, &key)),
                None => KeyRefusal::Owner,
            },
        };
        self.observer.on_key_refused(refusal);
        tracing::info!(key.id = %name.id, key.refusal = refusal.as_str(), "a key was refused");
        Ok(None)
    }

    /// The principal of a token, and whether the token was verified before.
    async fn verify_token(&self, text: &str, now: Timestamp) -> Result<Result<(Principal, bool), Refusal>, Cause> {
        let token = match UnverifiedToken::read(text) {
            Ok(token) => token,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let Some(issuer) = self.issuers.iter().find(|issuer| issuer.is_named_by(&token)) else {
            return Ok(Err(Refusal::Issuer));
        };
        let Verified { subject, is_new } = match issuer.verify(&token, now).await? {
            Ok(verified) => verified,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let known = self.credentials.find_subject(&subject.id).await?;
        if known.as_ref().is_some_and(|known| known.revocation.is_some()) {
            return Ok(Err(Refusal::Revoked));
        }
        if is_new {
            let stored = known.as_ref().and_then(|known| read_rights(known.rights.as_deref()?));
            let is_newer = |stored: &Rights| stored.issued_at <= subject.rights.issued_at && *stored != subject.rights;
            if stored.as_ref().is_none_or(is_newer) {
                self.credentials.save_rights(&subject.id, write_rights(&subject.rights)?).await?;
            }
        }
        Ok(Ok((self.principal(issuer.config(), subject.id, subject.rights), !is_new)))
    }

    /// The principal of a key or of a token that was verified before, with the rights of now.
    async fn find(&self, id: &PrincipalId, now: Timestamp) -> Result<Option<Principal>, Cause> {
        if id.issuer.as_str() == KEY_ISSUER {
            let found = self.credentials.find_key(&id.user).await?;
            let is_same = |key: &PrincipalId| key == id;
            let valid = found.filter(|key| is_valid(key, now) && key_principal_id(key).as_ref().is_some_and(is_same));
            let Some(key) = valid else { return Ok(None) };
            let owner = self.users.find_user(&key.owner, now).await?;
            return Ok(owner.and_then(|owner| narrow(owner, &key)));
        }
        let Some(issuer) = self.issuers.iter().find(|issuer| issuer.config().name == id.issuer) else {
            return self.users.find_user(id, now).await;
        };
        let Some(known) = self.credentials.find_subject(id).await? else { return Ok(None) };
        if known.revocation.is_some() {
            return Ok(None);
        }
        let rights = known.rights.as_deref().and_then(read_rights);
        Ok(rights.map(|rights| self.principal(issuer.config(), id.clone(), rights)))
    }

    fn principal(&self, issuer: &IssuerConfig, id: PrincipalId, rights: Rights) -> Principal {
        let tenant_limits = self.users.tenant_limits(&id.tenant);
        let Rights { issued_at: _, roles, allowed_categories, pii_access } = rights;
        Principal {
            id,
            // The table of the issuer may have lost a role since the token was seen.
            roles: roles.iter().filter(|role| issuer.roles.contains(role)).collect(),
            permissions: Permissions { allowed_categories: allowed_categories.into_iter().collect(), pii_access },
            rate_limit: issuer.rate_limit,
            query_limit: issuer.query_limit,
            limits: to_limits(issuer.limits),
            tenant_limits,
            entry_points: None,
        }
    }
}

fn published_keys(
    issuer: &IssuerConfig,
    observer: &Arc<dyn IdentityObserver>,
) -> Result<Option<Box<dyn FetchKeys>>, Cause> {
    let Some(url) = &issuer.jwks_url else { return Ok(None) };
    let url = Url::parse(url).map_err(|error| {
        Cause::new(ErrorCode::InvalidConfiguration, format!("issuers: the jwks_url of {}: {error}", issuer.name))
    })?;
    Ok(Some(Box::new(ObservedKeys::new(HttpKeys::new(url)?, Arc::clone(observer)))))
}

fn read_rights(text: &str) -> Option<Rights> {
    serde_json::from_str(text).ok()
}

fn write_rights(rights: &Rights) -> Result<String, Cause> {
    serde_json::to_string(rights).map_err(|error| Cause::new(ErrorCode::Internal, error.to_string()))
}

/// The result of a verification, within its time.
async fn in_time<T>(verification: impl Future<Output = Result<T, Cause>>) -> Result<T, Cause> {
    timeout(VERIFY_TIMEOUT, verification).await.unwrap_or_else(|_elapsed| {
        let message = format!("the credential was not verified within {} s", VERIFY_TIMEOUT.as_secs());
        Err(Cause::new(ErrorCode::TimedOut, message))
    })
}

#[async_trait]
impl IdentityProvider for Identities {
    async fn verify_credential(&self, credential: &Credential, now: Timestamp) -> Result<Option<Principal>, Cause> {
        in_time(self.verify(credential, now)).await
    }

    async fn find_local_user(&self, user: &UserId, now: Timestamp) -> Result<Option<Principal>, Cause> {
        self.users.find_local_user(user, now).await
    }

    async fn find_user(&self, id: &PrincipalId, now: Timestamp) -> Result<Option<Principal>, Cause> {
        // The caller has a deadline, and waits for a store that is away.
        self.find(id, now).await
    }
}

#[cfg(test)]
mod tests;
