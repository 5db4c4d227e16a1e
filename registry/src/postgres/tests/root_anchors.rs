//! Pruning of the root chain: what is left is verified, and what is missing is found.

use greenroom_protocol as protocol;
use protocol::{ContentHash, Timestamp};
use sqlx::postgres::PgConnection;

use crate::audit::chain::ChainTip;
use crate::audit::chain_key::SavedHead;
use crate::audit::head::HeadKind;
use crate::audit::signer::Signer;
use crate::audit::{AuditSeq, ChainReport, ChainViolation, ROOT_CHAIN};
use crate::error::StoreError;
use crate::postgres::audit::root::check_saved;
use crate::postgres::audit::verify::verify;
use crate::suite::postgres::{TestDatabase, open_pod};
use crate::suite::{MINUTE, NOW, TestStores, closing, opening};
use crate::{export_postgres_audit, verify_audit_export};

/// Appends so many records to the root chain that it gets an anchor.
const FILL: &str = r#"SELECT greenroom_root_v1((SELECT max(id) FROM pods WHERE NOT dead), 0, '2025-01-02T03:04:05Z',
    array_fill('{"kind":"heads","heads":[]}'::text, ARRAY[4096]))"#;
const COUNT_ANCHORS: &str =
    r#"SELECT count(*) FROM audit_root WHERE strpos(record, '"event":{"kind":"anchor","part":0,') > 0"#;
const FIRST: &str = "SELECT min(number) FROM audit_root";
const COUNT_CHAINS: &str = "SELECT count(*) FROM audit_chains";

async fn pod_with_entries(database: &TestDatabase, name: &str) -> TestStores {
    let stores = open_pod(&database.url(), name, 4).await.unwrap();
    for number in 0..40 {
        let entry = stores.stores.core.open_entry(opening(number), NOW).await.unwrap();
        stores.stores.core.close_entry(entry, closing(), NOW).await;
    }
    stores
}

async fn prune(stores: &TestStores, at: Timestamp) {
    stores.stores.maintenance.prune_audit(at, at).await.unwrap();
}

async fn report(stores: &TestStores) -> ChainReport {
    stores.stores.audit.verify().await.unwrap()
}

/// A minute later than the entries, and a time at which an anchor of then is older than what is kept.
fn times() -> (Timestamp, Timestamp) {
    let later = NOW.saturating_add(MINUTE);
    (later, later.saturating_add(MINUTE * 60 * 24 * 8))
}

/// A database whose root chain begins with an anchor, and the pod that has pruned it.
async fn pruned() -> (TestDatabase, TestStores) {
    let database = TestDatabase::migrated().await;
    let stores = pod_with_entries(&database, "pod_a").await;
    let (later, much_later) = times();
    database.execute(FILL).await;
    prune(&stores, later).await;
    prune(&stores, much_later).await;
    assert!(database.count(FIRST).await > 4_096);
    (database, stores)
}

#[tokio::test]
async fn the_root_chain_is_pruned_once_an_anchor_is_old_and_with_it_the_chains_of_pods_that_have_ended() {
    let database = TestDatabase::migrated().await;
    let ended = pod_with_entries(&database, "pod_a").await;
    ended.stores.maintenance.close(NOW).await.unwrap();
    let stores = pod_with_entries(&database, "pod_b").await;
    let (later, much_later) = times();
    prune(&stores, later).await;
    assert_eq!((database.count(COUNT_ANCHORS).await, database.count(FIRST).await), (0, 1), "it is short");
    database.execute("DELETE FROM pods WHERE dead AND cleaned").await;
    database.execute(FILL).await;
    assert_eq!(database.count(COUNT_CHAINS).await, 8);
    prune(&stores, later).await;
    assert_eq!((database.count(COUNT_ANCHORS).await, database.count(FIRST).await), (1, 1), "the anchor is new");
    assert_eq!(database.count(COUNT_CHAINS).await, 4, "those of the pod that has ended are pruned as a whole");
    assert!(report(&stores).await.is_valid());

    prune(&stores, much_later).await;
    assert!(database.count(FIRST).await > 4_096);
    let whole = report(&stores).await;
    assert!(whole.is_valid() && whole.records == 1, "{whole:?}");
    let entry = stores.stores.core.open_entry(opening(50), NOW).await.unwrap();
    stores.stores.core.close_entry(entry, closing(), NOW).await;
    stores.stores.maintenance.close(NOW).await.unwrap();
    let next = pod_with_entries(&database, "pod_c").await;
    assert!(report(&next).await.is_valid());
    next.stores.maintenance.close(NOW).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("audit.export");
    let exported = export_postgres_audit(&database.url(), &file).await.unwrap();
    let copy = verify_audit_export(&file, Signer::ephemeral([7; 32]).chain_key()).unwrap();
    assert!(copy.is_valid() && exported.root > 0, "{copy:?}");
    assert_eq!(copy, report(&next).await);
}

#[tokio::test]
async fn records_before_an_anchor_may_be_left_and_what_is_missing_after_it_is_found() {
    let database = TestDatabase::migrated().await;
    let stores = pod_with_entries(&database, "pod_a").await;
    database.execute(FILL).await;
    prune(&stores, times().0).await;
    // As between two pieces of a pruning.
    database.execute("DELETE FROM audit_root WHERE number <= 100").await;
    assert!(report(&stores).await.is_valid());
    prune(&stores, times().1).await;
    assert!(report(&stores).await.is_valid());
    let first = u64::try_from(database.count(FIRST).await).unwrap();
    database.execute("UPDATE audit_root SET record = replace(record, '\"parts\":1,', '\"parts\":2,')").await;
    let changed = ChainViolation::Changed { number: AuditSeq::in_chain(ROOT_CHAIN, first).0 };
    assert_eq!(report(&stores).await.violation, Some(changed));
    let (later, _) = times();
    let refused = stores.stores.maintenance.prune_audit(later, later).await.unwrap_err();
    assert!(matches!(refused, StoreError::Chain(_)), "no anchor confirms it: {refused}");
    database.execute("DELETE FROM audit_root WHERE number = (SELECT min(number) FROM audit_root)").await;
    let removed = ChainViolation::Removed { number: AuditSeq::in_chain(ROOT_CHAIN, 1).0 };
    assert_eq!(report(&stores).await.violation, Some(removed));
}

/// A key whose newest signed head names the second record of the root chain.
async fn key_with_head(connection: &mut PgConnection, dir: &tempfile::TempDir, stores: &TestStores) -> Signer {
    let signer = Signer::ephemeral([7; 32]).with_head_file(dir.path().join("audit.head"));
    let hash: Vec<u8> =
        sqlx::query_scalar("SELECT hash FROM audit_root WHERE number = 2").fetch_one(connection).await.unwrap();
    let tip = ChainTip { number: 2, hash: ContentHash::from_digest(hash.try_into().unwrap()) };
    let head = signer.sign(HeadKind::Running, tip, NOW);
    signer.save_head(&SavedHead { database: stores.stores.id.clone(), head }).unwrap();
    signer
}

#[tokio::test]
async fn a_head_that_is_older_than_the_root_chain_has_a_code_of_its_own_and_its_pod_starts() {
    let database = TestDatabase::migrated().await;
    let stores = pod_with_entries(&database, "pod_a").await;
    let (dir, mut connection) = (tempfile::tempdir().unwrap(), database.connect().await);
    let signer = key_with_head(&mut connection, &dir, &stores).await;
    let (key, id) = (signer.chain_key(), stores.stores.id.as_str());
    let saved = key.load_head().unwrap();
    assert!(verify(&mut connection, key).await.unwrap().is_valid());
    database.execute(FILL).await;
    prune(&stores, times().0).await;
    prune(&stores, times().1).await;
    let first = u64::try_from(database.count(FIRST).await).unwrap();
    let error = verify(&mut connection, key).await.unwrap_err();
    assert!(matches!(error, StoreError::HeadPruned { signed: 2, first: found } if found == first), "{error}");
    assert_eq!(error.audit_cause().details["store"], "head_pruned");
    check_saved(&mut connection, id, key, saved.as_ref()).await.unwrap();
    // An anchor that the key has not signed is none.
    let other = Signer::ephemeral([8; 32]);
    let refused = check_saved(&mut connection, id, other.chain_key(), saved.as_ref()).await.unwrap_err();
    assert!(matches!(refused, StoreError::Chain(_)), "{refused}");
    database
        .execute("UPDATE audit_root SET hash = sha256(hash) WHERE number = (SELECT max(number) FROM audit_root)")
        .await;
    let changed = verify(&mut connection, key).await.unwrap();
    assert!(!changed.is_valid(), "a violation is reported although the head is pruned");
}

#[tokio::test]
async fn a_pruned_root_chain_is_pruned_again() {
    let (database, stores) = pruned().await;
    let first = database.count(FIRST).await;
    let (_, much_later) = times();
    let last = much_later.saturating_add(MINUTE * 60 * 24 * 8);
    database.execute(FILL).await;
    prune(&stores, much_later).await;
    assert_eq!(database.count(COUNT_ANCHORS).await, 2);
    prune(&stores, last).await;
    assert!(database.count(FIRST).await > first + 4_096);
    assert_eq!(database.count(COUNT_ANCHORS).await, 1);
    assert!(report(&stores).await.is_valid());
}
