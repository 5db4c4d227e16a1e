//! Two pods with PostgreSQL and Redis in each combination, without NATS, whose servers fail while a run of a team is under
//! way: it ends with its result on both pods, no recorded call is repeated, and no pod dies unless it was killed.

use std::thread;

use anyhow::{Context as _, Result, anyhow, ensure};
use greenroom_client::{CallParams, Team};
use greenroom_integration_tests::cluster::postgres_server::{PostgresServer, StopMode};
use greenroom_integration_tests::redis_server::RedisServer;
use greenroom_integration_tests::test_pod::text;
use greenroom_integration_tests::wait::wait_until;
use greenroom_protocol::event::RunStatus;
use greenroom_protocol::{AgentId, ErrorCode, RunId, Status};
use greenroom_registry::cluster::LeaseStatus;
use greenroom_registry::redis::rates::OnRedisLoss;
use greenroom_supervisor::config::{RedisConfig, Secret};
use serde_json::json;

use super::shared_database::{PodProcess, SharedDatabase, WAIT_MAX, new_runtime};
use super::{ensure_success, replying, sign};
use crate::postgres::create_database;

/// A combination of servers, and what happens to them while the last call of the run is under way.
#[derive(Debug, Clone, Copy)]
struct Row {
    redis: Option<OnRedisLoss>,
    loses_postgres: bool,
    loses_redis: bool,
    /// The lost Redis is started again, empty, before the run ends. A lost PostgreSQL always is.
    redis_returns: bool,
    /// The pod that owns the run is killed meanwhile.
    owner_dies: bool,
}

const QUIET: Row =
    Row { redis: None, loses_postgres: false, loses_redis: false, redis_returns: false, owner_dies: false };
const ON_DENY: Row = Row { redis: Some(OnRedisLoss::Deny), ..QUIET };
const ON_LOCAL: Row = Row { redis: Some(OnRedisLoss::Local), ..QUIET };

const ROWS: [Row; 11] = [
    Row { loses_postgres: true, ..QUIET },
    Row { loses_postgres: true, owner_dies: true, ..QUIET },
    Row { loses_postgres: true, ..ON_DENY },
    Row { loses_postgres: true, owner_dies: true, ..ON_LOCAL },
    Row { loses_redis: true, redis_returns: true, ..ON_DENY },
    Row { loses_redis: true, ..ON_DENY },
    Row { loses_redis: true, ..ON_LOCAL },
    Row { loses_redis: true, owner_dies: true, ..ON_DENY },
    Row { loses_redis: true, owner_dies: true, redis_returns: true, ..ON_LOCAL },
    Row { loses_postgres: true, loses_redis: true, redis_returns: true, ..ON_DENY },
    Row { loses_postgres: true, loses_redis: true, owner_dies: true, ..ON_LOCAL },
];

/// Starts a team whose run awaits an approval.
fn start_team(pod: &PodProcess) -> Result<RunId> {
    let client = pod.client()?;
    let team = Team::new("Letters").agents(["draft_agent", "send_agent"]).shared_context(json!({ "tone": "kind" }));
    let started = pod.block_on(team.workflow(&client, "signed_letter").input("text", "hello").detach().reply())?;
    let run = RunId::new(&started.id)?;
    pod.wait_status(&run, RunStatus::WaitingApproval)?;
    Ok(run)
}

/// Fails unless a pod shows the context of the team.
fn expect_context(pod: &PodProcess, run: &RunId) -> Result<()> {
    let client = pod.client()?;
    let read = pod.block_on(client.run(run).read_context([]).send())?;
    ensure_success(&read)?;
    ensure!(read.outputs.get("tone") == Some(&json!("kind")), "{read:?}");
    Ok(())
}

/// Waits until a pod serves the requests of a user, or denies them because their number is not known.
fn wait_replied(pod: &PodProcess, is_denied: bool) -> Result<()> {
    let (client, agent) = (pod.client()?, AgentId::new("draft_agent")?);
    let replied = || async {
        let params = CallParams { inputs: text("hello"), ..CallParams::default() };
        let reply = client.run_agent(agent.clone(), params).await.ok()?;
        let is_expected = match &reply.error {
            Some(cause) => is_denied && cause.code == ErrorCode::PolicyError,
            None => !is_denied && reply.status == Status::Success,
        };
        is_expected.then_some(())
    };
    pod.block_on(wait_until(if is_denied { "requests are denied" } else { "requests are served" }, WAIT_MAX, replied))
}

fn wait_lapsed(pod: &PodProcess) -> Result<()> {
    let has_lapsed = || async { (pod.pod().stores().cluster.lease_status() == LeaseStatus::Lapsed).then_some(()) };
    pod.block_on(wait_until("the lease has lapsed", WAIT_MAX, has_lapsed))
}

/// Checks one row; `number` names its database.
fn check(number: usize, row: Row) -> Result<()> {
    let runtime = new_runtime()?;
    // A server that is stopped is that of the row.
    let own_server = row.loses_postgres.then(|| runtime.block_on(PostgresServer::start())).transpose()?;
    let mut redis = row.redis.map(|_| runtime.block_on(RedisServer::start())).transpose()?;
    let url = match &own_server {
        Some(server) => server.url(),
        None => runtime.block_on(create_database(&format!("lost_servers_{number}")))?,
    };
    let database = SharedDatabase::create_at(url, [replying("draft"), replying("send")])?;
    let redis_url = redis.as_ref().map(RedisServer::url);
    let start = |name| {
        database.start_with(name, |config| {
            let settings = redis_url.clone().zip(row.redis);
            config.redis = settings.map(|(url, on_loss)| RedisConfig { url: Secret::new(url), ca_file: None, on_loss });
        })
    };
    let (mut a, mut b) = (start("pod_a")?, start("pod_b")?);
    a.recover();
    b.recover();
    let run = start_team(&a)?;
    for pod in [&a, &b] {
        expect_context(pod, &run)?;
    }
    let mut paused = Some(database.pause_replies());
    ensure_success(&sign(&b, &run)?)?;
    database.wait_calls(2)?;

    if let Some(server) = &own_server {
        runtime.block_on(server.stop(StopMode::Immediate))?;
    }
    if let Some(server) = redis.as_mut().filter(|_| row.loses_redis) {
        server.kill()?;
    }
    let owner = if row.owner_dies {
        a.crash();
        None
    } else {
        // The call ends while the servers are away.
        paused = None;
        Some(a)
    };
    if let Some(server) = &own_server {
        wait_lapsed(owner.as_ref().unwrap_or(&b))?;
        runtime.block_on(server.start_again())?;
    }
    if let Some(server) = redis.as_mut().filter(|_| row.loses_redis && row.redis_returns) {
        runtime.block_on(server.restart())?;
    }
    if row.owner_dies {
        // The call in flight is made again, by the other pod.
        database.wait_calls(3)?;
    }
    drop(paused);
    let pods: Vec<&PodProcess> = owner.iter().chain([&b]).collect();
    check_end(&database, row, &pods, &run)
}

/// Checks the end of the run, and the pods that live.
fn check_end(database: &SharedDatabase, row: Row, pods: &[&PodProcess], run: &RunId) -> Result<()> {
    let deaths = u64::from(row.owner_dies);
    for pod in pods {
        ensure_success(&pod.wait_ended(run)?)?;
        ensure!(pod.count_resumptions(run)? == usize::from(row.owner_dies), "a run is resumed after a death only");
        let declared = pod.pod().stores().cluster.watch().borrow().pods_declared_dead;
        ensure!(declared == deaths, "{declared} pods were declared dead");
    }
    ensure!(database.calls() == 2 + deaths, "{} calls", database.calls());
    let is_denied = row.redis == Some(OnRedisLoss::Deny) && row.loses_redis && !row.redis_returns;
    for pod in pods {
        wait_replied(pod, is_denied)?;
        ensure!(pod.block_on(pod.pod().stores().audit.verify())?.is_valid(), "the audit is valid");
    }
    Ok(())
}

#[test]
fn a_run_of_two_pods_ends_whichever_of_its_servers_is_lost_meanwhile() -> Result<()> {
    // Two at a time, because most of the time of a row is spent waiting.
    for (group, rows) in (0..).step_by(2).zip(ROWS.chunks(2)) {
        thread::scope(|scope| {
            let checks: Vec<_> =
                (group..).zip(rows).map(|(number, row)| scope.spawn(move || check(number, *row))).collect();
            for (check, row) in checks.into_iter().zip(rows) {
                check.join().map_err(|_| anyhow!("{row:?} has panicked"))?.with_context(|| format!("{row:?}"))?;
            }
            anyhow::Ok(())
        })?;
    }
    Ok(())
}
