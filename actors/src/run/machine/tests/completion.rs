//! How runs are stopped, denied, undone and taken up again.

use std::time::Duration;

use greenroom_protocol::journal::Entry;
use greenroom_protocol::reply::Usage;
use greenroom_protocol::{Cause, ErrorCode, Status};
use serde_json::json;

use super::cases::{needed, quarterly, retried};
use super::simulation::{START, Simulation, TIME, admin, done, failed, key, workflow};
use crate::run::machine::{COMPENSATION_TIME_MAX, CallResult, Effect, Event, Phase, TimerId};

#[test]
fn a_run_that_is_stopped_lets_go_of_what_is_under_way_and_late_answers_mean_nothing() {
    let mut world = quarterly();
    world.begin().answer(0);
    world.tell(&Event::CancelRequested { by: admin() });
    assert_eq!(world.reply.as_ref().unwrap().status, Status::Cancelled);
    assert_eq!(world.aborted, [key("kpis"), key("money")]);
    let entries = world.journal.len();
    world.tell(&Event::CallCompleted { key: key("kpis"), attempt: 1, answer: done(&key("kpis")) });
    world.tell(&Event::CancelRequested { by: admin() });
    assert_eq!(world.journal.len(), entries);
}

#[test]
fn an_answer_counts_once_and_only_for_its_attempt() {
    let mut world = quarterly();
    world.begin();
    world.tell(&Event::CallCompleted { key: key("gather"), attempt: 2, answer: done(&key("gather")) });
    assert!(world.completed().is_empty());
    world.answer(0);
    world.tell(&Event::CallCompleted { key: key("gather"), attempt: 1, answer: failed(ErrorCode::Internal) });
    assert_eq!(world.completed(), [key("gather")]);
    assert_eq!(world.run_to_end().status, Status::Success);
}

#[test]
fn the_deadline_ends_a_run_as_timed_out_and_not_before() {
    let mut world = quarterly();
    world.begin();
    world.tell(&Event::TimerFired { timer: TimerId::Deadline });
    assert!(world.reply.is_none());
    world.wake(&TimerId::Deadline);
    assert_eq!(world.reply.unwrap().status, Status::TimedOut);
}

#[test]
fn a_denial_of_a_step_is_a_denial_of_its_run_and_keeps_its_rules() {
    let mut world = quarterly();
    world.script = Box::new(|_, _| {
        let rules = json!({"reasons": [{"code": "access_allowed", "message": "no"}]});
        CallResult::Failed {
            cause: Cause::new(ErrorCode::PolicyDenied, "denied").with_details(rules),
            usage: Usage::default(),
        }
    });
    let reply = world.begin().run_to_end();
    let error = reply.error.unwrap();
    assert_eq!((reply.status, error.code), (Status::Denied, ErrorCode::PolicyDenied));
    assert_eq!(error.details["reasons"][0]["code"], "access_allowed");
    assert_eq!(error.details["step"], "gather");
}

#[test]
fn a_step_whose_own_request_was_wrong_does_not_make_the_runs_request_wrong() {
    let mut world = quarterly();
    world.script = Box::new(|_, _| failed(ErrorCode::MissingInput));
    let error = world.begin().run_to_end().error.unwrap();
    assert_eq!(error.code, ErrorCode::StepFailed);
    assert_eq!(error.details["cause"]["code"], "missing_input");
    assert_eq!(error.exit_class(), 1);
}

/// The exit code, as the command line has it.
trait ExitClass {
    fn exit_class(&self) -> u8;
}

impl ExitClass for Cause {
    fn exit_class(&self) -> u8 {
        self.code.exit_code()
    }
}

fn undoing() -> Simulation {
    let step = |id: &str, on: &[&str]| json!({"id": id, "agent": "x", "depends_on": on, "compensate": {"agent": "u"}});
    let mut world = Simulation::new(workflow(&json!([step("a", &[]), step("b", &["a"]), step("c", &["b"])])));
    world.script =
        Box::new(|key, _| if key.step.as_str() == "c" { failed(ErrorCode::HandlerFailed) } else { done(key) });
    world.begin().answer(0).answer(0).answer(0);
    world
}

#[test]
fn an_undoing_that_fails_is_tried_again_and_then_named() {
    let mut world = undoing();
    assert_eq!(world.undone, [key("b")], "one at a time");
    world.undo_script =
        Box::new(|key, _| if key.step.as_str() == "b" { failed(ErrorCode::ModelFailed) } else { done(key) });
    let reply = world.run_to_end();
    assert_eq!(world.undone, [key("b"), key("b"), key("b"), key("a")]);
    let details = reply.error.unwrap().details;
    assert_eq!((&details["undone"], &details["not_undone"]), (&json!(["a"]), &json!(["b"])));
}

#[test]
fn undoing_has_its_own_time_and_then_leaves_the_rest() {
    let mut world = undoing();
    assert!(matches!(world.state.phase(), Phase::Compensating { .. }));
    world.wake(&TimerId::Undo);
    assert_eq!(world.now, START.saturating_add(COMPENSATION_TIME_MAX));
    let details = world.reply.unwrap().error.unwrap().details;
    assert_eq!(details["not_undone"], json!(["a", "b"]));
}

#[test]
fn a_cancelled_run_is_undone_before_it_ends_and_an_undoing_survives_a_crash() {
    let mut world = undoing();
    world.tell(&Event::CancelRequested { by: admin() });
    assert!(world.reply.is_none(), "it is being undone already");
    let scale = Box::new(|_: &_| needed(None));
    let mut next = world.crashed_after(world.journal.len(), Box::new(|key, _| done(key)), scale);
    next.resume();
    assert_eq!(next.undone, [key("b")]);
    let Effect::Compensate { call, .. } = &next.open[0] else { panic!("an undoing") };
    assert_eq!(call.as_str(), "run_1/b/undo");
    assert_eq!(next.run_to_end().status, Status::Failed);
}

#[test]
fn a_resumed_run_waits_for_the_same_moment_and_has_the_time_that_it_was_dead() {
    let mut world = retried(ErrorCode::Overloaded);
    world.answer(0);
    let mut next = world.crashed_after(world.journal.len(), Box::new(|key, _| done(key)), Box::new(|_| needed(None)));
    next.now = next.now.saturating_add(TIME).saturating_add(TIME);
    let deadline = crate::run::machine::deadline_after_pause(&next.state, next.now);
    assert_eq!(deadline.remaining(next.now), TIME);
    next.resume();
    assert_eq!(next.timers[&TimerId::Retry(key("a"))], START.saturating_add(Duration::from_secs(2)));
    assert_eq!(next.run_to_end().status, Status::Success);
    assert!(next.entries().any(|entry| matches!(entry, Entry::RunResumed { .. })));
}
