//! Measures what it costs that pods share a database: the processor time of a five-step workflow on three pods, divided
//! by that on one pod, with as many workflows in flight in total.
//!
//! The target is about the processes of the pods. A row without a target adds the processes of the server. The load
//! programs, one a pod, count in neither.

use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::ensure;
use greenroom_integration_tests::bench::{Threshold, record, scaled};
use greenroom_integration_tests::process_time::{processor_time, processor_time_with_children};
use sqlx::postgres::PgConnection;

use super::GROUP;
use super::database::{Server, connect, server_process};
use crate::pod_folder::PodFolder;
use crate::running_pod::RunningPod;

/// Pods that share a database.
const PODS: usize = 3;
/// Workflows in flight, of all pods together; a multiple of [`PODS`].
const IN_FLIGHT: usize = 192;
/// Seconds of a load, and of the one before it that is not measured.
const LOAD_SECONDS: u64 = 10;
const FIRST_LOAD_SECONDS: u64 = 2;
/// Loads of each number of pods, alternating, so that a change of the machine's speed affects both.
const ROUNDS: usize = 2;
/// The bound of the ratio.
const RATIO_MAX: f64 = 1.15;

/// What workflows have cost.
#[derive(Default)]
struct Cost {
    workflows: i64,
    pods: Duration,
    server: Duration,
}

impl Cost {
    fn add(&mut self, other: &Self) {
        self.workflows += other.workflows;
        self.pods += other.pods;
        self.server += other.server;
    }

    /// Milliseconds of a workflow on the processes of the pods.
    fn pods_ms(&self) -> f64 {
        self.pods.as_secs_f64() * 1e3 / self.workflows as f64
    }

    /// Milliseconds of a workflow on the processes of the pods and of the server.
    fn all_ms(&self) -> f64 {
        (self.pods + self.server).as_secs_f64() * 1e3 / self.workflows as f64
    }
}

pub(super) async fn measure(server: &Server) -> anyhow::Result<()> {
    let (mut one, mut several) = (Cost::default(), Cost::default());
    for _ in 0..ROUNDS {
        one.add(&load_pods(server, 1).await?);
        several.add(&load_pods(server, PODS).await?);
    }
    for (pods, cost) in [("one pod".to_owned(), &one), (format!("{PODS} pods"), &several)] {
        let name = format!("{pods}, {IN_FLIGHT} in flight: processor time of a workflow");
        record(GROUP, name.as_str(), cost.pods_ms(), "ms", Threshold::Informational)?;
        record(GROUP, format!("{name}, with the server"), cost.all_ms(), "ms", Threshold::Informational)?;
    }
    let ratio = format!("  of a workflow, {PODS} pods ÷ one");
    record(GROUP, ratio.as_str(), several.pods_ms() / one.pods_ms(), "×", Threshold::AtMost(RATIO_MAX))?;
    let with_server = several.all_ms() / one.all_ms();
    record(GROUP, format!("{ratio}, with the server"), with_server, "×", Threshold::Informational)
}

/// Measures the load on so many pods in a database of its own.
async fn load_pods(server: &Server, pods: usize) -> anyhow::Result<Cost> {
    let url = server.create_migrated("pods").await?;
    let folder = PodFolder::new(Some(&url))?;
    let mut processes = Vec::new();
    for number in 0..pods {
        processes.push(folder.start(number).await?);
    }
    let mut connection = connect(&url).await?;
    sustain(&folder, pods, FIRST_LOAD_SECONDS)?;
    let before = read_cost(&mut connection, &processes).await?;
    sustain(&folder, pods, scaled(LOAD_SECONDS))?;
    let after = read_cost(&mut connection, &processes).await?;
    drop((connection, processes));
    server.drop_database("pods").await?;
    Ok(Cost {
        workflows: after.workflows - before.workflows,
        pods: after.pods.saturating_sub(before.pods),
        server: after.server.saturating_sub(before.server),
    })
}

/// Reads what has been executed so far, and its cost.
async fn read_cost(connection: &mut PgConnection, processes: &[RunningPod]) -> anyhow::Result<Cost> {
    let workflows: i64 =
        sqlx::query_scalar("SELECT count(*) FROM runs WHERE ended").fetch_one(&mut *connection).await?;
    let server = processor_time_with_children(&server_process(connection).await?)?;
    let mut pods = Duration::ZERO;
    for pod in processes {
        pods += processor_time(&pod.process())?;
    }
    Ok(Cost { workflows, pods, server })
}

/// Sustains the load for some seconds, divided over the pods, each with a load program of its own.
fn sustain(folder: &PodFolder, pods: usize, seconds: u64) -> anyhow::Result<()> {
    let (seconds, in_flight) = (seconds.to_string(), (IN_FLIGHT / pods).to_string());
    let mut loads: Vec<Child> = Vec::new();
    for number in 0..pods {
        let mut command = folder.load(number)?;
        command.args([&seconds, &in_flight]).stdout(Stdio::null()).stderr(Stdio::piped());
        loads.push(command.spawn()?);
    }
    for load in loads {
        let output = load.wait_with_output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}
