//! Steps that wait for a value of the context or for an event, with their actors.

use std::sync::atomic::Ordering;

use greenroom_protocol::event::RunStatus;
use greenroom_protocol::journal::Entry;
use greenroom_protocol::request::{
    ContextChange, ContextWrite, PublishedEvent, Signal, SignalRun, StartRun, StartTeam,
};
use greenroom_protocol::{ContextKey, ErrorCode, EventName, Json, Reply, Request, RunId, Status};
use greenroom_registry::cluster::JOURNAL_VERSION;
use serde_json::json;

use super::harness::{
    Harness, TestDefinitions, agent, detached, names, run_id, run_of, start, start_team, until, until_entry, values,
    workflow,
};
use super::shared::{open_with, recover_due, start_unowned, until_parked};
use super::signals::until_state;

/// A workflow that waits for a payment, one that calls it, one that waits for a value of its context, and a team.
fn definitions() -> TestDefinitions {
    let payment = json!([
        {"id": "draft", "agent": "worker"},
        {"id": "paid", "wait_for": {"event": "paid", "timeout": 3600}, "depends_on": ["draft"]},
        {"id": "send", "agent": "worker", "inputs": {"text": "${steps.paid.outputs.value}"}},
    ]);
    let facts = json!([
        {"id": "facts", "wait_for": {"context": "facts"}},
        {"id": "use", "agent": "worker", "inputs": {"text": "${steps.facts.outputs.value}"}},
    ]);
    let crew = json!({"team_id": "crew", "name": "Crew", "agents": ["worker"]});
    TestDefinitions {
        agents: vec![agent("worker", json!({}))],
        workflows: vec![
            workflow("payment", payment),
            workflow("outer", json!([{"id": "call", "workflow": "payment"}])),
            workflow("facts", facts),
            workflow("facts_below", json!([{"id": "call", "workflow": "facts"}])),
        ],
        teams: vec![crew],
    }
}

fn is_wait(entry: &Entry) -> bool {
    matches!(entry, Entry::WaitStarted { .. })
}

fn publication(run: &RunId, name: &str, data: Json) -> Request {
    let event = PublishedEvent { name: EventName::new(name).unwrap(), data };
    Request::SignalRun(SignalRun { run: run.clone(), signal: Signal::Event(event) })
}

async fn received(harness: &Harness, run: &RunId) -> usize {
    harness.entries(run).await.iter().filter(|entry| matches!(entry, Entry::EventReceived { .. })).count()
}

/// Starts a detached run of a team.
async fn start_crew(harness: &Harness, workflow: &str) -> RunId {
    let Request::StartTeam(start) = start_team("crew", workflow, json!({}), json!({})) else { panic!("a team") };
    run_id(&harness.request(Request::StartTeam(StartTeam { detach: true, ..start })).await)
}

async fn set_facts(harness: &Harness, run: &RunId) -> Reply {
    let (key, change) = (ContextKey::new("facts").unwrap(), ContextChange::Put(json!("revenue")));
    let write = ContextWrite { run: run.clone(), key, expect: None, change, ttl_ms: None };
    harness.request(Request::ContextWrite(write)).await
}

/// The texts that the agent has received, without those of steps that have none.
fn texts(harness: &Harness) -> Vec<Json> {
    harness.calls().iter().filter_map(|call| call.inputs.get("text").cloned()).collect()
}

#[tokio::test(start_paused = true)]
async fn the_data_of_an_event_are_an_input_of_the_next_step() {
    let harness = Harness::new(definitions(), names()).await;
    let run = run_id(&harness.request(detached("payment", json!({}))).await);
    until_entry(&harness, &run, 1, is_wait).await;
    for _ in 0..2 {
        let published = harness.request_with_key(publication(&run, "other", json!(1)), Some("once")).await;
        assert_eq!((published.status, published.error), (Status::Success, None));
    }
    assert_eq!(received(&harness, &run).await, 1, "the key names one publication");
    let published = harness.request(publication(&run, "paid", json!("3 USD"))).await;
    assert_eq!(published.status, Status::Success, "{:?}", published.error);
    until_state(&harness, &run, RunStatus::Success).await;
    assert_eq!(texts(&harness), [json!("3 USD")]);
    let refused = harness.request(publication(&run, "paid", json!("again"))).await;
    assert_eq!(refused.error.unwrap().code, ErrorCode::RunNotActive);
}

#[tokio::test(start_paused = true)]
async fn a_step_waits_until_the_context_of_its_team_has_the_value() {
    for name in ["facts", "facts_below"] {
        let harness = Harness::new(definitions(), names()).await;
        let run = start_crew(&harness, name).await;
        let waiting = match name {
            "facts" => run.clone(),
            _ => {
                until("the inner run is active", || harness.runs.hosted() == 2).await;
                let tree = harness.stores.runs.list_tree(&run).await.unwrap();
                tree.into_iter().find(|record| !record.is_root()).unwrap().run
            }
        };
        until_entry(&harness, &waiting, 1, is_wait).await;
        assert!(harness.calls().is_empty());
        let written = set_facts(&harness, &run).await;
        assert_eq!(written.status, Status::Success, "{:?}", written.error);
        until_state(&harness, &run, RunStatus::Success).await;
        assert_eq!(texts(&harness), [json!("revenue")]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_wait_for_a_value_is_resumed_after_a_crash() {
    let harness = Harness::new(definitions(), names()).await;
    let run = start_crew(&harness, "facts").await;
    until_entry(&harness, &run, 1, is_wait).await;
    let harness = harness.crash(vec![definitions()], names()).await;
    assert_eq!(harness.recover().await.resumed, 1);
    until_entry(&harness, &run, 1, |entry| matches!(entry, Entry::RunResumed { .. })).await;
    assert_eq!(set_facts(&harness, &run).await.status, Status::Success);
    until_state(&harness, &run, RunStatus::Success).await;
    assert_eq!(harness.entries(&run).await.iter().filter(|entry| is_wait(entry)).count(), 1, "it waits on");
}

#[tokio::test(start_paused = true)]
async fn a_run_without_a_team_has_only_the_values_with_which_it_started() {
    let harness = Harness::new(definitions(), names()).await;
    let context = values(json!({"facts": "known"}));
    let known = harness.request(Request::StartRun(StartRun { context, ..run_of("facts", json!({})) })).await;
    assert_eq!(known.status, Status::Success, "{:?}", known.error);
    assert_eq!(texts(&harness), [json!("known")]);
    let error = harness.request(start("facts", json!({}))).await.error.unwrap();
    assert_eq!(error.code, ErrorCode::StepFailed);
    assert!(error.message.contains("the run has no team"), "{}", error.message);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_waits_for_an_event_leaves_its_pod_until_the_event_comes() {
    let (cluster, harness) = open_with(definitions()).await;
    let run = start_unowned(&harness, "payment").await;
    assert_eq!(recover_due(&harness).await.resumed, 1);
    until_entry(&harness, &run, 1, is_wait).await;
    until_parked(&harness, &cluster, &run).await;
    let published = harness.request(publication(&run, "paid", json!("3 USD"))).await;
    assert_eq!((published.status, published.error), (Status::Success, None));
    assert_eq!(cluster.messages().len(), 1, "it is delivered by the next owner");
    assert_eq!(recover_due(&harness).await.resumed, 1);
    for message in cluster.messages() {
        harness.runs.deliver(&message).await.unwrap();
        harness.runs.deliver(&message).await.unwrap();
    }
    until_state(&harness, &run, RunStatus::Success).await;
    assert_eq!(received(&harness, &run).await, 1);
    assert_eq!(texts(&harness), [json!("3 USD")]);
}

#[tokio::test(start_paused = true)]
async fn a_parked_run_is_due_when_the_time_of_its_event_is_over() {
    let (cluster, harness) = open_with(definitions()).await;
    let run = start_unowned(&harness, "outer").await;
    assert_eq!(recover_due(&harness).await.resumed, 1);
    until_entry(
        &harness,
        &run,
        1,
        |entry| matches!(entry, Entry::CallAwaitsApproval { waits, idle: true, .. } if waits.len() == 1),
    )
    .await;
    until_parked(&harness, &cluster, &run).await;
    tokio::time::advance(std::time::Duration::from_secs(3_600)).await;
    assert_eq!(recover_due(&harness).await.resumed, 1);
    until_state(&harness, &run, RunStatus::TimedOut).await;
}

#[tokio::test(start_paused = true)]
async fn a_run_with_waits_is_refused_until_every_pod_reads_its_journal() {
    let (cluster, harness) = open_with(definitions()).await;
    cluster.journal_version.store(JOURNAL_VERSION - 1, Ordering::Relaxed);
    let refused = harness.request(detached("payment", json!({}))).await;
    let code = refused.error.map(|cause| cause.code);
    assert_eq!((code, harness.runs.hosted()), (Some(ErrorCode::NotFinalized), 0));
    cluster.journal_version.store(JOURNAL_VERSION, Ordering::Relaxed);
    let run = start_unowned(&harness, "payment").await;
    assert_eq!(recover_due(&harness).await.resumed, 1);
    until_entry(&harness, &run, 1, is_wait).await;
}
