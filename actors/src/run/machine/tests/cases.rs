//! The machine verb by verb.

use std::sync::Arc;
use std::time::Duration;

use greenroom_protocol::journal::{Entry, StepKey};
use greenroom_protocol::reply::Usage;
use greenroom_protocol::{AgentId, Cause, ErrorCode, MicroUsd, Status, TeamId, Tokens};
use serde_json::json;

use super::simulation::{START, Simulation, TIME, admin, done, failed, item, key, step_id, workflow};
use crate::run::machine::{CallResult, Effect, Event, StepEvaluation, StepStatus, TimerId, answerable};

pub(super) fn needed(items: Option<u32>) -> StepEvaluation {
    StepEvaluation { runs: true, item_count: items, ..StepEvaluation::default() }
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
fn steps_begin_as_soon_as_what_they_depend_on_is_done() {
    let mut world = quarterly();
    world.begin();
    assert_eq!(world.called, [(key("gather"), 1)]);
    world.answer(0);
    assert_eq!(world.called[1..], [(key("money"), 1), (key("kpis"), 1)], "both at the same time");
    world.answer_step(&key("kpis"));
    assert_eq!(world.called.len(), 3, "the charts wait for both");
    let reply = world.run_to_end();
    assert_eq!(reply.status, Status::Success);
    assert_eq!(reply.metadata.workflow_steps, 5);
    assert_eq!(reply.metadata.agents_involved, 5);
    assert_eq!(reply.metadata.policy_decisions, 5);
    assert_eq!(reply.metadata.agents[0], AgentId::new("collector").unwrap());
}

#[test]
fn a_call_names_the_pinned_version_and_the_key_that_every_attempt_has() {
    let mut world = quarterly();
    world.begin();
    let Effect::Call { target, call, .. } = &world.open[0] else { panic!("a call") };
    assert_eq!(call.as_str(), "run_1/gather");
    let crate::run::machine::CallTarget::Agent { agent, version } = target else { panic!("an agent") };
    assert_eq!(world.begun.agents[agent], *version);
}

#[test]
fn a_team_counts_only_its_members() {
    let mut world = quarterly();
    let begun = Arc::make_mut(&mut world.begun);
    begun.team = Some(TeamId::new("reporting_team").unwrap());
    begun.members = ["narrator", "kpi", "painter"].map(|agent| AgentId::new(agent).unwrap()).to_vec();
    let reply = world.begin().run_to_end();
    assert_eq!(reply.metadata.agents_involved, 3);
    assert_eq!(reply.metadata.agents.len(), 5);
    assert_eq!(reply.metadata.workflow_steps, 5);
}

#[test]
fn what_the_calls_took_is_added_up_failed_attempts_included() {
    let mut world = Simulation::new(workflow(&json!([
        {"id": "a", "agent": "x", "retry": {"max_attempts": 2}},
    ])));
    world.script = Box::new(|key, attempt| {
        let usage = Usage { tokens: Tokens { input: 10, output: 1 }, cost: MicroUsd(5), ..Usage::default() };
        match (attempt, done(key)) {
            (1, _) => CallResult::Failed { cause: Cause::new(ErrorCode::ModelFailed, "half an event"), usage },
            (_, CallResult::Completed { result, hash, .. }) => CallResult::Completed { result, hash, usage },
            (_, other) => other,
        }
    });
    let reply = world.begin().run_to_end();
    assert_eq!(reply.metadata.tokens_used, Tokens { input: 20, output: 2 });
    assert!((reply.metadata.cost_usd - 0.000_01).abs() < 1e-12);
}

#[test]
fn what_refers_to_a_skipped_step_is_skipped_and_what_only_waits_for_it_goes_on() {
    let mut world = Simulation::new(workflow(&json!([
        {"id": "maybe", "agent": "x", "when": "inputs.wanted == true"},
        {"id": "uses", "agent": "x", "inputs": {"data": "${steps.maybe.outputs.out}"}},
        {"id": "uses_that", "agent": "x", "inputs": {"data": "${steps.uses.outputs.out}"}},
        {"id": "waits", "agent": "x", "depends_on": ["maybe"]},
    ])));
    world.scale = Box::new(|_| StepEvaluation::default());
    let reply = world.begin().run_to_end();
    assert_eq!(reply.status, Status::Success);
    assert_eq!(world.completed(), [key("waits")]);
    for step in ["maybe", "uses", "uses_that"] {
        assert_eq!(*world.state.step(&key(step)), StepStatus::Skipped);
    }
}

#[test]
fn a_condition_that_cannot_be_evaluated_fails_its_run() {
    let mut world = Simulation::new(workflow(&json!([{"id": "a", "agent": "x", "when": "inputs.n > 1"}])));
    world.begin();
    let cause = Cause::new(ErrorCode::ExpressionFailed, "no such key");
    world.tell(&Event::StepEvaluated { step: step_id("a"), weight: Err(cause) });
    let error = world.reply.clone().unwrap().error.unwrap();
    assert_eq!(error.code, ErrorCode::ExpressionFailed);
    assert_eq!(error.details["step"], "a");
    assert!(world.called.is_empty());
}

fn each(on_error: &str) -> Simulation {
    let mut world = Simulation::new(workflow(&json!([
        {"id": "before", "agent": "x", "compensate": {"agent": "undoer"}},
        {"id": "each", "agent": "x", "depends_on": ["before"], "compensate": {"agent": "undoer"},
         "for_each": {"items": "${inputs.list}", "max_concurrency": 2, "on_error": on_error}},
    ])));
    world.scale = Box::new(|_| needed(Some(5)));
    world.begin().answer(0).answer(0);
    world
}

#[test]
fn a_list_is_worked_through_so_many_at_a_time_and_each_item_once() {
    let mut world = each("fail");
    assert_eq!(world.called[1..], [(item("each", 0), 1), (item("each", 1), 1)]);
    world.answer_step(&item("each", 1));
    assert_eq!(world.called[3..], [(item("each", 2), 1)], "a place was free");
    assert_eq!(world.run_to_end().status, Status::Success);
    let called: Vec<&StepKey> = world.called.iter().map(|(key, _)| key).collect();
    assert_eq!(called.len(), 6);
    assert!((0..5).all(|index| world.calls_of(&item("each", index)) == 1));
    let call = |effect: &Effect| matches!(effect, Effect::Call { call, .. } if call.as_str() == "run_1/each[0]");
    assert!(each("fail").open.iter().any(call));
}

#[test]
fn an_empty_list_is_done_at_once_and_items_without_need_are_skipped() {
    let steps = json!([
        {"id": "each", "agent": "x", "when": "item > 1", "for_each": {"items": "${inputs.list}"}},
        {"id": "after", "agent": "x", "depends_on": ["each"]},
    ]);
    let mut empty = Simulation::new(workflow(&steps));
    empty.scale = Box::new(|_| needed(Some(0)));
    assert_eq!(empty.begin().run_to_end().status, Status::Success);
    assert_eq!(empty.completed(), [key("after")]);
    let mut some = Simulation::new(workflow(&steps));
    some.scale = Box::new(|_| StepEvaluation { skipped_items: vec![0, 2], ..needed(Some(4)) });
    assert_eq!(some.begin().run_to_end().status, Status::Success);
    assert_eq!(some.completed(), [item("each", 1), item("each", 3), key("after")]);
}

#[test]
fn an_item_that_fails_fails_its_step_and_stops_the_others() {
    let mut world = each("fail");
    world.script = Box::new(|key, _| if key.index == Some(1) { failed(ErrorCode::HandlerFailed) } else { done(key) });
    world.answer_step(&item("each", 0)).answer_step(&item("each", 1));
    assert_eq!(*world.state.step(&item("each", 2)), StepStatus::Cancelled);
    let reply = world.run_to_end();
    let error = reply.error.unwrap();
    assert_eq!((error.code, &error.details["step"]), (ErrorCode::HandlerFailed, &json!("each[1]")));
    assert_eq!(world.undone, [key("before")], "the items stay done");
}

#[test]
fn an_item_that_fails_is_passed_over_where_the_step_says_so() {
    let mut world = each("continue");
    world.script = Box::new(|key, _| if key.index == Some(1) { failed(ErrorCode::HandlerFailed) } else { done(key) });
    let reply = world.run_to_end();
    assert_eq!(reply.status, Status::Success);
    assert!(matches!(world.state.step(&item("each", 1)), StepStatus::Failed { .. }));
    assert_eq!(reply.metadata.workflow_steps, 5, "the step before and four items");
}

#[test]
fn an_item_that_fails_undoes_its_siblings_where_the_step_says_so() {
    let mut world = each("compensate");
    world.script = Box::new(|key, _| if key.index == Some(2) { failed(ErrorCode::HandlerFailed) } else { done(key) });
    world.answer_step(&item("each", 1)).answer_step(&item("each", 0)).answer_step(&item("each", 2));
    let reply = world.run_to_end();
    assert_eq!(world.undone, [item("each", 0), item("each", 1), key("before")]);
    let undone = reply.error.unwrap().details["undone"].clone();
    assert_eq!(undone, json!(["before", "each[0]", "each[1]"]));
}

pub(super) fn retried(code: ErrorCode) -> Simulation {
    let mut world = Simulation::new(workflow(&json!([
        {"id": "a", "agent": "x", "retry": {"max_attempts": 3, "delay": 2.0, "backoff": "exponential"}},
    ])));
    world.script = Box::new(move |_, _| failed(code));
    world.begin();
    world
}

#[test]
fn a_failed_call_is_made_again_after_a_growing_wait_and_then_no_more() {
    let mut world = retried(ErrorCode::Overloaded);
    world.answer(0);
    let timer = TimerId::Retry(key("a"));
    assert_eq!(world.timers[&timer], START.saturating_add(Duration::from_secs(2)));
    world.tell(&Event::TimerFired { timer: timer.clone() });
    assert_eq!(world.called.len(), 1, "too early");
    world.wake(&timer).answer(0);
    assert_eq!(world.timers[&timer], START.saturating_add(Duration::from_secs(6)));
    let reply = world.run_to_end();
    assert_eq!(world.called, [(key("a"), 1), (key("a"), 2), (key("a"), 3)]);
    assert_eq!(reply.error.unwrap().code, ErrorCode::Overloaded);
}

#[test]
fn what_would_fail_again_is_not_tried_again() {
    let mut world = retried(ErrorCode::InvalidData);
    world.answer(0);
    assert_eq!(world.reply.unwrap().error.unwrap().code, ErrorCode::InvalidData);
}

#[test]
fn nobody_waits_shorter_than_was_asked_for_nor_beyond_the_deadline() {
    let longer = |wait: Duration| {
        let mut world = retried(ErrorCode::Overloaded);
        let cause = Cause::new(ErrorCode::Overloaded, "busy").with_retry_after(wait);
        world.script = Box::new(move |_, _| CallResult::Failed { cause: cause.clone(), usage: Usage::default() });
        world.answer(0);
        world
    };
    let world = longer(Duration::from_secs(9));
    assert_eq!(world.timers[&TimerId::Retry(key("a"))], START.saturating_add(Duration::from_secs(9)));
    assert!(longer(TIME).reply.is_some(), "there is no time for it");
}

#[test]
fn all_steps_share_the_retries_of_their_run() {
    let step = |id: &str| json!({"id": id, "agent": "x", "retry": {"max_attempts": 9}});
    let mut world = Simulation::new(workflow(&json!([step("a"), step("b"), step("c")])));
    Arc::make_mut(&mut world.begun).retry_budget = 4;
    world.script = Box::new(|_, _| failed(ErrorCode::ModelFailed));
    assert_eq!(world.begin().run_to_end().status, Status::Failed);
    assert_eq!(world.state.retries_remaining(), 0);
    let retried = world.entries().filter(|entry| matches!(entry, Entry::StepRetried { .. }));
    assert_eq!(retried.count(), 4);
}

#[test]
fn what_the_calls_below_took_is_written_down_and_missing_afterwards() {
    let step = json!({"id": "a", "agent": "x", "retry": {"max_attempts": 9}});
    let mut world = Simulation::new(workflow(&json!([step])));
    Arc::make_mut(&mut world.begun).retry_budget = 3;
    world.script = Box::new(|_, _| failed(ErrorCode::ModelFailed));
    world.begin();
    world.tell(&Event::RetryTaken);
    world.tell(&Event::RetryTaken);
    assert_eq!(world.state.retries_remaining(), 1);
    assert_eq!(world.run_to_end().status, Status::Failed);
    let retried = world.entries().filter(|entry| matches!(entry, Entry::StepRetried { .. }));
    assert_eq!((retried.count(), world.state.retries_remaining()), (1, 0));
    let before = world.entries().count();
    world.tell(&Event::RetryTaken);
    assert_eq!(world.entries().count(), before, "nothing is written behind the end");
}

fn asked() -> Simulation {
    let mut world = Simulation::new(workflow(&json!([
        {"id": "a", "agent": "x"},
        {"id": "ok", "agent": "x", "depends_on": ["a"], "approval": {"prompt": "Send it?"}},
        {"id": "sign", "approval": {"prompt": "Sign it?"}, "depends_on": ["ok"]},
    ])));
    world.scale = Box::new(|step| StepEvaluation { approval_prompt: Some(format!("{step}?")), ..needed(None) });
    world.begin().answer(0).answer(0);
    world
}

#[test]
fn an_approval_waits_for_a_person_and_then_goes_on() {
    let mut world = asked();
    assert!(world.open.is_empty());
    assert_eq!(answerable(&world.state, &step_id("a")).unwrap_err().code, ErrorCode::UnknownStep);
    world.tell(&Event::Approved { step: step_id("a"), by: admin() });
    assert!(world.open.is_empty(), "that step waits for nobody");
    world.tell(&Event::Approved { step: step_id("ok"), by: admin() }).answer(0).answer(0);
    assert!(answerable(&world.state, &step_id("sign")).is_ok());
    world.tell(&Event::Approved { step: step_id("sign"), by: admin() });
    assert_eq!(world.run_to_end().status, Status::Success);
    assert_eq!(world.called.len(), 2, "a step that is only an approval calls nobody");
    assert_eq!(answerable(&world.state, &step_id("sign")).unwrap_err().code, ErrorCode::RunNotActive);
}

#[test]
fn an_approval_survives_the_process_that_asked() {
    let world = asked();
    let scale = Box::new(|step: &_| StepEvaluation { approval_prompt: Some(format!("{step}?")), ..needed(None) });
    let mut next = world.crashed_after(world.journal.len(), Box::new(|key, _| done(key)), scale);
    next.resume();
    assert!(next.open.is_empty(), "the person is not asked twice");
    next.tell(&Event::Approved { step: step_id("ok"), by: admin() });
    assert_eq!(next.called, [(key("ok"), 1)]);
}

#[test]
fn a_rejection_fails_the_run_and_names_who_rejected() {
    let mut world = asked();
    world.tell(&Event::Rejected { step: step_id("ok"), by: admin() });
    let reply = world.reply.unwrap();
    let error = reply.error.unwrap();
    assert_eq!((reply.status, error.code), (Status::Failed, ErrorCode::ApprovalRejected));
    assert_eq!(error.details["by"], "admin");
}
