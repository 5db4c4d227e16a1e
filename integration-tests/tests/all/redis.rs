//! Pods with a Redis: a team's context survives everything that happens to it, pods share the requests of a user, and
//! its absence is a decision of the configuration.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use greenroom_client::{CallParams, Client};
use greenroom_integration_tests::definitions_dir::DefinitionsDir;
use greenroom_integration_tests::redis_server::RedisServer;
use greenroom_integration_tests::test_pod::{StoreKind, TestPod, test_config, text};
use greenroom_integration_tests::wait::wait_until;
use greenroom_protocol::request::ContextRead;
use greenroom_protocol::{AgentId, ErrorCode, Json, Reply, Request, RunId, Status, StepId, TeamId, WorkflowId};
use greenroom_registry::redis::rates::OnRedisLoss;
use greenroom_supervisor::clock::{TimeOrdered, WallClock};
use greenroom_supervisor::compose::{Overrides, compose_with};
use greenroom_supervisor::config::{Config, RedisConfig, Secret};

const AGENT: &str = "writer";
const TEAM: &str = "letters";
const LETTER: &str = "letter";
const WAIT_MAX: Duration = Duration::from_secs(30);

fn write_definitions(dir: &DefinitionsDir) -> Result<()> {
    dir.write_echo_agent(AGENT)?;
    let workflow = format!(
        "workflow_id: {LETTER}\nname: Letter\ndescription: A letter\nversion: \"1.0.0\"\nsteps:\n  - id: sign\n    \
         approval: {{ prompt: \"Sign?\" }}\n  - id: send\n    agent: {AGENT}\n    depends_on: [sign]\n    \
         inputs: {{ text: \"${{context.tone}}\" }}\n    outputs: [text]\nfinal_output: \"${{steps.send.outputs.text}}\"\n"
    );
    dir.write_workflow(LETTER, &workflow)?;
    let team = format!(
        "team_id: {TEAM}\nname: Letters\ndescription: Writes letters\nagents: [{AGENT}]\nworkflows: [{LETTER}]\n\
         shared_context: {{ tone: warm }}\n"
    );
    dir.write_team(TEAM, &team)
}

/// A pod with this Redis.
async fn start(server: &RedisServer, on_loss: OnRedisLoss, change: impl FnOnce(&mut Config)) -> Result<TestPod> {
    let folder = tempfile::tempdir()?;
    let definitions = DefinitionsDir::new(&folder.path().join("definitions"))?;
    write_definitions(&definitions)?;
    let mut config = test_config(folder.path(), StoreKind::Memory, Some(definitions.dir()))?;
    config.redis = Some(RedisConfig { url: Secret::new(server.url()), on_loss });
    change(&mut config);
    let pod = compose_with(&config, Arc::new(WallClock), Arc::new(TimeOrdered), Overrides::default()).await;
    Ok(TestPod { pod: pod.context("the pod cannot be assembled")?, folder })
}

async fn call_agent(client: &Client) -> Result<Reply> {
    let params = CallParams { inputs: text("x"), ..CallParams::default() };
    Ok(client.run_agent(AgentId::new(AGENT)?, params).await?)
}

/// Waits until a run has this status, and returns its report.
async fn wait_for_status(client: &Client, run: &RunId, status: &str) -> Result<Json> {
    wait_until(status, WAIT_MAX, || async {
        let report = client.run(run.clone()).await.ok()?;
        report.outputs.get("run").filter(|run| run["status"] == status).cloned()
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

async fn tone(client: &Client, run: &RunId) -> Result<Json> {
    let read = Request::ContextRead(ContextRead { run: run.clone(), keys: Vec::new() });
    let reply = client.send(read).await?;
    reply.outputs.get("tone").cloned().with_context(|| format!("{reply:?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_context_survives_a_flush_the_end_and_the_restart_of_its_server() -> Result<()> {
    let mut server = RedisServer::start().await?;
    let pod = start(&server, OnRedisLoss::Local, |_| ()).await?;
    let client = pod.admin()?;
    let run = start_team(&client).await?;
    assert_eq!(tone(&client, &run).await?, "warm");
    server.flush()?;
    assert_eq!(tone(&client, &run).await?, "warm", "its owner makes it anew");
    server.kill()?;
    assert_eq!(tone(&client, &run).await?, "warm", "its owner has it without a server");
    assert_eq!(client.approve(run.clone(), StepId::new("sign")?).await?.error, None);
    wait_for_status(&client, &run, "success").await?;
    // A run that started without the server continues with it.
    let run = start_team(&client).await?;
    server.restart().await?;
    assert_eq!(tone(&client, &run).await?, "warm");
    assert_eq!(client.approve(run.clone(), StepId::new("sign")?).await?.error, None);
    wait_for_status(&client, &run, "success").await?;
    pod.pod.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn two_pods_count_the_requests_of_a_user_together() -> Result<()> {
    let server = RedisServer::start().await?;
    let set_limits = |config: &mut Config| {
        for user in config.users.users.iter_mut() {
            (user.rate_limit, user.query_limit) = (3, 3);
        }
    };
    let (one, two) =
        (start(&server, OnRedisLoss::Deny, set_limits).await?, start(&server, OnRedisLoss::Deny, set_limits).await?);
    for pod in [&one, &two, &one] {
        assert_eq!(call_agent(&pod.admin()?).await?.status, Status::Success);
    }
    for pod in [&two, &one] {
        let denied = call_agent(&pod.admin()?).await?.error.context("a denial")?;
        assert_eq!(denied.details["reasons"][0]["code"], "rate_limit_exceeded", "{denied:?}");
    }
    assert_eq!(two.admin()?.agents().await?.status, Status::Success, "queries have a limit of their own");
    one.pod.shutdown().await;
    two.pod.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_server_a_pod_denies_the_requests_of_users_and_reports_the_reason() -> Result<()> {
    let mut server = RedisServer::start().await?;
    let pod = start(&server, OnRedisLoss::Deny, |_| ()).await?;
    let client = pod.admin()?;
    assert_eq!(call_agent(&client).await?.status, Status::Success);
    server.kill()?;
    let denied = call_agent(&client).await?.error.context("a denial")?;
    assert_eq!(denied.code, ErrorCode::PolicyError, "{denied:?}");
    assert_eq!(denied.details["reasons"][0]["code"], "fact_unavailable", "{denied:?}");
    assert_eq!(denied.details["store"], "redis_unreachable", "{denied:?}");
    let page = pod.pod.metrics().render();
    assert!(page.contains("redis_failures{error=\"redis_unreachable\"} 1"), "{page}");
    server.restart().await?;
    let served = || async { (call_agent(&client).await.ok()?.status == Status::Success).then_some(()) };
    wait_until("the pod uses the server again", WAIT_MAX, served).await?;
    pod.pod.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_rejects_the_pod_refuses_its_start() -> Result<()> {
    let server = RedisServer::start().await?;
    let folder = tempfile::tempdir()?;
    let mut config = test_config(folder.path(), StoreKind::Memory, None)?;
    let url = server.url().replace("redis://", "redis://stranger:hunter2@");
    config.redis = Some(RedisConfig { url: Secret::new(url), on_loss: OnRedisLoss::Deny });
    let pod = compose_with(&config, Arc::new(WallClock), Arc::new(TimeOrdered), Overrides::default()).await;
    let cause = pod.err().context("the start is refused")?;
    assert_eq!((cause.code, &cause.details["store"]), (ErrorCode::StoreUnavailable, &"redis_rejected".into()));
    assert!(!format!("{cause:?}").contains("hunter2"), "{cause:?}");
    Ok(())
}
