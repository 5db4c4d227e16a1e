//! A run ends after the runs that its steps have called and do not need any more.

use std::sync::Arc;

use greenroom_protocol::journal::Entry;
use greenroom_protocol::{AgentId, ErrorCode, Status};
use serde_json::json;

use super::cases::evaluation_with_items;
use super::simulation::{Simulation, admin, completed_call, failed_call, item, key, workflow};
use crate::run::machine::{CallTarget, Effect, Event, Phase, TimerId};

/// A step that is compensated, then a run and an agent that are called at the same time.
fn nested() -> Simulation {
    Simulation::new(workflow(&json!([
        {"id": "first", "agent": "x", "compensate": {"agent": "u"}},
        {"id": "sub", "workflow": "inner", "depends_on": ["first"]},
        {"id": "other", "agent": "x", "depends_on": ["first"]},
    ])))
}

/// Both calls are in flight.
fn calling() -> Simulation {
    let mut simulation = nested();
    simulation.start().complete(0);
    simulation
}

/// The same run after a crash, resumed.
fn resumed(simulation: &Simulation) -> Simulation {
    let mut next = simulation.crashed_after(
        simulation.journal.len(),
        Box::new(|key, _| completed_call(key)),
        Box::new(|_| evaluation_with_items(None)),
    );
    next.resume();
    next
}

#[test]
fn a_cancelled_run_ends_after_its_own_compensation_and_after_the_runs_that_it_called() {
    let mut simulation = calling();
    simulation.process(&Event::CancelRequested { by: admin() });
    assert_eq!(simulation.aborted, [key("other"), key("sub")]);
    assert_eq!(simulation.compensated, [key("first")]);
    simulation.process(&Event::InnerRunsEnded);
    assert!(simulation.reply.is_none(), "its own step is not compensated yet");
    simulation.complete_step(&key("first"));
    assert_eq!(simulation.open, [Effect::EndInnerRuns]);
    assert!(simulation.reply.is_none());
    let reply = simulation.run_to_end();
    assert_eq!((reply.status, &reply.error.unwrap().details["undone"]), (Status::Cancelled, &json!(["first"])));
}

#[test]
fn a_run_without_steps_to_compensate_waits_for_the_runs_that_it_called_and_nothing_ends_the_wait() {
    let mut simulation = Simulation::new(workflow(&json!([{"id": "sub", "workflow": "inner"}])));
    simulation.start();
    assert!(matches!(&simulation.open[..], [Effect::Call { target: CallTarget::Workflow { .. }, .. }]));
    simulation.wake(&TimerId::Deadline);
    assert_eq!((&simulation.aborted[..], &simulation.open[..]), (&[key("sub")][..], &[Effect::EndInnerRuns][..]));
    let entries = simulation.journal.len();
    simulation.process(&Event::CancelRequested { by: admin() });
    simulation.wake(&TimerId::Compensation);
    assert_eq!(simulation.journal.len(), entries, "the runs below have time of their own");
    assert!(simulation.reply.is_none());
    assert_eq!(simulation.run_to_end().status, Status::TimedOut);
}

#[test]
fn a_run_that_waits_for_the_runs_that_it_called_waits_again_after_each_crash() {
    let mut simulation = calling();
    simulation.process(&Event::CancelRequested { by: admin() });
    simulation.complete_step(&key("first"));
    let mut next = resumed(&resumed(&simulation));
    assert!(matches!(next.state.phase(), Phase::Compensating { .. }));
    assert_eq!(next.open, [Effect::EndInnerRuns], "no call is repeated");
    assert_eq!(next.run_to_end().status, Status::Cancelled);
    let ended = next.entries().filter(|entry| matches!(entry, Entry::RunEnded { .. }));
    assert_eq!(ended.count(), 1);
}

#[test]
fn a_failed_agent_ends_the_run_that_was_called_at_the_same_time() {
    let mut simulation = calling();
    simulation.script = Box::new(|_, _| failed_call(ErrorCode::HandlerFailed));
    simulation.complete_step(&key("other")).complete_step(&key("first"));
    assert_eq!(simulation.open, [Effect::EndInnerRuns]);
    assert_eq!(simulation.run_to_end().error.unwrap().code, ErrorCode::HandlerFailed);
}

#[test]
fn a_run_succeeds_after_the_runs_of_failed_attempts_and_remembers_them_across_a_crash() {
    let retry = json!({"max_attempts": 2, "delay": 1.0});
    let mut simulation = Simulation::new(workflow(&json!([{"id": "sub", "workflow": "inner", "retry": retry}])));
    simulation.script =
        Box::new(|key, attempt| if attempt == 1 { failed_call(ErrorCode::TimedOut) } else { completed_call(key) });
    simulation.start();
    assert!(!simulation.state.has_unneeded_runs(), "its call is in flight");
    simulation.complete(0).wake(&TimerId::Retry(key("sub"))).complete(0);
    assert_eq!(simulation.open, [Effect::CollectOutputs]);
    assert!(simulation.state.has_unneeded_runs());
    let mut next = resumed(&simulation);
    assert!(next.state.has_unneeded_runs());
    assert_eq!(next.open, [Effect::CollectOutputs]);
    assert_eq!(next.run_to_end().status, Status::Success);
}

#[test]
fn an_item_that_fails_leaves_a_run_and_calls_of_agents_and_completed_calls_leave_none() {
    let list = |target: serde_json::Value| {
        let each = json!({"items": "${inputs.list}", "max_concurrency": 2, "on_error": "continue"});
        let mut step = json!({"id": "each", "for_each": each});
        step.as_object_mut().unwrap().extend(target.as_object().unwrap().clone());
        let mut simulation = Simulation::new(workflow(&json!([step])));
        simulation.evaluation_script = Box::new(|_| evaluation_with_items(Some(2)));
        simulation.start().complete_evaluation();
        simulation
    };
    for (target, leaves_run) in [(json!({"workflow": "inner"}), true), (json!({"agent": "x"}), false)] {
        let mut simulation = list(target);
        simulation.complete_step(&item("each", 0));
        assert!(!simulation.state.has_unneeded_runs());
        simulation.script = Box::new(|_, _| failed_call(ErrorCode::HandlerFailed));
        simulation.complete_step(&item("each", 1));
        assert_eq!(simulation.state.has_unneeded_runs(), leaves_run);
        assert_eq!(simulation.run_to_end().status, Status::Success);
    }
}

#[test]
fn a_compensation_that_cannot_start_is_reported_and_the_run_ends() {
    let mut simulation = nested();
    Arc::make_mut(&mut simulation.started).agents.remove(&AgentId::new("u").unwrap());
    simulation.start().complete(0);
    simulation.process(&Event::CancelRequested { by: admin() });
    assert_eq!(simulation.open, [Effect::EndInnerRuns]);
    let reply = simulation.run_to_end();
    assert_eq!((reply.status, &reply.error.unwrap().details["not_undone"]), (Status::Cancelled, &json!(["first"])));
}
