//! Measures governed dispatch: an agent that does nothing, executed by a pod over NATS with identity, policy and audit,
//! divided by plain request/reply over the same server. Both sides have one process of callers and one that replies, bodies
//! of 1 KiB, and as many calls in flight; they are measured alternately.

use std::sync::Arc;

use anyhow::Context as _;
use futures::StreamExt as _;
use greenroom_integration_tests::bench::{Threshold, missing, record};
use greenroom_integration_tests::nats_server::NatsServer;
use greenroom_integration_tests::process_time::processor_time_with_children;

use super::GROUP;
use crate::caller::{Caller, RAW_SUBJECT};
use crate::child_process::{ChildProcess, own_part};
use crate::peers::level_duration;
use crate::pod_folder::PodFolder;
use crate::postgres::database::{Server, connect, server_process};
use crate::running_pod::RunningPod;
use crate::wire_load::{Load, Processes, closed_loop, wait_ready};

/// The queue group of the responder.
const RAW_QUEUE: &str = "bench";
/// Requests in flight, with the share of the rate of plain messages that governed ones reach at least.
const ON_SQLITE: [(usize, f64); 2] = [(64, 0.3), (1_024, 0.2)];
const ON_POSTGRES: [(usize, f64); 2] = [(64, 0.15), (1_024, 0.15)];
/// Requests in flight on one pod without an error.
const MANY_IN_FLIGHT: usize = 10_000;
/// How often each side is measured.
const ROUNDS: usize = 2;

/// Measures a pod on SQLite, every commit synced, and as many requests as a pod has at most.
pub(super) async fn on_sqlite() -> anyhow::Result<()> {
    let sides = Sides::start(None).await?;
    let processes = sides.governed_processes();
    sides.compare("SQLite FULL", &processes, &ON_SQLITE).await?;
    let load = closed_loop(&sides.governed, MANY_IN_FLIGHT, level_duration(), &processes).await?;
    load.record(GROUP, "governed over NATS, SQLite FULL, 10,000 in flight on one pod", &processes)
}

/// Measures a pod on PostgreSQL, every commit synced.
pub(super) async fn on_postgres() -> anyhow::Result<()> {
    let server = match Server::from_environment() {
        Ok(server) => server,
        Err(error) => return report_missing("PostgreSQL", &ON_POSTGRES, &format!("{error:#}")),
    };
    server.require_durable().await?;
    let url = server.create_migrated("nats").await?;
    let sides = Sides::start(Some(&url)).await?;
    let process = server_process(&mut connect(&url).await?).await?;
    let processes = sides.governed_processes().with_time("PostgreSQL", process, processor_time_with_children);
    sides.compare("PostgreSQL", &processes, &ON_POSTGRES).await?;
    drop(sides);
    server.drop_database("nats").await
}

/// Returns each message, as a process of its own.
pub(super) async fn respond(url: &str) -> anyhow::Result<()> {
    let client = async_nats::connect(url).await?;
    let mut messages = client.queue_subscribe(RAW_SUBJECT, RAW_QUEUE.to_owned()).await?;
    while let Some(message) = messages.next().await {
        let reply = message.reply.context("a message without a reply subject")?;
        client.publish(reply, message.payload).await?;
    }
    Ok(())
}

/// Both sides of the comparison, at one server.
struct Sides {
    raw: Arc<Caller>,
    governed: Arc<Caller>,
    /// The same requests by the client of Greenroom.
    client: Arc<Caller>,
    responder: ChildProcess,
    pod: RunningPod,
    server: NatsServer,
    _folder: PodFolder,
}

impl Sides {
    async fn start(database: Option<&str>) -> anyhow::Result<Self> {
        let server = NatsServer::start().await?;
        let url = server.url();
        let responder = ChildProcess::start(&mut own_part(&[GROUP, "respond", &url])?)?;
        let folder = PodFolder::over_nats(database, &url)?;
        let pod = folder.start(0).await?;
        // Each caller has a connection of its own.
        let raw = Arc::new(Caller::Raw(async_nats::connect(&url).await?));
        let governed = Arc::new(Caller::message(async_nats::connect(&url).await?));
        let client = Arc::new(Caller::Client(server.client().await?));
        for caller in [&raw, &governed, &client] {
            wait_ready(caller).await?;
        }
        Ok(Self { raw, governed, client, responder, pod, server, _folder: folder })
    }

    fn raw_processes(&self) -> Processes {
        Processes::new().with("responder", self.responder.id()).with("NATS server", self.server.process())
    }

    fn governed_processes(&self) -> Processes {
        Processes::new().with("pod", self.pod.process()).with("NATS server", self.server.process())
    }

    /// Measures each level, and records both sides and their ratio.
    async fn compare(&self, store: &str, governed: &Processes, levels: &[(usize, f64)]) -> anyhow::Result<()> {
        let raw = self.raw_processes();
        for (in_flight, min) in levels.iter().copied() {
            let (mut raw_load, mut load, mut client_load) = (Load::default(), Load::default(), Load::default());
            for _ in 0..ROUNDS {
                raw_load.add(closed_loop(&self.raw, in_flight, level_duration(), &raw).await?);
                load.add(closed_loop(&self.governed, in_flight, level_duration(), governed).await?);
                client_load.add(closed_loop(&self.client, in_flight, level_duration(), governed).await?);
            }
            raw_load.record(GROUP, &format!("plain request/reply beside {store}, {in_flight} in flight"), &raw)?;
            load.record(GROUP, &format!("governed over NATS, {store}, {in_flight} in flight"), governed)?;
            let by_client = format!("governed by our client over NATS, {store}, {in_flight} in flight");
            client_load.record(GROUP, &by_client, governed)?;
            let ratio = load.per_second() / raw_load.per_second();
            record(GROUP, ratio_name(store, in_flight), ratio, "", Threshold::AtLeast(min))?;
            let ratio = client_load.per_second() / raw_load.per_second();
            let name = format!("governed by our client ÷ plain request/reply, {store}, {in_flight} in flight");
            record(GROUP, name, ratio, "", Threshold::Informational)?;
        }
        Ok(())
    }
}

fn ratio_name(store: &str, in_flight: usize) -> String {
    format!("governed ÷ plain request/reply, {store}, {in_flight} in flight")
}

fn report_missing(store: &str, levels: &[(usize, f64)], reason: &str) -> anyhow::Result<()> {
    let report = |(in_flight, min): (usize, f64)| {
        missing(GROUP, ratio_name(store, in_flight), reason, "", Threshold::AtLeast(min))
    };
    levels.iter().copied().try_for_each(report)
}
