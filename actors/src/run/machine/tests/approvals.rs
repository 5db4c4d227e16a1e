//! Approvals, the time that passes meanwhile, and the approvals that called runs await.

use std::sync::Arc;
use std::time::Duration;

use greenroom_protocol::journal::{Entry, PendingApproval};
use greenroom_protocol::{Deadline, ErrorCode, RunId, Status};
use serde_json::json;

use super::cases::evaluation_with_items;
use super::simulation::{START, Simulation, TIME, admin, completed_call, key, step_id, workflow};
use crate::run::machine::{CallWaits, Event, StepEvaluation, TimerId, require_awaiting_approval};

const HOUR: Duration = Duration::from_secs(60 * 60);

fn awaiting_approval() -> Simulation {
    awaiting_approval_with(|_| ())
}

fn awaiting_approval_with(change: impl FnOnce(&mut greenroom_protocol::journal::RunStarted)) -> Simulation {
    let mut simulation = Simulation::new(workflow(&json!([
        {"id": "a", "agent": "x"},
        {"id": "ok", "agent": "x", "depends_on": ["a"], "approval": {"prompt": "Send it?"}},
        {"id": "sign", "approval": {"prompt": "Sign it?"}, "depends_on": ["ok"]},
    ])));
    simulation.evaluation_script =
        Box::new(|step| StepEvaluation { approval_prompt: Some(format!("{step}?")), ..evaluation_with_items(None) });
    change(Arc::make_mut(&mut simulation.started));
    simulation.start().complete(0).complete(0);
    simulation
}

#[test]
fn an_approved_step_starts_after_its_approval() {
    let mut simulation = awaiting_approval();
    assert!(simulation.open.is_empty());
    assert_eq!(
        require_awaiting_approval(&simulation.state, &step_id("a"), &[]).unwrap_err().code,
        ErrorCode::UnknownStep
    );
    simulation.process(&Event::Approved { step: step_id("a"), by: admin() });
    assert!(simulation.open.is_empty(), "that step waits for nobody");
    simulation.process(&Event::Approved { step: step_id("ok"), by: admin() }).complete(0).complete(0);
    assert!(require_awaiting_approval(&simulation.state, &step_id("sign"), &[]).is_ok());
    simulation.process(&Event::Approved { step: step_id("sign"), by: admin() });
    assert_eq!(simulation.run_to_end().status, Status::Success);
    assert_eq!(simulation.calls.len(), 2, "a step that is only an approval calls nobody");
    assert_eq!(
        require_awaiting_approval(&simulation.state, &step_id("sign"), &[]).unwrap_err().code,
        ErrorCode::RunNotActive
    );
}

#[test]
fn an_awaited_approval_survives_a_crash() {
    let simulation = awaiting_approval();
    let scale = Box::new(|step: &_| StepEvaluation {
        approval_prompt: Some(format!("{step}?")),
        ..evaluation_with_items(None)
    });
    let mut next = simulation.crashed_after(simulation.journal.len(), Box::new(|key, _| completed_call(key)), scale);
    next.resume();
    assert!(next.open.is_empty(), "the person is not asked twice");
    next.process(&Event::Approved { step: step_id("ok"), by: admin() });
    assert_eq!(next.calls, [(key("ok"), 1)]);
}

#[test]
fn a_rejection_fails_the_run_and_names_the_user() {
    let mut simulation = awaiting_approval();
    simulation.process(&Event::Rejected { step: step_id("ok"), by: admin(), reason: None });
    let reply = simulation.reply.unwrap();
    let error = reply.error.unwrap();
    assert_eq!((reply.status, error.code), (Status::Failed, ErrorCode::ApprovalRejected));
    assert_eq!(error.details["by"], "admin");
}

/// A step that calls another run, and one after it.
fn calling() -> Simulation {
    let mut simulation = Simulation::new(workflow(&json!([
        {"id": "call", "workflow": "inner"},
        {"id": "after", "agent": "x", "depends_on": ["call"]},
    ])));
    simulation.start();
    simulation
}

fn called_run_waits(since: greenroom_protocol::Timestamp, idle: bool) -> CallWaits {
    let run = RunId::new("run_inner").unwrap();
    let approvals =
        vec![PendingApproval { run, step: step_id("ask"), index: None, since, until: None, calls: Vec::new() }];
    CallWaits { approvals, waits: Vec::new(), idle, retry_at: None }
}

#[test]
fn waiting_for_a_person_does_not_use_up_the_time_of_the_run() {
    let mut simulation = awaiting_approval();
    assert!(simulation.state.is_paused());
    simulation.wait(HOUR).process(&Event::TimerFired { timer: TimerId::Deadline });
    assert!(simulation.reply.is_none(), "the deadline has passed, and the run has not used its time");
    assert_eq!(simulation.state.time_left(simulation.now), Some(TIME));
    simulation.process(&Event::Approved { step: step_id("ok"), by: admin() });
    assert_eq!(simulation.timers[&TimerId::Deadline], START.saturating_add(HOUR).saturating_add(TIME));
    simulation.wake(&TimerId::Deadline);
    assert_eq!(simulation.reply.unwrap().status, Status::TimedOut, "its own work does");
}

#[test]
fn the_time_of_a_run_passes_while_another_step_is_in_flight() {
    let mut simulation = Simulation::new(workflow(&json!([
        {"id": "ask", "approval": {"prompt": "Send it?"}},
        {"id": "work", "agent": "x"},
    ])));
    simulation.evaluation_script =
        Box::new(|_| StepEvaluation { approval_prompt: Some("?".into()), ..StepEvaluation::default() });
    simulation.start().complete_evaluation();
    assert!(!simulation.state.is_paused());
    simulation.wake(&TimerId::Deadline);
    assert_eq!(simulation.reply.unwrap().status, Status::TimedOut);
}

#[test]
fn the_deadline_of_the_request_that_waits_for_a_run_does_not_move() {
    let mut simulation = awaiting_approval_with(|started| {
        started.request_deadline = Some(Deadline::after(START, HOUR));
    });
    simulation.wake(&TimerId::Deadline);
    assert!(simulation.reply.is_none());
    simulation.wake(&TimerId::RequestDeadline);
    assert_eq!((simulation.now, simulation.reply.unwrap().status), (START.saturating_add(HOUR), Status::TimedOut));
}

#[test]
fn an_approval_with_a_timeout_fails_its_step_after_it_also_across_a_crash() {
    let steps = json!([{"id": "ask", "approval": {"prompt": "Send it?", "timeout": 60}}]);
    let evaluation =
        || Box::new(|_: &_| StepEvaluation { approval_prompt: Some("?".into()), ..StepEvaluation::default() });
    let mut simulation = Simulation::new(workflow(&steps));
    simulation.evaluation_script = evaluation();
    simulation.start().complete(0);
    let timer = TimerId::Approval(step_id("ask"));
    let until = START.saturating_add(Duration::from_secs(60));
    assert_eq!(simulation.state.pending_approvals()[0].until, Some(until));
    simulation.process(&Event::TimerFired { timer: timer.clone() });
    assert!(simulation.reply.is_none(), "too early");
    let script = || Box::new(|key: &_, _| completed_call(key));
    let mut next = simulation.crashed_after(simulation.journal.len(), script(), evaluation());
    next.resume();
    for simulation in [&mut simulation, &mut next] {
        assert_eq!(simulation.timers[&timer], until);
        simulation.wake(&timer);
        let error = simulation.reply.clone().unwrap().error.unwrap();
        assert_eq!((error.code, &error.details["step"]), (ErrorCode::TimedOut, &json!("ask")));
        assert!(error.message.contains("nobody approved or rejected it within 60 s"), "{}", error.message);
    }
}

#[test]
fn a_called_run_that_only_waits_stops_the_time_of_its_caller_and_is_named() {
    let mut simulation = calling();
    let waits = called_run_waits(simulation.now, true);
    simulation.process(&Event::CallWaits { key: key("call"), waits: waits.clone() });
    assert!(simulation.state.is_paused());
    let refused = require_awaiting_approval(&simulation.state, &step_id("ask"), &[]).unwrap_err();
    assert_eq!(refused.code, ErrorCode::UnknownStep);
    assert!(refused.message.contains("`ask` of run_inner"), "{}", refused.message);
    let entries = simulation.journal.len();
    simulation.process(&Event::CallWaits { key: key("call"), waits });
    assert_eq!(simulation.journal.len(), entries, "it was known");
    let nothing = CallWaits { approvals: Vec::new(), waits: Vec::new(), idle: false, retry_at: None };
    simulation.wait(HOUR).process(&Event::CallWaits { key: key("call"), waits: nothing.clone() });
    assert_eq!(simulation.state.deadline(), Some(Deadline::after(START, HOUR + TIME)));
    assert!(simulation.state.pending_approvals().is_empty());
    assert_eq!(simulation.run_to_end().status, Status::Success);
    simulation.process(&Event::CallWaits { key: key("call"), waits: nothing });
}

#[test]
fn a_called_run_that_also_works_is_named_and_its_caller_has_its_deadline() {
    let mut simulation = calling();
    let waits = called_run_waits(simulation.now, false);
    simulation.process(&Event::CallWaits { key: key("call"), waits });
    assert_eq!(simulation.state.pending_approvals().len(), 1);
    assert!(!simulation.state.is_paused());
    simulation.complete(0);
    assert!(simulation.state.pending_approvals().is_empty(), "its call has returned");
}

#[test]
fn a_run_whose_called_run_waits_for_a_late_retry_does_nothing_else_and_has_its_deadline() {
    let mut simulation = calling();
    let retry_at = simulation.now.saturating_add(HOUR);
    let waits = CallWaits { approvals: Vec::new(), waits: Vec::new(), idle: false, retry_at: Some(retry_at) };
    simulation.process(&Event::CallWaits { key: key("call"), waits });
    assert!(!simulation.state.is_paused());
    assert_eq!(simulation.state.next_retry(), Some(retry_at));
    simulation.complete(0);
    assert_eq!(simulation.state.next_retry(), None, "its call has returned");
}

#[test]
fn a_resumed_run_learns_again_what_its_called_runs_wait_for() {
    let mut simulation = calling();
    let waits = called_run_waits(simulation.now, true);
    simulation.process(&Event::CallWaits { key: key("call"), waits: waits.clone() });
    let scale = Box::new(|_: &_| evaluation_with_items(None));
    let mut next = simulation.crashed_after(simulation.journal.len(), Box::new(|key, _| completed_call(key)), scale);
    next.wait(HOUR).resume();
    assert_eq!(next.state.deadline(), Some(Deadline::after(START, HOUR + TIME)), "the pause counts once");
    assert!(!next.state.is_paused() && next.state.pending_approvals().is_empty());
    next.process(&Event::CallWaits { key: key("call"), waits });
    assert!(next.state.is_paused());
    let reported = next.entries().filter(|entry| matches!(entry, Entry::CallAwaitsApproval { .. }));
    assert_eq!(reported.count(), 2);
}
