//! The combinations of store, NATS and Redis, as docs/nats.md lists them: two pods with the same settings and a data
//! directory each are started for each row.

use anyhow::{Context, Result, bail, ensure};
use greenroom_client::CallParams;
use greenroom_integration_tests::redis_server::RedisServer;
use greenroom_integration_tests::test_pod::text;
use greenroom_protocol::{AgentId, Cause, ErrorCode, PodId, RunId, Status, UserId, WorkflowId};
use greenroom_registry::redis::rates::OnRedisLoss;
use greenroom_supervisor::config::{RedisConfig, Secret, StoreConfig, SyncMode};
use greenroom_supervisor::pod::Pod;
use tempfile::TempDir;

use super::fixture::{ECHO, NatsPod, ROW, assemble, config, shared_url};
use super::stores::assemble_on;

const DOCUMENT: &str = include_str!("../../../../docs/nats.md");
const TABLE_HEAD: &str = "| store | NATS | Redis | a second pod |";
/// Three stores, each with and without NATS and Redis.
const COMBINATIONS: usize = 12;

/// What becomes of a second pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SecondPod {
    /// It serves, and has the runs of the first one.
    Shares,
    /// It serves, and knows nothing of the first one.
    Alone,
    /// `shared_store_needed`.
    Refused,
}

/// A row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Combination {
    store: &'static str,
    has_nats: bool,
    has_redis: bool,
    second: SecondPod,
}

/// What the pods of a combination have in common.
struct Servers {
    nats: String,
    redis: RedisServer,
    database: String,
    shared: TempDir,
}

/// The rows of the document. One that holds with and without Redis is two combinations.
fn combinations() -> Result<Vec<Combination>> {
    let rows = DOCUMENT.lines().skip_while(|line| *line != TABLE_HEAD).skip(2).take_while(|line| line.starts_with('|'));
    let mut combinations = Vec::new();
    for row in rows {
        let cells: Vec<&'static str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [store, nats, redis, second] = cells[..] else { bail!("{row} has other cells") };
        let second = match second.split([':', ' ']).next() {
            Some("shares") => SecondPod::Shares,
            Some("alone") => SecondPod::Alone,
            Some("refused") => SecondPod::Refused,
            _ => bail!("{row} states nothing that is known of a second pod"),
        };
        ensure!(matches!(nats, "with" | "without") && redis == "with or without", "{row}");
        for has_redis in [false, true] {
            combinations.push(Combination { store, has_nats: nats == "with", has_redis, second });
        }
    }
    Ok(combinations)
}

impl Combination {
    /// Starts a pod. The refusal of a pod that does not serve is beside it.
    async fn start(&self, servers: &Servers, name: &str) -> Result<(NatsPod, Option<Cause>)> {
        let prefix = format!("t_combined_{}_{}", self.store.to_lowercase(), self.has_redis);
        let (mut config, folder) = config(&servers.nats, &prefix)?;
        if !self.has_nats {
            config.nats = None;
        }
        if self.has_redis {
            let url = Secret::new(servers.redis.url());
            config.redis = Some(RedisConfig { url, ca_file: None, on_loss: OnRedisLoss::Deny });
        }
        config.pod = PodId::new(name)?;
        let mut pod = match self.store {
            "memory" => assemble(&config).await?,
            "SQLite" => {
                config.store = StoreConfig::Sqlite { path: folder.path().join("greenroom.db"), sync: SyncMode::Normal };
                assemble(&config).await?
            }
            "PostgreSQL" => assemble_on(&mut config, &servers.database, servers.shared.path()).await?,
            other => bail!("no store is called {other}"),
        };
        let refusal = pod.serve_nats().await.err();
        Ok((NatsPod { pod, _folder: folder }, refusal))
    }

    async fn check(&self, servers: &Servers) -> Result<()> {
        let (first, refusal) = self.start(servers, "pod_a").await?;
        ensure!(refusal.is_none(), "one pod serves in every combination: {refusal:?}");
        expect_served(&first.pod).await?;
        let run = run_workflow(&first.pod).await?;
        let (second, refusal) = self.start(servers, "pod_b").await?;
        let found = match refusal {
            Some(cause) => {
                ensure!(cause.code == ErrorCode::SharedStoreNeeded, "{cause}");
                SecondPod::Refused
            }
            None => {
                expect_served(&second.pod).await?;
                match second.pod.stores().runs.get(&run).await? {
                    Some(_) => SecondPod::Shares,
                    None => SecondPod::Alone,
                }
            }
        };
        ensure!(found == self.second, "it is {found:?}");
        expect_served(&first.pod).await?;
        second.pod.shutdown().await;
        first.pod.shutdown().await;
        Ok(())
    }
}

async fn expect_served(pod: &Pod) -> Result<()> {
    let params = CallParams { inputs: text("x"), ..CallParams::default() };
    let reply = pod.client(&UserId::new("admin")?).run_agent(AgentId::new(ECHO)?, params).await?;
    ensure!(reply.status == Status::Success, "{reply:?}");
    Ok(())
}

async fn run_workflow(pod: &Pod) -> Result<RunId> {
    let params = CallParams { inputs: text("x"), ..CallParams::default() };
    let reply = pod.client(&UserId::new("admin")?).run_workflow(WorkflowId::new(ROW)?, params).await?;
    ensure!(reply.status == Status::Success, "{reply:?}");
    Ok(RunId::new(&reply.id)?)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_combination_of_store_nats_and_redis_does_what_the_document_states() -> Result<()> {
    let (nats, redis) = (shared_url()?, RedisServer::start().await?);
    let (database, shared) = (crate::postgres::create_database("combinations").await?, tempfile::tempdir()?);
    greenroom_registry::migrate_postgres(&database).await?;
    let servers = Servers { nats, redis, database, shared };
    let combinations = combinations()?;
    for combination in &combinations {
        Box::pin(combination.check(&servers)).await.with_context(|| format!("{combination:?}"))?;
    }
    let mut distinct: Vec<_> = combinations.iter().map(|row| (row.store, row.has_nats, row.has_redis)).collect();
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(distinct.len(), COMBINATIONS, "{combinations:?}");
    Ok(())
}
