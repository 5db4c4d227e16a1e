//! The machine verb by verb.

use std::sync::Arc;
use std::time::Duration;

use greenroom_protocol::journal::{Entry, SkipReason, StepKey};
use greenroom_protocol::reply::Usage;
use greenroom_protocol::{AgentId, Cause, ErrorCode, MicroUsd, Status, TeamId, Tokens};
use serde_json::json;

use super::simulation::{START, Simulation, TIME, completed_call, failed_call, item, key, step_id, workflow};
use crate::run::machine::{CallResult, Effect, Event, StepEvaluation, StepStatus, TimerId};

pub(super) fn evaluation_with_items(items: Option<u32>) -> StepEvaluation {
    StepEvaluation { item_count: items, ..StepEvaluation::default() }
}

/// The document's own workflow: one step, then two at the same time, then two more.
pub(super) fn quarterly() -> Simulation {
    Simulation::new(workflow(&json!([
        {"id": "gather", "agent": "collector"},
        {"id": "money", "agent": "narrator", "depends_on": ["gather"]},
        {"id": "kpis", "agent": "kpi", "inputs": {"data": "${steps.gather.outputs.out}"}, "parallel_with": ["money"]},
        {"id": "charts", "agent": "painter", "depends_on": ["money", "kpis"]},
        {"id": "summary", "agent": "summariser", "depends_on": ["charts"]},
    ])))
}

#[test]
fn steps_start_as_soon_as_their_dependencies_have_completed() {
    let mut simulation = quarterly();
    simulation.start();
    assert_eq!(simulation.calls, [(key("gather"), 1)]);
    simulation.complete(0);
    assert_eq!(simulation.calls[1..], [(key("money"), 1), (key("kpis"), 1)], "both at the same time");
    simulation.complete_step(&key("kpis"));
    assert_eq!(simulation.calls.len(), 3, "the charts wait for both");
    let reply = simulation.run_to_end();
    assert_eq!(reply.status, Status::Success);
    assert_eq!(reply.metadata.workflow_steps, 5);
    assert_eq!(reply.metadata.agents_involved, 5);
    assert_eq!(reply.metadata.policy_decisions, 5);
    assert_eq!(reply.metadata.agents[0], AgentId::new("collector").unwrap());
}

#[test]
fn a_call_names_the_pinned_version_and_the_key_that_every_attempt_has() {
    let mut simulation = quarterly();
    simulation.start();
    let Effect::Call { target, call, .. } = &simulation.open[0] else { panic!("a call") };
    assert_eq!(call.as_str(), "run_1/gather");
    let crate::run::machine::CallTarget::Agent { agent, version } = target else { panic!("an agent") };
    assert_eq!(simulation.started.agents[agent], *version);
}

#[test]
fn a_team_counts_only_its_members() {
    let mut simulation = quarterly();
    let started = Arc::make_mut(&mut simulation.started);
    started.team = Some(TeamId::new("reporting_team").unwrap());
    started.members = ["narrator", "kpi", "painter"].map(|agent| AgentId::new(agent).unwrap()).to_vec();
    let reply = simulation.start().run_to_end();
    assert_eq!(reply.metadata.agents_involved, 3);
    assert_eq!(reply.metadata.agents.len(), 5);
    assert_eq!(reply.metadata.workflow_steps, 5);
}

#[test]
fn the_usage_of_all_calls_is_summed_including_failed_attempts() {
    let mut simulation = Simulation::new(workflow(&json!([
        {"id": "a", "agent": "x", "retry": {"max_attempts": 2}},
    ])));
    simulation.script = Box::new(|key, attempt| {
        let usage = Usage { tokens: Tokens { input: 10, output: 1 }, cost: MicroUsd(5), ..Usage::default() };
        match (attempt, completed_call(key)) {
            (1, _) => CallResult::Failed { cause: Cause::new(ErrorCode::ModelFailed, "half an event"), usage },
            (_, CallResult::Completed { result, hash, provided, .. }) => {
                CallResult::Completed { result, hash, usage, provided }
            }
            (_, other) => other,
        }
    });
    let reply = simulation.start().run_to_end();
    assert_eq!(reply.metadata.tokens_used, Tokens { input: 20, output: 2 });
    assert_eq!(reply.metadata.cost, MicroUsd(10));
}

#[test]
fn a_step_that_refers_only_to_skipped_steps_is_skipped_and_a_plain_dependency_starts() {
    let mut simulation = Simulation::new(workflow(&json!([
        {"id": "maybe", "agent": "x", "when": "inputs.wanted == true"},
        {"id": "uses", "agent": "x", "inputs": {"data": "${steps.maybe.outputs.out}"}},
        {"id": "uses_that", "agent": "x", "inputs": {"data": "${steps.uses.outputs.out}"}},
        {"id": "waits", "agent": "x", "depends_on": ["maybe"]},
    ])));
    simulation.evaluation_script = Box::new(|_| skipped_evaluation());
    let reply = simulation.start().run_to_end();
    assert_eq!(reply.status, Status::Success);
    assert_eq!(simulation.completed(), [key("waits")]);
    for step in ["maybe", "uses", "uses_that"] {
        assert_eq!(*simulation.state.step_status(&key(step)), StepStatus::Skipped);
    }
    let only = |step: &str| SkipReason::ReferencesSkipped { steps: vec![step_id(step)] };
    let reasons = simulation.entries().filter_map(|entry| match entry {
        Entry::StepSkipped { reason, .. } => reason.clone(),
        _ => None,
    });
    assert_eq!(reasons.collect::<Vec<_>>(), [SkipReason::ConditionFalse, only("maybe"), only("uses")]);
}

fn skipped_evaluation() -> StepEvaluation {
    StepEvaluation { skip: Some(SkipReason::ConditionFalse), ..StepEvaluation::default() }
}

#[test]
fn a_step_after_branches_is_evaluated_and_starts_with_the_branch_that_was_executed() {
    let join = |needs: Option<SkipReason>| {
        let mut simulation = Simulation::new(workflow(&json!([
            {"id": "left", "agent": "x"},
            {"id": "right", "agent": "x", "when": "inputs.wanted == true"},
            {"id": "join", "agent": "x",
             "inputs": {"l": "${steps.left.outputs.out}", "r": "${steps.right.outputs.out}"}},
        ])));
        simulation.evaluation_script = Box::new(move |step| match step.as_str() {
            "right" => skipped_evaluation(),
            _ => StepEvaluation { skip: needs.clone(), ..StepEvaluation::default() },
        });
        assert_eq!(simulation.start().run_to_end().status, Status::Success);
        simulation
    };
    assert_eq!(join(None).completed(), [key("left"), key("join")]);
    let needs = SkipReason::ValueAbsent { value: "inputs.r".into(), steps: vec![step_id("right")] };
    let skipped = join(Some(needs.clone()));
    assert_eq!(skipped.completed(), [key("left")]);
    assert!(
        skipped
            .entries()
            .any(|entry| matches!(entry, Entry::StepSkipped { reason: Some(reason), .. } if *reason == needs))
    );
}

#[test]
fn a_condition_that_cannot_be_evaluated_fails_its_run() {
    let mut simulation = Simulation::new(workflow(&json!([{"id": "a", "agent": "x", "when": "inputs.n > 1"}])));
    simulation.start();
    let cause = Cause::new(ErrorCode::ExpressionFailed, "no such key");
    simulation.process(&Event::StepEvaluated { step: step_id("a"), evaluation: Err(cause) });
    let error = simulation.reply.clone().unwrap().error.unwrap();
    assert_eq!(error.code, ErrorCode::ExpressionFailed);
    assert_eq!(error.details["step"], "a");
    assert!(simulation.calls.is_empty());
}

fn each(on_error: &str) -> Simulation {
    let mut simulation = Simulation::new(workflow(&json!([
        {"id": "before", "agent": "x", "compensate": {"agent": "undoer"}},
        {"id": "each", "agent": "x", "depends_on": ["before"], "compensate": {"agent": "undoer"},
         "for_each": {"items": "${inputs.list}", "max_concurrency": 2, "on_error": on_error}},
    ])));
    simulation.evaluation_script = Box::new(|_| evaluation_with_items(Some(5)));
    simulation.start().complete(0).complete(0);
    simulation
}

#[test]
fn a_list_calls_each_item_once_within_its_concurrency_limit() {
    let mut simulation = each("fail");
    assert_eq!(simulation.calls[1..], [(item("each", 0), 1), (item("each", 1), 1)]);
    simulation.complete_step(&item("each", 1));
    assert_eq!(simulation.calls[3..], [(item("each", 2), 1)], "a place was free");
    assert_eq!(simulation.run_to_end().status, Status::Success);
    let called: Vec<&StepKey> = simulation.calls.iter().map(|(key, _)| key).collect();
    assert_eq!(called.len(), 6);
    assert!((0..5).all(|index| simulation.calls_of(&item("each", index)) == 1));
    let call = |effect: &Effect| matches!(effect, Effect::Call { call, .. } if call.as_str() == "run_1/each[0]");
    assert!(each("fail").open.iter().any(call));
}

#[test]
fn an_empty_list_completes_at_once_and_items_with_a_false_condition_are_skipped() {
    let steps = json!([
        {"id": "each", "agent": "x", "when": "item > 1", "for_each": {"items": "${inputs.list}"}},
        {"id": "after", "agent": "x", "depends_on": ["each"]},
    ]);
    let mut empty = Simulation::new(workflow(&steps));
    empty.evaluation_script = Box::new(|_| evaluation_with_items(Some(0)));
    assert_eq!(empty.start().run_to_end().status, Status::Success);
    assert_eq!(empty.completed(), [key("after")]);
    let mut some = Simulation::new(workflow(&steps));
    some.evaluation_script =
        Box::new(|_| StepEvaluation { skipped_items: vec![0, 2], ..evaluation_with_items(Some(4)) });
    assert_eq!(some.start().run_to_end().status, Status::Success);
    assert_eq!(some.completed(), [item("each", 1), item("each", 3), key("after")]);
}

#[test]
fn a_failed_item_fails_its_step_and_aborts_the_others() {
    let mut simulation = each("fail");
    simulation.script =
        Box::new(
            |key, _| if key.index == Some(1) { failed_call(ErrorCode::HandlerFailed) } else { completed_call(key) },
        );
    simulation.complete_step(&item("each", 0)).complete_step(&item("each", 1));
    assert_eq!(*simulation.state.step_status(&item("each", 2)), StepStatus::Cancelled);
    let reply = simulation.run_to_end();
    let error = reply.error.unwrap();
    assert_eq!((error.code, &error.details["step"]), (ErrorCode::HandlerFailed, &json!("each[1]")));
    assert_eq!(simulation.compensated, [key("before")], "the items stay done");
}

#[test]
fn a_failed_item_is_skipped_if_the_step_continues_on_errors() {
    let mut simulation = each("continue");
    simulation.script =
        Box::new(
            |key, _| if key.index == Some(1) { failed_call(ErrorCode::HandlerFailed) } else { completed_call(key) },
        );
    let reply = simulation.run_to_end();
    assert_eq!(reply.status, Status::Success);
    assert!(matches!(simulation.state.step_status(&item("each", 1)), StepStatus::Failed { .. }));
    assert_eq!(reply.metadata.workflow_steps, 5, "the step before and four items");
}

#[test]
fn a_failed_item_compensates_its_siblings_if_the_step_compensates() {
    let mut simulation = each("compensate");
    simulation.script =
        Box::new(
            |key, _| if key.index == Some(2) { failed_call(ErrorCode::HandlerFailed) } else { completed_call(key) },
        );
    simulation.complete_step(&item("each", 1)).complete_step(&item("each", 0)).complete_step(&item("each", 2));
    let reply = simulation.run_to_end();
    assert_eq!(simulation.compensated, [item("each", 0), item("each", 1), key("before")]);
    let compensated = reply.error.unwrap().details["undone"].clone();
    assert_eq!(compensated, json!(["before", "each[0]", "each[1]"]));
}

pub(super) fn retried(code: ErrorCode) -> Simulation {
    let mut simulation = Simulation::new(workflow(&json!([
        {"id": "a", "agent": "x", "retry": {"max_attempts": 3, "delay": 2.0, "backoff": "exponential"}},
    ])));
    simulation.script = Box::new(move |_, _| failed_call(code));
    simulation.start();
    simulation
}

#[test]
fn a_failed_call_is_retried_with_increasing_delays_up_to_its_limit() {
    let mut simulation = retried(ErrorCode::Overloaded);
    simulation.complete(0);
    let timer = TimerId::Retry(key("a"));
    assert_eq!(simulation.timers[&timer], START.saturating_add(Duration::from_secs(2)));
    simulation.process(&Event::TimerFired { timer: timer.clone() });
    assert_eq!(simulation.calls.len(), 1, "too early");
    simulation.wake(&timer).complete(0);
    assert_eq!(simulation.timers[&timer], START.saturating_add(Duration::from_secs(6)));
    let reply = simulation.run_to_end();
    assert_eq!(simulation.calls, [(key("a"), 1), (key("a"), 2), (key("a"), 3)]);
    assert_eq!(reply.error.unwrap().code, ErrorCode::Overloaded);
}

#[test]
fn a_permanent_failure_is_not_retried() {
    let mut simulation = retried(ErrorCode::InvalidData);
    simulation.complete(0);
    assert_eq!(simulation.reply.unwrap().error.unwrap().code, ErrorCode::InvalidData);
}

#[test]
fn a_retry_waits_at_least_the_requested_delay_and_never_beyond_the_deadline() {
    let longer = |wait: Duration| {
        let mut simulation = retried(ErrorCode::Overloaded);
        let cause = Cause::new(ErrorCode::Overloaded, "busy").with_retry_after(wait);
        simulation.script = Box::new(move |_, _| CallResult::Failed { cause: cause.clone(), usage: Usage::default() });
        simulation.complete(0);
        simulation
    };
    let simulation = longer(Duration::from_secs(9));
    assert_eq!(simulation.timers[&TimerId::Retry(key("a"))], START.saturating_add(Duration::from_secs(9)));
    assert!(longer(TIME).reply.is_some(), "there is no time for it");
}

#[test]
fn all_steps_share_the_retries_of_their_run() {
    let step = |id: &str| json!({"id": id, "agent": "x", "retry": {"max_attempts": 9}});
    let mut simulation = Simulation::new(workflow(&json!([step("a"), step("b"), step("c")])));
    Arc::make_mut(&mut simulation.started).retry_budget = 4;
    simulation.script = Box::new(|_, _| failed_call(ErrorCode::ModelFailed));
    assert_eq!(simulation.start().run_to_end().status, Status::Failed);
    assert_eq!(simulation.state.retries_remaining(), 0);
    let retried = simulation.entries().filter(|entry| matches!(entry, Entry::StepRetried { .. }));
    assert_eq!(retried.count(), 4);
}

#[test]
fn retries_of_nested_calls_are_recorded_and_reduce_the_budget() {
    let step = json!({"id": "a", "agent": "x", "retry": {"max_attempts": 9}});
    let mut simulation = Simulation::new(workflow(&json!([step])));
    Arc::make_mut(&mut simulation.started).retry_budget = 3;
    simulation.script = Box::new(|_, _| failed_call(ErrorCode::ModelFailed));
    simulation.start();
    simulation.process(&Event::RetryTaken);
    simulation.process(&Event::RetryTaken);
    assert_eq!(simulation.state.retries_remaining(), 1);
    assert_eq!(simulation.run_to_end().status, Status::Failed);
    let retried = simulation.entries().filter(|entry| matches!(entry, Entry::StepRetried { .. }));
    assert_eq!((retried.count(), simulation.state.retries_remaining()), (1, 0));
    let before = simulation.entries().count();
    simulation.process(&Event::RetryTaken);
    assert_eq!(simulation.entries().count(), before, "nothing is written behind the end");
}
