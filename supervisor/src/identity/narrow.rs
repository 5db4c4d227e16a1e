//! The principal of an API key: its owner, with at most the rights of its scope.

use std::sync::Arc;

use greenroom_protocol::{Issuer, PrincipalId, Timestamp};
use greenroom_registry::credential_store::ApiKeyRecord;
use greenroom_rego::{EntryPoints, NameSet, Permissions, Principal};

/// The issuer of the principals of keys.
pub(crate) const KEY_ISSUER: &str = "key";
/// The role whose user has every right that a key may have.
const ADMIN: &str = "admin";

/// The principal of a key.
///
/// It is one of its own, so that a revocation of the key ends what was begun with it, and nothing else of its owner.
pub(crate) fn key_principal_id(key: &ApiKeyRecord) -> Option<PrincipalId> {
    let issuer = Issuer::new(KEY_ISSUER).ok()?;
    Some(PrincipalId { issuer, tenant: key.owner.tenant.clone(), user: key.id.clone() })
}

/// True for a key that is neither revoked nor has ended.
pub(crate) fn is_valid(key: &ApiKeyRecord, now: Timestamp) -> bool {
    key.revocation.is_none() && now < key.expires_at
}

/// The principal of a key, with the rights that its owner has now and its scope allows.
pub(crate) fn narrow(owner: Principal, key: &ApiKeyRecord) -> Option<Principal> {
    let scope = &key.scope;
    let is_admin = owner.roles.contains(ADMIN);
    let roles = restrict(&owner.roles, scope.roles.as_deref(), is_admin);
    let categories: Option<Vec<String>> =
        scope.allowed_categories.as_ref().map(|names| names.iter().map(ToString::to_string).collect());
    let allowed_categories = restrict(&owner.permissions.allowed_categories, categories.as_deref(), is_admin);
    Some(Principal {
        id: key_principal_id(key)?,
        roles,
        permissions: Permissions { allowed_categories, pii_access: owner.permissions.pii_access && scope.pii_access },
        entry_points: EntryPoints::from_scope(&scope.agents, &scope.workflows).map(Arc::new),
        ..owner
    })
}

/// The names of a scope that its owner has, too; those of the owner without a scope. An administrator has every name.
fn restrict(of_owner: &NameSet, scope: Option<&[String]>, is_admin: bool) -> NameSet {
    match scope {
        None => of_owner.clone(),
        Some(names) => names.iter().filter(|name| is_admin || of_owner.contains(name)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use greenroom_protocol::request::KeyScope;
    use greenroom_protocol::{AgentId, CategoryId, ContentHash, TenantId, UserId};
    use greenroom_rego::Limits;

    use super::*;

    const NOW: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

    fn owner(roles: &[&str], categories: &[&str]) -> Principal {
        Principal {
            id: PrincipalId::local(TenantId::new("acme").unwrap(), UserId::new("alice").unwrap()),
            roles: roles.iter().copied().collect(),
            permissions: Permissions { allowed_categories: categories.iter().copied().collect(), pii_access: true },
            rate_limit: 10,
            query_limit: 20,
            limits: Limits::default(),
            tenant_limits: Limits::default(),
            entry_points: None,
        }
    }

    fn key(scope: KeyScope) -> ApiKeyRecord {
        let alice = owner(&[], &[]).id;
        ApiKeyRecord {
            id: UserId::new("k_0123456789abcdef").unwrap(),
            hash: ContentHash::from_content(b"key"),
            owner: alice.clone(),
            name: String::new(),
            scope,
            created_by: alice,
            created_at: NOW,
            expires_at: Timestamp::from_micros(NOW.as_micros() + 1),
            revocation: None,
        }
    }

    fn names(set: &NameSet) -> Vec<&str> {
        set.iter().collect()
    }

    #[test]
    fn a_key_without_a_scope_has_the_rights_of_its_owner_except_for_personal_data() {
        let principal = narrow(owner(&["agent_operator"], &["business_ops"]), &key(KeyScope::default())).unwrap();
        assert_eq!(principal.id.to_string(), "key/acme/k_0123456789abcdef");
        assert_eq!(names(&principal.roles), ["agent_operator"]);
        assert_eq!(names(&principal.permissions.allowed_categories), ["business_ops"]);
        assert!(!principal.permissions.pii_access && principal.entry_points.is_none());
        assert_eq!((principal.rate_limit, principal.query_limit), (10, 20));
    }

    #[test]
    fn a_scope_gives_no_right_that_the_owner_lacks() {
        let scope = KeyScope {
            roles: Some(vec!["admin".into(), "approver".into()]),
            allowed_categories: Some(vec![CategoryId::new("supply_chain").unwrap()]),
            pii_access: true,
            agents: vec![AgentId::new("a").unwrap()],
            ..KeyScope::default()
        };
        let principal = narrow(owner(&["approver"], &["business_ops"]), &key(scope.clone())).unwrap();
        assert_eq!(names(&principal.roles), ["approver"]);
        assert!(principal.permissions.allowed_categories.is_empty() && principal.permissions.pii_access);
        assert!(principal.entry_points.is_some());
        let of_admin = narrow(owner(&["admin"], &[]), &key(scope)).unwrap();
        assert_eq!(names(&of_admin.roles), ["admin", "approver"]);
        assert_eq!(names(&of_admin.permissions.allowed_categories), ["supply_chain"]);
    }

    #[test]
    fn a_key_is_valid_until_it_ends() {
        let key = key(KeyScope::default());
        assert!(is_valid(&key, NOW) && !is_valid(&key, key.expires_at));
    }
}
