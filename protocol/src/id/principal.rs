//! What names a principal: a user of a tenant, and who vouches for that user.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Issuer, TenantId, UserId};
use crate::hash::ContentHash;

/// The name of a principal. Users of one name are different principals if their tenants or their issuers differ: none
/// of them has a run, a key, a budget or an audit entry of another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct PrincipalId {
    /// Who vouches for the user.
    pub issuer: Issuer,
    /// The tenant of the user, whose accounts are charged.
    pub tenant: TenantId,
    /// The user.
    pub user: UserId,
}

impl PrincipalId {
    /// A user of the configuration.
    #[must_use]
    pub fn local(tenant: TenantId, user: UserId) -> Self {
        Self { issuer: Issuer::default(), tenant, user }
    }

    /// The hash by which stores name the principal: that of issuer, tenant and user in this order, each after its
    /// length in bytes as a big-endian number of eight bytes. It is stored, so it never changes.
    #[must_use]
    pub fn hash(&self) -> ContentHash {
        let mut bytes = Vec::new();
        for part in [self.issuer.as_str(), self.tenant.as_str(), self.user.as_str()] {
            bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
            bytes.extend_from_slice(part.as_bytes());
        }
        ContentHash::from_content(&bytes)
    }
}

impl fmt::Display for PrincipalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { issuer, tenant, user } = self;
        write!(f, "{issuer}/{tenant}/{user}")
    }
}
