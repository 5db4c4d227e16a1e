//! Steps that wait for a value of the context or for an event.

use std::time::Duration;

use greenroom_protocol::journal::{Entry, ResultRef, WaitTarget};
use greenroom_protocol::limits::{PENDING_EVENTS_MAX, RUN_EVENTS_MAX};
use greenroom_protocol::request::PublishedEvent;
use greenroom_protocol::{ErrorCode, EventId, EventName, Json, Status};
use serde_json::json;

use super::simulation::{Simulation, TIME, admin, completed_call, failed_call, key, step_id, workflow};
use crate::run::machine::received_events::ReceivedEvents;
use crate::run::machine::{Effect, Event, StepEvaluation, StepStatus, TimerId, require_event_capacity};

const HOUR: Duration = Duration::from_secs(60 * 60);

fn name(text: &str) -> EventName {
    EventName::new(text).unwrap()
}

fn published(id: &str, event: &str, data: Json) -> Event {
    let event = PublishedEvent { name: name(event), data };
    Event::EventPublished { id: EventId::new(id).unwrap(), event, by: admin() }
}

/// The value with which a step has completed.
fn value(simulation: &Simulation, step: &str) -> Json {
    let result = simulation.state.step_status(&key(step)).result().cloned();
    match result.as_deref() {
        Some(ResultRef::Inline(values)) => values["value"].clone(),
        other => panic!("{other:?}"),
    }
}

/// A step that waits for a payment, for an hour, and one after it.
fn payment() -> Simulation {
    let mut simulation = Simulation::new(workflow(&json!([
        {"id": "paid", "wait_for": {"event": "paid", "timeout": 3600}},
        {"id": "ship", "agent": "x", "inputs": {"amount": "${steps.paid.outputs.value}"}},
    ])));
    simulation.start();
    simulation
}

#[test]
fn an_event_completes_the_step_that_waits_for_its_name() {
    let mut simulation = payment();
    assert!(simulation.open.is_empty(), "nothing is called");
    assert_eq!(simulation.state.pending_waits()[0].target, WaitTarget::Event(name("paid")));
    simulation.process(&published("a", "refused", json!(1)));
    assert!(simulation.calls.is_empty(), "that is another event");
    simulation.process(&published("b", "paid", json!({"amount": 3})));
    assert_eq!(value(&simulation, "paid"), json!({"amount": 3}));
    assert_eq!(simulation.calls, [(key("ship"), 1)]);
    assert!(simulation.state.pending_waits().is_empty());
    assert_eq!(simulation.run_to_end().status, Status::Success);
}

#[test]
fn events_that_come_before_their_steps_are_consumed_in_their_order() {
    let mut simulation = Simulation::new(workflow(&json!([
        {"id": "first", "agent": "x"},
        {"id": "one", "wait_for": {"event": "part"}, "depends_on": ["first"]},
        {"id": "two", "wait_for": {"event": "part"}, "depends_on": ["one"]},
        {"id": "three", "wait_for": {"event": "part"}, "depends_on": ["two"]},
    ])));
    simulation.start();
    simulation.process(&published("a", "part", json!("a"))).process(&published("b", "part", json!("b")));
    simulation.complete(0);
    assert_eq!((value(&simulation, "one"), value(&simulation, "two")), (json!("a"), json!("b")));
    assert!(matches!(simulation.state.step_status(&key("three")), StepStatus::AwaitingEvent { .. }));
    simulation.process(&published("c", "part", json!("c")));
    assert_eq!(value(&simulation, "three"), json!("c"));
    assert_eq!(simulation.run_to_end().status, Status::Success);
}

#[test]
fn an_event_that_is_published_again_is_recorded_once() {
    let mut simulation = payment();
    simulation.process(&published("a", "other", json!(1))).process(&published("a", "other", json!(1)));
    let received = simulation.entries().filter(|entry| matches!(entry, Entry::EventReceived { .. })).count();
    assert_eq!(received, 1);
    assert!(simulation.state.has_received(&EventId::new("a").unwrap()));
}

#[test]
fn the_events_of_a_run_are_bounded() {
    let mut simulation = payment();
    for number in 0..PENDING_EVENTS_MAX {
        simulation.process(&published(&format!("p{number}"), "other", json!(number)));
    }
    let refused = require_event_capacity(&simulation.state, &name("other")).unwrap_err();
    assert_eq!(refused.code, ErrorCode::Overloaded);
    assert!(require_event_capacity(&simulation.state, &name("paid")).is_ok(), "a step waits for that one");
    simulation.process(&published("more", "other", json!(0)));
    assert!(!simulation.state.has_received(&EventId::new("more").unwrap()));

    let waiting = |at: usize| json!({"id": format!("s{at}"), "wait_for": {"event": "x"}});
    let mut steps: Vec<Json> = (0..100).map(waiting).collect();
    steps.push(json!({"id": "last", "wait_for": {"event": "last"}}));
    let mut simulation = Simulation::new(workflow(&json!(steps)));
    simulation.start();
    for number in 0..100 {
        simulation.process(&published(&format!("e{number}"), "x", json!(number)));
    }
    assert!(require_event_capacity(&simulation.state, &name("last")).is_ok(), "consumed events are not pending");
}

#[test]
fn a_run_receives_no_more_than_a_number_of_events() {
    let mut events = ReceivedEvents::default();
    for number in 0..RUN_EVENTS_MAX {
        let event = PublishedEvent { name: name("x"), data: json!(number) };
        events.add(&EventId::new(format!("e{number}")).unwrap(), &event);
        assert_eq!(events.first(&name("x")).map(|event| event.data.clone()), Some(json!(number)));
        events.consume(&name("x"));
    }
    assert_eq!(events.require_capacity(true).unwrap_err().code, ErrorCode::RunNotActive);
}

#[test]
fn a_run_that_only_waits_for_an_event_does_not_use_up_its_time() {
    let mut simulation = payment();
    assert!(simulation.state.is_paused());
    simulation.wait(HOUR / 2).process(&Event::TimerFired { timer: TimerId::Deadline });
    assert!(simulation.reply.is_none());
    simulation.process(&published("a", "paid", json!(1)));
    assert_eq!(simulation.state.time_left(simulation.now), Some(TIME));
}

#[test]
fn a_step_that_waits_too_long_fails_or_waits_again() {
    let mut simulation = payment();
    simulation.process(&Event::TimerFired { timer: TimerId::Wait(step_id("paid")) });
    assert!(simulation.reply.is_none(), "the timer has fired early");
    let error = simulation.wake(&TimerId::Wait(step_id("paid"))).reply.clone().unwrap().error.unwrap();
    assert_eq!(error.code, ErrorCode::TimedOut);
    assert!(error.message.contains("the event `paid` did not come within 3600 s"), "{}", error.message);

    let mut simulation = Simulation::new(workflow(&json!([
        {"id": "paid", "wait_for": {"event": "paid", "timeout": 60}, "retry": {"max_attempts": 2}},
    ])));
    simulation.start().wait(TIME * 2);
    simulation.wake(&TimerId::Wait(step_id("paid")));
    assert!(simulation.entries().any(|entry| matches!(entry, Entry::StepRetried { attempt: 1, .. })));
    simulation.process(&published("a", "paid", json!(1)));
    assert!(simulation.reply.is_none(), "it is kept until the step waits again");
    simulation.wake(&TimerId::Retry(key("paid")));
    assert_eq!(value(&simulation, "paid"), json!(1));
    assert_eq!(simulation.run_to_end().status, Status::Success);
}

#[test]
fn a_step_waits_for_a_value_of_the_context_until_its_time_is_over() {
    let waiting = || {
        let mut simulation = Simulation::new(workflow(&json!([
            {"id": "facts", "wait_for": {"context": "facts", "timeout": 60}},
        ])));
        simulation.start();
        simulation
    };
    let mut simulation = waiting();
    assert!(matches!(&simulation.open[..], [Effect::AwaitContext { attempt: 1, .. }]), "{:?}", simulation.open);
    assert!(simulation.state.is_paused());
    assert_eq!(simulation.complete(0).run_to_end().status, Status::Success);

    let mut simulation = waiting();
    let error = simulation.wake(&TimerId::Wait(step_id("facts"))).reply.clone().unwrap().error.unwrap();
    assert_eq!(error.code, ErrorCode::TimedOut);
    assert_eq!(simulation.aborted, [key("facts")], "the wait itself ends too");

    let mut simulation = waiting();
    simulation.script = Box::new(|_, _| failed_call(ErrorCode::InvalidInput));
    let error = simulation.complete(0).reply.clone().unwrap().error.unwrap();
    assert_eq!(error.details["step"], "facts");
}

#[test]
fn a_wait_survives_a_crash_with_the_events_that_were_received_before() {
    let mut simulation = Simulation::new(workflow(&json!([
        {"id": "paid", "wait_for": {"event": "paid", "timeout": 3600}},
        {"id": "facts", "wait_for": {"context": "facts"}},
        {"id": "later", "wait_for": {"event": "later"}, "depends_on": ["paid", "facts"]},
    ])));
    simulation.start().process(&published("a", "later", json!("kept")));
    let evaluation = Box::new(|_: &_| StepEvaluation::default());
    let mut next =
        simulation.crashed_after(simulation.journal.len(), Box::new(|key, _| completed_call(key)), evaluation);
    next.resume();
    assert!(matches!(&next.open[..], [Effect::AwaitContext { .. }]), "the context is observed again");
    assert!(next.timers.contains_key(&TimerId::Wait(step_id("paid"))));
    let restarts = next.entries().find_map(|entry| match entry {
        Entry::RunResumed { restarts, .. } => Some(restarts.len()),
        _ => None,
    });
    assert_eq!(restarts, Some(0), "a wait has written nothing");
    next.process(&published("b", "paid", json!(1))).complete(0);
    assert_eq!(value(&next, "later"), json!("kept"));
    assert_eq!(next.run_to_end().status, Status::Success);
}

#[test]
fn a_resumption_names_the_calls_that_it_repeats() {
    let mut simulation = Simulation::new(workflow(&json!([
        {"id": "draft", "agent": "x"}, {"id": "call", "workflow": "inner"}, {"id": "done", "agent": "y"},
    ])));
    simulation.start().complete_step(&key("done"));
    let evaluation = Box::new(|_: &_| StepEvaluation::default());
    let mut next =
        simulation.crashed_after(simulation.journal.len(), Box::new(|key, _| completed_call(key)), evaluation);
    next.resume();
    let restarts = next.entries().find_map(|entry| match entry {
        Entry::RunResumed { restarts, .. } => Some(restarts.clone()),
        _ => None,
    });
    assert_eq!(restarts, Some(vec![key("draft")]), "a called run is resumed, and names its own calls");
}

#[test]
fn a_cancelled_run_waits_for_nothing_any_more() {
    let mut simulation = payment();
    simulation.process(&Event::CancelRequested { by: admin() });
    assert_eq!(simulation.reply.clone().unwrap().status, Status::Cancelled);
    assert_eq!(*simulation.state.step_status(&key("paid")), StepStatus::Cancelled);
    assert_eq!(require_event_capacity(&simulation.state, &name("paid")).unwrap_err().code, ErrorCode::RunNotActive);
}
