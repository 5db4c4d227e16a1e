//! Stopped, denied, compensated and resumed runs.

use std::sync::Arc;
use std::time::Duration;

use greenroom_protocol::journal::Entry;
use greenroom_protocol::reply::Usage;
use greenroom_protocol::{Cause, Deadline, ErrorCode, Status, Timestamp};
use greenroom_registry::runs::OwnerActivity;
use serde_json::json;

use super::cases::{evaluation_with_items, quarterly, retried};
use super::simulation::{START, Simulation, TIME, admin, completed_call, failed_call, key, plan, workflow};
use crate::run::machine::{CallResult, Effect, Event, Phase, TimerId, deadline_after_pause};

#[test]
fn a_terminated_run_aborts_its_effects_and_ignores_their_results() {
    let mut simulation = quarterly();
    simulation.start().complete(0);
    simulation.process(&Event::CancelRequested { by: admin() });
    assert_eq!(simulation.reply.as_ref().unwrap().status, Status::Cancelled);
    assert_eq!(simulation.aborted, [key("kpis"), key("money")]);
    let entries = simulation.journal.len();
    simulation.process(&Event::CallCompleted { key: key("kpis"), attempt: 1, result: completed_call(&key("kpis")) });
    simulation.process(&Event::CancelRequested { by: admin() });
    assert_eq!(simulation.journal.len(), entries);
}

#[test]
fn a_result_counts_once_and_only_for_its_attempt() {
    let mut simulation = quarterly();
    simulation.start();
    simulation.process(&Event::CallCompleted {
        key: key("gather"),
        attempt: 2,
        result: completed_call(&key("gather")),
    });
    assert!(simulation.completed().is_empty());
    simulation.complete(0);
    simulation.process(&Event::CallCompleted {
        key: key("gather"),
        attempt: 1,
        result: failed_call(ErrorCode::Internal),
    });
    assert_eq!(simulation.completed(), [key("gather")]);
    assert_eq!(simulation.run_to_end().status, Status::Success);
}

#[test]
fn the_deadline_ends_a_run_as_timed_out_and_not_before() {
    let mut simulation = quarterly();
    simulation.start();
    simulation.process(&Event::TimerFired { timer: TimerId::Deadline });
    assert!(simulation.reply.is_none());
    simulation.wake(&TimerId::Deadline);
    assert_eq!(simulation.reply.unwrap().status, Status::TimedOut);
}

#[test]
fn a_denied_step_denies_its_run_with_the_same_rules() {
    let mut simulation = quarterly();
    simulation.script = Box::new(|_, _| {
        let rules = json!({"reasons": [{"code": "access_allowed", "message": "no"}]});
        CallResult::Failed {
            cause: Cause::new(ErrorCode::PolicyDenied, "denied").with_details(rules),
            usage: Usage::default(),
        }
    });
    let reply = simulation.start().run_to_end();
    let error = reply.error.unwrap();
    assert_eq!((reply.status, error.code), (Status::Denied, ErrorCode::PolicyDenied));
    assert_eq!(error.details["reasons"][0]["code"], "access_allowed");
    assert_eq!(error.details["step"], "gather");
}

#[test]
fn an_invalid_request_of_a_step_does_not_make_the_runs_request_invalid() {
    let mut simulation = quarterly();
    simulation.script = Box::new(|_, _| failed_call(ErrorCode::MissingInput));
    let error = simulation.start().run_to_end().error.unwrap();
    assert_eq!(error.code, ErrorCode::StepFailed);
    assert_eq!(error.details["cause"]["code"], "missing_input");
    assert_eq!(error.exit_class(), 1);
}

/// The exit code of the command line.
trait ExitClass {
    fn exit_class(&self) -> u8;
}

impl ExitClass for Cause {
    fn exit_class(&self) -> u8 {
        self.code.exit_code()
    }
}

fn compensating() -> Simulation {
    let step = |id: &str, on: &[&str]| json!({"id": id, "agent": "x", "depends_on": on, "compensate": {"agent": "u"}});
    let steps = json!([step("a", &[]), step("b", &["a"]), step("c", &["b"])]);
    let whole = json!({"workflow_id": "w", "name": "W", "steps": steps, "compensation_timeout": 30});
    let mut simulation = Simulation::new(plan(&whole));
    simulation.script =
        Box::new(
            |key, _| if key.step.as_str() == "c" { failed_call(ErrorCode::HandlerFailed) } else { completed_call(key) },
        );
    simulation.start().complete(0).complete(0).complete(0);
    simulation
}

#[test]
fn a_failed_compensation_is_retried_and_then_reported() {
    let mut simulation = compensating();
    assert_eq!(simulation.compensated, [key("b")], "one at a time");
    simulation.compensation_script =
        Box::new(
            |key, _| if key.step.as_str() == "b" { failed_call(ErrorCode::ModelFailed) } else { completed_call(key) },
        );
    let reply = simulation.run_to_end();
    assert_eq!(simulation.compensated, [key("b"), key("b"), key("b"), key("a")]);
    let details = reply.error.unwrap().details;
    assert_eq!((&details["undone"], &details["not_undone"]), (&json!(["a"]), &json!(["b"])));
}

#[test]
fn compensation_has_its_own_timeout_after_which_it_stops() {
    let mut simulation = compensating();
    assert!(matches!(simulation.state.phase(), Phase::Compensating { .. }));
    simulation.wake(&TimerId::Compensation);
    assert_eq!(simulation.now, START.saturating_add(Duration::from_secs(30)));
    let details = simulation.reply.unwrap().error.unwrap().details;
    assert_eq!(details["not_undone"], json!(["a", "b"]));
}

#[test]
fn a_resumed_compensation_has_its_whole_timeout_again() {
    let simulation = compensating();
    let scale = Box::new(|_: &_| evaluation_with_items(None));
    let mut next = simulation.crashed_after(simulation.journal.len(), Box::new(|key, _| completed_call(key)), scale);
    next.wait(TIME).resume();
    assert_eq!(next.timers[&TimerId::Compensation], next.now.saturating_add(Duration::from_secs(30)));
    assert_eq!(next.run_to_end().error.unwrap().details["undone"], json!(["a", "b"]));
}

#[test]
fn a_run_whose_time_is_up_is_compensated_in_time_of_its_own() {
    let step = |id: &str, on: &[&str]| json!({"id": id, "agent": "x", "depends_on": on, "compensate": {"agent": "u"}});
    let mut simulation = Simulation::new(workflow(&json!([step("a", &[]), step("b", &["a"])])));
    simulation.start().complete(0);
    simulation.wake(&TimerId::Deadline);
    let Phase::Compensating { until, .. } = simulation.state.phase() else { panic!("it is being undone") };
    assert!(*until > simulation.now);
    let reply = simulation.run_to_end();
    assert_eq!((reply.status, &reply.error.unwrap().details["undone"]), (Status::TimedOut, &json!(["a"])));
}

#[test]
fn a_cancelled_run_is_compensated_before_it_ends_also_across_a_crash() {
    let mut simulation = compensating();
    simulation.process(&Event::CancelRequested { by: admin() });
    assert!(simulation.reply.is_none(), "it is being undone already");
    let scale = Box::new(|_: &_| evaluation_with_items(None));
    let mut next = simulation.crashed_after(simulation.journal.len(), Box::new(|key, _| completed_call(key)), scale);
    next.resume();
    assert_eq!(next.compensated, [key("b")]);
    let Effect::Compensate { call, .. } = &next.open[0] else { panic!("an undoing") };
    assert_eq!(call.as_str(), "run_1/b/undo");
    assert_eq!(next.run_to_end().status, Status::Failed);
}

#[test]
fn a_resumed_run_keeps_its_timers_and_its_deadline_excludes_the_pause() {
    let mut simulation = retried(ErrorCode::Overloaded);
    simulation.complete(0);
    let mut next = simulation.crashed_after(
        simulation.journal.len(),
        Box::new(|key, _| completed_call(key)),
        Box::new(|_| evaluation_with_items(None)),
    );
    next.now = next.now.saturating_add(TIME).saturating_add(TIME);
    let deadline = deadline_after_pause(&next.state, None, next.now);
    assert_eq!(deadline.remaining(next.now), TIME - RETRY_DELAY, "it waits for its retry with or without an owner");
    next.resume();
    assert_eq!(next.timers[&TimerId::Retry(key("a"))], START.saturating_add(RETRY_DELAY));
    assert_eq!(next.run_to_end().status, Status::Success);
    assert!(next.entries().any(|entry| matches!(entry, Entry::RunResumed { .. })));
}

/// How long the step of [`retried`] waits for its retry.
const RETRY_DELAY: Duration = Duration::from_secs(2);

/// The last owner, which has started the run and was active until then.
const fn active_until(until: Timestamp) -> Option<OwnerActivity> {
    Some(OwnerActivity { since: START, until })
}

#[test]
fn a_run_that_is_quiet_while_its_owner_is_active_was_not_paused() {
    let mut simulation = retried(ErrorCode::Overloaded);
    simulation.complete(0);
    let recorded = simulation.state.deadline().unwrap();
    let now = simulation.now.saturating_add(TIME).saturating_add(TIME);
    let deadline = |last_owner| deadline_after_pause(&simulation.state, last_owner, now);
    assert_eq!(deadline(active_until(now)), recorded, "its owner was active until now");
    let outdated = active_until(START);
    let left = TIME - RETRY_DELAY;
    assert_eq!(deadline(outdated).remaining(now), left, "its last entry is newer than what is known of its owner");
    let stopped = simulation.now.saturating_add(TIME);
    assert_eq!(deadline(active_until(stopped)).0, recorded.0.saturating_add(TIME), "only the time without an owner");
    // An owner that died before it had resumed the run did not work on it.
    let idle = OwnerActivity { since: stopped, until: now };
    assert_eq!(deadline(Some(idle)), deadline(None));
}

#[test]
fn the_deadline_of_the_request_that_waits_moves_by_the_time_without_an_owner_only() {
    let mut simulation = quarterly();
    Arc::make_mut(&mut simulation.started).request_deadline = Some(Deadline::after(START, TIME));
    simulation.start();
    simulation.now = simulation.now.saturating_add(TIME);
    for (without_owner, expected) in [(Duration::ZERO, TIME), (TIME, TIME + TIME)] {
        let active = simulation.now;
        simulation.wait(without_owner);
        let deadline = deadline_after_pause(&simulation.state, active_until(active), simulation.now);
        simulation.process(&Event::Resumed { definitions_changed: false, deadline });
        assert_eq!(simulation.state.request_deadline(), Some(Deadline::after(START, expected)));
    }
}
