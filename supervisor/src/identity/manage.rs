//! What a permitted command does to keys and principals. A user manages those of the own tenant; a user of the pod's own
//! tenant manages those of every tenant. What belongs to another tenant is reported as what does not exist.

use std::sync::Arc;

use greenroom_protocol::request::NewKey;
use greenroom_protocol::{Cause, Clock, ErrorCode, Json, PrincipalId, TenantId, Timestamp, UserId};
use greenroom_registry::credential_store::{ApiKeyRecord, Revocation};
use serde_json::json;

use super::ConfigIdentityProvider;
use super::api_key::ApiKey;
use super::credentials::Credentials;
use super::narrow::KEY_ISSUER;

/// Creates, lists and revokes keys; revokes and reinstates principals.
pub(crate) struct KeyOps {
    pub(crate) users: Arc<ConfigIdentityProvider>,
    pub(crate) credentials: Arc<Credentials>,
    pub(crate) clock: Arc<dyn Clock>,
}

impl KeyOps {
    /// Creates a key. The report is the only document that ever has its text.
    ///
    /// # Errors
    /// [`ErrorCode::UnknownRecord`] if the tenant has no such user; [`ErrorCode::InvalidInput`] for an end that has passed,
    /// or a name with control characters; those of the store.
    pub(crate) async fn create(&self, new: NewKey, by: &PrincipalId) -> Result<Json, Cause> {
        let now = self.clock.now();
        if new.expires_at <= now {
            return Err(Cause::new(ErrorCode::InvalidInput, "the key would have ended before it was created"));
        }
        if new.name.chars().any(char::is_control) {
            return Err(Cause::new(ErrorCode::InvalidInput, "the name of a key has no control characters"));
        }
        let owner = self.users.local_id(&new.owner).filter(|owner| may_manage(by, &owner.tenant));
        let owner = owner.ok_or_else(|| {
            Cause::new(ErrorCode::UnknownRecord, format!("there is no user `{}` in the configuration", new.owner))
        })?;
        let key = ApiKey::generate()?;
        let record = ApiKeyRecord {
            id: key.name().id.clone(),
            hash: key.name().hash,
            owner,
            name: new.name,
            scope: new.scope,
            created_by: by.clone(),
            created_at: now,
            expires_at: new.expires_at,
            revocation: None,
        };
        let mut report = key_json(&record, now);
        self.credentials.store().add_key(record).await.map_err(|error| error.cause())?;
        if let Some(members) = report.as_object_mut() {
            members.insert("api_key".to_owned(), key.reveal().into());
        }
        Ok(report)
    }

    /// Lists the keys.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) async fn list(&self, by: &PrincipalId) -> Result<Json, Cause> {
        let tenant = Some(&by.tenant).filter(|tenant| !tenant.is_pod());
        let keys = self.credentials.store().list_keys(tenant).await.map_err(|error| error.cause())?;
        let now = self.clock.now();
        Ok(json!({ "keys": keys.iter().map(|key| key_json(key, now)).collect::<Vec<_>>() }))
    }

    /// Revokes a key.
    ///
    /// # Errors
    /// [`ErrorCode::UnknownRecord`] if there is no such key; those of the store.
    pub(crate) async fn revoke(&self, id: &UserId, by: &PrincipalId) -> Result<Json, Cause> {
        let store = self.credentials.store();
        let found = store.find_key(id).await.map_err(|error| error.cause())?;
        let Some(key) = found.filter(|key| may_manage(by, &key.owner.tenant)) else {
            return Err(Cause::new(ErrorCode::UnknownRecord, format!("there is no key `{id}`")));
        };
        let revocation = Revocation { by: by.clone(), at: self.clock.now() };
        let written = store.revoke_key(&key.id, revocation).await;
        self.credentials.forget_revision();
        written.map_err(|error| error.cause())?;
        Ok(json!({ "revoked": key.id, "was_revoked": key.revocation.is_some() }))
    }

    /// Revokes a principal, or reinstates it.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidInput`] for a user of the configuration or a key; [`ErrorCode::UnknownRecord`] for a principal of
    /// another tenant; those of the store.
    pub(crate) async fn set_revoked(
        &self,
        subject: &PrincipalId,
        is_revoked: bool,
        by: &PrincipalId,
    ) -> Result<Json, Cause> {
        let instead = match subject.issuer.as_str() {
            "local" => Some("remove the user from the configuration, or revoke the keys of the user"),
            KEY_ISSUER => Some("revoke the key by its id"),
            _ => None,
        };
        if let Some(instead) = instead {
            return Err(Cause::new(ErrorCode::InvalidInput, format!("no issuer vouches for {subject}: {instead}")));
        }
        if !may_manage(by, &subject.tenant) {
            let message = format!("there is no principal of the tenant `{}`", subject.tenant);
            return Err(Cause::new(ErrorCode::UnknownRecord, message));
        }
        let revocation = is_revoked.then(|| Revocation { by: by.clone(), at: self.clock.now() });
        let written = self.credentials.store().set_revocation(subject, revocation).await;
        self.credentials.forget_revision();
        written.map_err(|error| error.cause())?;
        let change = if is_revoked { "revoked" } else { "reinstated" };
        Ok(json!({ change: subject.to_string() }))
    }
}

fn may_manage(by: &PrincipalId, tenant: &TenantId) -> bool {
    by.tenant.is_pod() || by.tenant == *tenant
}

fn key_json(key: &ApiKeyRecord, now: Timestamp) -> Json {
    let status = match &key.revocation {
        Some(_) => "revoked",
        None if key.expires_at <= now => "ended",
        None => "valid",
    };
    json!({
        "key": key.id, "status": status, "name": key.name, "tenant": key.owner.tenant, "owner": key.owner.user,
        "scope": key.scope, "created_at": key.created_at, "created_by": key.created_by.to_string(),
        "expires_at": key.expires_at, "revoked_at": key.revocation.as_ref().map(|revocation| revocation.at),
        "revoked_by": key.revocation.as_ref().map(|revocation| revocation.by.to_string()),
    })
}
