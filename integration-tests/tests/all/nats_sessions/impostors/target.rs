//! The pod of these tests, in a process of its own: how it is called with a delegation that a test has written, and what its
//! metrics and its log have afterwards.

use std::net::TcpListener;

use anyhow::{Context, Result};
use futures::StreamExt as _;
use greenroom_integration_tests::delegations;
use greenroom_integration_tests::model_fixture::ModelFixture;
use greenroom_integration_tests::nats_server::NatsServer;
use greenroom_integration_tests::terminal::RunningCommand;
use greenroom_integration_tests::wait::wait_until;
use greenroom_protocol::{Clock as _, Json, PodId, Reply, Request};
use greenroom_supervisor::clock::WallClock;
use greenroom_supervisor::cluster::session::dial::DialError;
use greenroom_supervisor::cluster::sessions::CallError;
use tokio::time::timeout;

use crate::control::scrape;
use greenroom_integration_tests::session_pod::{CALL_MAX, Network, SessionPod, WAIT_MAX};

/// An agent that returns its input.
pub(super) const ECHO: &str = "echo_agent";
/// The secret of the pods that [`NatsServer::configure`] configures, and the name of their cluster.
const CLUSTER_SECRET: &str = "planted-secret-of-the-cluster";
const CLUSTER: &str = "greenroom";

/// The pod.
pub(super) struct Target {
    /// This start of it.
    pub(super) pod: PodId,
    /// How the other pods of its cluster reach it.
    pub(super) network: Network,
    metrics_address: String,
    process: RunningCommand,
    _fixture: ModelFixture,
    pub(super) server: NatsServer,
}

impl Target {
    pub(super) async fn start() -> Result<Self> {
        let server = NatsServer::start().await?;
        let client = async_nats::connect(server.url()).await?;
        let mut announcements = client.subscribe("greenroom.internal.pods").await?;
        client.flush().await?;
        // No agent of these tests calls a model.
        let mut fixture = ModelFixture::with_openai("http://127.0.0.1:9")?;
        server.configure(&mut fixture.terminal)?;
        fixture.definitions.write_echo_agent(ECHO)?;
        let metrics_address = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
        fixture.terminal.set_variable("GREENROOM_METRICS_ADDR", &metrics_address);
        let (process, _) = fixture.up().await?;
        process.wait_for_output("greenroom is up").await?;
        let announced = timeout(WAIT_MAX, announcements.next()).await?.context("the pod announces itself")?;
        let announced: Json = serde_json::from_slice(&announced.payload)?;
        let pod = PodId::new(announced["pod"].as_str().context("an announcement names the pod")?)?;
        let (cluster, secret) = (CLUSTER.to_owned(), CLUSTER_SECRET.to_owned());
        let network = Network { cluster, secret, ..Network::new(&server.url()) };
        Ok(Self { pod, network, metrics_address, process, _fixture: fixture, server })
    }

    /// Its log so far.
    pub(super) fn log(&self) -> String {
        self.process.err()
    }

    /// Calls its peer with an envelope, and returns the reply.
    pub(super) async fn call(&self, caller: &SessionPod, envelope: &[u8]) -> Result<Reply> {
        Ok(serde_json::from_slice(&self.call_once(caller, envelope).await??)?)
    }

    /// The first result of a call of its peer, once it listens.
    pub(super) async fn call_once(&self, caller: &SessionPod, envelope: &[u8]) -> Result<Result<Vec<u8>, CallError>> {
        let call = || async {
            match caller.sessions.call(&self.pod, envelope, CALL_MAX).await {
                Err(CallError::Dial(DialError::NoPod)) => None,
                result => Some(result),
            }
        };
        wait_until("the pod listens", WAIT_MAX, call).await
    }

    /// What a pod states of the request, which the administrator makes.
    pub(super) fn statement(&self, issuer: &SessionPod, request: &Request, number: u128) -> Result<Json> {
        delegations::statement((&issuer.pod, &self.pod), (request, number), WallClock.now())
    }

    /// Lets it execute the request with this number for another pod.
    pub(super) async fn execute(&self, caller: &SessionPod, number: u128) -> Result<Reply> {
        let request = delegations::request(ECHO, number)?;
        let statement = self.statement(caller, &request, number)?;
        let token = delegations::seal(&self.network.secret()?, &caller.pod, &statement)?;
        self.call(caller, &delegations::envelope(&request, token)?).await
    }

    /// Fails unless the pod serves a user over NATS.
    pub(super) async fn expect_serving(&self) -> Result<()> {
        let outputs = self.server.client().await?.agent(ECHO).input("text", "x").execute().await?;
        assert_eq!(outputs["text"], "x");
        Ok(())
    }

    fn count(&self, metric: &str) -> Result<u64> {
        let page = scrape(&self.metrics_address)?;
        let count = page.lines().find_map(|line| line.strip_prefix(metric)?.strip_prefix(' ')?.parse().ok());
        Ok(count.unwrap_or_default())
    }
}

/// An attempt that must be refused for a reason that a metric counts.
pub(super) struct Attempt<'t> {
    target: &'t Target,
    metric: String,
    count_before: u64,
    log_bytes_before: usize,
}

impl<'t> Attempt<'t> {
    pub(super) fn begin(target: &'t Target, metric: &str) -> Result<Self> {
        let (count_before, log_bytes_before) = (target.count(metric)?, target.log().len());
        Ok(Self { target, metric: metric.to_owned(), count_before, log_bytes_before })
    }

    /// Waits until the metric has counted the attempt, and the log has a new line in which a field has this value.
    pub(super) async fn expect_recorded(self, (field, value): (&str, &str)) -> Result<()> {
        let is_recorded = || async {
            let is_counted = self.target.count(&self.metric).ok()? > self.count_before;
            let log = self.target.log();
            let lines = log.get(self.log_bytes_before..)?.lines();
            let mut lines = lines.filter_map(|line| serde_json::from_str::<Json>(line).ok());
            (is_counted && lines.any(|line| line[field] == value)).then_some(())
        };
        let recorded = wait_until(&self.metric, WAIT_MAX, is_recorded).await;
        recorded.with_context(|| format!("no line has `{field}` = `{value}`: {}", self.target.log()))
    }
}
