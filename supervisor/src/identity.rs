//! The configuration's users as the authenticator sees them.

use async_trait::async_trait;
use greenroom_protocol::{Cause, Code, Credential, MicroUsd, Timestamp, UserId};
use greenroom_rego::{Identities, Limits, Permissions, Principal};

use crate::config::users;
use crate::config::{People, User};

/// Knows the users of the configuration.
pub struct Configured(People);

impl Configured {
    /// These people and nobody else.
    #[must_use]
    pub const fn new(people: People) -> Self {
        Self(people)
    }

    fn principal(&self, user: &User) -> Principal {
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
            tenant_limits: limits(self.0.tenant_limits(&user.tenant)),
        }
    }
}

fn limits(limits: users::Limits) -> Limits {
    // A limit that is no sum of money allows nothing, rather than everything.
    let usd = limits.usd.map(|usd| MicroUsd::from_usd(usd).unwrap_or_default());
    Limits { usd, tokens: limits.tokens, period: limits.period.into() }
}

#[async_trait]
impl Identities for Configured {
    async fn verify(&self, credential: &Credential, _: Timestamp) -> Result<Option<Principal>, Cause> {
        match credential {
            Credential::Bearer(key) | Credential::ApiKey(key) => {
                Ok(self.0.with_key(key).map(|user| self.principal(user)))
            }
            Credential::Delegation(_) => Err(Cause::new(Code::Unauthenticated, "this process knows no cluster's key")),
        }
    }

    async fn recall(&self, user: &UserId, _: Timestamp) -> Result<Option<Principal>, Cause> {
        Ok(self.0.named(user).map(|user| self.principal(user)))
    }
}
