//! What crosses pods while a model writes: two whole pods on one PostgreSQL database and one NATS server. The text of a run
//! reaches its watchers on either of them, and the answer of an agent on another pod reaches its caller.

mod failover;
mod generations;
mod root_copy;

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use futures::{StreamExt, TryStreamExt};
use greenroom_client::nats::ConnectOptions;
use greenroom_client::{Client, Credential, Observation, Observations, Progress};
use greenroom_integration_tests::definitions_dir::DefinitionsDir;
use greenroom_integration_tests::jetstream::{empty_jetstream, fill_jetstream, wait_root_copied};
use greenroom_integration_tests::nats_server::NatsServer;
use greenroom_integration_tests::test_pod::{StoreKind, test_config};
use greenroom_integration_tests::wait::wait_until;
use greenroom_protocol::event::{EventNumber, RunEventKind};
use greenroom_protocol::subject::DEFAULT_PREFIX;
use greenroom_protocol::{ErrorCode, PodId, RunId, Status};
use greenroom_registry::migrate_postgres;
use greenroom_runtimes::models::scripted::{Script, Scripted, ScriptedCall, ScriptedReply};
use greenroom_supervisor::clock::{TimeOrdered, WallClock};
use greenroom_supervisor::compose::{Overrides, compose_with};
use greenroom_supervisor::config::{ClusterConfig, NatsConfig, Secret, StoreConfig};
use greenroom_supervisor::pod::Pod;
use sqlx::{Connection as _, PgConnection};
use tempfile::TempDir;
use tokio::time::timeout;

use crate::postgres::create_database;

const WAIT_MAX: Duration = Duration::from_secs(60);
/// Watches of one run: the queue group gives each pod some of them.
const WATCHES: usize = 24;
/// What JetStream may store.
const JETSTREAM_BYTES_MAX: usize = 8 * 1024 * 1024;
const ADMIN_KEY: &str = "planted-admin-key";
const USERS: &str = "\
[[users]]
name = \"admin\"
roles = [\"admin\"]
rate_limit = 1000000
query_limit = 1000000
api_key = \"planted-admin-key\"
";
/// The model writes once a user has approved: its run is watched by then.
const SIGNED: &str = "\
workflow_id: signed
name: Signed
description: Awaits an approval
version: \"1.0.0\"
inputs:
  - { name: text, type: text, required: true }
steps:
  - { id: sign, approval: { prompt: \"Write?\" } }
  - { id: write, agent: talker_agent, depends_on: [sign], inputs: { text: \"${inputs.text}\" }, outputs: [text] }
";
const PIECES: [&str; 3] = ["{\"text\": \"one ", "two ", "three\"}"];

/// Two pods of one cluster; the second one has the label `gpu`.
struct Pods {
    plain: Pod,
    gpu: Pod,
    client: Client,
    cluster: Cluster,
}

/// What differs between tests.
#[derive(Clone, Copy)]
struct Settings {
    /// The time between two pieces of an answer.
    gap_ms: u64,
    /// Bytes of texts that JetStream stores.
    stream_bytes_max: u64,
    /// Replicas of the copy of the audit's root chain.
    audit_replicas: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { gap_ms: 60, stream_bytes_max: 0, audit_replicas: 0 }
    }
}

impl Pods {
    async fn start(name: &str) -> Result<Self> {
        Self::start_with(name, Settings::default()).await
    }

    async fn start_with(name: &str, settings: Settings) -> Result<Self> {
        let cluster = Box::pin(Cluster::create(name, settings)).await?;
        let (plain, gpu) = (Box::pin(cluster.start("plain")).await?, Box::pin(cluster.start("gpu")).await?);
        let client = Box::pin(cluster.client()).await?;
        Ok(Self { plain, gpu, client, cluster })
    }
}

/// What the pods of a test have in common.
struct Cluster {
    url: String,
    server: NatsServer,
    definitions: DefinitionsDir,
    settings: Settings,
    folder: TempDir,
}

impl Cluster {
    /// Creates a database and definitions, and starts a server.
    async fn create(name: &str, settings: Settings) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let store = folder.path().join("jetstream");
        let configuration =
            format!("jetstream {{\n  store_dir: {store:?}\n  max_file_store: {JETSTREAM_BYTES_MAX}\n}}\n");
        let (url, server) = (create_database(name).await?, NatsServer::start_with(&configuration).await?);
        migrate_postgres(&url).await?;
        fs::create_dir(folder.path().join("artifacts"))?;
        let definitions = DefinitionsDir::new(&folder.path().join("definitions"))?;
        definitions.write_model_agent("talker_agent", "scripted.talk")?;
        let placed = "runtime: llm\n  model: scripted.talk\n  timeout: 60\n  placement: { labels: [gpu] }\n  prompt:\n    \
                      system: You answer.\n    user: \"{{ inputs.text }}\"";
        definitions.write_agent("gpu_agent", "business_ops", placed)?;
        definitions.write_workflow("signed", SIGNED)?;
        Ok(Self { url, server, definitions, settings, folder })
    }

    /// A client of the administrator.
    async fn client(&self) -> Result<Client> {
        let options = ConnectOptions::default().credential(Credential::ApiKey(ADMIN_KEY.to_owned()));
        Ok(Client::connect_with(&self.server.url(), options).await?)
    }

    /// Starts a pod as `greenroom pod` does; the name is its label too, unless it is `plain`.
    async fn start(&self, name: &str) -> Result<Pod> {
        let mut pod = self.assemble(name).await?;
        pod.serve_nats().await.map_err(|cause| anyhow::anyhow!("{cause}"))?;
        pod.recover();
        Ok(pod)
    }

    /// Assembles a pod that takes no requests over NATS, and no runs of others.
    async fn assemble(&self, name: &str) -> Result<Pod> {
        let Settings { gap_ms, stream_bytes_max, audit_replicas } = self.settings;
        let (dir, key) = (self.folder.path().join(name), self.folder.path().join("audit.key"));
        fs::create_dir(&dir)?;
        let mut config = test_config(&dir, StoreKind::Memory, Some(self.definitions.dir()))?;
        config.store = StoreConfig::Postgres { url: Secret::new(&self.url) };
        config.pod = PodId::new(name)?;
        config.users = toml::from_str(USERS)?;
        config.artifacts.shared = true;
        if name != "plain" {
            config.labels = vec![name.to_owned()];
        }
        // Pods of one database have one key of the audit, and one folder of artifacts.
        std::os::unix::fs::symlink(self.folder.path().join("artifacts"), config.artifacts_dir())?;
        if key.exists() {
            fs::copy(&key, config.audit_key_file())?;
        }
        config.nats = Some(NatsConfig { stream_bytes_max, audit_replicas, ..NatsConfig::for_url(self.server.url()) });
        config.cluster =
            ClusterConfig { name: "frames".to_owned(), secret: Some(Secret::new("planted cluster secret of frames")) };
        let pieces = PIECES.map(str::to_owned).into();
        let reply = ScriptedReply::Text { pieces, gap_ms };
        let model = Scripted::new(Script { calls: vec![ScriptedCall { reply, ..ScriptedCall::default() }] });
        let overrides = Overrides { providers: vec![Arc::new(model)], uses_nats: true, ..Overrides::default() };
        let pod = compose_with(&config, Arc::new(WallClock), Arc::new(TimeOrdered), overrides).await;
        let pod = pod.context("the pod cannot be assembled")?;
        if !key.exists() {
            fs::copy(config.audit_key_file(), &key)?;
        }
        Ok(pod)
    }
}

/// The value of a metric of a pod.
fn metric(pod: &Pod, name: &str) -> f64 {
    let page = pod.metrics().render();
    page.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok()).unwrap_or_default()
}

/// How many events have reached the watchers of both pods since each watch began, and the seconds that they have needed.
fn event_lags(pods: &Pods) -> (f64, f64) {
    let sum = |name| metric(&pods.plain, name) + metric(&pods.gpu, name);
    (sum("nats_event_lag_count"), sum("nats_event_lag_sum"))
}

/// Reads until the approval is requested, and returns what follows.
async fn until_requested(mut observations: Observations) -> Result<Observations> {
    while let Some(observation) = observations.try_next().await? {
        if let Observation::Event(event) = observation
            && let RunEventKind::ApprovalRequested { .. } = event.kind
        {
            return Ok(observations);
        }
    }
    anyhow::bail!("the run has ended before")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_text_of_a_run_reaches_every_watcher_whichever_pod_serves_it() -> Result<()> {
    let pods = Pods::start("frames").await?;
    let accepted = pods.client.workflow("signed").input("text", "x").detach().timeout(WAIT_MAX).reply().await?;
    let run = RunId::new(accepted.id)?;
    let opening = (0..WATCHES).map(|_| until_requested(pods.client.run(&run).watch()));
    let watches = timeout(WAIT_MAX, try_join_all(opening)).await??;
    ensure!(metric(&pods.plain, "nats_watches") > 0.0 && metric(&pods.gpu, "nats_watches") > 0.0, "both serve some");
    let (before, approved_at) = (event_lags(&pods), Instant::now());
    pods.client.run(&run).approve("sign").timeout(WAIT_MAX).reply().await?;
    let mut received = 0_u32;
    for observations in watches {
        let rest: Vec<Observation> = timeout(WAIT_MAX, observations.try_collect()).await??;
        let is_event = |observation: &&Observation| matches!(observation, Observation::Event(_));
        received += u32::try_from(rest.iter().filter(is_event).count())?;
        assert_eq!(written(&rest), PIECES.concat());
        let position = |observation: &Observation| match observation {
            Observation::Text { id, .. } => Some(id.fence),
            Observation::Event(_) | Observation::Restarted { .. } => None,
        };
        ensure!(rest.iter().filter_map(position).all(|fence| fence > 0), "each text has the fence of its owner");
        let Some(Observation::Event(last)) = rest.last() else { anyhow::bail!("{rest:?}") };
        ensure!(matches!(&last.kind, RunEventKind::RunEnded { reply } if reply.error.is_none()), "{last:?}");
    }
    let (after, seconds) = (event_lags(&pods), approved_at.elapsed().as_secs_f64());
    let (count, lag) = (after.0 - before.0, after.1 - before.1);
    // The approval, the step and the end, at least: some of the received ones may have been read before the approval.
    let expected = 3.0 * f64::from(u32::try_from(WATCHES)?)..=f64::from(received);
    ensure!(expected.contains(&count), "{count} of {expected:?} events were counted");
    // The pods have the time of their database to within less than a second.
    ensure!(lag > 0.0 && lag / count <= seconds + 1.0, "{lag} s for {count} events within {seconds} s");
    Ok(())
}

/// Calls the agent with the label, and returns the text that was streamed; `None` while its pod is not found.
async fn stream_placed(client: &Client) -> Result<Option<String>> {
    let progress = client.agent("gpu_agent").input("text", "x").timeout(WAIT_MAX).stream();
    let progress: Vec<Progress> = timeout(WAIT_MAX, progress.try_collect()).await??;
    let Some(Progress::Reply(reply)) = progress.last() else { anyhow::bail!("{progress:?}") };
    if reply.error.as_ref().is_some_and(|cause| cause.code == ErrorCode::NoPodForLabels) {
        return Ok(None);
    }
    ensure!(reply.status == Status::Success && reply.outputs["text"] == "one two three", "{reply:?}");
    let text = |item: &Progress| match item {
        Progress::Text(text) => Some(text.clone()),
        Progress::Accepted { .. } | Progress::Restarted | Progress::Reply(_) => None,
    };
    Ok(Some(progress.iter().filter_map(text).collect()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_answer_of_an_agent_on_another_pod_is_streamed_to_its_caller() -> Result<()> {
    let pods = Pods::start("answers").await?;
    let found = || async { stream_placed(&pods.client).await.transpose() };
    let first = wait_until("the pod with the label is found", WAIT_MAX, found).await??;
    assert_eq!(first, PIECES.concat());
    let is_remote = || metric(&pods.plain, "nats_requests{outcome=\"success\"}") > 0.0;
    let called = async {
        loop {
            let text = stream_placed(&pods.client).await?.context("the pod with the label")?;
            ensure!(text == PIECES.concat(), "{text}");
            if is_remote() {
                return Ok(());
            }
        }
    };
    timeout(WAIT_MAX, called).await??;
    assert_eq!(
        metric(&pods.plain, "agent_execution_time_count{status=\"success\"}"),
        0.0,
        "it has passed its calls on"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_begins_after_any_event_of_a_journal_entry() -> Result<()> {
    let pods = Pods::start("numbers").await?;
    let accepted = pods.client.workflow("signed").input("text", "x").detach().timeout(WAIT_MAX).reply().await?;
    let run = RunId::new(accepted.id)?;
    let observations = until_requested(pods.client.run(&run).watch());
    let watch = timeout(WAIT_MAX, observations).await??;
    pods.client.run(&run).approve("sign").timeout(WAIT_MAX).reply().await?;
    timeout(WAIT_MAX, watch.try_collect::<Vec<_>>()).await??;
    let all = events(pods.client.run(&run).watch()).await?;
    for (at, event) in all.iter().enumerate() {
        let rest = events(pods.client.run(&run).watch_after(*event)).await?;
        assert_eq!(rest, all[at + 1..], "after {event}");
    }
    Ok(())
}

/// The numbers of the events of a run that has ended.
async fn events(observations: Observations) -> Result<Vec<EventNumber>> {
    let events = observations.try_filter_map(|observation| {
        let number = match observation {
            Observation::Event(event) => Some(event.number()),
            Observation::Text { .. } | Observation::Restarted { .. } => None,
        };
        std::future::ready(Ok(number))
    });
    Ok(timeout(WAIT_MAX, events.boxed().try_collect()).await??)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_that_begins_while_a_model_writes_has_what_jetstream_has_stored() -> Result<()> {
    let pods =
        Pods::start_with("stored", Settings { gap_ms: 5_000, stream_bytes_max: 1024 * 1024, ..Settings::default() })
            .await?;
    let accepted = pods.client.workflow("signed").input("text", "x").detach().timeout(WAIT_MAX).reply().await?;
    let run = RunId::new(accepted.id)?;
    let mut first = timeout(WAIT_MAX, until_requested(pods.client.run(&run).watch())).await??;
    pods.client.run(&run).approve("sign").timeout(WAIT_MAX).reply().await?;
    let has_text = async {
        while let Some(observation) = first.try_next().await? {
            if let Observation::Text { .. } = observation {
                return Ok(());
            }
        }
        anyhow::bail!("the run has ended before")
    };
    timeout(WAIT_MAX, has_text).await??;
    let later: Vec<Observation> = timeout(WAIT_MAX, pods.client.run(&run).watch().try_collect()).await??;
    assert_eq!(written(&later), PIECES.concat());
    Ok(())
}

/// The text that the model has written, as a watcher has received it.
fn written(observations: &[Observation]) -> String {
    let text = |observation: &Observation| match observation {
        Observation::Text { step, text, .. } if step.step.as_str() == "write" => Some(text.clone()),
        Observation::Text { .. } | Observation::Event(_) | Observation::Restarted { .. } => None,
    };
    observations.iter().filter_map(text).collect()
}

/// The number of the last record of the root chain.
async fn last_root(pods: &Pods) -> Result<u64> {
    let mut connection = PgConnection::connect(&pods.cluster.url).await?;
    let number: i64 =
        sqlx::query_scalar("SELECT coalesce(max(number), 0) FROM audit_root").fetch_one(&mut connection).await?;
    Ok(u64::try_from(number)?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_jetstream_is_full_the_pods_answer_and_what_it_lacks_is_copied_afterwards() -> Result<()> {
    let settings = Settings { stream_bytes_max: 1024 * 1024, audit_replicas: 1, ..Settings::default() };
    let pods = Pods::start_with("full_stream", settings).await?;
    let url = pods.cluster.server.url();
    wait_root_copied(&url, DEFAULT_PREFIX, 1, WAIT_MAX).await?;
    // The first attempt of a pod may have been before it was connected.
    let is_copied = || async { (metric(&pods.plain, "audit_root_copy_failed") == 0.0).then_some(()) };
    wait_until("the pod copies", WAIT_MAX, is_copied).await?;
    fill_jetstream(&url, JETSTREAM_BYTES_MAX).await?;

    let accepted = pods.client.workflow("signed").input("text", "x").detach().timeout(WAIT_MAX).reply().await?;
    let run = RunId::new(accepted.id)?;
    let watch = timeout(WAIT_MAX, until_requested(pods.client.run(&run).watch())).await??;
    pods.client.run(&run).approve("sign").timeout(WAIT_MAX).reply().await?;
    let rest: Vec<Observation> = timeout(WAIT_MAX, watch.try_collect()).await??;
    assert_eq!(written(&rest), PIECES.concat(), "the text passes NATS without JetStream");
    // The requests have entries, so that the root chain has a record that is not copied.
    let has_failed = || async { (metric(&pods.plain, "audit_root_copy_failed") > 0.0).then_some(()) };
    wait_until("the copy fails", WAIT_MAX, has_failed).await?;
    let reply = pods.client.agent("talker_agent").input("text", "x").timeout(WAIT_MAX).reply().await?;
    assert_eq!(reply.status, Status::Success, "{reply:?}");

    let last = last_root(&pods).await?;
    empty_jetstream(&url).await?;
    wait_root_copied(&url, DEFAULT_PREFIX, last, WAIT_MAX).await?;
    wait_until("the copy is continued", WAIT_MAX, is_copied).await?;
    assert_eq!(metric(&pods.plain, "audit_root_differs"), 0.0);
    Ok(())
}
