//! The identity provider over the users of the configuration.

use std::collections::HashMap;

use async_trait::async_trait;
use greenroom_protocol::{Cause, Credential, ErrorCode, MicroUsd, Timestamp, UserId};
use greenroom_rego::{IdentityProvider, Limits, Permissions, Principal};

use crate::config::users::LimitsConfig;
use crate::config::{UserConfig, UserDirectory};

/// Finds the users of the configuration. Each becomes a principal once, and all requests of a user share
/// the sets of names in it.
pub struct ConfigIdentityProvider {
    users: UserDirectory,
    principals: HashMap<UserId, Principal>,
}

impl ConfigIdentityProvider {
    /// A provider that knows exactly these users.
    #[must_use]
    pub fn new(users: UserDirectory) -> Self {
        // The first user of a name counts, as in `UserDirectory::user`.
        let mut principals = HashMap::new();
        for user in &users.users {
            principals.entry(user.name.clone()).or_insert_with(|| principal(&users, user));
        }
        Self { users, principals }
    }
}

fn principal(users: &UserDirectory, user: &UserConfig) -> Principal {
    Principal {
        tenant: user.tenant.clone(),
        user: user.name.clone(),
        roles: user.roles.iter().collect(),
        permissions: Permissions {
            allowed_categories: user.permissions.allowed_categories.iter().map(ToString::to_string).collect(),
            pii_access: user.permissions.pii_access,
        },
        rate_limit: user.rate_limit,
        query_limit: user.query_limit,
        limits: limits(user.limits),
        tenant_limits: limits(users.tenant_limits(&user.tenant)),
    }
}

fn limits(limits: LimitsConfig) -> Limits {
    // A limit that is not a valid amount allows nothing rather than everything.
    let usd = limits.usd.map(|usd| MicroUsd::from_usd(usd).unwrap_or_default());
    Limits { usd, tokens: limits.tokens, period: limits.period.into() }
}

#[async_trait]
impl IdentityProvider for ConfigIdentityProvider {
    async fn verify_credential(&self, credential: &Credential, _: Timestamp) -> Result<Option<Principal>, Cause> {
        match credential {
            Credential::Bearer(key) | Credential::ApiKey(key) => {
                Ok(self.users.user_by_api_key(key).map(|user| principal(&self.users, user)))
            }
            Credential::Delegation(_) => {
                Err(Cause::new(ErrorCode::Unauthenticated, "this version does not accept delegated credentials"))
            }
        }
    }

    async fn find_user(&self, user: &UserId, _: Timestamp) -> Result<Option<Principal>, Cause> {
        Ok(self.principals.get(user).cloned())
    }
}
