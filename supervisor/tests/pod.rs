//! A whole pod over the embedded catalogue and policy, as a user of the in-process transport and of the
//! control socket sees it.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, stream};
use greenroom_client::{CallParams, Client};
use greenroom_protocol::event::{EventNumber, RunEventKind};
use greenroom_protocol::limits::ARTIFACT_PART_BYTES_MAX;
use greenroom_protocol::request::{Maintenance, Page};
use greenroom_protocol::{AgentId, Cause, ErrorCode, Json, Reply, Status, UserId, Values, WorkflowId};
use greenroom_registry::artifacts::single_chunk;
use greenroom_supervisor::clock::{TimeOrdered, WallClock};
use greenroom_supervisor::compose::compose;
use greenroom_supervisor::config::{Config, StoreConfig};
use greenroom_supervisor::ingress::control::client::ControlClient;
use greenroom_supervisor::pod::Pod;

const SALES: &[u8] = include_bytes!("../demo/sales.csv");

async fn pod(dir: &Path, store: Option<StoreConfig>) -> Pod {
    let mut config = Config::defaults(dir).unwrap();
    if let Some(store) = store {
        config.store = store;
    }
    compose(&config, Arc::new(WallClock), Arc::new(TimeOrdered)).await.unwrap()
}

fn user(name: &str) -> UserId {
    UserId::new(name).unwrap()
}

fn document(text: &str) -> CallParams {
    CallParams { inputs: Values::from([("document".to_owned(), Json::from(text))]), ..CallParams::default() }
}

async fn summarise(client: &Client, text: &str) -> Reply {
    client.run_agent(AgentId::new("executive_summary_agent").unwrap(), document(text)).await.unwrap()
}

async fn records(client: &Client) -> Vec<Json> {
    let page = Page { after: None, limit: 100 };
    client.audit(page).await.unwrap().outputs["records"].as_array().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_authorized_for_its_user_and_audited_either_way() {
    let dir = tempfile::tempdir().unwrap();
    let pod = pod(dir.path(), Some(StoreConfig::Memory)).await;
    let reply = summarise(&pod.client(&user("admin")), "Sales rose. Costs fell.").await;
    assert_eq!(reply.status, Status::Success, "{:?}", reply.error);
    assert!(reply.outputs["summary"].as_str().unwrap().contains("Sales rose"));
    assert_eq!(reply.metadata.policy_decisions, 1);
    assert!(reply.metadata.policy_checks.iter().any(|check| check == "access_allowed"));
    assert_eq!(summarise(&pod.client(&user("operator")), "x").await.status, Status::Success);

    let denied = summarise(&pod.client(&user("guest")), "x").await;
    assert_eq!((denied.status, denied.exit_code()), (Status::Denied, 3));
    assert_eq!(denied.error.unwrap().details["reasons"][0]["code"], "role_missing");
    let other_category = AgentId::new("lead_qualification_agent").unwrap();
    let denied = pod.client(&user("operator")).run_agent(other_category, CallParams::default()).await.unwrap();
    assert_eq!(denied.error.unwrap().code, ErrorCode::PolicyDenied);
    let unknown_user = summarise(&pod.client(&user("stranger")), "x").await;
    assert_eq!(unknown_user.error.unwrap().code, ErrorCode::Unauthenticated);

    let audit = records(&pod.client(&user("admin"))).await;
    let closed = |status: &str| audit.iter().filter(|record| record["event"]["status"] == status).count();
    assert_eq!((closed("denied"), closed("success")), (2, 2), "{audit:#?}");
    pod.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_key_executes_once_and_conflicts_with_another_request() {
    let dir = tempfile::tempdir().unwrap();
    let pod = pod(dir.path(), Some(StoreConfig::Memory)).await;
    let client = pod.client(&user("admin"));
    let summarise_once =
        |text: &str| client.agent("executive_summary_agent").params(document(text)).idempotency_key("k").send();
    let (first, second) = tokio::join!(summarise_once("One."), summarise_once("One."));
    assert_eq!(first.unwrap().outputs, second.unwrap().outputs);
    let costs = pod.client(&user("admin")).costs(None).await.unwrap();
    assert_eq!(costs.outputs["costs"][0]["calls"], 1, "{:?}", costs.outputs);
    assert_eq!(summarise_once("Two.").await.unwrap().error.unwrap().code, ErrorCode::IdempotencyConflict);
    pod.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_sends_requests_to_the_owner_over_its_socket() {
    let dir = tempfile::tempdir().unwrap();
    let mut pod = pod(dir.path(), None).await;
    pod.listen().await.unwrap();
    let socket = ControlClient::new(&pod.config().control_socket(), user("admin"));
    let client = Client::new(Arc::new(socket.clone()));
    let sales = socket.store_artifact(single_chunk(SALES), "text/csv", "sales.csv").await.unwrap();
    let params = CallParams {
        inputs: Values::from([("data_source".to_owned(), sales.to_json())]),
        context: Values::from([("quarter".to_owned(), Json::from("Q4 2024"))]),
        ..CallParams::default()
    };
    let reply = client.run_workflow(WorkflowId::new("generate_quarterly_report").unwrap(), params).await.unwrap();
    assert_eq!(reply.status, Status::Success, "{:?}", reply.error);
    assert_eq!((reply.metadata.workflow_steps, reply.metadata.agents_involved), (5, 5));

    let run = reply.id.parse().unwrap();
    let events: Vec<_> = client.watch(&run, EventNumber::START).map(|event| event.unwrap()).collect().await;
    assert!(matches!(events.first().map(|event| &event.kind), Some(RunEventKind::RunStarted { steps: 5 })));
    assert!(matches!(events.last().map(|event| &event.kind), Some(RunEventKind::RunEnded { .. })));
    let verified = client.maintain(Maintenance::VerifyAudit).await.unwrap();
    assert_eq!(verified.outputs["report"]["valid"], true, "{verified:?}");
    let rejected = client.cancel(run).await.unwrap();
    assert_eq!(rejected.error.unwrap().code, ErrorCode::RunNotActive);
    pod.shutdown().await;
    assert!(!dir.path().join("control.sock").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_ends_early_stores_nothing_and_a_refused_one_has_its_cause() {
    let dir = tempfile::tempdir().unwrap();
    let mut pod = pod(dir.path(), None).await;
    pod.listen().await.unwrap();
    let socket = |name: &str| ControlClient::new(&pod.config().control_socket(), user(name));
    let chunk = || -> Result<Bytes, Cause> { Ok(vec![7; 1024 * 1024].into()) };
    let cause = Cause::new(ErrorCode::PathNotAllowed, "the disk was removed");
    let cut = stream::iter([chunk(), chunk(), Err(cause)]).boxed();
    let error = socket("admin").store_artifact(cut, "text/plain", "cut.bin").await.unwrap_err();
    assert_eq!(error.code, ErrorCode::PathNotAllowed);
    // The peer is not authenticated while it still sends.
    let large = || stream::iter((0..20).map(|_| chunk()).collect::<Vec<_>>()).boxed();
    let error = socket("stranger").store_artifact(large(), "text/plain", "large.bin").await.unwrap_err();
    assert_eq!(error.code, ErrorCode::Unauthenticated, "{error}");
    let error = socket("admin").store_artifact(large(), "text/plain", "a/b").await.unwrap_err();
    assert_eq!(error.code, ErrorCode::InvalidInput, "{error}");
    let folders = std::fs::read_dir(dir.path().join("artifacts/default")).into_iter().flatten().flatten();
    assert!(folders.map(|folder| folder.file_name()).all(|name| name == "staging"), "nothing is stored");
    let stored = socket("admin").store_artifact(large(), "text/plain", "large.bin").await.unwrap();
    assert_eq!(stored.bytes, 20 * 1024 * 1024);
    let client = pod.client(&user("admin"));
    let (mut after, mut parts) = (Some(0), 0);
    while let Some(start) = after {
        let reply = client.artifact(stored.hash, start).await.unwrap();
        after = reply.outputs["next"].as_u64();
        parts += 1;
    }
    assert_eq!(parts, 20 * 1024 * 1024 / ARTIFACT_PART_BYTES_MAX);
    drop(client);
    pod.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drained_pod_rejects_requests_and_its_state_survives() {
    let dir = tempfile::tempdir().unwrap();
    let first = pod(dir.path(), None).await;
    let client = first.client(&user("admin"));
    summarise(&client, "One.").await;
    tokio::time::timeout(Duration::from_secs(30), first.shutdown()).await.expect("a drained pod shuts down");
    assert_eq!(summarise(&client, "Two.").await.error.unwrap().code, ErrorCode::ShuttingDown);

    let second = pod(dir.path(), None).await;
    let client = second.client(&user("admin"));
    assert_eq!(client.costs(None).await.unwrap().outputs["costs"][0]["calls"], 1);
    let verified = client.maintain(Maintenance::VerifyAudit).await.unwrap();
    assert_eq!(verified.outputs["report"]["valid"], true, "{verified:?}");
    second.shutdown().await;
}
