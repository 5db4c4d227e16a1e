//! Measures what a pod costs that does nothing, while the database has very many runs that wait for a signal: the
//! statements that it sends, and its memory over that beside one such run.
//!
//! One run waits for its approval, as the product has written it. Its rows are copied, because a pod would need minutes
//! to start so many.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use greenroom_client::{CallParams, Client};
use greenroom_integration_tests::bench::{Threshold, record, scaled};
use greenroom_integration_tests::process_memory::resident_kib;
use greenroom_protocol::WorkflowId;
use sqlx::postgres::PgConnection;

use super::GROUP;
use super::database::{Server, connect};
use crate::pod_folder::PodFolder;

/// Runs that are parked.
const PARKED: u64 = 100_000;
/// How long a pod is observed.
const OBSERVED_SECONDS: u64 = 60;
/// How long a pod completes what follows its start, before it is observed.
const START_DURATION: Duration = Duration::from_secs(10);
/// Bound of the start of the run.
const RUN_MAX: Duration = Duration::from_secs(30);
/// The name of the database.
const DATABASE: &str = "parked";

const WORKFLOW: &str = "workflow_id: signed
name: signed
steps:
  - id: sign
    approval: { prompt: \"Continue?\" }
";

/// Parks every run. A tree that waits for a signal only is due at the largest time.
const PARK: &str = "UPDATE trees SET holder = NULL, wake_at = 9223372036854775807 WHERE open_runs > 0";

/// Copy the rows of the one run `$1` times, the runs last, because the other copies are made from it.
const COPY: [&str; 3] = [
    "INSERT INTO journal SELECT r.number + n, j.seq, j.at, replace(j.entry, r.run, r.run || '_' || n) \
     FROM runs r JOIN journal j ON j.run = r.number CROSS JOIN generate_series(1, $1) AS n",
    "INSERT INTO trees SELECT c.* FROM trees t CROSS JOIN generate_series(1, $1) AS n CROSS JOIN LATERAL \
     jsonb_populate_record(t, jsonb_build_object('root', t.root || '_' || n, 'number', t.number + n)) AS c",
    "INSERT INTO runs OVERRIDING SYSTEM VALUE SELECT c.* FROM runs r CROSS JOIN generate_series(1, $1) AS n \
     CROSS JOIN LATERAL jsonb_populate_record(r, jsonb_build_object('number', r.number + n, \
     'run', r.run || '_' || n, 'root', r.root || '_' || n)) AS c",
];

/// Numbers further runs after the copies.
const CONTINUE_NUMBERS: &str =
    "SELECT setval(pg_get_serial_sequence('runs', 'number'), (SELECT max(number) FROM runs))";

/// What was observed of a pod.
struct Observation {
    statements_per_second: f64,
    resident_mib: f64,
}

pub(super) async fn measure(server: &Server) -> anyhow::Result<()> {
    let url = server.create_migrated(DATABASE).await?;
    server.count_statements(DATABASE).await?;
    let folder = PodFolder::new(Some(&url))?;
    folder.definitions().write_workflow("signed", WORKFLOW)?;
    let mut connection = connect(&url).await?;
    start_run(&folder, &mut connection).await?;
    sqlx::raw_sql(PARK).execute(&mut connection).await?;
    let empty = observe(server, &folder).await?;
    copy_run(&mut connection).await?;
    let full = observe(server, &folder).await?;
    drop(connection);
    server.drop_database(DATABASE).await?;
    record_observations(&empty, &full)
}

/// Starts a run that waits for its approval, and ends its pod.
async fn start_run(folder: &PodFolder, connection: &mut PgConnection) -> anyhow::Result<()> {
    let pod = folder.start(0).await?;
    let client = Client::new(Arc::new(pod.socket().clone()));
    let params = CallParams { detach: true, ..CallParams::default() };
    let reply = client.run_workflow(WorkflowId::new("signed")?, params).await?;
    ensure!(reply.error.is_none(), "{:?}", reply.error);
    let started_at = Instant::now();
    while waiting_runs(connection).await? != 1 {
        ensure!(started_at.elapsed() < RUN_MAX, "the run does not wait for its approval");
    }
    drop(pod);
    Ok(())
}

async fn waiting_runs(connection: &mut PgConnection) -> anyhow::Result<i64> {
    let count = sqlx::query_scalar("SELECT count(*) FROM runs WHERE status = 'waiting_approval' AND NOT ended");
    Ok(count.fetch_one(connection).await?)
}

/// Copies the run, so that there are [`PARKED`] runs, and updates the statistics of the planner.
async fn copy_run(connection: &mut PgConnection) -> anyhow::Result<()> {
    let copies = i64::try_from(scaled(PARKED))? - 1;
    for statement in COPY {
        sqlx::query(statement).bind(copies).execute(&mut *connection).await?;
    }
    ensure!(waiting_runs(connection).await? == copies + 1, "there are not {} runs", copies + 1);
    for statement in [CONTINUE_NUMBERS, "VACUUM ANALYZE"] {
        sqlx::raw_sql(statement).execute(&mut *connection).await?;
    }
    Ok(())
}

/// Observes a pod that is started anew.
async fn observe(server: &Server, folder: &PodFolder) -> anyhow::Result<Observation> {
    let pod = folder.start(0).await?;
    tokio::time::sleep(START_DURATION).await;
    let (before, started_at) = (server.statement_count(DATABASE).await?, Instant::now());
    tokio::time::sleep(Duration::from_secs(scaled(OBSERVED_SECONDS))).await;
    let count = server.statement_count(DATABASE).await? - before;
    let statements_per_second = count as f64 / started_at.elapsed().as_secs_f64();
    let resident = resident_kib(&pod.process()).context("the pod has ended")?;
    Ok(Observation { statements_per_second, resident_mib: resident as f64 / 1_024.0 })
}

fn record_observations(empty: &Observation, full: &Observation) -> anyhow::Result<()> {
    let name = format!("an idle pod beside {} parked runs", scaled(PARKED));
    let (per_second, memory) = (full.statements_per_second, full.resident_mib - empty.resident_mib);
    record(GROUP, format!("{name}: statements"), per_second, "/s", Threshold::AtMost(4.0))?;
    record(GROUP, format!("{name}: memory over one beside one run"), memory, "MiB", Threshold::AtMost(50.0))?;
    let name = "  an idle pod beside one parked run";
    record(GROUP, format!("{name}: statements"), empty.statements_per_second, "/s", Threshold::Informational)?;
    record(GROUP, format!("{name}: memory"), empty.resident_mib, "MiB", Threshold::Informational)
}
