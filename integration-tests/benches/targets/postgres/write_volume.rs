//! Measures how much the server writes for a run of 500 steps: the bytes of its write-ahead log, which has everything
//! that the run changes (journal, audit, heads, indexes), divided by the bytes of the run's journal entries, which are
//! its changes themselves.
//!
//! A step has a fixed cost beside its result, so two sizes of results are measured. A run that wrote its whole state at
//! each step would miss every bound by far, and so would a cost of a step that rises with the length of the run.

use anyhow::ensure;
use greenroom_client::{CallParams, Client};
use greenroom_integration_tests::bench::{Threshold, record};
use greenroom_integration_tests::definitions_dir::DefinitionsDir;
use greenroom_integration_tests::test_pod::start_pod_on;
use greenroom_protocol::{Json, Status, Values, WorkflowId};
use greenroom_supervisor::compose::Overrides;
use sqlx::postgres::PgConnection;

use super::GROUP;
use super::database::{Server, connect};

/// Steps of a long run, and of one that it is compared with.
const STEPS: u32 = 500;
const STEPS_SHORT: u32 = 50;
/// Bytes of the result of each step: a text as models write it, and a document. Both are in the journal itself, because
/// only a result above 64 KiB becomes an artifact.
const TEXT_BYTES: usize = 4 * 1024;
const DOCUMENT_BYTES: usize = 32 * 1024;
/// Measured runs of each kind; the median counts, because a checkpoint may fall into one of them.
const RUNS: usize = 3;
/// The bound of both ratios.
const RATIO_MAX: f64 = 1.2;
/// The name of the database.
const DATABASE: &str = "written";

/// All steps return the same text, one after the other. A workflow has at most 200 steps, so most are items; the reply
/// has the last text only.
const WORKFLOW: &str = "workflow_id: long
name: long
inputs: [{ name: items, type: array, required: true }, { name: text, type: text, required: true }]
steps:
  - id: each
    agent: echo_agent
    for_each: { items: \"${inputs.items}\", max_concurrency: 1 }
    inputs: { text: \"${inputs.text}\" }
    outputs: [text]
  - id: last
    agent: echo_agent
    depends_on: [each]
    inputs: { text: \"${inputs.text}\" }
    outputs: [text]
outputs: { text: \"${steps.last.outputs.text}\" }
";

/// The bytes of one run.
struct Volume {
    log: f64,
    journal: f64,
}

pub(super) async fn measure(server: &Server) -> anyhow::Result<()> {
    let url = server.create_migrated(DATABASE).await?;
    let definitions = tempfile::tempdir()?;
    let definitions_dir = DefinitionsDir::new(definitions.path())?;
    definitions_dir.write_echo_agent("echo_agent")?;
    definitions_dir.write_workflow("long", WORKFLOW)?;
    let test_pod = start_pod_on(&url, Some(definitions.path()), Overrides::default()).await?;
    let client = test_pod.admin()?;
    let mut connection = connect(&url).await?;
    // The first run activates the agent and is not measured.
    run(&client, &mut connection, STEPS_SHORT, TEXT_BYTES).await?;
    let short = median(&client, &mut connection, STEPS_SHORT, TEXT_BYTES).await?;
    let texts = median(&client, &mut connection, STEPS, TEXT_BYTES).await?;
    let documents = median(&client, &mut connection, STEPS, DOCUMENT_BYTES).await?;
    test_pod.pod.shutdown().await;
    drop(connection);
    server.drop_database(DATABASE).await?;
    record_volumes(&short, &texts, &documents)
}

fn record_volumes(short: &Volume, texts: &Volume, documents: &Volume) -> anyhow::Result<()> {
    let steps = f64::from(STEPS);
    let name = |bytes: usize| format!("{STEPS} steps of {} KiB: write-ahead log ÷ journal", bytes / 1_024);
    let max = Threshold::AtMost(RATIO_MAX);
    record(GROUP, name(DOCUMENT_BYTES), documents.log / documents.journal, "×", max)?;
    record(GROUP, name(TEXT_BYTES), texts.log / texts.journal, "×", Threshold::Informational)?;
    let fixed_kib = (texts.log - texts.journal) / steps / 1_024.0;
    record(GROUP, "  of it, a step beyond its journal entries", fixed_kib, "KiB", Threshold::Informational)?;
    let growth = (texts.log / steps) / (short.log / f64::from(STEPS_SHORT));
    record(GROUP, format!("  a step of {STEPS} ÷ a step of {STEPS_SHORT}, write-ahead log"), growth, "×", max)
}

/// The run whose write-ahead log is the median.
async fn median(client: &Client, connection: &mut PgConnection, steps: u32, bytes: usize) -> anyhow::Result<Volume> {
    let mut volumes = Vec::new();
    for _ in 0..RUNS {
        volumes.push(run(client, connection, steps, bytes).await?);
    }
    volumes.sort_by(|one, other| one.log.total_cmp(&other.log));
    Ok(volumes.swap_remove(RUNS / 2))
}

/// Runs so many steps, each with a result of so many bytes.
async fn run(client: &Client, connection: &mut PgConnection, steps: u32, bytes: usize) -> anyhow::Result<Volume> {
    let inputs = Values::from([
        ("items".to_owned(), (1..steps).map(Json::from).collect::<Json>()),
        ("text".to_owned(), Json::from(incompressible_text(bytes))),
    ]);
    let before = log_position(connection).await?;
    let reply = client.run_workflow(WorkflowId::new("long")?, CallParams { inputs, ..CallParams::default() }).await?;
    let log = log_position(connection).await? - before;
    ensure!(reply.status == Status::Success, "{:?}", reply.error);
    ensure!(reply.metadata.workflow_steps == steps, "{} steps", reply.metadata.workflow_steps);
    let journal: i64 = sqlx::query_scalar(
        "SELECT sum(octet_length(j.entry))::bigint FROM runs r JOIN journal j ON j.run = r.number WHERE r.run = $1",
    )
    .bind(reply.id.as_str())
    .fetch_one(connection)
    .await?;
    Ok(Volume { log: log as f64, journal: journal as f64 })
}

/// Bytes of the write-ahead log so far.
async fn log_position(connection: &mut PgConnection) -> anyhow::Result<i64> {
    let position = sqlx::query_scalar("SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint");
    Ok(position.fetch_one(connection).await?)
}

/// A text that the server cannot compress: a sequence of the generator xorshift in letters.
fn incompressible_text(bytes: usize) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        LETTERS.get((state >> 58) as usize).map_or('A', |letter| char::from(*letter))
    };
    (0..bytes).map(next).collect()
}
