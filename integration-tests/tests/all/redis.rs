//! Pods with a Redis: a team's context survives everything that happens to it, pods share the requests of a user, and
//! its absence is a decision of the configuration.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use greenroom_client::{CallParams, Client};
use greenroom_integration_tests::definitions_dir::DefinitionsDir;
use greenroom_integration_tests::redis_server::RedisServer;
use greenroom_integration_tests::test_pod::{StoreKind, test_config, text};
use greenroom_integration_tests::wait::wait_until;
use greenroom_protocol::request::ContextRead;
use greenroom_protocol::{AgentId, Json, Reply, Request, RunId, Status, StepId, TeamId, UserId, Values, WorkflowId};
use greenroom_registry::redis::rates::OnRedisLoss;
use greenroom_supervisor::clock::{TimeOrdered, WallClock};
use greenroom_supervisor::compose::{Overrides, compose_with};
use greenroom_supervisor::config::{Config, RedisConfig, Secret};
use greenroom_supervisor::pod::Pod;
use tempfile::TempDir;

mod failures;

const AGENT: &str = "writer";
const TEAM: &str = "letters";
const LETTER: &str = "letter";
const WAIT_MAX: Duration = Duration::from_secs(30);

/// A team with a context of its own, to which the first step of its workflow adds `facts`; the last step needs them.
fn write_definitions(dir: &DefinitionsDir) -> Result<()> {
    let implementation =
        "runtime: native\n  handler: native.echo\n  timeout: 60\ncollaboration:\n  provides_to_team: [facts]";
    dir.write_agent(AGENT, "business_ops", implementation)?;
    let workflow = format!(
        "workflow_id: {LETTER}\nname: Letter\ndescription: A letter\nversion: \"1.0.0\"\nsteps:\n  - id: draft\n    \
         agent: {AGENT}\n    inputs: {{ text: \"${{context.tone}}\" }}\n    outputs: [text]\n  - id: sign\n    \
         depends_on: [draft]\n    approval: {{ prompt: \"Sign?\" }}\n  - id: send\n    agent: {AGENT}\n    \
         depends_on: [sign]\n    inputs: {{ text: \"${{context.facts}}\" }}\n    outputs: [text]\n\
         final_output: \"${{steps.send.outputs.text}}\"\n"
    );
    dir.write_workflow(LETTER, &workflow)?;
    let team = format!(
        "team_id: {TEAM}\nname: Letters\ndescription: Writes letters\nagents: [{AGENT}]\nworkflows: [{LETTER}]\n\
         shared_context: {{ tone: warm }}\n"
    );
    dir.write_team(TEAM, &team)
}

/// The context of a run whose first step has ended.
fn expected_context() -> Values {
    ["facts", "tone"].into_iter().map(|key| (key.to_owned(), Json::from("warm"))).collect()
}

/// The configuration of a pod with this Redis.
fn config(folder: &Path, store: StoreKind, server: &RedisServer, on_loss: OnRedisLoss) -> Result<Config> {
    let definitions = DefinitionsDir::new(&folder.join("definitions"))?;
    write_definitions(&definitions)?;
    let mut config = test_config(folder, store, Some(definitions.dir()))?;
    config.redis = Some(RedisConfig { url: Secret::new(server.url()), ca_file: None, on_loss });
    Ok(config)
}

async fn compose(config: &Config) -> Result<Pod> {
    let pod = compose_with(config, Arc::new(WallClock), Arc::new(TimeOrdered), Overrides::default()).await;
    pod.context("the pod cannot be assembled")
}

/// A pod in a new folder, with its stores in memory and this Redis.
async fn start(server: &RedisServer, on_loss: OnRedisLoss) -> Result<(Pod, TempDir)> {
    let folder = tempfile::tempdir()?;
    Ok((compose(&config(folder.path(), StoreKind::Memory, server, on_loss)?).await?, folder))
}

fn admin(pod: &Pod) -> Result<Client> {
    Ok(pod.client(&UserId::new("admin")?))
}

async fn call_agent(client: &Client) -> Result<Reply> {
    let params = CallParams { inputs: text("x"), ..CallParams::default() };
    Ok(client.run_agent(AgentId::new(AGENT)?, params).await?)
}

async fn wait_served(client: &Client) -> Result<()> {
    let served = || async { (call_agent(client).await.ok()?.status == Status::Success).then_some(()) };
    wait_until("the pod serves requests", WAIT_MAX, served).await
}

async fn wait_for_status(client: &Client, run: &RunId, status: &str) -> Result<()> {
    wait_until(status, WAIT_MAX, || async {
        let report = client.run_record(run.clone()).await.ok()?;
        (report.outputs.get("run")?["status"] == status).then_some(())
    })
    .await
}

/// Starts the team, whose run awaits an approval.
async fn start_team(client: &Client) -> Result<RunId> {
    let params = CallParams { detach: true, ..CallParams::default() };
    let reply = client.run_team(TeamId::new(TEAM)?, WorkflowId::new(LETTER)?, params).await?;
    let run = reply.id.parse().with_context(|| format!("{reply:?}"))?;
    wait_for_status(client, &run, "waiting_approval").await?;
    Ok(run)
}

/// Approves the run, and waits for its success.
async fn finish(client: &Client, run: &RunId) -> Result<()> {
    assert_eq!(client.approve(run.clone(), StepId::new("sign")?).await?.error, None);
    wait_for_status(client, run, "success").await
}

async fn read_context(client: &Client, run: &RunId) -> Result<Reply> {
    Ok(client.send(Request::ContextRead(ContextRead { run: run.clone(), keys: Vec::new() })).await?)
}

async fn expect_context(client: &Client, run: &RunId) -> Result<()> {
    let reply = read_context(client, run).await?;
    assert_eq!((&reply.outputs, &reply.error), (&expected_context(), &None));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_context_survives_a_flush_the_end_and_the_restart_of_its_server() -> Result<()> {
    let mut server = RedisServer::start().await?;
    let (pod, _folder) = start(&server, OnRedisLoss::Local).await?;
    let client = admin(&pod)?;
    let run = start_team(&client).await?;
    expect_context(&client, &run).await?;
    server.flush()?;
    expect_context(&client, &run).await?;
    server.flush()?;
    finish(&client, &run).await?;
    let run = start_team(&client).await?;
    server.kill()?;
    expect_context(&client, &run).await?;
    finish(&client, &run).await?;
    // A run that started without the server continues with it.
    let run = start_team(&client).await?;
    server.restart().await?;
    expect_context(&client, &run).await?;
    finish(&client, &run).await?;
    pod.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_owner_of_a_run_has_its_context_whatever_redis_has() -> Result<()> {
    let server = RedisServer::start().await?;
    let folder = tempfile::tempdir()?;
    let config = config(folder.path(), StoreKind::Full, &server, OnRedisLoss::Deny)?;
    let mut pod = compose(&config).await?;
    let runs = [start_team(&admin(&pod)?).await?, start_team(&admin(&pod)?).await?];
    for run in &runs {
        pod.shutdown().await;
        pod = compose(&config).await?;
        pod.recover();
        let client = admin(&pod)?;
        // Recovery hosts the run in a moment; until then it has no context here.
        let resumed = || async { (read_context(&client, run).await.ok()?.status == Status::Success).then_some(()) };
        wait_until("the run is resumed", WAIT_MAX, resumed).await?;
        expect_context(&client, run).await?;
        finish(&client, run).await?;
        // The second run finds no view of its last owner.
        server.flush()?;
    }
    pod.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn two_pods_count_the_requests_of_a_user_together() -> Result<()> {
    let server = RedisServer::start().await?;
    let mut pods = Vec::new();
    for _ in 0..2 {
        let folder = tempfile::tempdir()?;
        let mut config = config(folder.path(), StoreKind::Memory, &server, OnRedisLoss::Deny)?;
        for user in config.users.users.iter_mut() {
            (user.rate_limit, user.query_limit) = (3, 3);
        }
        pods.push((compose(&config).await?, folder));
    }
    for index in [0, 1, 0] {
        assert_eq!(call_agent(&admin(&pods[index].0)?).await?.status, Status::Success);
    }
    for (pod, _folder) in &pods {
        let denied = call_agent(&admin(pod)?).await?.error.context("a denial")?;
        assert_eq!(denied.details["reasons"][0]["code"], "rate_limit_exceeded", "{denied:?}");
        assert_eq!(admin(pod)?.agents().await?.status, Status::Success, "queries have a limit of their own");
    }
    for (pod, _folder) in pods {
        pod.shutdown().await;
    }
    Ok(())
}
