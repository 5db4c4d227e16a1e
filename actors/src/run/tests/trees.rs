//! Trees of runs: a run ends with the call that started it, at whatever point that ends.

mod costs;
mod resumed;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use greenroom_protocol::event::RunStatus;
use greenroom_protocol::journal::{Entry, StepKey};
use greenroom_protocol::reply::Usage;
use greenroom_protocol::request::Signal;
use greenroom_protocol::{Cause, ErrorCode, Json, PodId, Reply, RunId, Status, StepId, Timestamp};
use greenroom_registry::core::{CoreStore, PendingUnit, Unit};
use greenroom_registry::group_commit::CommitTiming;
use greenroom_registry::journal::{AppendPosition, JournalError};
use greenroom_registry::runs::{Fence, RunFilter, RunRecord};
use greenroom_registry::{StoreError, Stores};
use serde_json::json;

use super::harness::{
    Gate, Harness, Script, TestDefinitions, agent, delayed, detached, names, run_id, start, stores, until, values,
    workflow,
};
use super::signals::until_state;
use crate::run::LEASE;

/// The workflow `outer`, whose step `sub` has these further members and calls `inner` with this one step more.
fn nested(sub: Json, last: Json) -> TestDefinitions {
    let mut step = json!({"id": "sub", "workflow": "inner", "outputs": ["end"]});
    step.as_object_mut().unwrap().extend(sub.as_object().unwrap().clone());
    let first = json!({"id": "first", "agent": "worker", "compensate": {"agent": "undoer"}});
    TestDefinitions {
        agents: vec![agent("worker", json!({})), agent("undoer", json!({}))],
        workflows: vec![workflow("outer", json!([step])), workflow("inner", json!([first, last]))],
        teams: vec![json!({"team_id": "team", "name": "team", "agents": ["worker"]})],
    }
}

fn waiting_step() -> Json {
    json!({"id": "last", "agent": "worker", "depends_on": ["first"], "outputs": ["end"]})
}

/// An agent never completes the last step of the inner run.
fn stuck_at_last() -> Script {
    Arc::new(|call| {
        Box::pin(async move {
            if call.key.ends_with("/last") {
                std::future::pending::<()>().await;
            }
            Ok(values(json!({"out": call.agent, "end": call.agent})))
        })
    })
}

async fn records(harness: &Harness) -> Vec<RunRecord> {
    harness.stores.runs.list(&RunFilter::default(), None, 50).await.unwrap().runs
}

async fn inner_runs(harness: &Harness) -> Vec<RunRecord> {
    records(harness).await.into_iter().filter(|record| record.parent.is_some()).collect()
}

/// Waits until every run has ended, and returns the statuses of the inner ones, the newest first.
async fn inner_statuses(harness: &Harness) -> Vec<RunStatus> {
    let ended = async {
        let mut interval = tokio::time::interval(Duration::from_millis(1));
        while records(harness).await.iter().any(|record| !record.status.is_terminal()) {
            interval.tick().await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(60), ended).await;
    assert!(waited.is_ok(), "{:?}", records(harness).await);
    until("no run is hosted", || harness.runs.hosted() == 0).await;
    inner_runs(harness).await.into_iter().map(|record| record.status).collect()
}

async fn wait_called(harness: &Harness, calls: usize) {
    until("the last step is under way", || harness.calls().len() == calls).await;
}

#[tokio::test(start_paused = true)]
async fn a_step_whose_timeout_passes_ends_the_run_that_it_called() {
    let harness = Harness::new(nested(json!({"timeout": 5}), waiting_step()), stuck_at_last()).await;
    let reply = harness.request(start("outer", json!({}))).await;
    assert_eq!((reply.status, reply.error.unwrap().code), (Status::TimedOut, ErrorCode::TimedOut));
    assert_eq!(inner_statuses(&harness).await, [RunStatus::Cancelled]);
    assert!(harness.calls().last().unwrap().key.ends_with("/first/undo"), "it was compensated: {:?}", harness.calls());
}

#[tokio::test(start_paused = true)]
async fn each_retry_of_a_step_ends_the_run_of_the_attempt_before_it() {
    let retry = json!({"max_attempts": 3, "delay": 20.0, "backoff": "fixed"});
    let harness = Harness::new(nested(json!({"timeout": 5, "retry": retry}), waiting_step()), stuck_at_last()).await;
    let run = run_id(&harness.request(detached("outer", json!({}))).await);
    // While the second attempt waits, the run of the first one has ended.
    tokio::time::advance(Duration::from_secs(10)).await;
    until("the first attempt has ended", || harness.runs.hosted() == 1).await;
    assert_eq!(
        harness.entries(&run).await.iter().filter(|entry| matches!(entry, Entry::StepRetried { .. })).count(),
        1
    );
    let statuses = inner_statuses(&harness).await;
    assert_eq!(statuses.len(), 3);
    // An inner run whose own deadline is that of its step may notice it first.
    assert!(statuses.iter().all(|s| matches!(s, RunStatus::Cancelled | RunStatus::TimedOut)), "{statuses:?}");
}

#[tokio::test(start_paused = true)]
async fn a_run_that_times_out_ends_the_run_that_it_called() {
    let mut definitions = nested(json!({}), waiting_step());
    definitions.workflows[0]["timeout"] = json!(7);
    let harness = Harness::new(definitions, stuck_at_last()).await;
    let reply = harness.request(start("outer", json!({}))).await;
    assert_eq!(reply.status, Status::TimedOut);
    let statuses = inner_statuses(&harness).await;
    assert!(matches!(statuses[..], [RunStatus::Cancelled | RunStatus::TimedOut]), "{statuses:?}");
}

/// A store whose creation of an inner run is written, and returns only once the gate is open.
struct GatedStore {
    inner: Arc<dyn CoreStore>,
    gate: Gate,
}

#[async_trait]
impl CoreStore for GatedStore {
    async fn submit(&self, unit: Unit<'_>, timing: CommitTiming) -> Result<PendingUnit, StoreError> {
        let is_inner = unit.created().is_some_and(|run| run.tree_fence.is_some());
        let pending = self.inner.submit(unit, timing).await;
        if is_inner {
            self.gate.pass().await;
        }
        pending
    }
    async fn send(&self, unit: Unit<'_>) -> Result<(), StoreError> {
        self.inner.send(unit).await
    }
    async fn renew(&self, root: &RunId, fence: Fence, lease: Duration, now: Timestamp) -> Result<(), JournalError> {
        self.inner.renew(root, fence, lease, now).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_in_the_store_only_ends_with_the_run_that_called_it() {
    let (all, clock) = stores();
    let gate = Gate::closed();
    let gated: Stores = Stores { core: Arc::new(GatedStore { inner: all.core.clone(), gate: gate.clone() }), ..all };
    let definitions = nested(json!({}), waiting_step());
    let harness = Harness::open("pod_1", vec![definitions], names(), gated, clock).await;
    let run = run_id(&harness.request(detached("outer", json!({}))).await);
    until("the inner run is in the store", || gate.arrived() == 1).await;
    assert_eq!(inner_runs(&harness).await.len(), 1);
    assert_eq!(harness.signal(&run, Signal::Cancel).await.status, Status::Success);
    assert_eq!(inner_statuses(&harness).await, [RunStatus::Cancelled]);
    gate.open();
    assert!(harness.calls().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_run_whose_request_is_in_flight_is_not_started_after_its_caller_has_ended() {
    // The team's actor sends the request for the run itself, and does not stop with the call of the step.
    let definitions = nested(json!({"team": "team"}), waiting_step());
    let harness = Harness::new(definitions, names()).await;
    let gate = Gate::closed();
    *harness.pipeline.request_gate.lock().unwrap() = Some(("start_run team:", gate.clone()));
    let run = run_id(&harness.request(detached("outer", json!({}))).await);
    until("the team has requested its run", || gate.arrived() == 1).await;
    assert_eq!(harness.signal(&run, Signal::Cancel).await.status, Status::Success);
    until("the caller has ended", || harness.runs.hosted() == 0).await;
    gate.open();
    until("the team is disbanded", || {
        harness.events.count(|event| matches!(event, crate::observer::ActorEvent::TeamDisbanded(_))) == 1
    })
    .await;
    assert_eq!(inner_runs(&harness).await, []);
    assert!(harness.calls().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_team_of_a_step_ends_with_the_run_that_called_it() {
    let harness = Harness::new(nested(json!({"team": "team"}), waiting_step()), stuck_at_last()).await;
    let run = run_id(&harness.request(detached("outer", json!({}))).await);
    wait_called(&harness, 2).await;
    assert_eq!(harness.signal(&run, Signal::Cancel).await.status, Status::Success);
    assert_eq!(inner_statuses(&harness).await, [RunStatus::Cancelled]);
    until("the team is disbanded", || {
        harness.events.count(|event| matches!(event, crate::observer::ActorEvent::TeamDisbanded(_))) == 1
    })
    .await;
}

/// The team's actor starts the run of the step. While it fails, the tree has an owner, so no recovery resumes the run.
#[tokio::test(start_paused = true)]
async fn a_called_run_whose_team_fails_while_it_is_created_starts_and_ends() {
    let ((all, clock), gate) = (stores(), Gate::closed());
    let creates_inner = |unit: &Unit<'_>| unit.created().is_some_and(|run| run.tree_fence.is_some());
    let all = delayed(all, gate.clone(), creates_inner);
    let definitions = nested(json!({"team": "team"}), waiting_step());
    let harness = Harness::open("pod_1", vec![definitions], names(), all, clock).await;
    let run = run_id(&harness.request(detached("outer", json!({}))).await);
    until("the inner run is in the store", || gate.arrived() == 1).await;
    harness.restart_team_supervisor().await;
    gate.open();
    until_state(&harness, &run, RunStatus::Success).await;
    assert_eq!(inner_statuses(&harness).await, [RunStatus::Success]);
}

/// Appends entries to a run without an actor, as its owner.
async fn append(harness: &Harness, run: &RunId, entries: &[Entry]) {
    let (core, now) = (&harness.stores.core, harness.clock.now());
    let record = harness.stores.runs.get(run).await.unwrap().unwrap();
    let tree = core.claim_tree(&record.root, &PodId::new("pod_0").unwrap(), LEASE, now).await.unwrap().unwrap();
    let position = AppendPosition { run, fence: tree.fence, after: record.seq };
    let _ = core.append(position, entries, now).await.unwrap();
    core.release_tree(&record.root, tree.fence, now).await;
}

fn ended_reply(run: &RunId) -> Entry {
    let reply = super::super::effects::failed_reply(
        &greenroom_protocol::RequestId::new("req_1").unwrap(),
        Cause::new(ErrorCode::TimedOut, "the run's time is up"),
    );
    Entry::RunEnded { reply: Box::new(Reply { id: run.to_string(), ..reply }) }
}

#[tokio::test(start_paused = true)]
async fn a_run_whose_caller_ended_before_the_crash_is_compensated_and_ends() {
    let definitions = nested(json!({}), waiting_step());
    let harness = Harness::new(definitions.clone(), stuck_at_last()).await;
    let run = run_id(&harness.request(detached("outer", json!({}))).await);
    wait_called(&harness, 2).await;
    let harness = harness.crash(vec![definitions], stuck_at_last()).await;
    // The caller had ended, and its process did not come to end the inner run.
    append(&harness, &run, &[ended_reply(&run)]).await;
    let report = harness.recover().await;
    assert_eq!((report.resumed, report.terminated), (0, 1));
    assert_eq!(inner_statuses(&harness).await, [RunStatus::Cancelled]);
    assert!(harness.calls().iter().any(|call| call.key.ends_with("/first/undo")), "{:?}", harness.calls());
}

#[tokio::test(start_paused = true)]
async fn a_run_whose_caller_ended_before_the_crash_ends_although_its_tree_continues() {
    let mut definitions = nested(json!({}), waiting_step());
    let each = json!({"items": ["a"], "on_error": "continue"});
    let steps = json!([{"id": "middle", "workflow": "outer", "for_each": each}, {"id": "last", "agent": "worker"}]);
    definitions.workflows.push(workflow("outermost", steps));
    let harness = Harness::new(definitions.clone(), stuck_at_last()).await;
    let root = run_id(&harness.request(detached("outermost", json!({}))).await);
    wait_called(&harness, 3).await;
    let of = |records: &[RunRecord], workflow: &str| {
        records.iter().find(|record| record.workflow.as_str() == workflow).unwrap().run.clone()
    };
    let all = records(&harness).await;
    let (middle, innermost) = (of(&all, "outer"), of(&all, "inner"));
    let harness = harness.crash(vec![definitions], stuck_at_last()).await;
    append(&harness, &middle, &[ended_reply(&middle)]).await;
    assert_eq!(harness.recover().await.resumed, 1);
    until_state(&harness, &innermost, RunStatus::Cancelled).await;
    assert!(harness.calls().iter().any(|call| call.key.ends_with("/first/undo")), "{:?}", harness.calls());
    assert_eq!(harness.stores.runs.get(&root).await.unwrap().unwrap().status, RunStatus::Running);
}

#[tokio::test(start_paused = true)]
async fn a_run_of_an_earlier_attempt_ends_when_its_caller_is_resumed() {
    let retry = json!({"max_attempts": 2, "delay": 1.0, "backoff": "fixed"});
    let definitions = nested(json!({"retry": retry}), waiting_step());
    let harness = Harness::new(definitions.clone(), stuck_at_last()).await;
    let run = run_id(&harness.request(detached("outer", json!({}))).await);
    wait_called(&harness, 2).await;
    let harness = harness.crash(vec![definitions], names()).await;
    let now = harness.clock.now();
    let retried = Entry::StepRetried {
        key: StepKey { step: StepId::new("sub").unwrap(), index: None },
        attempt: 1,
        cause: Cause::new(ErrorCode::TimedOut, "the step exceeded its timeout"),
        at: now,
        after_ms: 0,
        usage: Usage::default(),
    };
    append(&harness, &run, &[retried]).await;
    assert_eq!(harness.recover().await.resumed, 1);
    assert_eq!(inner_statuses(&harness).await, [RunStatus::Success, RunStatus::Cancelled]);
    let reply = harness.stores.runs.reply(&run).await.unwrap().unwrap();
    assert_eq!((reply.status, &reply.outputs["end"]), (Status::Success, &json!("worker")));
}
