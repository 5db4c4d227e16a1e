//! A team that spans pods: its run and two of its members are on one pod, and a member with a label on another one, where it
//! reads and writes the context of the team. What each member provides is there for the next one, wherever that is.

use std::fs;
use std::pin::pin;

use anyhow::{Result, bail, ensure};
use greenroom_client::{Client, ReplyResult, Team};
use greenroom_integration_tests::definitions_dir::DefinitionsDir;
use greenroom_integration_tests::nats_server::NatsServer;
use greenroom_integration_tests::redis_server::RedisServer;
use greenroom_integration_tests::session_pod::{Network, WAIT_MAX};
use greenroom_integration_tests::wait::wait_until;
use greenroom_protocol::journal::Entry;
use greenroom_protocol::{ErrorCode, Json, RunId, Status, StepId, UserId, Values};
use greenroom_registry::journal::Seq;
use greenroom_registry::migrate_postgres;
use greenroom_registry::redis::rates::OnRedisLoss;
use greenroom_supervisor::config::{Config, RedisConfig, Secret};
use greenroom_supervisor::pod::Pod;
use serde_json::json;
use sqlx::{Connection as _, PgConnection};
use tempfile::TempDir;

use super::placement::{executions, start};
use crate::postgres::create_database;

/// A member on any pod provides facts, the one on the other pod findings from them and by itself their source, and the last
/// one has these two as its input.
const WORKFLOW: &str = "\
workflow_id: crew_flow
name: Crew flow
description: A step on the first pod, one on the second, and one on the first
version: \"1.0.0\"
inputs:
  - { name: text, type: text, required: true }
steps:
  - { id: note, agent: noting_agent, inputs: { text: \"${inputs.text}\" }, outputs: [text] }
  - { id: find, agent: remote_agent, depends_on: [note], inputs: { text: \"${context.facts}\" }, outputs: [text] }
  - { id: sign, approval: { prompt: \"Close?\" }, depends_on: [find] }
  - { id: close, agent: closing_agent, depends_on: [sign], inputs: { text: \"${context.findings} ${context.source}\" }, outputs: [text] }
final_output: \"${steps.close.outputs.text}\"
";
const TEAM: &str = "\
team_id: crew
name: Crew
description: Spans pods
agents: [noting_agent, remote_agent, closing_agent]
workflows: [crew_flow]
shared_context: { tone: warm }
";
/// Asks its pod for the context of the team, and writes a key of it twice; outside of a team, it has none.
const HANDLER: &str = "\
def execute(inputs, context, ctx):
    shared = [str(ctx.context.get(key)) for key in ('facts', 'tone')]
    if ctx.context.get('tone') is not None:
        ctx.context.set('source', 'draft')
        ctx.context.set('source', 'elsewhere')
    return {'text': ' '.join(shared + [inputs['text']])}
";
const FINDINGS: &str = "hello warm hello";
const SOURCE: &str = "elsewhere";

/// Two pods of one cluster; the second one has the label `gpu`.
struct Pods {
    plain: Pod,
    gpu: Pod,
    url: String,
    _redis: Option<RedisServer>,
    _server: NatsServer,
    _folder: TempDir,
}

fn write_definitions(definitions: &DefinitionsDir) -> Result<()> {
    let native = "runtime: native\n  handler: native.echo\n  timeout: 60";
    let provides = |key: &str| format!("collaboration:\n  provides_to_team: [{key}]");
    definitions.write_agent("noting_agent", "business_ops", &format!("{native}\n{}", provides("facts")))?;
    definitions.write_echo_agent("closing_agent")?;
    let remote = "runtime: python\n  handler: remote.execute\n  timeout: 60\n  placement: { labels: [gpu] }";
    definitions.write_agent("remote_agent", "business_ops", &format!("{remote}\n{}", provides("findings, source")))?;
    definitions.write_workflow("crew_flow", WORKFLOW)?;
    definitions.write_team("crew", TEAM)
}

impl Pods {
    async fn start(name: &str, redis: Option<RedisServer>) -> Result<Self> {
        let (url, server) = (create_database(name).await?, NatsServer::start().await?);
        migrate_postgres(&url).await?;
        let (network, folder) = (Network::new(&server.url()), tempfile::tempdir()?);
        let handlers = folder.path().join("handlers");
        for dir in [&handlers, &folder.path().join("artifacts")] {
            fs::create_dir(dir)?;
        }
        fs::write(handlers.join("remote.py"), HANDLER)?;
        let definitions = DefinitionsDir::new(&folder.path().join("definitions"))?;
        write_definitions(&definitions)?;
        let change = |config: &mut Config| {
            config.python.settings.handlers.clone_from(&handlers);
            config.redis = redis.as_ref().map(|redis| RedisConfig {
                url: Secret::new(redis.url()),
                ca_file: None,
                on_loss: OnRedisLoss::Local,
            });
        };
        let plain = start(folder.path(), "plain", &url, &network, &definitions, change).await?;
        let gpu = start(folder.path(), "gpu", &url, &network, &definitions, change).await?;
        Ok(Self { plain, gpu, url, _redis: redis, _server: server, _folder: folder })
    }

    fn client(&self) -> Result<Client> {
        Ok(self.plain.client(&UserId::new("admin")?))
    }

    /// Waits until the first pod has found the one with the label.
    async fn wait_placed(&self) -> Result<()> {
        let client = self.client()?;
        let invoke = || async {
            let reply = client.agent("remote_agent").input("text", "x").send().await.ok()?;
            let is_missing = reply.error.as_ref().is_some_and(|cause| cause.code == ErrorCode::NoPodForLabels);
            (!is_missing).then_some(reply)
        };
        let reply = wait_until("the pod with the label is found", WAIT_MAX, invoke).await?;
        ensure!(reply.status == Status::Success, "{reply:?}");
        Ok(())
    }

    fn executions(&self) -> (f64, f64) {
        (executions(&self.plain).unwrap_or_default(), executions(&self.gpu).unwrap_or_default())
    }

    /// The run that waits for an approval.
    async fn waiting_run(&self) -> Result<RunId> {
        let mut connection = PgConnection::connect(&self.url).await?;
        let newest = sqlx::query_scalar("SELECT run FROM runs ORDER BY run DESC LIMIT 1");
        let newest: String = newest.fetch_one(&mut connection).await?;
        Ok(RunId::new(newest)?)
    }

    /// The context of a run, as the pod reads it.
    async fn context(&self, pod: &Pod, run: &RunId) -> Result<Values> {
        let client = pod.client(&UserId::new("admin")?);
        let reply = client.run(run).read_context([]).send().await?;
        ensure!(reply.error.is_none(), "{reply:?}");
        Ok(reply.outputs)
    }

    /// Executes the workflow by a call of the team, and checks what its members have had.
    async fn execute(&self, team: impl Future<Output = ReplyResult>) -> Result<()> {
        let (before, client) = (self.executions(), self.client()?);
        let mut team = pin!(team);
        let has_waited = || async {
            let (plain, gpu) = self.executions();
            ((plain, gpu) == (before.0 + 1.0, before.1 + 1.0)).then_some(())
        };
        tokio::select! {
            ended = &mut team => bail!("nobody has approved the run: {ended:?}"),
            waited = wait_until("both first members have ended", WAIT_MAX, has_waited) => waited?,
        }
        let run = self.waiting_run().await?;
        let expected: Values = [("tone", "warm"), ("facts", "hello"), ("findings", FINDINGS), ("source", SOURCE)]
            .map(|(key, value)| (key.to_owned(), Json::from(value)))
            .into();
        let signing = async {
            let has_context = || async {
                let contexts = (self.context(&self.plain, &run).await.ok()?, self.context(&self.gpu, &run).await.ok()?);
                (contexts == (expected.clone(), expected.clone())).then_some(())
            };
            wait_until("both pods read what the members have provided", WAIT_MAX, has_context).await?;
            let approve = || async {
                let reply = client.approve(run.clone(), StepId::new("sign").ok()?).await.ok()?;
                reply.error.is_none().then_some(())
            };
            wait_until("the step is approved", WAIT_MAX, approve).await
        };
        let (reply, signed) = tokio::join!(team, signing);
        signed?;
        let reply = reply?;
        ensure!(reply.status == Status::Success, "{reply:?}");
        assert_eq!(reply.outputs["final_output"], format!("{FINDINGS} {SOURCE}"));
        assert_eq!(self.executions(), (before.0 + 2.0, before.1 + 1.0), "only the one with the label was elsewhere");
        self.expect_recorded(&run).await
    }

    /// What a member provides is in the journal of the run as soon as its step has ended, whichever pod has executed it.
    async fn expect_recorded(&self, run: &RunId) -> Result<()> {
        let records = self.plain.stores().journal.read(run, Seq(0), 1_000).await?;
        let entries: Vec<&Entry> = records.iter().map(|record| &record.entry).collect();
        let end_of = |step: &str| {
            let is_end = |entry: &&Entry| matches!(entry, Entry::StepDone { key, .. } if key.step.as_str() == step);
            entries.iter().position(is_end)
        };
        let change_of = |name: &str| {
            let is_change = |entry: &&Entry| matches!(entry, Entry::ContextChanged { key, .. } if key.as_str() == name);
            entries.iter().position(is_change)
        };
        for (step, key, next) in [("note", "facts", "find"), ("find", "findings", "close")] {
            let (Some(end), Some(change), Some(next)) = (end_of(step), change_of(key), end_of(next)) else {
                bail!("{step}, {key} or {next} is not recorded: {entries:?}");
            };
            ensure!(end.abs_diff(change) <= 1 && end.max(change) < next, "{step}: {entries:?}");
        }
        // What the handler has written by itself is recorded when it does, and not replaced at the end of its step.
        let by_handler = |entry: &&Entry| matches!(entry, Entry::ContextChanged { request: Some(_), .. });
        let of_source = |entry: &&Entry| matches!(entry, Entry::ContextChanged { key, .. } if key.as_str() == "source");
        let sources: Vec<&Entry> = entries.iter().copied().filter(of_source).collect();
        ensure!(sources.len() == 2 && sources.iter().all(by_handler), "{sources:?}");
        Ok(())
    }
}

async fn expect_spanning(pods: &Pods) -> Result<()> {
    pods.wait_placed().await?;
    let client = pods.client()?;
    pods.execute(client.team("crew").workflow("crew_flow").input("text", "hello").send()).await?;
    let agents = ["noting_agent", "remote_agent", "closing_agent"];
    let inline = Team::new("Crew of a request").agents(agents).shared_context(json!({ "tone": "warm" }));
    pods.execute(inline.workflow(&client, "crew_flow").input("text", "hello").send()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_on_another_pod_reads_and_writes_the_context_and_provides_to_the_next_member() -> Result<()> {
    let pods = Pods::start("spanning", Some(RedisServer::start().await?)).await?;
    Box::pin(expect_spanning(&pods)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_team_spans_pods_without_redis_too() -> Result<()> {
    let pods = Pods::start("spanning_alone", None).await?;
    Box::pin(expect_spanning(&pods)).await
}
