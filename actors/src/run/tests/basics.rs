//! A run from its start to its end.

use greenroom_protocol::event::{RunEvent, RunEventKind};
use greenroom_protocol::journal::{Entry, ResultRef};
use greenroom_protocol::value::ArtifactRef;
use greenroom_protocol::{ErrorCode, Request, Status, TenantId};
use greenroom_registry::journal::Seq;
use greenroom_registry::runs::RunFilter;
use serde_json::json;

use super::harness::{
    Harness, TestDefinitions, agent, detached, immediate, names, run_id, run_of, start, until, values, workflow,
};
use crate::observer::ActorEvent;

/// The document's own workflow, over agents of a test.
pub(super) fn quarterly() -> TestDefinitions {
    let names = ["collector_001", "narrator_001", "kpi_001", "painter_001", "summariser_001"];
    TestDefinitions {
        agents: names.iter().map(|name| agent(name, json!({}))).collect(),
        workflows: vec![workflow(
            "report",
            json!([
                {"id": "gather", "agent": "collector", "inputs": {"text": "${context.quarter}"}},
                {"id": "money", "agent": "narrator", "depends_on": ["gather"], "inputs": {"text": "${steps.gather.outputs.out}"}, "outputs": ["summary"]},
                {"id": "kpis", "agent": "kpi", "inputs": {"text": "${steps.gather.outputs.out}"}, "parallel_with": ["money"]},
                {"id": "charts", "agent": "painter", "inputs": {"data": {"money": "${steps.money.outputs}", "kpis": "${steps.kpis.outputs}"}}},
                {"id": "summary", "agent": "summariser", "depends_on": ["charts"], "inputs": {"text": "for ${inputs.board}: ${steps.charts.outputs.out}"}, "outputs": ["final"]},
            ]),
        )],
        ..TestDefinitions::default()
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_binds_calls_and_returns_the_outputs_of_its_steps() {
    let harness = Harness::new(quarterly(), names()).await;
    let mut request = run_of("report", json!({"board": "them", "quarter": "Q4 2024"}));
    request.context = values(json!({"quarter": "Q1 2025"}));
    let reply = harness.request(Request::StartRun(request)).await;
    assert_eq!((reply.status, &reply.error), (Status::Success, &None));
    assert_eq!(reply.outputs, values(json!({"summary": "narrator_001", "final": "summariser_001"})));
    assert_eq!((reply.metadata.workflow_steps, reply.metadata.agents_involved), (5, 5));
    assert_eq!(reply.metadata.policy_decisions, 5);
    assert_eq!(reply.metadata.policy_checks, ["access_allowed"]);
    let calls = harness.calls();
    assert_eq!(calls[0].inputs, values(json!({"text": "Q1 2025"})), "the context comes before the inputs");
    assert_eq!(calls[0].key, format!("{}/gather", reply.id));
    let charts = calls.iter().find(|call| call.agent == "painter_001").unwrap();
    let kpis = json!({"out": "kpi_001"});
    let money = json!({"out": "narrator_001", "summary": "narrator_001"});
    assert_eq!(charts.inputs, values(json!({"data": {"money": money, "kpis": kpis}})));
    assert_eq!(calls.last().unwrap().inputs, values(json!({"text": "for them: painter_001"})));
    assert_eq!(harness.events.count(|event| matches!(event, ActorEvent::RunEnded { status: Status::Success, .. })), 1);
}

#[tokio::test(start_paused = true)]
async fn watching_follows_the_journal_to_its_end() {
    use futures::StreamExt;
    let harness = Harness::new(quarterly(), names()).await;
    let run = run_id(&harness.request(detached("report", json!({"board": "us"}))).await);
    let entries: Vec<_> = harness.stores.journal.tail(&run, Seq(0)).collect().await;
    let events = entries.into_iter().flat_map(|entry| {
        let entry = entry.unwrap();
        RunEvent::list_from_entry(&run, entry.seq.0, entry.at, &entry.entry)
    });
    let events: Vec<_> = events.collect();
    assert!(matches!(events[0].kind, RunEventKind::RunStarted { steps: 5 }));
    assert!(
        matches!(&events.last().unwrap().kind, RunEventKind::RunEnded { reply } if reply.status == Status::Success)
    );
    let ended =
        events.iter().filter(|event| matches!(&event.kind, RunEventKind::StepEnded { status, .. } if status == "done"));
    assert_eq!(ended.count(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_detached_start_is_confirmed_as_soon_as_the_run_is_durable() {
    let harness = Harness::new(quarterly(), immediate(|_| Ok(values(json!({"out": "x"}))))).await;
    let reply = harness.request(detached("report", json!({}))).await;
    assert_eq!(reply.status, Status::Success);
    assert_eq!(reply.outputs["run_id"], json!(reply.id));
    let run = run_id(&reply);
    assert!(matches!(harness.entries(&run).await.first(), Some(Entry::RunStarted(_))));
    let until = greenroom_protocol::Deadline::after(harness.clock.now(), crate::run::RUN_TIME_MAX);
    assert_eq!(harness.runs.wait_ended(&run, until).await.unwrap().status, Status::Success);
    until_no_run_is_hosted(&harness).await;
}

async fn until_no_run_is_hosted(harness: &Harness) {
    until("no run is hosted", || harness.runs.hosted() == 0).await;
    assert_eq!(harness.runs.info().await.unwrap().hosted, 0);
}

#[tokio::test(start_paused = true)]
async fn the_same_key_and_body_is_one_run_and_another_body_a_conflict() {
    let harness = Harness::new(quarterly(), names()).await;
    let request =
        async |value: &str| harness.request_with_key(start("report", json!({ "board": value })), Some("key-1")).await;
    let (first, repeated) = tokio::join!(request("a"), request("a"));
    assert_eq!(first.id, repeated.id);
    assert_eq!(first.outputs, repeated.outputs);
    assert_eq!(request("a").await.id, first.id, "long after its end as well");
    assert_eq!(harness.calls().len(), 5);
    assert_eq!(request("b").await.error.unwrap().code, ErrorCode::IdempotencyConflict);
}

#[tokio::test(start_paused = true)]
async fn an_invalid_start_is_rejected_before_a_run_exists() {
    let mut definitions = quarterly();
    let mut strict = workflow("strict", json!([{"id": "a", "agent": "kpi"}]));
    strict["inputs"] = json!([{"name": "n", "type": "integer", "required": true}]);
    definitions.workflows.push(strict);
    definitions.workflows.push(workflow("dangling", json!([{"id": "a", "agent": "nobody"}])));
    let harness = Harness::new(definitions, names()).await;
    let code = async |request| harness.request(request).await.error.unwrap().code;
    assert_eq!(code(start("strict", json!({}))).await, ErrorCode::MissingInput);
    assert_eq!(code(start("strict", json!({"n": "many"}))).await, ErrorCode::InvalidInput);
    assert_eq!(code(start("dangling", json!({}))).await, ErrorCode::UnknownAgent);
    let all = harness.stores.runs.list(&RunFilter::default(), None, 50).await.unwrap();
    assert!(all.runs.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_large_value_is_stored_as_an_artifact_and_bound_completely() {
    let large = "x".repeat(200_000);
    let output = large.clone();
    let script = immediate(move |call| {
        let out = if call.agent == "collector_001" { output.clone() } else { call.inputs["text"].to_string() };
        Ok(values(json!({ "out": out })))
    });
    let mut definitions = quarterly();
    definitions.workflows = vec![workflow(
        "report",
        json!([
            {"id": "gather", "agent": "collector"},
            {"id": "money", "agent": "narrator", "inputs": {"text": "${steps.gather.outputs.out}"}, "outputs": ["all"]},
        ]),
    )];
    let harness = Harness::new(definitions, script).await;
    let reply = harness.request(start("report", json!({}))).await;
    assert_eq!(harness.calls()[1].inputs["text"], json!(large));
    let artifact = ArtifactRef::from_json(&reply.outputs["all"]).expect("a reply carries the claim check");
    let bytes =
        harness.stores.artifacts.get(&TenantId::new("acme").unwrap(), &artifact.hash, u64::MAX).await.unwrap().unwrap();
    assert_eq!(bytes.len(), 200_002);
    let entries = harness.entries(&run_id(&reply)).await;
    let stored = |entry: &&Entry| matches!(entry, Entry::StepDone { result: ResultRef::Stored(_), .. });
    assert_eq!(entries.iter().filter(stored).count(), 2);
}
