//! The cost in a reply is the cost that was booked: a run ends after the runs that it called, whose compensation costs
//! money.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use greenroom_protocol::event::RunStatus;
use greenroom_protocol::journal::Entry;
use greenroom_protocol::request::Signal;
use greenroom_protocol::{AgentId, CallKey, Clock, Json, MicroUsd, PriceBasis, Reply, RunId, Status};
use greenroom_registry::Stores;
use greenroom_registry::ledger::{Account, Amount, Budget, Limit, Period, ReservationRequest, Settlement};
use serde_json::json;

use super::super::harness::{
    Harness, Script, TestDefinitions, detached, run_id, start, stores, until, values, workflow,
};
use super::super::signals::until_state;
use super::resumed::with_panics;
use super::{inner_runs, inner_statuses, nested, records, stuck_at_last, wait_called, waiting_step};

/// Cost of the compensation of a step.
const COST: MicroUsd = MicroUsd(700);
/// Duration of the compensation of a step.
const COMPENSATION_TIME: Duration = Duration::from_secs(10);
/// Longest wait for the end of a tree.
const WAIT_MAX: Duration = Duration::from_secs(250);

/// Books a call on its run and on all runs above, as the accounting of a model call does.
async fn pay(stores: &Stores, clock: &dyn Clock, call: &str) {
    let mut next = Some(RunId::new(call.split('/').next().unwrap()).unwrap());
    let (mut limits, mut owner) = (Vec::new(), None);
    while let Some(run) = next {
        let record = stores.runs.get(&run).await.unwrap().unwrap();
        limits.push(Limit { budget: Budget::Run(run), period: Period::AllTime, cost_max: None, tokens_max: None });
        (next, owner) = (record.parent, Some(record.owner));
    }
    let account = Account {
        principal: owner.unwrap(),
        agent: AgentId::new("undoer").unwrap(),
        workflow: None,
        run: None,
        model: "scripted.test".to_owned(),
        price: PriceBasis::Listed,
    };
    let (key, now, upper_bound) = (CallKey::new(call).unwrap(), clock.now(), Amount::of_cost(MicroUsd(5_000)));
    let request = ReservationRequest { account: &account, limits: &limits, upper_bound, key: &key };
    let reservation = stores.core.reserve(request, now).await.unwrap();
    let settled = stores.ledger.settle(reservation, Settlement::Actual(Amount::of_cost(COST)), now);
    stores.core.write_settlement(settled, now).await.unwrap();
}

/// The first calls of the last step, as many as `stuck`, never end. A compensation takes time and costs money.
fn paid_compensation(stores: &Stores, clock: &Arc<dyn Clock>, stuck: usize) -> Script {
    let (stores, clock, stuck) = (stores.clone(), clock.clone(), Arc::new(AtomicUsize::new(stuck)));
    Arc::new(move |call| {
        let (stores, clock, stuck) = (stores.clone(), clock.clone(), stuck.clone());
        Box::pin(async move {
            if call.key.ends_with("/last") && take_one(&stuck) {
                std::future::pending::<()>().await;
            }
            if call.key.ends_with("/undo") {
                let _elapsed = tokio::time::timeout(COMPENSATION_TIME, std::future::pending::<()>()).await;
                pay(&stores, &*clock, &call.key).await;
            }
            Ok(values(json!({"out": call.agent, "end": call.agent})))
        })
    })
}

/// Counts down; false once nothing is left.
fn take_one(count: &AtomicUsize) -> bool {
    count.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
}

async fn open(definitions: &TestDefinitions, stuck: usize) -> Harness {
    let (all, clock) = stores();
    let script = paid_compensation(&all, &clock, stuck);
    Harness::open("pod_1", vec![definitions.clone()], script, all, clock).await
}

/// The reply of a root. When it comes, all runs below have ended; each of them, and the root, has replied with what was
/// booked for it.
async fn end_of_tree(harness: &Harness, root: &RunId) -> Reply {
    let reply = tokio::time::timeout(WAIT_MAX, harness.runs.wait_reply(root)).await.unwrap().unwrap();
    assert_eq!(harness.stores.runs.list_tree(root).await.unwrap(), []);
    inner_statuses(harness).await;
    for record in records(harness).await {
        let ended = harness.stores.runs.reply(&record.run).await.unwrap().unwrap();
        let charged = harness.stores.ledger.charged(&Budget::Run(record.run.clone())).await.unwrap();
        let booked = (charged.settled.cost, charged.reserved.cost);
        assert_eq!((ended.metadata.cost, MicroUsd::default()), booked, "{}", record.workflow);
    }
    let rows = harness.stores.ledger.costs(None).await.unwrap();
    let total: MicroUsd = rows.iter().map(|row| row.actual.cost + row.estimated.cost).sum();
    assert_eq!(reply.metadata.cost, total);
    reply
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_run_replies_with_the_cost_of_the_compensation_of_the_run_that_it_called() {
    let harness = open(&nested(json!({}), waiting_step()), usize::MAX).await;
    let run = run_id(&harness.request(detached("outer", json!({}))).await);
    wait_called(&harness, 2).await;
    let cancelled = harness.signal(&run, Signal::Cancel).await;
    assert_eq!((cancelled.status, &cancelled.outputs["status"]), (Status::Success, &json!("running")));
    wait_called(&harness, 3).await;
    let refused = harness.signal(&run, Signal::Cancel).await.error.unwrap();
    assert!(refused.message.contains("being compensated"), "{}", refused.message);
    let reply = end_of_tree(&harness, &run).await;
    assert_eq!((reply.status, reply.metadata.cost), (Status::Cancelled, COST));
    assert_eq!(inner_statuses(&harness).await, [RunStatus::Cancelled]);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_times_out_replies_with_the_cost_of_the_compensation_of_the_run_that_it_called() {
    for (step, run_timeout) in [(json!({"timeout": 5}), None), (json!({}), Some(5))] {
        let mut definitions = nested(step, waiting_step());
        if let Some(seconds) = run_timeout {
            definitions.workflows[0]["timeout"] = json!(seconds);
        }
        let harness = open(&definitions, usize::MAX).await;
        let started = tokio::time::Instant::now();
        let reply = harness.request(start("outer", json!({}))).await;
        assert_eq!((reply.status, reply.metadata.cost), (Status::TimedOut, COST));
        assert_eq!(started.elapsed().as_secs(), 15, "after the compensation");
        assert_eq!(end_of_tree(&harness, &run_id(&reply)).await, reply);
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_that_succeeds_at_a_later_attempt_replies_with_the_cost_of_the_run_of_the_first_one() {
    let retry = json!({"max_attempts": 2, "delay": 1.0, "backoff": "fixed"});
    let harness = open(&nested(json!({"timeout": 5, "retry": retry}), waiting_step()), 1).await;
    let started = tokio::time::Instant::now();
    let reply = harness.request(start("outer", json!({}))).await;
    assert_eq!((reply.status, reply.metadata.cost, &reply.error), (Status::Success, COST, &None));
    assert_eq!((&reply.outputs["end"], started.elapsed().as_secs()), (&json!("worker"), 15));
    assert_eq!(end_of_tree(&harness, &run_id(&reply)).await, reply);
    assert_eq!(inner_statuses(&harness).await, [RunStatus::Success, RunStatus::Cancelled]);
}

#[tokio::test(start_paused = true)]
async fn a_crash_while_a_run_waits_for_the_runs_below_changes_neither_their_order_nor_the_cost() {
    let mut definitions = nested(json!({}), waiting_step());
    definitions.workflows.push(workflow("outermost", json!([{"id": "middle", "workflow": "outer"}])));
    for root in ["outer", "outermost"] {
        let harness = open(&definitions, usize::MAX).await;
        let run = run_id(&harness.request(detached(root, json!({}))).await);
        wait_called(&harness, 2).await;
        assert_eq!(harness.signal(&run, Signal::Cancel).await.status, Status::Success);
        wait_called(&harness, 3).await;
        tokio::time::advance(Duration::from_secs(1)).await;
        let script = paid_compensation(&harness.stores, &harness.clock, usize::MAX);
        let harness = harness.crash(vec![definitions.clone()], script).await;
        assert!(!harness.entries(&run).await.iter().any(|entry| matches!(entry, Entry::RunEnded { .. })));
        assert_eq!(harness.recover().await.resumed, 1);
        let reply = end_of_tree(&harness, &run).await;
        assert_eq!((reply.status, reply.metadata.cost), (Status::Cancelled, COST));
        let keys: Vec<String> = harness.calls().into_iter().map(|call| call.key).collect();
        assert!(matches!(&keys[..], [key] if key.ends_with("/first/undo")), "only the compensation: {keys:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stop_that_is_not_recorded_ends_no_run_below() {
    let is_stop = |entry: &Entry| matches!(entry, Entry::RunCompensationStarted { .. });
    for (step, is_cancelled) in [(json!({}), true), (json!({"timeout": 5}), false)] {
        let failures = AtomicUsize::new(1);
        let (all, clock) = stores();
        let all = with_panics(all, move |entries| entries.iter().any(is_stop) && take_one(&failures));
        let definitions = nested(step, waiting_step());
        let harness = Harness::open("pod_1", vec![definitions], stuck_at_last(), all, clock).await;
        let run = run_id(&harness.request(detached("outer", json!({}))).await);
        wait_called(&harness, 2).await;
        if is_cancelled {
            let refused = harness.signal(&run, Signal::Cancel).await;
            assert!(refused.error.is_some(), "{refused:?}");
        }
        until("no actor of the tree is left", || harness.runs.hosted() == 0).await;
        assert_eq!(harness.stores.runs.list_tree(&run).await.unwrap().len(), 2);
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(harness.recover().await.resumed, 1);
        wait_called(&harness, 3).await;
        assert_eq!(inner_runs(&harness).await[0].status, RunStatus::Running);
        assert!(harness.calls().last().unwrap().key.ends_with("/last"), "its call is repeated, and nothing else");
    }
}

fn is_done(entry: &Entry, step: &str) -> bool {
    matches!(entry, Entry::StepDone { key, .. } if key.step.as_str() == step)
}

#[tokio::test(start_paused = true)]
async fn a_run_that_had_ended_before_a_crash_does_not_delay_the_end_of_its_caller() {
    let mut definitions = nested(json!({}), waiting_step());
    let steps: Json = json!([
        {"id": "sub", "workflow": "quick"},
        {"id": "late", "workflow": "inner", "depends_on": ["sub"]},
    ]);
    definitions.workflows.push(workflow("both", steps));
    definitions.workflows.push(workflow("quick", json!([{"id": "only", "agent": "worker"}])));
    let failures = AtomicUsize::new(1);
    let (all, clock) = stores();
    let is_lost = move |entries: &[Entry]| entries.iter().any(|entry| is_done(entry, "sub")) && take_one(&failures);
    let all = with_panics(all, is_lost);
    let harness = Harness::open("pod_1", vec![definitions], stuck_at_last(), all, clock).await;
    let run = run_id(&harness.request(detached("both", json!({}))).await);
    until("no actor of the tree is left", || harness.runs.hosted() == 0 && harness.calls().len() == 1).await;
    tokio::time::advance(Duration::from_secs(2)).await;
    assert_eq!(harness.recover().await.resumed, 1);
    wait_called(&harness, 3).await;
    let cancelled_at = tokio::time::Instant::now();
    assert_eq!(harness.signal(&run, Signal::Cancel).await.status, Status::Success);
    until_state(&harness, &run, RunStatus::Cancelled).await;
    assert!(cancelled_at.elapsed() < Duration::from_secs(1), "{:?}", cancelled_at.elapsed());
    assert_eq!(inner_statuses(&harness).await, [RunStatus::Cancelled, RunStatus::Success]);
}
