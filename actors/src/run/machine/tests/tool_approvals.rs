//! Steps whose agents have called tools that need an approval: what the run records, and with what a step continues.

use std::cell::Cell;
use std::collections::BTreeSet;

use greenroom_protocol::conversation::{PendingToolCall, StepApprovals, SuspendedCall, ToolDecision};
use greenroom_protocol::event::RunStatus;
use greenroom_protocol::journal::{Entry, StepKey};
use greenroom_protocol::reply::Usage;
use greenroom_protocol::{ArtifactRef, CallKey, ContentHash, ErrorCode, Status, ToolCallId};
use serde_json::json;

use super::cases::evaluation_with_items;
use super::simulation::{Script, Simulation, TIME, admin, completed_call, failed_call, item, key, step_id, workflow};
use crate::run::machine::{CallResult, Event, TimerId, ToolResolution, require_awaiting_approval};

/// A call of the tool of this name by the agent of a step.
fn pending(key: &StepKey, tool: &str) -> PendingToolCall {
    let index = key.index.map(|index| format!("[{index}]")).unwrap_or_default();
    let call = CallKey::new(format!("run_1/{}{index}/tool[{tool}]", key.step)).unwrap();
    PendingToolCall::new(&call, &format!("native:{tool}"), json!({ "amount": 3 }))
}

fn call_id(step: &StepKey, tool: &str) -> ToolCallId {
    pending(step, tool).call
}

/// The call of the tool `transfer` by the agent of the step `pay`.
fn transfer() -> ToolCallId {
    call_id(&key("pay"), "transfer")
}

fn conversation(name: &str) -> ArtifactRef {
    let hash = ContentHash::from_content(name.as_bytes());
    ArtifactRef { hash, bytes: 1, media_type: "application/json".into(), name: "conversation.json".into() }
}

/// The end of an execution that waits for these tools.
fn suspended(key: &StepKey, tools: &[&str], name: &str) -> CallResult {
    let calls = tools.iter().map(|tool| pending(key, tool)).collect();
    let cause = SuspendedCall { conversation: conversation(name), calls, artifacts: Vec::new() }.into_cause();
    CallResult::Failed { cause, usage: Usage { decisions: 3, ..Usage::default() } }
}

/// The first call of each step waits for these tools, and each later one completes.
fn waits_once(tools: &'static [&'static str]) -> Script {
    let calls = Cell::new(BTreeSet::<StepKey>::new());
    Box::new(move |key, _| {
        let mut known = calls.take();
        let is_first = known.insert(key.clone());
        calls.set(known);
        if is_first { suspended(key, tools, "first") } else { completed_call(key) }
    })
}

/// The first call of the step `pay` waits for these tools, and each other one completes.
fn pay_waits_once(tools: &'static [&'static str]) -> Script {
    let (waits, pay) = (waits_once(tools), step_id("pay"));
    Box::new(move |key, attempt| if key.step == pay { waits(key, attempt) } else { completed_call(key) })
}

fn resolution<const N: usize>(calls: [ToolCallId; N], approved: bool, reason: Option<&str>) -> Event {
    let (step, by, reason) = (step_id("pay"), admin(), reason.map(str::to_owned));
    let calls = calls.into();
    Event::ToolCallsResolved(ToolResolution { step, calls, approved, by, reason })
}

fn decision(call: ToolCallId, approved: bool, reason: Option<&str>) -> ToolDecision {
    ToolDecision { call, approved, by: admin(), reason: reason.map(str::to_owned) }
}

/// A run whose step `pay` waits for these tools.
fn waiting(tools: &'static [&'static str]) -> Simulation {
    let mut simulation = Simulation::new(workflow(&json!([
        {"id": "pay", "agent": "x", "retry": {"max_attempts": 3, "delay": 1.0}},
        {"id": "after", "agent": "x", "depends_on": ["pay"]},
    ])));
    simulation.script = pay_waits_once(tools);
    simulation.start().complete(0);
    simulation
}

#[test]
fn a_step_waits_for_a_decision_about_each_call_and_continues_with_all_of_them() {
    let mut simulation = waiting(&["transfer", "record"]);
    assert!(simulation.open.is_empty() && simulation.state.is_paused());
    assert_eq!(simulation.state.run_status(), RunStatus::WaitingApproval);
    assert_eq!(simulation.state.usage().decisions, 3, "what the execution has used is booked when it ends");
    let waits = simulation.state.pending_approvals();
    let tools: Vec<&str> = waits[0].calls.iter().map(|call| call.tool.as_str()).collect();
    assert_eq!((waits.len(), tools), (1, vec!["native:transfer", "native:record"]));
    let (transfer, record) = (call_id(&key("pay"), "transfer"), call_id(&key("pay"), "record"));
    simulation.process(&resolution([transfer.clone()], true, None));
    assert!(simulation.open.is_empty(), "the other call is not decided");
    assert_eq!(simulation.state.pending_approvals()[0].calls.len(), 1);
    let repeated =
        require_awaiting_approval(&simulation.state, &step_id("pay"), std::slice::from_ref(&transfer)).unwrap_err();
    assert_eq!(repeated.code, ErrorCode::UnknownStep, "it is decided once");
    simulation.process(&resolution([record.clone()], false, Some("too much")));
    assert_eq!(simulation.calls, [(key("pay"), 1), (key("pay"), 1)], "the same attempt continues");
    let suspension = simulation.state.suspension(&key("pay")).unwrap();
    let decisions = vec![decision(transfer, true, None), decision(record, false, Some("too much"))];
    assert_eq!(suspension.approvals(), StepApprovals { conversation: Some(conversation("first")), decisions });
    let remaining: Vec<u32> = simulation
        .entries()
        .filter_map(|entry| match entry {
            Entry::ToolApprovalResolved { remaining, .. } => Some(*remaining),
            _ => None,
        })
        .collect();
    assert_eq!(remaining, [1, 0]);
    assert_eq!(simulation.run_to_end().status, Status::Success);
    assert!(simulation.state.suspension(&key("pay")).is_none(), "a step that has ended needs nothing of it");
}

#[test]
fn a_decision_is_about_the_calls_that_it_names_and_about_no_other() {
    let mut simulation = waiting(&["transfer", "record"]);
    let (transfer, record) = (call_id(&key("pay"), "transfer"), call_id(&key("pay"), "record"));
    let unnamed = require_awaiting_approval(&simulation.state, &step_id("pay"), &[]).unwrap_err();
    assert_eq!(unnamed.code, ErrorCode::UnknownStep);
    for call in [&transfer, &record] {
        assert!(unnamed.message.contains(&format!("`pay/{call}` of run_1")), "{unnamed}");
    }
    assert!(require_awaiting_approval(&simulation.state, &step_id("after"), &[]).is_err());
    simulation.process(&Event::Approved { step: step_id("pay"), by: admin() });
    simulation.process(&resolution([], true, None));
    assert!(simulation.open.is_empty(), "the step does not wait before its start, and no call was named");
    let both = || [transfer.clone(), record.clone()];
    assert!(require_awaiting_approval(&simulation.state, &step_id("pay"), &both()).is_ok());
    simulation.process(&resolution(both(), true, None));
    let approvals = simulation.state.suspension(&key("pay")).unwrap().approvals();
    assert_eq!(approvals.decisions.iter().filter(|decision| decision.approved).count(), 2);
    simulation.process(&resolution(both(), false, None));
    assert_eq!(simulation.calls.len(), 2, "a decision that comes twice has no effect");
    assert_eq!(simulation.run_to_end().status, Status::Success);
}

#[test]
fn waiting_survives_a_crash_at_every_entry() {
    let mut simulation = waiting(&["transfer"]);
    simulation.process(&resolution([transfer()], true, None));
    simulation.run_to_end();
    let (calls, entries) = (simulation.calls.len(), simulation.journal.len());
    for crash in 1..entries {
        let mut next =
            simulation.crashed_after(crash, pay_waits_once(&["transfer"]), Box::new(|_| evaluation_with_items(None)));
        let was_suspended = next.entries().any(|entry| matches!(entry, Entry::ToolApprovalRequested { .. }));
        if was_suspended {
            next.script = Box::new(|key, _| completed_call(key));
        }
        next.resume();
        for _ in 0..10 {
            if !next.open.is_empty() {
                next.complete(0);
            } else if next.state.awaits_tool_decision(&step_id("pay"), &[transfer()]) {
                next.process(&resolution([transfer()], true, None));
            }
        }
        assert_eq!(next.reply.as_ref().unwrap().status, Status::Success, "after {crash} entries");
        let requests = next.entries().filter(|entry| matches!(entry, Entry::ToolApprovalRequested { .. })).count();
        assert_eq!(requests, 1, "an approval is requested once, after {crash} entries");
        assert!(next.calls.len() <= calls, "after {crash} entries");
    }
}

#[test]
fn a_later_attempt_continues_from_the_same_conversation() {
    let mut simulation = waiting(&["transfer"]);
    simulation.process(&resolution([transfer()], true, None));
    simulation.script = Box::new(|_, _| failed_call(ErrorCode::ModelOverloaded));
    simulation.complete(0);
    simulation.script = Box::new(|key, _| completed_call(key));
    simulation.wake(&TimerId::Retry(key("pay")));
    assert_eq!(simulation.calls.last(), Some(&(key("pay"), 2)));
    let approvals = simulation.state.suspension(&key("pay")).unwrap().approvals();
    assert_eq!((approvals.conversation, approvals.decisions.len()), (Some(conversation("first")), 1));
    assert_eq!(simulation.run_to_end().status, Status::Success);
}

#[test]
fn a_step_may_wait_again_and_each_time_has_a_number() {
    let mut simulation = waiting(&["transfer"]);
    simulation.process(&resolution([transfer()], true, None));
    assert_eq!(simulation.state.suspension(&key("pay")).unwrap().number(), 1);
    simulation.script = Box::new(|key, _| suspended(key, &["record"], "second"));
    simulation.complete(0);
    let suspension = simulation.state.suspension(&key("pay")).unwrap();
    let approvals = StepApprovals { conversation: Some(conversation("second")), decisions: Vec::new() };
    assert_eq!((suspension.number(), suspension.approvals()), (2, approvals));
    simulation.process(&resolution([transfer()], true, None));
    assert!(simulation.open.is_empty(), "the decision about another call is none about this one");
}

#[test]
fn waiting_does_not_use_up_the_time_of_the_run_and_a_cancelled_run_waits_no_more() {
    let mut simulation = waiting(&["transfer"]);
    simulation.wait(TIME * 3).process(&Event::TimerFired { timer: TimerId::Deadline });
    assert!(simulation.reply.is_none());
    assert_eq!(simulation.state.time_left(simulation.now), Some(TIME));
    simulation.process(&Event::CancelRequested { by: admin() });
    assert_eq!(simulation.reply.as_ref().unwrap().status, Status::Cancelled);
    assert!(simulation.aborted.is_empty(), "nothing of it runs");
    assert!(simulation.state.pending_approvals().is_empty());
}

#[test]
fn items_of_a_list_wait_each_for_itself_within_the_bound_of_the_list() {
    let mut simulation = Simulation::new(workflow(&json!([
        {"id": "pay", "agent": "x", "for_each": {"items": "${inputs.all}", "max_concurrency": 2}},
    ])));
    simulation.evaluation_script = Box::new(|_| evaluation_with_items(Some(3)));
    simulation.script = waits_once(&["transfer"]);
    simulation.start().complete(0).complete(0).complete(0);
    assert!(simulation.open.is_empty(), "two items wait, and the third does not start");
    let waits = simulation.state.pending_approvals();
    assert_eq!(waits.iter().map(|wait| wait.index).collect::<Vec<_>>(), [Some(0), Some(1)]);
    assert_ne!(waits[0].calls[0].call, waits[1].calls[0].call, "a call names its item");
    simulation.process(&resolution([call_id(&item("pay", 1), "transfer")], true, None));
    assert_eq!(simulation.calls.last(), Some(&(item("pay", 1), 1)));
    simulation.complete(0).complete(0);
    let others = [0, 2].map(|index| call_id(&item("pay", index), "transfer"));
    simulation.process(&resolution(others, true, None)).complete(0).complete(0);
    assert_eq!(simulation.run_to_end().status, Status::Success);
}
