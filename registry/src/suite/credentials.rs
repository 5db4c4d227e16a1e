//! Credentials: keys without secrets, the last rights of principals, revocations, and the revision that each one raises.

use super::*;
use crate::credential_store::{ApiKeyRecord, Revocation, SubjectRecord};
use protocol::request::KeyScope;

fn key(number: u8, tenant: &str) -> ApiKeyRecord {
    let scope = KeyScope { roles: Some(vec!["agent_operator".into()]), pii_access: true, ..KeyScope::default() };
    ApiKeyRecord {
        id: UserId::new(format!("k_{number:016x}")).unwrap(),
        hash: ContentHash::from_content(&[number]),
        owner: PrincipalId::local(TenantId::new(tenant).unwrap(), UserId::new("alice").unwrap()),
        name: "nightly 'report' ü".into(),
        scope,
        created_by: principal("admin"),
        created_at: Timestamp::from_micros(NOW.as_micros() + i64::from(number)),
        expires_at: Timestamp::from_micros(NOW.as_micros() + 60_000_000),
        revocation: None,
    }
}

fn revocation(second: i64) -> Revocation {
    Revocation { by: principal("admin"), at: Timestamp::from_micros(NOW.as_micros() + second * 1_000_000) }
}

fn subject(user: &str) -> PrincipalId {
    PrincipalId {
        issuer: Issuer::new("login").unwrap(),
        tenant: TenantId::new("acme").unwrap(),
        user: UserId::new(user).unwrap(),
    }
}

#[tokio::test]
async fn a_key_is_stored_as_it_is_and_listed_by_tenant_the_newest_first() {
    for stores in TestStores::each().await {
        let store = &stores.stores.credentials;
        let (first, second, foreign) = (key(1, "acme"), key(2, "acme"), key(3, "globex"));
        assert_eq!(store.find_key(&first.id).await.unwrap(), None);
        for key in [&first, &second, &foreign] {
            store.add_key(key.clone()).await.unwrap();
        }
        assert_eq!(store.find_key(&first.id).await.unwrap().as_ref(), Some(&first));
        let of_acme = TenantId::new("acme").unwrap();
        assert_eq!(store.list_keys(Some(&of_acme)).await.unwrap(), [second.clone(), first.clone()]);
        assert_eq!(store.list_keys(None).await.unwrap(), [foreign, second, first.clone()]);
        let other = ApiKeyRecord { hash: ContentHash::from_content(b"other"), ..first.clone() };
        assert!(store.add_key(other).await.is_err(), "the id belongs to a key");
        assert_eq!(store.find_key(&first.id).await.unwrap(), Some(first));
    }
}

#[tokio::test]
async fn the_first_revocation_of_a_key_remains_and_raises_the_revision() {
    for stores in TestStores::each().await {
        let store = &stores.stores.credentials;
        let (first, second) = (key(1, "acme"), key(2, "acme"));
        store.add_key(first.clone()).await.unwrap();
        store.add_key(second.clone()).await.unwrap();
        let before = store.revision().await.unwrap();
        store.revoke_key(&first.id, revocation(1)).await.unwrap();
        let after = store.revision().await.unwrap();
        assert!(after > before);
        store.revoke_key(&first.id, revocation(2)).await.unwrap();
        let stored = store.find_key(&first.id).await.unwrap().unwrap();
        assert_eq!(stored.revocation, Some(revocation(1)));
        assert_eq!(store.find_key(&second.id).await.unwrap(), Some(second), "another key is as it was");
    }
}

#[tokio::test]
async fn a_principal_has_its_last_rights_and_a_revocation_of_its_own() {
    for stores in TestStores::each().await {
        let store = &stores.stores.credentials;
        let (alice, bob) = (subject("alice"), subject("bob"));
        assert_eq!(store.find_subject(&alice).await.unwrap(), None);
        store.save_rights(&alice, "{\"roles\":[]}".into()).await.unwrap();
        store.save_rights(&alice, "{}".into()).await.unwrap();
        let known = |revocation| Some(SubjectRecord { rights: Some("{}".into()), revocation });
        assert_eq!(store.find_subject(&alice).await.unwrap(), known(None));
        let before = store.revision().await.unwrap();
        store.set_revocation(&alice, Some(revocation(1))).await.unwrap();
        let revoked = store.revision().await.unwrap();
        store.save_rights(&alice, "{}".into()).await.unwrap();
        assert_eq!(store.find_subject(&alice).await.unwrap(), known(Some(revocation(1))), "a token does not reinstate");
        store.set_revocation(&alice, None).await.unwrap();
        assert_eq!(store.find_subject(&alice).await.unwrap(), known(None));
        assert!(before < revoked && revoked < store.revision().await.unwrap());
        // A principal may be revoked before it has ever sent a token.
        store.set_revocation(&bob, Some(revocation(1))).await.unwrap();
        let never_seen = SubjectRecord { rights: None, revocation: Some(revocation(1)) };
        assert_eq!(store.find_subject(&bob).await.unwrap(), Some(never_seen));
    }
}

#[tokio::test]
async fn credentials_outlive_the_process() {
    let stores = TestStores::sqlite().await;
    let stored = key(1, "acme");
    stores.stores.credentials.add_key(stored.clone()).await.unwrap();
    stores.stores.credentials.save_rights(&subject("alice"), "{}".into()).await.unwrap();
    let reopened = stores.crash_and_reopen().await;
    assert_eq!(reopened.stores.credentials.find_key(&stored.id).await.unwrap(), Some(stored));
    assert!(reopened.stores.credentials.find_subject(&subject("alice")).await.unwrap().is_some());
}
