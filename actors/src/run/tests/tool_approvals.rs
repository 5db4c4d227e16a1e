//! A step whose agent waits for approvals of its tools' calls, through a crash of its pod.

use std::time::Duration;

use greenroom_protocol::conversation::{PendingToolCall, SuspendedCall};
use greenroom_protocol::event::RunStatus;
use greenroom_protocol::journal::Entry;
use greenroom_protocol::request::Signal;
use greenroom_protocol::{ArtifactRef, CallKey, Cause, ContentHash, ErrorCode, Status, ToolCallId};
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
            Err(suspended(call_with_key("run/pay/turn[2]/tool[0]")))
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
    let reject = Signal::Reject { step: step("pay"), call: None, reason: Some("too much".into()) };
    assert_eq!(harness.signal(&run, reject).await.status, Status::Success);
    until_state(&harness, &run, RunStatus::Success).await;
    let reply = harness.stores.runs.reply(&run).await.unwrap().unwrap();
    assert_eq!(reply.outputs["out"], "rejected: too much", "{reply:?}");
    let requests: Vec<_> = harness.calls().into_iter().filter(|call| call.agent == "payer").collect();
    assert_eq!((requests.len(), requests[0].key == requests[1].key), (2, true));
    assert_ne!(requests[0].request, requests[1].request, "the continuation is a request of its own");
}

/// A message is removed after it was recorded; a pod may die between the two.
#[tokio::test(start_paused = true)]
async fn an_approval_that_is_delivered_twice_approves_nothing_that_waits_since() {
    let (stores, clock) = stores();
    let (cluster, stores) = SharedCluster::over(stores);
    let harness = Harness::open("pod_1", vec![definitions()], waits_twice(), stores, clock).await;
    let run = start_unowned(&harness, "w").await;
    assert_eq!(recover_due(&harness).await.resumed, 1);
    until_state(&harness, &run, RunStatus::WaitingApproval).await;
    until_parked(&harness, &cluster, &run).await;
    let all = || Signal::Approve { step: step("pay"), call: None };
    assert_eq!(harness.signal(&run, all()).await.status, Status::Success);
    let messages = cluster.messages();
    let [message] = messages.as_slice() else { panic!("{messages:?}") };
    assert_eq!(recover_due(&harness).await.resumed, 1);
    harness.runs.deliver(message).await.unwrap();
    until_entry(&harness, &run, 2, |entry| matches!(entry, Entry::ToolApprovalRequested { .. })).await;

    harness.runs.deliver(message).await.unwrap();
    assert_eq!(cluster.messages(), [], "it has no effect, and is removed");
    let is_decision = |entry: &&Entry| matches!(entry, Entry::ToolApprovalResolved { .. });
    assert_eq!(harness.entries(&run).await.iter().filter(is_decision).count(), 1);
    assert_eq!(harness.signal(&run, all()).await.status, Status::Success);
    until_state(&harness, &run, RunStatus::Success).await;
    assert_eq!(harness.entries(&run).await.iter().filter(is_decision).count(), 2);
}
