//! A pod crashes, and another one resumes its runs.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use greenroom_protocol::event::{RunEvent, RunEventKind, RunStatus};
use greenroom_protocol::journal::Entry;
use greenroom_protocol::{ErrorCode, Status};
use greenroom_registry::StoreError;
use greenroom_registry::core::UnitError;
use greenroom_registry::journal::Seq;
use greenroom_registry::runs::RunFilter;
use serde_json::json;

use super::harness::{
    Harness, Script, TestDefinitions, agent, detached, immediate, rejecting, run_id, start, until, until_entry, values,
    workflow,
};
use crate::execution::AnswerEvent;
use crate::run::machine::RUN_RETRIES_MAX;
use crate::run::{DeltaEvent, RecoveryReport};

fn chain() -> TestDefinitions {
    let steps = json!([
        {"id": "a", "agent": "worker", "inputs": {"text": "a"}},
        {"id": "b", "agent": "worker", "inputs": {"text": "${steps.a.outputs.out}b"}},
        {"id": "c", "agent": "worker", "inputs": {"text": "${steps.b.outputs.out}c"}, "outputs": ["end"]},
    ]);
    let agents = vec![agent("worker", json!({}))];
    TestDefinitions { agents, workflows: vec![workflow("w", steps)], ..TestDefinitions::default() }
}

/// A workflow whose only step is the chain.
fn nested() -> TestDefinitions {
    let mut nested = chain();
    nested.workflows.push(workflow("outer", json!([{"id": "sub", "workflow": "w", "outputs": ["end"]}])));
    nested
}

/// Agents return their text; the second step never completes.
fn stuck_at_b() -> Script {
    Arc::new(|call| {
        Box::pin(async move {
            if call.key.ends_with("/b") {
                std::future::pending::<()>().await;
            }
            Ok(values(json!({"out": call.inputs["text"], "end": call.inputs["text"]})))
        })
    })
}

fn echo() -> Script {
    immediate(|call| Ok(values(json!({"out": call.inputs["text"], "end": call.inputs["text"]}))))
}

async fn end_of(harness: &Harness, run: &greenroom_protocol::RunId) -> greenroom_protocol::Reply {
    let until = greenroom_protocol::Deadline::after(harness.clock.now(), crate::run::RUN_TIME_MAX);
    harness.runs.wait_ended(run, until).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_resumed_run_has_a_ticket_until_it_ends_and_its_inner_run_has_none() {
    let harness = Harness::new(nested(), stuck_at_b()).await;
    let run = run_id(&harness.request(detached("outer", json!({}))).await);
    until("the second step is under way", || harness.calls().len() == 2).await;
    let harness = harness.crash(vec![nested()], stuck_at_b()).await;
    assert_eq!(harness.recover().await.resumed, 1, "a tree is resumed from its root");
    until("the second step is under way again", || !harness.calls().is_empty()).await;
    assert_eq!(harness.tickets(), 1, "the outer run covers the inner one");
    harness.runs.terminate(&run, greenroom_protocol::Cause::new(ErrorCode::Cancelled, "for the test"));
    until("the ticket is released", || harness.tickets() == 0).await;
}

#[tokio::test(start_paused = true)]
async fn a_recorded_step_is_not_repeated_and_one_in_flight_repeats_its_request() {
    let harness = Harness::new(chain(), stuck_at_b()).await;
    let run = run_id(&harness.request(detached("w", json!({}))).await);
    until("the second step is under way", || harness.calls().len() == 2).await;
    let before = harness.calls();
    let harness = harness.crash(vec![chain()], echo()).await;
    assert_eq!(harness.recover().await.resumed, 1);
    let reply = end_of(&harness, &run).await;
    assert_eq!((reply.status, &reply.outputs["end"]), (Status::Success, &json!("abc")));
    let after = harness.calls();
    assert_eq!(after.iter().map(|call| call.key.clone()).collect::<Vec<_>>(), [format!("{run}/b"), format!("{run}/c")]);
    assert_eq!(after[0].request, before[1].request, "the same request as before the crash");
    assert_eq!(reply.metadata.workflow_steps, 3);
    assert!(
        harness
            .entries(&run)
            .await
            .iter()
            .any(|entry| matches!(entry, Entry::RunResumed { definitions_changed: false, .. }))
    );
    assert_eq!(harness.recover().await, crate::run::RecoveryReport::default(), "nothing is left to take up");
}

/// The numbers of the journal's entries that begin an attempt of the second step.
async fn begins_b(harness: &Harness, run: &greenroom_protocol::RunId) -> Vec<u64> {
    let records = harness.stores.journal.read(run, Seq(0), 1_000).await.unwrap();
    let events =
        records.iter().flat_map(|record| RunEvent::list_from_entry(run, record.seq.0, record.at, &record.entry));
    let begins = events.filter(|event| match &event.kind {
        RunEventKind::StepStarted { step, .. } | RunEventKind::StepRestarted { step, .. } => step.as_str() == "b",
        _ => false,
    });
    begins.map(|event| event.seq).collect()
}

#[tokio::test(start_paused = true)]
async fn the_deltas_of_a_repeated_call_follow_the_event_that_restarts_its_step() {
    let harness = Harness::new(chain(), stuck_at_b()).await;
    let run = run_id(&harness.request(detached("w", json!({}))).await);
    until("both steps have written", || harness.deltas.all().len() == 3).await;
    let deltas = harness.deltas.all();
    let [_, ended, before] = &deltas[..] else { panic!("{deltas:?}") };
    assert_eq!((ended.step.step.as_str(), &ended.event), ("a", &DeltaEvent::Ended));
    let text = DeltaEvent::Answer(AnswerEvent::Text("worker".into()));
    assert_eq!((before.step.step.as_str(), &before.event), ("b", &text));
    let harness = harness.crash(vec![chain()], stuck_at_b()).await;
    assert_eq!(harness.recover().await.resumed, 1);
    until("the second step has written again", || !harness.deltas.all().is_empty()).await;
    let after = harness.deltas.all()[0].clone();
    assert_eq!(begins_b(&harness, &run).await, [before.id.seq, after.id.seq]);
    assert!(
        after.id > before.id && after.id.fence > before.id.fence,
        "a reader drops what the first owner still sends"
    );
    assert_eq!((before.id.n, after.id.n), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_run_keeps_its_pinned_definitions_and_reports_that_they_changed() {
    let harness = Harness::new(chain(), stuck_at_b()).await;
    let run = run_id(&harness.request(detached("w", json!({}))).await);
    until("the second step is under way", || harness.calls().len() == 2).await;
    let mut changed = chain();
    changed.workflows[0]["steps"][2]["inputs"]["text"] = json!("changed");
    let harness = harness.crash(vec![chain(), changed], echo()).await;
    harness.recover().await;
    assert_eq!(end_of(&harness, &run).await.outputs["end"], json!("abc"));
    let entries = harness.entries(&run).await;
    assert!(entries.iter().any(|entry| matches!(entry, Entry::RunResumed { definitions_changed: true, .. })));
}

#[tokio::test(start_paused = true)]
async fn a_run_whose_user_was_removed_or_moved_ends_instead_of_resuming() {
    for is_moved in [false, true] {
        let harness = Harness::new(chain(), stuck_at_b()).await;
        let run = run_id(&harness.request(detached("w", json!({}))).await);
        until("the second step is under way", || harness.calls().len() == 2).await;
        let harness = harness.crash(vec![chain()], echo()).await;
        let change = if is_moved { &harness.users.moved } else { &harness.users.removed };
        change.store(true, Ordering::Relaxed);
        assert_eq!(harness.recover().await.terminated, 1);
        let reply = harness.stores.runs.reply(&run).await.unwrap().unwrap();
        assert_eq!((reply.status, reply.error.unwrap().code), (Status::Denied, ErrorCode::Unauthenticated));
        assert_eq!(reply.metadata.workflow_steps, 1);
        assert!(harness.calls().is_empty());
    }
}

/// A run whose request was rejected must not be executed by the next pod.
#[tokio::test(start_paused = true)]
async fn a_run_whose_audit_entry_was_not_written_ends_and_is_not_resumed() {
    let harness = Harness::new(chain(), echo()).await;
    harness.pipeline.fails_audit_opening.store(true, Ordering::Relaxed);
    let rejected = harness.request(detached("w", json!({}))).await;
    assert_eq!((rejected.status, rejected.error.unwrap().code), (Status::Failed, ErrorCode::AuditUnavailable));
    let runs = harness.stores.runs.list(&RunFilter::default(), None, 50).await.unwrap().runs;
    assert_eq!(runs.iter().map(|record| record.status).collect::<Vec<_>>(), [RunStatus::Failed]);
    let harness = harness.crash(vec![chain()], echo()).await;
    assert_eq!(harness.recover().await, RecoveryReport::default());
    assert!(harness.calls().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_nested_run_is_found_after_a_crash_and_not_started_twice() {
    let harness = Harness::new(nested(), stuck_at_b()).await;
    let run = run_id(&harness.request(detached("outer", json!({}))).await);
    until("the second step is under way", || harness.calls().len() == 2).await;
    let harness = harness.crash(vec![nested()], echo()).await;
    assert_eq!(harness.recover().await.resumed, 1);
    assert_eq!(end_of(&harness, &run).await.outputs["end"], json!("abc"));
    assert_eq!(harness.calls().len(), 2);
    assert_eq!(harness.stores.runs.list(&RunFilter::default(), None, 50).await.unwrap().runs.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn all_runs_of_a_resumed_tree_share_the_retries_that_it_has_left() {
    let harness = Harness::new(nested(), stuck_at_b()).await;
    let outer = run_id(&harness.request(detached("outer", json!({}))).await);
    until("the second step is under way", || harness.calls().len() == 2).await;
    let budget = harness.runs.env().budgets.open(&outer, 0);
    assert!(budget.try_take() && budget.try_take());
    until_entry(&harness, &outer, 2, |entry| matches!(entry, Entry::NestedRetryTaken)).await;
    let harness = harness.crash(vec![nested()], stuck_at_b()).await;
    assert_eq!(harness.recover().await.resumed, 1);
    until("the second step is under way again", || !harness.calls().is_empty()).await;
    assert_eq!(harness.runs.env().budgets.remaining(&outer), Some(RUN_RETRIES_MAX - 2));
}

#[tokio::test(start_paused = true)]
async fn a_thousand_interrupted_runs_all_end_and_none_twice() {
    let harness = Harness::new(chain(), stuck_at_b()).await;
    let mut runs = BTreeSet::new();
    for _ in 0..1_000 {
        runs.insert(run_id(&harness.request(detached("w", json!({}))).await));
    }
    until("every second step is under way", || harness.calls().len() == 2_000).await;
    let harness = harness.crash(vec![chain()], echo()).await;
    let recovered = harness.recover().await;
    assert_eq!((recovered.resumed, recovered.terminated, recovered.deferred), (1_000, 0, 0));
    for run in &runs {
        assert_eq!(end_of(&harness, run).await.status, Status::Success);
    }
    assert_eq!(harness.calls().len(), 2_000);
    let keys: BTreeSet<String> = harness.calls().into_iter().map(|call| call.key).collect();
    assert_eq!(keys.len(), 2_000, "each of the two steps that were left, once");
}

#[tokio::test(start_paused = true)]
async fn a_fenced_owner_stops_without_an_error_and_changes_nothing() {
    let (stores, clock) = super::harness::stores();
    let slow: Script = Arc::new(|call| {
        Box::pin(async move {
            let never = std::future::pending::<()>();
            tokio::time::timeout(std::time::Duration::from_secs(100), never).await.unwrap_err();
            Ok(values(json!({"out": call.inputs["text"]})))
        })
    });
    let first = Harness::open("pod_1", vec![chain()], slow, stores.clone(), clock.clone()).await;
    let run = run_id(&first.request(detached("w", json!({}))).await);
    until("the first step is under way", || first.calls().len() == 1).await;
    // The first owner releases the run but continues.
    let fence = stores.runs.get(&run).await.unwrap().unwrap().fence;
    stores.core.release_tree(&run, fence, clock.now()).await;
    let second = Harness::open("pod_2", vec![chain()], echo(), stores.clone(), clock.clone()).await;
    assert_eq!(second.recover().await.resumed, 1);
    assert_eq!(end_of(&second, &run).await.status, Status::Success);
    let entries = stores.runs.get(&run).await.unwrap().unwrap().seq;
    until("the first owner has stopped", || first.runs.hosted() == 0).await;
    tokio::time::advance(std::time::Duration::from_secs(200)).await;
    let record = stores.runs.get(&run).await.unwrap().unwrap();
    assert_eq!((record.seq, record.status), (entries, RunStatus::Success));
}

#[tokio::test(start_paused = true)]
async fn a_write_that_fails_at_any_point_loses_nothing_and_repeats_no_recorded_step() {
    for failing in 0..3 {
        let (stores, clock) = super::harness::stores();
        let appends_before_failure = AtomicI64::new(failing);
        let stores = rejecting(stores, move |unit| {
            let fails = unit.appended().is_some() && appends_before_failure.fetch_sub(1, Ordering::Relaxed) == 0;
            fails.then_some(UnitError::Store(StoreError::Full))
        });
        let harness = Harness::open("pod_1", vec![chain()], echo(), stores, clock).await;
        let request = harness.request(start("w", json!({})));
        let recovered = async {
            until("the run's actor has died", || harness.runs.hosted() == 0 && !harness.calls().is_empty()).await;
            tokio::time::advance(crate::run::LEASE * 2).await;
            harness.recover().await
        };
        let (reply, recovered) = tokio::join!(request, recovered);
        assert_eq!(recovered.resumed, 1, "after {failing} writes");
        assert_eq!((reply.status, &reply.outputs["end"]), (Status::Success, &json!("abc")));
        let keys: Vec<String> = harness.calls().into_iter().map(|call| call.key).collect();
        let recorded = usize::try_from(failing).unwrap();
        assert_eq!(keys.len(), 3 + 1, "the step whose result was lost is asked for again");
        assert_eq!(keys.get(recorded), keys.get(recorded + 1), "and it is that one");
    }
}
