//! The chains of several lanes and pods: what is detected with public keys only.

use greenroom_protocol as protocol;
use protocol::audit::Event;

use crate::audit::signer::Signer;
use crate::audit::{AuditScope, AuditSeq, ChainReport, ChainViolation, ROOT_CHAIN, RecordPosition};
use crate::suite::postgres::{TestDatabase, open_pod};
use crate::suite::{NOW, TestStores, closing, opening};
use crate::{export_postgres_audit, verify_audit_export};

/// A pod with four lanes, and entries in all of them.
async fn stores_with_entries(database: &TestDatabase, name: &str) -> TestStores {
    let stores = open_pod(&database.url(), name, 4).await.unwrap();
    for number in 0..40 {
        let entry = stores.stores.core.open_entry(opening(number), NOW).await.unwrap();
        stores.stores.core.close_entry(entry, closing(), NOW).await;
    }
    stores
}

async fn report(stores: &TestStores) -> ChainReport {
    stores.stores.audit.verify().await.unwrap()
}

#[tokio::test]
async fn each_lane_has_a_chain_and_all_of_them_are_read_and_verified_together() {
    let database = TestDatabase::migrated().await;
    let a = stores_with_entries(&database, "pod_a").await;
    let b = stores_with_entries(&database, "pod_b").await;
    let whole = report(&b).await;
    assert!(whole.is_valid(), "{whole:?}");
    assert_eq!(whole.records, 160);
    assert!(database.count("SELECT count(DISTINCT chain) FROM audit").await > 4);
    let audit = &b.stores.audit;
    let id = opening(1).request;
    let records = audit.find(&AuditScope::All, id.as_str()).await.unwrap();
    assert_eq!(records.len(), 4, "of both pods");
    assert!(matches!(records[1].event, Event::Closed { opened, .. } if opened == records[0].number));
    for entry in records.chunks(2) {
        let [opening, closing] = entry else { panic!("{records:?}") };
        let position = opening.chain.map(|chain| RecordPosition { chain, number: opening.number });
        assert!(position.is_some() && opening.opened.is_none(), "{opening:?}");
        assert_eq!((closing.opened, closing.chain), (position, opening.chain), "{closing:?}");
    }
    assert_ne!(records[0].chain, records[2].chain, "each pod has chains of its own");
    let (mut pages, mut before) = (0, None);
    let mut read = 0;
    loop {
        let page = audit.read(&AuditScope::All, before, 50).await.unwrap();
        (pages, read, before) = (pages + 1, read + page.records.len(), page.next);
        if before.is_none() {
            break;
        }
    }
    assert_eq!((pages, read), (4, 160));
    let chain = records[2].chain.unwrap();
    let named = audit.find(&AuditScope::All, &format!("{chain}/{}", records[2].number)).await.unwrap();
    assert_eq!(named, records[2..3], "the position names it");
    let first = audit.find(&AuditScope::All, "0/1").await.unwrap();
    assert_eq!(first.len(), usize::from(database.count("SELECT count(*) FROM audit WHERE chain = 0").await > 0));
    drop(a);
}

#[tokio::test]
async fn a_changed_a_removed_and_a_truncated_record_name_their_chain() {
    let database = TestDatabase::migrated().await;
    let stores = stores_with_entries(&database, "pod_a").await;
    let chain = u64::try_from(database.count("SELECT max(chain) FROM audit").await).unwrap();
    database.execute("UPDATE audit SET record = replace(record, 'invoke', 'revoke') WHERE number = 1").await;
    let changed = report(&stores).await.violation;
    assert!(matches!(changed, Some(ChainViolation::Changed { number }) if AuditSeq(number).number() == 1));
    database.execute("UPDATE audit SET record = replace(record, 'revoke', 'invoke') WHERE number = 1").await;
    assert!(report(&stores).await.is_valid());
    database.execute("DELETE FROM audit WHERE number = 2 AND chain = (SELECT max(chain) FROM audit)").await;
    let removed = report(&stores).await.violation;
    assert_eq!(removed, Some(ChainViolation::Removed { number: AuditSeq::in_chain(chain, 2).0 }));
    assert!(removed.unwrap().to_string().contains(&format!("2 of chain {chain}")));
}

#[tokio::test]
async fn a_whole_chain_that_is_removed_and_a_root_chain_that_is_rewritten_are_detected() {
    let database = TestDatabase::migrated().await;
    let stores = stores_with_entries(&database, "pod_a").await;
    // The end of a process signs its chains.
    stores.stores.maintenance.close(NOW).await.unwrap();
    assert!(report(&stores).await.is_valid());
    database.execute("DELETE FROM audit WHERE chain = (SELECT max(chain) FROM audit)").await;
    assert!(matches!(report(&stores).await.violation, Some(ChainViolation::Truncated { .. })));
    database.execute("UPDATE audit_root SET record = replace(record, '\"lane\":1', '\"lane\":2')").await;
    let violation = report(&stores).await.violation.unwrap();
    assert!(matches!(violation, ChainViolation::Changed { number } if AuditSeq(number).chain() == ROOT_CHAIN));
    assert!(violation.to_string().contains("root chain"), "{violation}");
}

#[tokio::test]
async fn a_chain_that_no_certified_key_signs_is_detected() {
    let database = TestDatabase::migrated().await;
    let stores = stores_with_entries(&database, "pod_a").await;
    let insert = "INSERT INTO audit (chain, number, hash, at, record) \
                  SELECT 77, number, hash, at, record FROM audit WHERE chain = (SELECT min(chain) FROM audit)";
    database.execute(insert).await;
    let inserted = ChainViolation::Inserted { number: AuditSeq::in_chain(77, 1).0 };
    assert_eq!(report(&stores).await.violation, Some(inserted));
}

#[tokio::test]
async fn pruning_leaves_an_anchor_for_each_chain() {
    let database = TestDatabase::migrated().await;
    let stores = stores_with_entries(&database, "pod_a").await;
    let later = NOW.saturating_add(crate::suite::MINUTE);
    let pruned = stores.stores.maintenance.prune_audit(later, later).await.unwrap();
    assert_eq!(pruned.records, 80);
    let whole = report(&stores).await;
    assert!(whole.is_valid(), "{whole:?}");
    assert_eq!((whole.anchor, whole.records), (80, 1), "and the record of the pruning");
}

#[tokio::test]
async fn an_exported_audit_is_verified_as_the_database_is() {
    let database = TestDatabase::migrated().await;
    let stores = stores_with_entries(&database, "pod_a").await;
    stores.stores.maintenance.close(NOW).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("audit.export");
    let exported = export_postgres_audit(&database.url(), &file).await.unwrap();
    let signer = Signer::ephemeral([7; 32]);
    let whole = verify_audit_export(&file, signer.chain_key()).unwrap();
    assert!(whole.is_valid(), "{whole:?}");
    assert_eq!((whole.records, exported.records), (80, 80));
    assert_eq!(whole, report(&stores).await);
}
