//! Backups that are restored, and files that are not.

use std::path::{Path, PathBuf};

use greenroom_protocol::audit::{Event, RecordRef};
use greenroom_protocol::{PrincipalId, TenantId, Timestamp, UserId};
use rusqlite::Connection;
use tempfile::TempDir;

use crate::audit::chain::{ChainTip, EventJson};
use crate::audit::signer::Signer;
use crate::audit::{AuditScope, ChainReport};
use crate::error::StoreError;
use crate::restore::{RestoreError, RestoreReport};
use crate::suite::{NOW, TestStores, run_id};
use crate::{commit_restore, prepare_restore};

fn database(dir: &Path) -> PathBuf {
    dir.join("greenroom.db")
}

fn signer(dir: &Path) -> Signer {
    Signer::open_existing(&dir.join("audit.key")).unwrap().unwrap()
}

fn by() -> PrincipalId {
    PrincipalId::local(TenantId::default(), UserId::new("admin").unwrap())
}

async fn record_events(stores: &TestStores, count: u32) {
    for number in 1..=count {
        stores.stores.core.record_system_event("test", &number.to_string(), NOW).await.unwrap();
    }
}

/// A closed database with twenty records, and a backup of its first ten and one run.
async fn with_backup() -> (TempDir, PathBuf) {
    let stores = TestStores::sqlite().await;
    stores.create_run(1).await;
    record_events(&stores, 10).await;
    let backup = stores.database().with_file_name("monday.db");
    stores.stores.maintenance.backup(&backup).await.unwrap();
    stores.create_run(2).await;
    record_events(&stores, 10).await;
    (stores.close().await, backup)
}

async fn restore(dir: &Path, backup: &Path) -> Result<RestoreReport, RestoreError> {
    let signer = signer(dir);
    let staged = prepare_restore(backup, &database(dir), signer.chain_key()).await?;
    Ok(commit_restore(staged, signer, by(), NOW).await?)
}

async fn verified(dir: TempDir) -> (ChainReport, TempDir) {
    let stores = TestStores::open(dir).await.unwrap();
    let report = stores.stores.audit.verify().await.unwrap();
    assert!(stores.stores.maintenance.check().await.unwrap().is_ok());
    (report, stores.close().await)
}

fn files(dir: &Path, name: &str) -> Vec<PathBuf> {
    let all = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    all.filter(|path| path.to_string_lossy().contains(name)).collect()
}

#[tokio::test]
async fn a_restored_backup_continues_its_chain_with_the_break_on_record() {
    let (dir, backup) = with_backup().await;
    let before = signer(dir.path()).chain_key().load_head().unwrap().unwrap().head;
    let report = restore(dir.path(), &backup).await.unwrap();
    assert_eq!((report.number, report.restored.restored.number), (11, 10));
    assert_eq!(report.restored.replaced, Some(RecordRef { number: 20, hash: before.hash }));
    let replaced = report.replaced.unwrap();
    assert_eq!(replaced.file_name().unwrap(), "greenroom.db.replaced-20231114T221320Z");
    assert_eq!(files(dir.path(), ".restore"), [""; 0].map(PathBuf::from));

    let stores = TestStores::open(dir).await.unwrap();
    assert!(stores.stores.runs.get(&run_id(1)).await.unwrap().is_some());
    assert!(stores.stores.runs.get(&run_id(2)).await.unwrap().is_none(), "it began after the backup");
    let records = stores.stores.audit.find(&AuditScope::All, "11").await.unwrap();
    assert_eq!(records[0].event, Event::Restored(report.restored.clone()));
    record_events(&stores, 3).await;
    let (chain, dir) = verified(stores.close().await).await;
    assert!(chain.is_valid(), "{chain:?}");
    assert_eq!((chain.records, chain.breaks.len(), &chain.breaks[0].restored), (14, 1, &report.restored));

    // The replaced database is complete, and can be restored in turn.
    let next_report = restore(dir.path(), &replaced).await.unwrap();
    assert_eq!((next_report.number, next_report.restored.replaced.unwrap().number), (21, 14));
    assert_ne!(next_report.replaced.unwrap(), replaced);
    let (chain, dir) = verified(dir).await;
    assert!(
        chain.is_valid() && chain.breaks.len() == 1,
        "the first break is in the chain that was replaced: {chain:?}"
    );
    let stores = TestStores::open(dir).await.unwrap();
    assert!(stores.stores.runs.get(&run_id(2)).await.unwrap().is_some());
}

#[tokio::test]
async fn a_process_that_ends_before_it_has_saved_the_head_leaves_a_database_that_opens() {
    let (dir, backup) = with_backup().await;
    let head = std::fs::read(dir.path().join("audit.head")).unwrap();
    restore(dir.path(), &backup).await.unwrap();
    std::fs::write(dir.path().join("audit.head"), &head).unwrap();
    let key = signer(dir.path()).chain_key().clone();
    let checked = crate::examine_sqlite(&database(dir.path()), &key).await.unwrap();
    assert!(checked.is_ok(), "{checked:?}");
    let (chain, _dir) = verified(dir).await;
    assert!(chain.is_valid() && chain.breaks.len() == 1, "{chain:?}");
}

#[tokio::test]
async fn a_backup_that_was_copied_by_hand_is_refused_and_then_restored_from_where_it_is() {
    let (dir, backup) = with_backup().await;
    std::fs::copy(&backup, database(dir.path())).unwrap();
    let error = TestStores::open(dir).await.err().unwrap();
    let StoreError::Chain(text) = &error else { panic!("{error}") };
    assert!(text.contains("record 20 was signed") && text.contains("ends with record 10"), "{text}");
    assert!(error.cause().message.contains("greenroom db restore FILE"));

    let (dir, backup) = with_backup().await;
    std::fs::copy(&backup, database(dir.path())).unwrap();
    let report = restore(dir.path(), &database(dir.path())).await.unwrap();
    assert_eq!((report.number, report.restored.replaced.unwrap().number), (11, 20));
    let (chain, _dir) = verified(dir).await;
    assert!(chain.is_valid() && chain.breaks.len() == 1, "{chain:?}");
}

#[tokio::test]
async fn a_break_that_the_key_has_not_signed_hides_no_truncation() {
    let (dir, _backup) = with_backup().await;
    let head = signer(dir.path()).chain_key().load_head().unwrap().unwrap().head;
    let conn = Connection::open(database(dir.path())).unwrap();
    conn.execute_batch("DELETE FROM audit WHERE number > 15; DELETE FROM audit_heads WHERE number > 15").unwrap();
    let hash: Vec<u8> = conn.query_row("SELECT hash FROM audit WHERE number = 15", [], |row| row.get(0)).unwrap();
    let hash = greenroom_protocol::ContentHash::from_digest(hash.try_into().unwrap());
    let mut tip = ChainTip { number: 15, hash };
    let restored = serde_json::json!({
        "kind": "restored", "tenant": "default", "user": "admin", "backup": "/x", "restored": tip.as_record(),
        "replaced": { "number": head.number, "hash": head.hash },
    });
    let event: Event = serde_json::from_value(restored).unwrap();
    let row = tip.append(NOW, &EventJson::from_event(&event).unwrap());
    conn.execute(
        "INSERT INTO audit (number, hash, at, record) VALUES (16, ?, 0, ?)",
        (row.hash.as_bytes().to_vec(), row.record),
    )
    .unwrap();
    let forged =
        Signer::ephemeral([9; 32]).sign_break(tip, NOW, Some(RecordRef { number: head.number, hash: head.hash }));
    conn.execute("INSERT INTO audit_heads VALUES (16, 2, ?)", [serde_json::to_string(&forged).unwrap()]).unwrap();
    conn.close().unwrap();
    assert!(matches!(TestStores::open(dir).await.err(), Some(StoreError::Chain(_))));
}

#[tokio::test]
async fn a_file_that_is_no_backup_of_this_directory_replaces_nothing() {
    let (dir, backup) = with_backup().await;
    let content = std::fs::read(database(dir.path())).unwrap();
    let (elsewhere, foreign) = with_backup().await;
    std::fs::write(elsewhere.path().join("audit.key"), "08".repeat(32)).unwrap();
    for file in ["greenroom.db", "audit.head"] {
        std::fs::remove_file(elsewhere.path().join(file)).unwrap();
    }
    let stores = TestStores::open(elsewhere).await.unwrap();
    std::fs::remove_file(&foreign).unwrap();
    stores.stores.maintenance.backup(&foreign).await.unwrap();

    let text = dir.path().join("text.db");
    std::fs::write(&text, "this is not a database, but long enough to be read as one".repeat(99)).unwrap();
    let changed = dir.path().join("changed.db");
    std::fs::copy(&backup, &changed).unwrap();
    let conn = Connection::open(&changed).unwrap();
    conn.execute_batch("UPDATE audit SET record = replace(record, '\"7\"', '\"8\"') WHERE number = 7").unwrap();
    conn.close().unwrap();
    let newer = dir.path().join("newer.db");
    std::fs::copy(&backup, &newer).unwrap();
    let conn = Connection::open(&newer).unwrap();
    let insert = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
                  VALUES (9999, 'later', 1, x'00', 0)";
    conn.execute_batch(insert).unwrap();
    conn.close().unwrap();
    for (file, problem) in [
        (dir.path().join("none.db"), "not a file"),
        (dir.path().to_owned(), "not a file"),
        (text, "not a database"),
        (changed, "record 7 was changed"),
        (newer, "schema is 9999"),
        (foreign, "belongs to another data directory"),
    ] {
        let error = restore(dir.path(), &file).await.unwrap_err();
        assert!(matches!(&error, RestoreError::Backup { .. }) && error.to_string().contains(problem), "{error}");
        assert_eq!(error.cause().code.exit_code(), 2);
    }
    assert_eq!(std::fs::read(database(dir.path())).unwrap(), content);
    assert_eq!([files(dir.path(), ".restore"), files(dir.path(), ".replaced")].concat(), [""; 0].map(PathBuf::from));
}

#[tokio::test]
async fn a_database_that_a_process_owns_is_not_replaced() {
    let (dir, backup) = with_backup().await;
    let path = dir.path().to_owned();
    let stores = TestStores::open(dir).await.unwrap();
    let error = restore(&path, &backup).await.unwrap_err();
    assert!(matches!(error, RestoreError::Store(StoreError::InUse { .. })), "{error}");
    record_events(&stores, 1).await;
    assert!(stores.stores.audit.verify().await.unwrap().is_valid());
}

#[tokio::test]
async fn a_lost_and_a_damaged_database_are_replaced_too() {
    for content in [None, Some("this is not a database, but long enough to be read as one".repeat(99))] {
        let (dir, backup) = with_backup().await;
        match &content {
            None => std::fs::remove_file(database(dir.path())).unwrap(),
            Some(content) => std::fs::write(database(dir.path()), content).unwrap(),
        }
        let report = restore(dir.path(), &backup).await.unwrap();
        assert_eq!(report.replaced.is_some(), content.is_some());
        assert_eq!(report.restored.replaced.unwrap().number, 20, "the saved head names the lost chain");
        let (chain, _dir) = verified(dir).await;
        assert!(chain.is_valid() && chain.breaks.len() == 1, "{chain:?}");
    }
}

#[test]
fn the_time_is_part_of_the_name() {
    let dir = tempfile::tempdir().unwrap();
    let at = Timestamp::from_micros(0);
    let first = super::free_name(&dir.path().join("x.db"), at);
    assert_eq!(first, dir.path().join("x.db.replaced-19700101T000000Z"));
    std::fs::write(&first, "").unwrap();
    assert_eq!(super::free_name(&dir.path().join("x.db"), at), dir.path().join("x.db.replaced-19700101T000000Z-2"));
}
