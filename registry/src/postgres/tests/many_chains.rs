//! The chains of very many starts of pods, verified together. `scripts/bench` measures it with 10,000.

use greenroom_protocol as protocol;
use protocol::ContentHash;
use protocol::audit::Event;
use serde_json::Value;

use crate::audit::chain::{ChainTip, EventJson};
use crate::audit::head::HeadKind;
use crate::audit::root_chain::{ChainHead, RootEvent, registrations};
use crate::audit::signer::Signer;
use crate::audit::{AuditSeq, ChainViolation};
use crate::columns::to_int;
use crate::postgres::audit::root::append;
use crate::suite::postgres::{TestDatabase, open_pod};
use crate::suite::{MINUTE, NOW};

/// Chains of one start of a pod.
const CHAINS: i32 = 40;
/// Starts.
const STARTS: usize = 8;

/// The columns of records.
#[derive(Default)]
struct Records {
    chains: Vec<i64>,
    numbers: Vec<i64>,
    hashes: Vec<Vec<u8>>,
    texts: Vec<String>,
}

/// Inserts the chains of a start that has ended, each with two records, as its pod would have written them. Returns their
/// numbers.
async fn insert_chains(database: &TestDatabase, signer: &Signer, name: &str) -> Vec<u64> {
    let mut connection = database.connect().await;
    let identity: String =
        sqlx::query_scalar("SELECT database FROM store_identity").fetch_one(&mut connection).await.unwrap();
    let joined: String = sqlx::query_scalar("SELECT greenroom_join_v1($1, 'test', 1, 1, $2, 600000, 0)")
        .bind(name)
        .bind(CHAINS)
        .fetch_one(&mut connection)
        .await
        .unwrap();
    let joined: Value = serde_json::from_str(&joined).unwrap();
    let pod = joined["pod"].as_i64().unwrap();
    let chains: Vec<u64> = joined["chains"].as_array().unwrap().iter().filter_map(Value::as_u64).collect();
    append(&mut connection, pod, NOW, &registrations(signer, &identity, name, &chains, NOW)).await.unwrap();
    let (mut records, mut heads, closed_at) = (Records::default(), Vec::new(), NOW.saturating_add(MINUTE));
    for chain in chains.iter().copied() {
        let mut tip = ChainTip::genesis();
        for message in ["first", "second"] {
            let event = Event::System { subject: "test".into(), message: message.into() };
            let row = tip.append(NOW, &EventJson::from_event(&event).unwrap());
            records.chains.push(to_int(chain));
            records.numbers.push(to_int(row.number));
            records.hashes.push(row.hash.as_bytes().to_vec());
            records.texts.push(row.record);
        }
        let head = signer.for_chain(&identity, chain).sign(HeadKind::Closed, tip, closed_at);
        heads.push(ChainHead { chain, head });
    }
    sqlx::query(
        "INSERT INTO audit (chain, number, hash, at, record) SELECT r.chain, r.number, r.hash, $5, r.record \
         FROM unnest($1::bigint[], $2::bigint[], $3::bytea[], $4::text[]) AS r (chain, number, hash, record)",
    )
    .bind(records.chains)
    .bind(records.numbers)
    .bind(records.hashes)
    .bind(records.texts)
    .bind(NOW.as_micros())
    .execute(&mut connection)
    .await
    .unwrap();
    append(&mut connection, pod, closed_at, &[RootEvent::Heads { heads }]).await.unwrap();
    chains
}

#[tokio::test]
async fn the_chains_of_many_starts_are_verified_together_and_a_violation_names_its_chain() {
    let (database, signer) = (TestDatabase::migrated().await, Signer::ephemeral([7; 32]));
    let stores = open_pod(&database.url(), "pod_a", 1).await.unwrap();
    let mut chains = Vec::new();
    for start in 0..STARTS {
        chains.extend(insert_chains(&database, &signer, &format!("pod_{start}")).await);
    }
    assert_eq!(chains.len(), 320);
    let report = stores.stores.audit.verify().await.unwrap();
    assert!(report.is_valid(), "{report:?}");
    assert_eq!((report.records, report.signed), (640, 640));
    let chain = chains[200];
    let hash = ContentHash::from_content(b"another record");
    let violate = async |sql: &'static str| {
        let mut connection = database.connect().await;
        sqlx::query(sql).bind(to_int(chain)).bind(hash.as_bytes().as_slice()).execute(&mut connection).await.unwrap();
        stores.stores.audit.verify().await.unwrap().violation
    };
    let changed = violate("UPDATE audit SET hash = $2 WHERE chain = $1 AND number = 1").await;
    assert!(
        matches!(changed, Some(ChainViolation::Changed { number }) if AuditSeq(number).chain() == chain),
        "{changed:?}"
    );
    let removed = violate("DELETE FROM audit WHERE chain = $1 AND $2::bytea IS NOT NULL").await;
    let Some(ChainViolation::Truncated { after, signed }) = removed else { panic!("{removed:?}") };
    assert_eq!((AuditSeq(after).chain(), AuditSeq(signed).number()), (chain, 2));
}
