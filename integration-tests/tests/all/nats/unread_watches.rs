//! Watches of a reader that never reads its connection: what it does not read is stored by the server, within the bound of
//! the server, and neither the pod, nor the run, nor another reader has a part in it.

use std::convert::Infallible;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use greenroom_integration_tests::definitions_dir::DefinitionsDir;
use greenroom_integration_tests::http_pod;
use greenroom_integration_tests::nats_server::NatsServer;
use greenroom_integration_tests::process_memory::{peak_kib, reset_peak};
use greenroom_integration_tests::up_process::{UpProcess, free_address};
use greenroom_integration_tests::wait::wait_until;
use greenroom_protocol::event::RunEventKind;
use greenroom_protocol::{Frame, Status};
use greenroom_runtimes::models::scripted::{Script, ScriptedCall, ScriptedReply};
use serde_json::json;
use tokio::time::timeout;

use super::fixture::{Caller, ECHO, Frames, NatsPod, ROW, WAIT_MAX, assemble_with, config, last_reply};
use super::unread_connection::{INBOX, UnreadConnection};
use super::wait_for_status;
use crate::control::scrape;
use crate::metrics::value_of;

const PREFIX: &str = "greenroom";
/// Watches that the reader has at once, and the pieces of the answer that each of them is sent: more than the server and the
/// buffers of the system store for one connection. The pieces are apart, so that the connection of the pod, which has the text
/// of each watch once, is not slow too.
const WATCHES: usize = 16;
const PIECES: usize = 192;
const PIECE_BYTES: usize = 8 * 1024;
const GAP_MS: u64 = 20;
/// What the server stores for a connection.
const PENDING: &str = "max_pending: 8388608\n";
/// Longest wait of another caller for a reply: less than the ten seconds for which a pod waits until its connection takes a
/// message.
const REPLY_MAX: Duration = Duration::from_secs(5);
/// A workflow whose model writes once a user has approved: its run is watched by then.
const FLOOD: &str = "\
workflow_id: flood
name: Flood
description: Awaits an approval, and writes a long text
version: \"1.0.0\"
inputs:
  - { name: text, type: text, required: true }
steps:
  - { id: sign, approval: { prompt: \"Write?\" } }
  - { id: write, agent: flood_agent, depends_on: [sign], inputs: { text: \"${inputs.text}\" }, outputs: [text] }
";

/// Rounds of watches of a run that has ended, and the bytes of its reply, which each of them is sent twice: in the last event,
/// and as the last frame. That is 117 MiB.
const ROUNDS: usize = 64;
const TEXT_BYTES: usize = 60_000;
/// By how much the memory of the pod may grow meanwhile.
const GROWTH_KIB_MAX: u64 = 64 * 1024;

/// The requests that a pod has accepted.
const SUCCESSES: &str = "nats_requests{outcome=\"success\"}";

/// The pieces of the answer.
fn pieces() -> Vec<String> {
    let text = std::iter::repeat_n("x".repeat(PIECE_BYTES), PIECES);
    std::iter::once("{\"text\": \"".to_owned()).chain(text).chain(["\"}".to_owned()]).collect()
}

/// Starts a pod whose model writes the long answer.
async fn start_flood(url: &str) -> Result<NatsPod> {
    let (config, folder) = config(url, PREFIX)?;
    let definitions = DefinitionsDir::new(&folder.path().join("definitions"))?;
    definitions.write_model_agent("flood_agent", "scripted.flood")?;
    definitions.write_workflow("flood", FLOOD)?;
    let reply = ScriptedReply::Text { pieces: pieces(), gap_ms: GAP_MS };
    let script = Script { calls: vec![ScriptedCall { reply, ..ScriptedCall::default() }] };
    let mut pod = assemble_with(&config, script).await?;
    pod.serve_nats().await?;
    Ok(NatsPod { pod, _folder: folder })
}

/// Starts the run, which awaits its approval.
async fn start_run(caller: &Caller) -> Result<String> {
    let body = json!({ "inputs": { "text": "x" }, "detach": true });
    let started = caller.request("workflows.flood.run", &body).await?;
    ensure!(started.status == Status::Success, "{started:?}");
    wait_for_status(caller, &started.id, "waiting_approval").await?;
    Ok(started.id)
}

/// Reads until the approval is requested: by then, the watch has the text of the run.
async fn read_until_requested(watch: &mut Frames) -> Result<()> {
    while let Some(frame) = watch.next().await? {
        if let Frame::Event { event, .. } = &frame
            && let RunEventKind::ApprovalRequested { .. } = event.kind
        {
            return Ok(());
        }
    }
    bail!("the watch has ended before")
}

async fn read_to_end(mut watch: Frames) -> Result<Vec<Frame>> {
    let mut frames = Vec::new();
    while let Some(frame) = watch.next().await? {
        frames.push(frame);
    }
    Ok(frames)
}

/// Bytes of the text in the frames.
fn text_bytes(frames: &[Frame]) -> usize {
    let bytes = |frame: &Frame| if let Frame::Delta { text, .. } = frame { text.len() } else { 0 };
    frames.iter().map(bytes).sum()
}

/// Calls an agent, one call after the other, until one fails.
async fn call_repeatedly(caller: &Caller) -> Result<Infallible> {
    loop {
        let reply = timeout(REPLY_MAX, caller.echo("x")).await.context("another caller waits")??;
        ensure!(reply.status == Status::Success, "{reply:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_never_reads_its_watches_slows_neither_the_run_nor_another_reader_or_caller() -> Result<()> {
    let server = NatsServer::start_with(PENDING).await?;
    let pod = start_flood(&server.url()).await?;
    let caller = Caller::connect(&server.url(), PREFIX).await?;
    let run = start_run(&caller).await?;
    let events = format!("runs.{run}.events");
    let mut unread = UnreadConnection::connect(&server.url()).await?;
    for _ in 0..WATCHES {
        unread.request(&caller.subject(&events), "{}").await?;
    }
    let mut watch = caller.open(&events, &json!({})).await?;
    read_until_requested(&mut watch).await?;
    let all_watch = format!("nats_watches {}", WATCHES + 1);
    wait_until("every watch is served", WAIT_MAX, || async { pod.shows(&all_watch).then_some(()) }).await?;

    let approval = json!({ "signal": "approve", "step": "sign" });
    assert_eq!(caller.request(&format!("runs.{run}.signal"), &approval).await?.error, None);
    let frames = tokio::select! {
        frames = read_to_end(watch) => frames?,
        failed = call_repeatedly(&caller) => match failed? {},
    };
    let answer_bytes = pieces().concat().len();
    assert_eq!(last_reply(&frames)?.status, Status::Success, "the run ends");
    // On a machine that is busy, the event that ends the step overtakes the last texts.
    let read_bytes = text_bytes(&frames);
    assert!(read_bytes > answer_bytes / 4 * 3, "another reader has {read_bytes} of {answer_bytes} bytes");

    let rest = unread.wait_ended().await?;
    assert!(rest < WATCHES * answer_bytes, "the server has dropped what was not read");
    let none_watches = || async { pod.shows("nats_watches 0").then_some(()) };
    wait_until("the watches end with their run", WAIT_MAX, none_watches).await?;
    let page = pod.pod.metrics().render();
    for line in [
        "nats_connected 1",
        "nats_reconnects 0",
        "nats_dropped{message=\"delta\"} 0",
        "nats_dropped{message=\"incoming\"} 0",
        "nats_dropped{message=\"outgoing\"} 0",
    ] {
        assert!(pod.shows(line), "{line} is expected: {page}");
    }
    assert_eq!(caller.echo("after it").await?.status, Status::Success);
    pod.pod.shutdown().await;
    Ok(())
}

/// Executes a run, and returns its id.
async fn execute_run(caller: &Caller) -> Result<String> {
    let body = json!({ "inputs": { "text": "x".repeat(TEXT_BYTES) } });
    let reply = caller.request(&format!("workflows.{ROW}.run"), &body).await?;
    ensure!(reply.outputs["final_output"].as_str().map(str::len) == Some(TEXT_BYTES), "{:?}", reply.error);
    Ok(reply.id)
}

/// Waits until a pod with this address of its metrics has accepted so many requests, and serves none of their watches any more.
async fn wait_served(metrics: &str, accepted: f64) -> Result<()> {
    let mut page = String::new();
    let served = wait_until("the watches are served", WAIT_MAX, || {
        page = scrape(metrics).unwrap_or_default();
        let is_accepted = value_of(&page, SUCCESSES).is_some_and(|count| count >= accepted);
        let is_idle = is_accepted && value_of(&page, "nats_watches").is_some_and(|count| count < 0.5);
        async move { is_idle.then_some(()) }
    })
    .await;
    served.with_context(|| page.clone())
}

#[tokio::test]
async fn a_pod_stores_nothing_for_a_reader_that_never_reads() -> Result<()> {
    let metrics = free_address()?.to_string();
    let up = UpProcess::start(|terminal, definitions| {
        terminal.set_variable("GREENROOM_METRICS_ADDR", &metrics);
        definitions.write_echo_agent(ECHO)?;
        definitions.write_row_workflow(ROW, ECHO, 1)
    })
    .await?;
    let url = up.nats.url();
    let caller = Caller::connect(&url, PREFIX).await?.with_key(http_pod::ADMIN_KEY);
    let run = execute_run(&caller).await?;
    let events = format!("runs.{run}.events");
    // The first watch has what only the first one needs.
    assert_eq!(last_reply(&caller.frames(&events, &json!({})).await?)?.status, Status::Success);
    let mut accepted = value_of(&scrape(&metrics)?, SUCCESSES).context("the metric")?;
    let process = up.process().context("the process")?;
    let before = reset_peak(&process)?;
    let mut unread = UnreadConnection::connect(&url).await?;
    for _ in 0..ROUNDS {
        if unread.is_ended() {
            unread = UnreadConnection::connect(&url).await?;
        }
        for _ in 0..WATCHES {
            let (subject, headers) = (caller.subject(&events), caller.headers.clone());
            caller.client.publish_with_reply_and_headers(subject, INBOX.to_owned(), headers, "{}".into()).await?;
            accepted += 1.0;
        }
        let body = json!({});
        let reading = timeout(REPLY_MAX, caller.frames(&events, &body));
        let frames = reading.await.context("another reader waits")??;
        assert_eq!(last_reply(&frames)?.status, Status::Success);
        accepted += 1.0;
        wait_served(&metrics, accepted).await?;
    }
    let growth = peak_kib(&process).context("the process has ended")?.saturating_sub(before);
    assert!(growth <= GROWTH_KIB_MAX, "the memory of the pod has grown by {growth} KiB");
    let page = scrape(&metrics)?;
    assert_eq!(value_of(&page, "nats_dropped{message=\"outgoing\"}"), Some(0.0), "{page}");
    assert_eq!(value_of(&page, "nats_reconnects"), Some(0.0), "{page}");
    Ok(())
}
