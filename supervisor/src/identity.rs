//! Who may send requests: the users of the configuration here; API keys and the users of identity providers beside them.

mod api_key;
pub(crate) mod credentials;
pub(crate) mod jwt;
pub(crate) mod manage;
pub(crate) mod narrow;
pub(crate) mod observer;
pub mod provider;

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use greenroom_protocol::{Cause, Credential, ErrorCode, MicroUsd, PrincipalId, TenantId, Timestamp, UserId};
use greenroom_rego::{IdentityProvider, Limits, Permissions, Principal};

use crate::config::users::LimitsConfig;
use crate::config::{UserConfig, UserDirectory};

/// Finds the active users of the configuration. They are read anew at each hop, so a user who is removed, or who has
/// other roles, has lost or got them at the next one.
pub struct ConfigIdentityProvider {
    active: ArcSwap<ConfiguredUsers>,
}

/// The users of one version of the configuration. Each becomes a principal once, and all requests of a user share the
/// sets of names in it.
struct ConfiguredUsers {
    directory: UserDirectory,
    principals: HashMap<UserId, Principal>,
}

impl ConfiguredUsers {
    fn new(directory: UserDirectory) -> Self {
        // The first user of a name counts, as in `UserDirectory::user`.
        let mut principals = HashMap::new();
        for user in &directory.users {
            principals.entry(user.name.clone()).or_insert_with(|| principal(&directory, user));
        }
        Self { directory, principals }
    }
}

impl ConfigIdentityProvider {
    /// A provider that knows exactly these users.
    #[must_use]
    pub fn new(users: UserDirectory) -> Self {
        Self { active: ArcSwap::from_pointee(ConfiguredUsers::new(users)) }
    }

    /// Makes other users active, from the next hop of each request on. Returns false if they are active already.
    pub fn swap(&self, users: UserDirectory) -> bool {
        if self.active.load().directory == users {
            return false;
        }
        self.active.store(Arc::new(ConfiguredUsers::new(users)));
        true
    }

    /// The principal of a user; `None` if there is none of this name.
    pub(crate) fn local_id(&self, user: &UserId) -> Option<PrincipalId> {
        self.active.load().principals.get(user).map(|principal| principal.id.clone())
    }

    /// The limits of all users of a tenant together.
    pub(crate) fn tenant_limits(&self, tenant: &TenantId) -> Limits {
        to_limits(self.active.load().directory.tenant_limits(tenant))
    }
}

fn principal(users: &UserDirectory, user: &UserConfig) -> Principal {
    Principal {
        id: PrincipalId::local(user.tenant.clone(), user.name.clone()),
        roles: user.roles.iter().collect(),
        permissions: Permissions {
            allowed_categories: user.permissions.allowed_categories.iter().map(ToString::to_string).collect(),
            pii_access: user.permissions.pii_access,
        },
        rate_limit: user.rate_limit,
        query_limit: user.query_limit,
        limits: to_limits(user.limits),
        tenant_limits: to_limits(users.tenant_limits(&user.tenant)),
        entry_points: None,
    }
}

/// The limits that a table of the configuration sets.
fn to_limits(limits: LimitsConfig) -> Limits {
    // A limit that is not a valid amount allows nothing rather than everything.
    let usd = limits.usd.map(|usd| MicroUsd::from_usd(usd).unwrap_or_default());
    Limits { usd, tokens: limits.tokens, period: limits.period.into() }
}

#[async_trait]
impl IdentityProvider for ConfigIdentityProvider {
    async fn verify_credential(&self, credential: &Credential, _: Timestamp) -> Result<Option<Principal>, Cause> {
        match credential {
            Credential::Bearer(key) | Credential::ApiKey(key) => {
                let users = self.active.load_full();
                let user = users.directory.user_by_api_key(key);
                Ok(user.and_then(|user| users.principals.get(&user.name)).cloned())
            }
            Credential::Delegation(_) => Err(Cause::new(
                ErrorCode::Unauthenticated,
                "delegations are accepted from the pods of the cluster only",
            )),
        }
    }

    async fn find_local_user(&self, user: &UserId, _: Timestamp) -> Result<Option<Principal>, Cause> {
        Ok(self.active.load().principals.get(user).cloned())
    }

    async fn find_user(&self, id: &PrincipalId, _: Timestamp) -> Result<Option<Principal>, Cause> {
        let users = self.active.load();
        Ok(users.principals.get(&id.user).filter(|principal| principal.id == *id).cloned())
    }
}

#[cfg(test)]
mod tests {
    use greenroom_protocol::Issuer;

    use super::*;

    const NOW: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

    fn users(roles: &[&str], tenant: &str) -> UserDirectory {
        let text = format!("[[users]]\nname = \"alice\"\ntenant = {tenant:?}\nroles = {roles:?}\napi_key = \"key\"\n");
        toml::from_str(&text).unwrap()
    }

    async fn find(provider: &ConfigIdentityProvider, id: &PrincipalId) -> Option<Principal> {
        provider.find_user(id, NOW).await.unwrap()
    }

    #[tokio::test]
    async fn a_user_is_found_by_issuer_tenant_and_name_and_by_the_key() {
        let provider = ConfigIdentityProvider::new(users(&["admin"], "acme"));
        let alice = provider.find_local_user(&UserId::new("alice").unwrap(), NOW).await.unwrap().unwrap();
        assert_eq!(alice.id.to_string(), "local/acme/alice");
        assert_eq!(find(&provider, &alice.id).await.as_ref(), Some(&alice));
        let by_key = provider.verify_credential(&Credential::ApiKey("key".into()), NOW).await.unwrap();
        assert_eq!(by_key.as_ref(), Some(&alice));
        let of_another_tenant = PrincipalId { tenant: TenantId::default(), ..alice.id.clone() };
        let of_another_issuer = PrincipalId { issuer: Issuer::new("login").unwrap(), ..alice.id };
        for other in [of_another_tenant, of_another_issuer] {
            assert_eq!(find(&provider, &other).await, None, "{other}");
        }
    }

    #[tokio::test]
    async fn other_users_are_active_at_once() {
        let provider = ConfigIdentityProvider::new(users(&["admin"], "acme"));
        let id = PrincipalId::local(TenantId::new("acme").unwrap(), UserId::new("alice").unwrap());
        assert!(!provider.swap(users(&["admin"], "acme")), "nothing has changed");
        assert!(provider.swap(users(&["auditor"], "acme")));
        let roles = find(&provider, &id).await.unwrap().roles;
        assert!(roles.contains("auditor") && !roles.contains("admin"));
        assert!(provider.swap(users(&["auditor"], "globex")));
        assert_eq!(find(&provider, &id).await, None, "the user belongs to another tenant now");
        assert!(provider.swap(UserDirectory::default()));
        let key = Credential::ApiKey("key".into());
        assert_eq!(provider.verify_credential(&key, NOW).await.unwrap(), None, "the key is revoked");
        assert_eq!(provider.find_local_user(&id.user, NOW).await.unwrap(), None);
    }
}
