//! Measures `audit verify` on a database with the chains of very many starts of pods. Each start has a chain for each of
//! its lanes, so that they are many after a year of short commands.
//!
//! The chains are encoded and signed as pods encode and sign them, and inserted in bulk, because a start takes longer than
//! the verification of its chains.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use greenroom_integration_tests::bench::{Threshold, record, scaled};
use greenroom_protocol::audit::Event;
use greenroom_protocol::{Clock, Json, PodId, Timestamp};
use greenroom_registry::audit::chain::{ChainTip, EventJson};
use greenroom_registry::audit::head::{HeadKind, SignedHead};
use greenroom_registry::audit::signer::Signer;
use greenroom_registry::{ArtifactLocation, StoreParts, in_memory_artifacts, open_postgres};
use greenroom_supervisor::clock::WallClock;
use serde_json::json;
use sqlx::postgres::PgConnection;
use tokio::task::JoinSet;

use super::GROUP;
use super::database::{Server, connect};

/// Chains, those of each start, and the records of each chain.
const CHAINS: u64 = 10_000;
const LANES: usize = 4;
const RECORDS: [&str; 2] = ["the first record of a chain", "the last record of a chain"];
/// Starts whose chains are inserted at once.
const STARTS_AT_ONCE: usize = 125;
/// The bound of a verification.
const VERIFY_SECONDS_MAX: f64 = 10.0;
/// Verifications; the slowest counts.
const VERIFICATIONS: usize = 3;
/// The name of the database.
const DATABASE: &str = "chains";

/// The pod that joins for all starts; its lease lasts longer than the measurement.
const JOIN: &str = "SELECT greenroom_join_v1('starts', 'bench', 1, 1, $1, 3600000, 0)";
const APPEND_TO_ROOT: &str = "SELECT greenroom_root_v1($1, $2, $3, $4)";
const INSERT_RECORDS: &str = "INSERT INTO audit (chain, number, hash, at, record) SELECT r.chain, r.number, r.hash, $5, r.record \
     FROM unnest($1::bigint[], $2::bigint[], $3::bytea[], $4::text[]) AS r (chain, number, hash, record)";

/// The database with what its chains are signed by.
struct Database {
    connection: PgConnection,
    signer: Signer,
    identity: String,
    pod: i64,
}

/// The columns of records, and the events of the root chain.
#[derive(Default)]
struct Rows {
    chains: Vec<i64>,
    numbers: Vec<i64>,
    hashes: Vec<Vec<u8>>,
    texts: Vec<String>,
    events: Vec<String>,
}

pub(super) async fn measure(server: &Server) -> anyhow::Result<()> {
    let url = server.create_migrated(DATABASE).await?;
    let folder = tempfile::tempdir()?;
    let key = folder.path().join("audit.key");
    let parts = StoreParts {
        clock: Arc::new(WallClock),
        signer: Signer::open(&key, || Ok([7; 32]))?,
        artifacts: in_memory_artifacts(),
        pod: PodId::new("verifier")?,
    };
    let opened = open_postgres(&url, &ArtifactLocation::OwnFolder, parts).await?;
    let mut tasks = JoinSet::new();
    opened.tasks.into_iter().for_each(|task| drop(tasks.spawn(task.run)));
    let chains = insert_chains(&url, Signer::open(&key, || Ok([7; 32]))?).await?;
    let mut slowest = Duration::ZERO;
    for _ in 0..VERIFICATIONS {
        let started_at = Instant::now();
        let report = opened.stores.audit.verify().await?;
        slowest = slowest.max(started_at.elapsed());
        ensure!(report.is_valid(), "{report:?}");
        ensure!(report.records == chains * RECORDS.len() as u64, "{report:?}");
    }
    opened.stores.maintenance.close(WallClock.now()).await?;
    drop(tasks);
    server.drop_database(DATABASE).await?;
    let name = format!("audit verify over {chains} chains, the slowest of {VERIFICATIONS}");
    record(GROUP, name, slowest.as_secs_f64(), "s", Threshold::AtMost(VERIFY_SECONDS_MAX))
}

/// Inserts the chains of starts that have ended in order, and returns their number.
async fn insert_chains(url: &str, signer: Signer) -> anyhow::Result<u64> {
    let mut connection = connect(url).await?;
    let identity = sqlx::query_scalar("SELECT database FROM store_identity").fetch_one(&mut connection).await?;
    let count = i32::try_from(scaled(CHAINS))?;
    let joined: String = sqlx::query_scalar(JOIN).bind(count).fetch_one(&mut connection).await?;
    let joined: Json = serde_json::from_str(&joined)?;
    let pod = joined.get("pod").and_then(Json::as_i64).context("the pod")?;
    let chains: Vec<u64> =
        joined.get("chains").and_then(Json::as_array).context("chains")?.iter().filter_map(Json::as_u64).collect();
    let mut database = Database { connection, signer, identity, pod };
    for starts in chains.chunks(LANES * STARTS_AT_ONCE) {
        let mut rows = Rows::default();
        for lanes in starts.chunks(LANES) {
            database.add_start(&mut rows, lanes)?;
        }
        database.insert(rows).await?;
    }
    sqlx::raw_sql("VACUUM ANALYZE audit").execute(&mut database.connection).await?;
    Ok(chains.len() as u64)
}

impl Database {
    /// Adds the chains of one start, as its pod registers, writes and ends them.
    fn add_start(&self, rows: &mut Rows, lanes: &[u64]) -> anyhow::Result<()> {
        let now = WallClock.now();
        let (mut first, mut last) = (Vec::new(), Vec::new());
        for (lane, chain) in lanes.iter().copied().enumerate() {
            let own = self.signer.for_chain(&self.identity, chain);
            let certificate = self.signer.certify(&self.identity, chain, own.chain_key());
            rows.events.push(
                json!({
                    "kind": "chain_registered", "chain": chain, "pod": "starts", "lane": lane,
                    "key": own.chain_key().to_hex(), "certificate": certificate,
                })
                .to_string(),
            );
            let mut tip = ChainTip::genesis();
            first.push(head(chain, own.sign(HeadKind::Running, tip, now))?);
            for message in RECORDS {
                let event = Event::System { subject: "bench".into(), message: message.into() };
                let row = tip.append(now, &EventJson::from_event(&event)?);
                rows.chains.push(i64::try_from(chain)?);
                rows.numbers.push(i64::try_from(row.number)?);
                rows.hashes.push(row.hash.as_bytes().to_vec());
                rows.texts.push(row.record);
            }
            last.push(head(chain, own.sign(HeadKind::Closed, tip, now))?);
        }
        rows.events.extend([first, last].map(|heads| json!({ "kind": "heads", "heads": heads }).to_string()));
        Ok(())
    }

    async fn insert(&mut self, rows: Rows) -> anyhow::Result<()> {
        let now: Timestamp = WallClock.now();
        let appended: String = sqlx::query_scalar(APPEND_TO_ROOT)
            .bind(self.pod)
            .bind(now.as_micros())
            .bind(now.to_string())
            .bind(rows.events)
            .fetch_one(&mut self.connection)
            .await?;
        ensure!(appended.contains("committed"), "{appended}");
        sqlx::query(INSERT_RECORDS)
            .bind(rows.chains)
            .bind(rows.numbers)
            .bind(rows.hashes)
            .bind(rows.texts)
            .bind(now.as_micros())
            .execute(&mut self.connection)
            .await?;
        Ok(())
    }
}

/// A signed head as the root chain has it.
fn head(chain: u64, head: SignedHead) -> anyhow::Result<Json> {
    let mut head = serde_json::to_value(head)?;
    head.as_object_mut().context("a head")?.insert("chain".to_owned(), chain.into());
    Ok(head)
}
