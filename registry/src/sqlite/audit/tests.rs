//! The audit of one file beside a process that writes it, and with records of another release.

use std::io::Write;
use std::path::Path;
use std::process::Command;

use greenroom_protocol::audit::Event;
use greenroom_protocol::{ContentHash, RequestId};
use rusqlite::Connection;
use serde_json::json;

use super::verify_chain;
use crate::audit::AuditScope;
use crate::audit::chain::{ChainTip, EventJson};
use crate::audit::chain_key::SavedHead;
use crate::audit::head::HeadKind;
use crate::audit::signer::Signer;
use crate::sqlite::connection::connect_dedicated;
use crate::suite::{NOW, TestStores};

fn signer(database: &Path) -> Signer {
    Signer::open_existing(&database.with_file_name("audit.key")).unwrap().unwrap()
}

fn tip(conn: &Connection) -> ChainTip {
    let sql = "SELECT number, hash FROM audit ORDER BY number DESC LIMIT 1";
    let (number, hash): (i64, Vec<u8>) = conn.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    ChainTip { number: u64::try_from(number).unwrap(), hash: ContentHash::from_digest(hash.try_into().unwrap()) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_head_that_is_signed_while_the_chain_is_verified_is_no_violation() {
    let stores = TestStores::sqlite().await;
    stores.stores.core.record_system_event("test", "before", NOW).await.unwrap();
    let database = stores.database();
    let signer = signer(&database);
    // The head is read from a pipe, so that the test decides when.
    let pipe = database.with_file_name("head.pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let key = signer.chain_key().clone().with_head_file(pipe.clone());
    let path = database.clone();
    let verification = tokio::task::spawn_blocking(move || {
        let verified = async {
            let mut connection = connect_dedicated(&path).await.unwrap();
            verify_chain(&mut connection, &path, &key).await.unwrap()
        };
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(verified)
    });
    // Opening a pipe for writing waits for its reader.
    let mut head_file =
        tokio::task::spawn_blocking(move || std::fs::OpenOptions::new().write(true).open(pipe)).await.unwrap().unwrap();
    for number in 0..5 {
        stores.stores.core.record_system_event("test", &number.to_string(), NOW).await.unwrap();
    }
    let conn = Connection::open(&database).unwrap();
    let identity: String = conn.query_row("SELECT database FROM store_identity", [], |row| row.get(0)).unwrap();
    let head = signer.sign(HeadKind::Running, tip(&conn), NOW);
    head_file.write_all(&serde_json::to_vec(&SavedHead { database: identity, head }).unwrap()).unwrap();
    drop(head_file);
    let report = verification.await.unwrap();
    assert!(report.is_valid() && report.records >= 6, "{report:?}");
}

#[tokio::test]
async fn records_of_another_release_are_opened_read_and_verified() {
    let stores = TestStores::sqlite().await;
    stores.stores.core.record_system_event("test", "before", NOW).await.unwrap();
    let dir = stores.crash().await;
    let conn = Connection::open(dir.path().join("greenroom.db")).unwrap();
    let mut tip = tip(&conn);
    let request = RequestId::from_u128(5);
    // An entry that ended, one that is open, and an event of a kind that does not exist.
    let events = [
        json!({"kind": "opened", "request": "r", "tenant": "acme", "action": "removed_action", "caller": 5}),
        json!({"kind": "closed", "opened": tip.number + 1, "status": "removed_status", "code": "removed_code"}),
        json!({"kind": "opened", "request": request, "tenant": "acme", "new_member": [1]}),
        json!({"kind": "removed_kind", "subject": {"a": 1}}),
    ];
    for event in &events {
        let row = tip.append(NOW, &EventJson::from_event(&Event::Unknown(event.clone())).unwrap());
        let sql = "INSERT INTO audit (number, hash, at, request, tenant, record) VALUES (?, ?, 0, ?, 'acme', ?)";
        let request = event["request"].as_str();
        conn.execute(sql, (i64::try_from(row.number).unwrap(), row.hash.as_bytes().to_vec(), request, row.record))
            .unwrap();
    }
    conn.close().unwrap();
    let stores = TestStores::open(dir).await.unwrap();
    let audit = &stores.stores.audit;
    let interrupted = audit.find(&AuditScope::All, request.as_str()).await.unwrap();
    assert_eq!(interrupted[1].event, Event::Interrupted { opened: interrupted[0].number });
    let page = audit.read(&AuditScope::All, None, 10).await.unwrap();
    let unknown = page.records.iter().rev().filter_map(|record| match &record.event {
        Event::Unknown(event) => Some(event.clone()),
        _ => None,
    });
    assert_eq!(unknown.collect::<Vec<_>>(), events);
    let report = audit.verify().await.unwrap();
    assert!(report.is_valid(), "{report:?}");
}

#[tokio::test]
async fn an_exported_audit_is_verified_as_the_database_is() {
    let stores = TestStores::sqlite().await;
    stores.stores.core.record_system_event("test", "one", NOW).await.unwrap();
    let (database, whole) = (stores.database(), stores.stores.audit.verify().await.unwrap());
    let dir = stores.close().await;
    let file = dir.path().join("audit.export");
    let exported = crate::export_sqlite_audit(&database, &file).await.unwrap();
    let report = crate::verify_audit_export(&file, signer(&database).chain_key()).unwrap();
    assert!(report.is_valid(), "{report:?}");
    assert_eq!((exported.records, report.records), (whole.records, whole.records));
}
