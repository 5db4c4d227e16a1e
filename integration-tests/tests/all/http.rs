//! HTTP into a whole pod: calls and what becomes of them, repetitions, runs and their events, artifacts, approvals, the
//! client over HTTP, both versions of HTTP, and the end of the pod.

mod access;
mod process;
mod token;
mod versions;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::TryStreamExt;
use greenroom_client::{Observation, Progress};
use greenroom_integration_tests::definitions_dir::DefinitionsDir;
use greenroom_integration_tests::http_pod::{ADMIN_KEY, HttpPod, HttpResponse};
use greenroom_integration_tests::wait::wait_until;
use greenroom_protocol::event::{EventNumber, RunEventKind};
use greenroom_protocol::{ArtifactRef, ContentHash, ErrorCode, Json, RunId};
use serde::Deserialize;
use tempfile::TempDir;

pub(crate) const ECHO: &str = "echo_agent";
pub(crate) const WORKFLOW: &str = "two_steps";
const APPROVED: &str = "approved";
const WAIT_MAX: Duration = Duration::from_secs(60);
pub(crate) const INPUTS: &str = r#"{"inputs":{"text":"hello"}}"#;

/// Definitions: an agent that returns its input, a workflow of two such steps, and one that waits for a person.
pub(crate) fn definitions() -> Result<(DefinitionsDir, TempDir)> {
    let folder = tempfile::tempdir()?;
    let definitions = DefinitionsDir::new(folder.path())?;
    definitions.write_echo_agent(ECHO)?;
    definitions.write_row_workflow(WORKFLOW, ECHO, 2)?;
    let approved = format!(
        "workflow_id: {APPROVED}\nname: {APPROVED}\ndescription: Waits\nversion: \"1.0.0\"\nsteps:\n\
         \x20 - {{ id: sign, approval: {{ prompt: \"Send it?\" }} }}\n\
         \x20 - {{ id: send, agent: {ECHO}, depends_on: [sign], inputs: {{ text: sent }}, outputs: [text] }}\n"
    );
    definitions.write_workflow(APPROVED, &approved)?;
    Ok((definitions, folder))
}

async fn start() -> Result<(HttpPod, TempDir)> {
    let (definitions, folder) = definitions()?;
    Ok((HttpPod::start(Some(definitions.dir())).await?, folder))
}

async fn get(pod: &HttpPod, path: &str) -> Result<HttpResponse> {
    pod.send(&format!("GET {path}"), Some(ADMIN_KEY), &[], "").await
}

async fn post(pod: &HttpPod, path: &str, headers: &[&str], body: &str) -> Result<HttpResponse> {
    pod.send(&format!("POST {path}"), Some(ADMIN_KEY), headers, body).await
}

/// Waits until a run has this status, and returns its description.
async fn wait_for_status(pod: &HttpPod, run: &str, status: &str) -> Result<Json> {
    let probe = || async {
        let described = get(pod, &format!("/v1/runs/{run}")).await.ok()?.json().ok()?;
        (described["outputs"]["run"]["status"] == status).then_some(described)
    };
    wait_until(status, WAIT_MAX, probe).await
}

fn event_numbers(text: &str) -> Vec<EventNumber> {
    text.lines().filter_map(|line| line.strip_prefix("id: ")?.parse().ok()).collect()
}

#[tokio::test]
async fn a_call_is_executed_and_a_repetition_with_its_key_is_not() -> Result<()> {
    let (pod, _definitions) = start().await?;
    let path = format!("/v1/agents/{ECHO}/execute");
    let first = post(&pod, &path, &["Idempotency-Key: once"], INPUTS).await?;
    assert_eq!((first.status, &first.json()?["outputs"]["text"]), (200, &"hello".into()), "{first:?}");
    let second = post(&pod, &path, &["Idempotency-Key: once"], INPUTS).await?;
    assert_eq!(second.json()?["id"], first.json()?["id"]);
    let other = post(&pod, &path, &["Idempotency-Key: once"], r#"{"inputs":{"text":"other"}}"#).await?;
    assert_eq!((other.status, &other.json()?["code"]), (409, &"idempotency_conflict".into()));
    let missing = post(&pod, &path, &[], r#"{"inputs":{}}"#).await?;
    assert_eq!((missing.status, &missing.json()?["code"]), (422, &"missing_input".into()));
    let unknown = post(&pod, "/v1/agents/none/execute", &[], INPUTS).await?;
    assert_eq!((unknown.status, &unknown.json()?["code"]), (404, &"unknown_agent".into()));
    let overdue = post(&pod, &path, &["Greenroom-Timeout: 0"], INPUTS).await?;
    assert_eq!((overdue.status, &overdue.json()?["code"]), (504, &"timed_out".into()));
    Ok(())
}

#[tokio::test]
async fn a_run_is_accepted_watched_and_resumed_from_the_last_event_of_its_reader() -> Result<()> {
    let (pod, _definitions) = start().await?;
    let path = format!("/v1/workflows/{WORKFLOW}/run");
    let accepted = post(&pod, &path, &["Prefer: respond-async"], INPUTS).await?;
    assert_eq!(accepted.status, 202, "{accepted:?}");
    let location = accepted.header("location").context("a location")?.to_owned();
    let run = accepted.json()?["id"].as_str().context("an id")?.to_owned();
    assert_eq!(location, format!("/v1/runs/{run}").to_ascii_lowercase());
    let events = get(&pod, &format!("/v1/runs/{run}/events")).await?;
    let numbers = event_numbers(&events.text());
    ensure!(numbers.is_sorted() && numbers.len() >= 6, "{events:?}");
    assert!(events.text().contains("event: run_started\n") && events.text().contains("event: run_ended\n"));
    let middle = numbers[2];
    let watch = format!("GET /v1/runs/{run}/events");
    let rest = pod.send(&watch, Some(ADMIN_KEY), &[&format!("Last-Event-ID: {middle}")], "").await?;
    assert_eq!(event_numbers(&rest.text()), numbers[3..]);
    let last = numbers.last().context("an event")?;
    let none = pod.send(&watch, Some(ADMIN_KEY), &[&format!("Last-Event-ID: {last}")], "").await?;
    assert_eq!(none.status, 204);
    let issued = post(&pod, &format!("/v1/runs/{run}/events-token"), &[], "").await?;
    let url = issued.json()?["url"].as_str().context("a URL")?.to_owned();
    let by_token = pod.send(&format!("GET {url}"), None, &[], "").await?;
    assert_eq!(event_numbers(&by_token.text()), numbers);
    let described = wait_for_status(&pod, &run, "success").await?;
    assert_eq!(described["outputs"]["reply"]["outputs"]["final_output"], "hello");
    let listed = get(&pod, &format!("/v1/runs?workflow={WORKFLOW}&status=success&limit=5")).await?;
    assert_eq!(listed.json()?["outputs"]["runs"].as_array().map(Vec::len), Some(1), "{listed:?}");
    Ok(())
}

#[tokio::test]
async fn a_step_is_approved_or_its_run_cancelled() -> Result<()> {
    let (pod, _definitions) = start().await?;
    let begin = async || -> Result<String> {
        let path = format!("/v1/workflows/{APPROVED}/run");
        let accepted = post(&pod, &path, &[], r#"{"detach":true}"#).await?;
        ensure!(accepted.status == 202, "{accepted:?}");
        let run = accepted.json()?["id"].as_str().context("an id")?.to_owned();
        wait_for_status(&pod, &run, "waiting_approval").await?;
        Ok(run)
    };
    let run = begin().await?;
    let unknown = post(&pod, &format!("/v1/runs/{run}/approve"), &[], r#"{"step":"none"}"#).await?;
    assert_eq!((unknown.status, &unknown.json()?["code"]), (404, &"unknown_step".into()));
    let approved = post(&pod, &format!("/v1/runs/{run}/approve"), &[], r#"{"step":"sign"}"#).await?;
    assert_eq!(approved.status, 200, "{approved:?}");
    wait_for_status(&pod, &run, "success").await?;
    let rejected = begin().await?;
    assert_eq!(post(&pod, &format!("/v1/runs/{rejected}/reject"), &[], r#"{"step":"sign"}"#).await?.status, 200);
    wait_for_status(&pod, &rejected, "failed").await?;
    let cancelled = begin().await?;
    assert_eq!(post(&pod, &format!("/v1/runs/{cancelled}/cancel"), &[], "").await?.status, 200);
    wait_for_status(&pod, &cancelled, "cancelled").await?;
    let repeated = post(&pod, &format!("/v1/runs/{cancelled}/cancel"), &[], "").await?;
    assert_eq!((repeated.status, &repeated.json()?["code"]), (409, &"run_not_active".into()));
    Ok(())
}

#[tokio::test]
async fn an_artifact_is_stored_and_read_whole_and_in_ranges() -> Result<()> {
    let (pod, _definitions) = start().await?;
    // More than two parts of a reply.
    let content: String = (0..600_000).map(|number| format!("{number:08}")).collect();
    let headers = ["Content-Type: text/plain"];
    let stored = post(&pod, "/v1/artifacts?name=numbers.txt", &headers, &content).await?;
    assert_eq!(stored.status, 201, "{:?}", stored.head);
    let artifact: ArtifactRef = serde_json::from_value(stored.json()?)?;
    assert_eq!(artifact.hash, ContentHash::from_content(content.as_bytes()));
    let path = format!("/v1/artifacts/{}", artifact.hash);
    let whole = get(&pod, &path).await?;
    ensure!(whole.status == 200 && whole.body == content.as_bytes(), "{:?}", whole.head);
    for (range, expected) in [
        ("bytes=0-7", &content[..8]),
        ("bytes=2097150-2097155", &content[2_097_150..2_097_156]),
        ("bytes=-5", &content[content.len() - 5..]),
    ] {
        let part = pod.send(&format!("GET {path}"), Some(ADMIN_KEY), &[&format!("Range: {range}")], "").await?;
        assert_eq!((part.status, part.text().as_str()), (206, expected), "{range}");
    }
    let executed = pod.client(ADMIN_KEY)?.agent(ECHO).input("text", artifact.to_json()).execute().await?;
    ensure!(executed["text"].as_str() == Some(&content), "the agent has received another text");
    Ok(())
}

#[derive(Debug, PartialEq, Deserialize)]
struct Text {
    text: String,
}

#[tokio::test]
async fn the_client_over_http_has_typed_outputs_coded_refusals_and_whole_watches() -> Result<()> {
    let (pod, _definitions) = start().await?;
    let client = pod.client(ADMIN_KEY)?;
    let outputs: Text = client.agent(ECHO).input("text", "hello").execute_as().await?;
    assert_eq!(outputs.text, "hello");
    let code = |result: Result<_, greenroom_client::Error>| result.err().and_then(|error| error.code());
    assert_eq!(code(client.agent("none").execute().await), Some(ErrorCode::UnknownAgent));
    assert_eq!(code(client.agent(ECHO).execute().await), Some(ErrorCode::MissingInput));
    let stranger = pod.client("wrong")?.agent(ECHO).input("text", "x").execute().await;
    assert_eq!(code(stranger), Some(ErrorCode::Unauthenticated));
    let progress: Vec<Progress> = client.agent(ECHO).input("text", "hello").stream().try_collect().await?;
    ensure!(
        matches!(progress.last(), Some(Progress::Reply(reply)) if reply.outputs["text"] == "hello"),
        "{progress:?}"
    );
    let accepted = client.workflow(WORKFLOW).input("text", "hello").detach().reply().await?;
    let run = RunId::new(accepted.id)?;
    let observed: Vec<Observation> = client.run(&run).watch().try_collect().await?;
    let ended = |one: &Observation| matches!(one, Observation::Event(event) if matches!(event.kind, RunEventKind::RunEnded { .. }));
    assert_eq!(
        (observed.iter().filter(|one| ended(one)).count(), ended(observed.last().context("events")?)),
        (1, true)
    );
    let uploaded = client.upload("note.txt", "text/plain", b"note".to_vec()).await?;
    assert_eq!(uploaded.hash, ContentHash::from_content(b"note"));
    assert!(client.agents().await?.outputs["agents"].is_array());
    assert!(client.costs(None).await?.error.is_none(), "a request without a route of its own");
    Ok(())
}

#[tokio::test]
async fn a_pod_that_ends_ends_the_streams_of_its_readers() -> Result<()> {
    let (pod, _definitions) = start().await?;
    let accepted = post(&pod, &format!("/v1/workflows/{APPROVED}/run"), &[], r#"{"detach":true}"#).await?;
    let run = accepted.json()?["id"].as_str().context("an id")?.to_owned();
    wait_for_status(&pod, &run, "waiting_approval").await?;
    assert_eq!(get(&pod, "/ping").await?.status, 200);
    let HttpPod { pod, addr, folder: _folder } = pod;
    let head =
        format!("GET /v1/runs/{run}/events HTTP/1.1\r\nHost: {addr}\r\nAuthorization: ApiKey {ADMIN_KEY}\r\n\r\n");
    let reading = greenroom_integration_tests::http_pod::exchange(addr, head.as_bytes());
    let ending = async {
        // The reader has its first event once the stream is open.
        let metrics = || async {
            let request = format!("GET /metrics HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n\r\n");
            let text = greenroom_integration_tests::http_pod::exchange(addr, request.as_bytes()).await.ok()?.text();
            text.contains("\nhttp_streams_open 1\n").then_some(())
        };
        wait_until("the stream is open", WAIT_MAX, metrics).await?;
        pod.shutdown().await;
        anyhow::Ok(())
    };
    let (read, ended) = tokio::join!(reading, ending);
    ended?;
    let read = read?;
    assert!(read.status == 200 && !read.text().contains("run_ended"), "{read:?}");
    assert!(tokio::net::TcpStream::connect(addr).await.is_err(), "the port is free");
    Ok(())
}
