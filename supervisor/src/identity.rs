//! The configuration's users as the authenticator sees them.

use std::collections::HashMap;

use async_trait::async_trait;
use greenroom_protocol::{Cause, Credential, ErrorCode, MicroUsd, Timestamp, UserId};
use greenroom_rego::{IdentityProvider, Limits, Permissions, Principal};

use crate::config::users;
use crate::config::{UserConfig, UserDirectory};

/// Knows the users of the configuration. Each is made a principal once: the sets of names in it are
/// shared by all requests of that user.
pub struct ConfigIdentityProvider {
    people: UserDirectory,
    principals: HashMap<UserId, Principal>,
}

impl ConfigIdentityProvider {
    /// These people and nobody else.
    #[must_use]
    pub fn new(people: UserDirectory) -> Self {
        // The first of a name counts, as it does for whoever looks the name up.
        let mut principals = HashMap::new();
        for user in &people.users {
            principals.entry(user.name.clone()).or_insert_with(|| principal(&people, user));
        }
        Self { people, principals }
    }
}

fn principal(people: &UserDirectory, user: &UserConfig) -> Principal {
    Principal {
        tenant: user.tenant.clone(),
        user: user.name.clone(),
        roles: user.roles.iter().collect(),
        permissions: Permissions {
            allowed_categories: user.permissions.allowed_categories.iter().map(ToString::to_string).collect(),
            pii_access: user.permissions.pii_access,
        },
        rate_limit: user.rate_limit,
        limits: limits(user.limits),
        tenant_limits: limits(people.tenant_limits(&user.tenant)),
    }
}

fn limits(limits: users::LimitsConfig) -> Limits {
    // A limit that is no sum of money allows nothing, rather than everything.
    let usd = limits.usd.map(|usd| MicroUsd::from_usd(usd).unwrap_or_default());
    Limits { usd, tokens: limits.tokens, period: limits.period.into() }
}

#[async_trait]
impl IdentityProvider for ConfigIdentityProvider {
    async fn verify_credential(&self, credential: &Credential, _: Timestamp) -> Result<Option<Principal>, Cause> {
        match credential {
            Credential::Bearer(key) | Credential::ApiKey(key) => {
                Ok(self.people.user_by_api_key(key).map(|user| principal(&self.people, user)))
            }
            Credential::Delegation(_) => {
                Err(Cause::new(ErrorCode::Unauthenticated, "this process knows no cluster's key"))
            }
        }
    }

    async fn find_user(&self, user: &UserId, _: Timestamp) -> Result<Option<Principal>, Cause> {
        Ok(self.principals.get(user).cloned())
    }
}
