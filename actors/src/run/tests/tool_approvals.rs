//! A step whose agent waits for approvals of its tools' calls, through a crash of its pod.

use std::time::Duration;

use greenroom_protocol::conversation::{PendingToolCall, SuspendedCall};
use greenroom_protocol::event::RunStatus;
use greenroom_protocol::journal::Entry;
use greenroom_protocol::request::Signal;
use greenroom_protocol::{ArtifactRef, CallKey, Cause, ContentHash, ErrorCode, RunId, Status, ToolCallId};
use serde_json::json;

use super::harness::{
    Harness, RecordedCall, Script, SharedCluster, TestDefinitions, agent, detached, immediate, run_id, stores,
    until_entry, values, workflow,
};
use super::shared::{recover_due, start_unowned, until_parked};
use super::signals::{step, until_state};

fn definitions() -> TestDefinitions {
    let tools = json!([{ "tool": "agent:helper", "approval": "required" }]);
    let agents = vec![
        agent("payer", json!({ "tools": tools, "collaboration": { "can_work_with": ["helper"] } })),
        agent("helper", json!({})),
        agent("worker", json!({})),
    ];
    let steps = json!([
        {"id": "draft", "agent": "worker"},
        {"id": "pay", "agent": "payer", "depends_on": ["draft"], "outputs": ["out"]},
    ]);
    TestDefinitions { agents, workflows: vec![workflow("w", steps)], ..TestDefinitions::default() }
}

fn call() -> PendingToolCall {
    call_with_key("run/pay/tool[0]")
}

/// The call for which the agent waits after the first one.
fn second_call() -> PendingToolCall {
    call_with_key("run/pay/turn[2]/tool[0]")
}

fn call_with_key(key: &str) -> PendingToolCall {
    PendingToolCall::new(&CallKey::new(key).unwrap(), "agent:helper", json!({ "text": "pay" }))
}

/// The end of an execution that waits for a decision about this call.
fn suspended(call: PendingToolCall) -> Cause {
    let hash = ContentHash::from_content(b"conversation");
    let (media_type, name) = ("application/json".to_owned(), "conversation.json".to_owned());
    let conversation = ArtifactRef { hash, bytes: 12, media_type, name };
    SuspendedCall { conversation, calls: vec![call], artifacts: Vec::new() }.into_cause()
}

/// The agent `payer` waits for an approval before it completes.
fn waits_once() -> Script {
    immediate(|call: RecordedCall| match call.approvals {
        None => Ok(values(json!({ "out": call.agent }))),
        Some(approvals) if approvals.conversation.is_none() => Err(suspended(self::call())),
        Some(approvals) => match approvals.decisions.as_slice() {
            [decision] if decision.approved => Ok(values(json!({ "out": format!("approved by {}", decision.by) }))),
            [decision] => Ok(values(json!({ "out": format!("rejected: {}", decision.reason.clone().unwrap()) }))),
            _ => Err(Cause::new(ErrorCode::Internal, "one decision")),
        },
    })
}

/// The agent `payer` waits for an approval, and for that of another call after it.
fn waits_twice() -> Script {
    immediate(|call: RecordedCall| match call.approvals {
        None => Ok(values(json!({ "out": call.agent }))),
        Some(approvals) if approvals.conversation.is_none() => Err(suspended(self::call())),
        Some(approvals) if approvals.decisions.iter().any(|decision| decision.call == self::call().call) => {
            Err(suspended(second_call()))
        }
        Some(_) => Ok(values(json!({ "out": "paid" }))),
    })
}

fn approve(call: ToolCallId) -> Signal {
    Signal::Approve { step: step("pay"), call: Some(call) }
}

#[tokio::test(start_paused = true)]
async fn an_approval_of_a_call_outlives_the_pod_and_the_step_continues_with_it() {
    let harness = Harness::new(definitions(), waits_once()).await;
    let run = run_id(&harness.request(detached("w", json!({}))).await);
    until_state(&harness, &run, RunStatus::WaitingApproval).await;
    assert_eq!(harness.calls().len(), 2);
    assert!(harness.calls()[0].approvals.is_none(), "an agent without such tools gets nothing of it");
    tokio::time::advance(Duration::from_secs(7 * 24 * 60 * 60)).await;

    let harness = harness.crash(vec![definitions()], waits_once()).await;
    assert_eq!(harness.recover().await.resumed, 1);
    let other = harness.signal(&run, approve(ToolCallId::new("00000000").unwrap())).await.error.unwrap();
    assert_eq!(other.code, ErrorCode::UnknownStep);
    assert_eq!(other.details["pending_approvals"][0]["calls"][0]["call"], json!(call().call), "{other:?}");
    assert_eq!(harness.signal(&run, approve(call().call)).await.status, Status::Success);
    until_state(&harness, &run, RunStatus::Success).await;
    let calls = harness.calls();
    assert_eq!((calls.len(), calls[0].agent.as_str()), (1, "payer"), "nothing else is repeated");
    let reply = harness.stores.runs.reply(&run).await.unwrap().unwrap();
    assert_eq!(reply.outputs["out"], "approved by admin", "{reply:?}");
    let repeated = harness.signal(&run, approve(call().call)).await.error.unwrap();
    assert_eq!(repeated.code, ErrorCode::RunNotActive);
}

#[tokio::test(start_paused = true)]
async fn a_rejected_call_does_not_fail_the_step() {
    let harness = Harness::new(definitions(), waits_once()).await;
    let run = run_id(&harness.request(detached("w", json!({}))).await);
    until_state(&harness, &run, RunStatus::WaitingApproval).await;
    let reject = Signal::Reject { step: step("pay"), call: Some(call().call), reason: Some("too much".into()) };
    assert_eq!(harness.signal(&run, reject).await.status, Status::Success);
    until_state(&harness, &run, RunStatus::Success).await;
    let reply = harness.stores.runs.reply(&run).await.unwrap().unwrap();
    assert_eq!(reply.outputs["out"], "rejected: too much", "{reply:?}");
    let requests: Vec<_> = harness.calls().into_iter().filter(|call| call.agent == "payer").collect();
    assert_eq!((requests.len(), requests[0].key == requests[1].key), (2, true));
    assert_ne!(requests[0].request, requests[1].request, "the continuation is a request of its own");
}

/// The agent waits for another call than the one that the person has seen.
#[tokio::test(start_paused = true)]
async fn a_decision_is_about_the_call_that_it_names_and_not_about_what_waits_when_it_is_read() {
    let harness = Harness::new(definitions(), waits_twice()).await;
    let run = run_id(&harness.request(detached("w", json!({}))).await);
    until_state(&harness, &run, RunStatus::WaitingApproval).await;
    let (first, second) = (call().call, second_call().call);
    refuse_without_a_call(&harness, &run, &first).await;
    assert_eq!(harness.signal(&run, approve(first.clone())).await.status, Status::Success);
    until_entry(&harness, &run, 2, |entry| matches!(entry, Entry::ToolApprovalRequested { .. })).await;

    let stale = harness.signal(&run, approve(first)).await.error.unwrap();
    assert_eq!(stale.code, ErrorCode::UnknownStep);
    assert!(stale.message.contains(&format!("`pay/{second}` of {run}")), "it names what waits now: {stale}");
    refuse_without_a_call(&harness, &run, &second).await;
    assert_eq!(decisions(&harness, &run).await, 1);
    assert_eq!(harness.signal(&run, approve(second)).await.status, Status::Success);
    until_state(&harness, &run, RunStatus::Success).await;
}

/// A decision about the step `pay` that names no call is refused, and the refusal names the call that waits.
async fn refuse_without_a_call(harness: &Harness, run: &RunId, waiting: &ToolCallId) {
    let (pay, reason) = (step("pay"), None);
    for decision in
        [Signal::Approve { step: pay.clone(), call: None }, Signal::Reject { step: pay, call: None, reason }]
    {
        let refused = harness.signal(run, decision).await.error.unwrap();
        assert_eq!(refused.code, ErrorCode::UnknownStep);
        assert!(refused.message.contains(&format!("`pay/{waiting}` of {run}")), "{refused}");
        assert_eq!(refused.details["pending_approvals"][0]["calls"][0]["call"], json!(waiting), "{refused:?}");
    }
}

/// How many decisions about calls of tools the journal has.
async fn decisions(harness: &Harness, run: &RunId) -> usize {
    let is_decision = |entry: &&Entry| matches!(entry, Entry::ToolApprovalResolved { .. });
    harness.entries(run).await.iter().filter(is_decision).count()
}

/// A message is removed after it was recorded; a pod may die between the two. A pod of an earlier build names the calls
/// that waited beside a decision that names none.
#[tokio::test(start_paused = true)]
async fn an_approval_that_is_delivered_twice_approves_nothing_that_waits_since() {
    for is_earlier_build in [false, true] {
        let (stores, clock) = stores();
        let (cluster, stores) = SharedCluster::over(stores);
        let harness = Harness::open("pod_1", vec![definitions()], waits_twice(), stores, clock).await;
        let run = start_unowned(&harness, "w").await;
        assert_eq!(recover_due(&harness).await.resumed, 1);
        until_state(&harness, &run, RunStatus::WaitingApproval).await;
        until_parked(&harness, &cluster, &run).await;
        refuse_without_a_call(&harness, &run, &call().call).await;
        assert_eq!(harness.signal(&run, approve(call().call)).await.status, Status::Success);
        let messages = cluster.messages();
        let [message] = messages.as_slice() else { panic!("{messages:?}") };
        let mut message = message.clone();
        if is_earlier_build {
            let (signal, subject) = (json!({ "signal": "approve", "step": "pay" }), json!({ "calls": [call().call] }));
            message.body = json!({ "signal": signal, "by": "admin", "subject": subject }).to_string();
        }
        assert_eq!(recover_due(&harness).await.resumed, 1);
        harness.runs.deliver(&message).await.unwrap();
        until_entry(&harness, &run, 2, |entry| matches!(entry, Entry::ToolApprovalRequested { .. })).await;

        harness.runs.deliver(&message).await.unwrap();
        assert_eq!(cluster.messages(), [], "it has no effect, and is removed");
        assert_eq!(decisions(&harness, &run).await, 1);
        assert_eq!(harness.signal(&run, approve(second_call().call)).await.status, Status::Success);
        until_state(&harness, &run, RunStatus::Success).await;
        assert_eq!(decisions(&harness, &run).await, 2);
    }
}
