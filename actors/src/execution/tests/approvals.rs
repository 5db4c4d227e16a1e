//! Calls of tools that a person approves: the execution ends with the conversation, and another one continues it.

use std::sync::Arc;

use greenroom_protocol::conversation::{PendingToolCall, StepApprovals, SuspendedCall, ToolDecision};
use greenroom_protocol::{
    CallKey, Cause, ErrorCode, Metadata, Reply, Request, Status, Tokens, UserId, Values, WrittenVersion,
};
use serde_json::{Value, json};

use super::execute;
use crate::execution::invocation::UsageMeter;
use crate::model::{Delta, Part, StopReason, ToolCall};
use crate::test_env::{ScriptedAnswer, ScriptedModel, TestEnv, TestEnvOptions, agent, invoke, text_answer};

const GOOD: &str = r#"{"summary": "ok"}"#;

/// A turn with these calls: each has a tool and arguments.
fn turn(calls: &[(&str, Value)]) -> ScriptedAnswer {
    let call = |(index, (name, arguments)): (usize, &(&str, Value))| {
        let (name, arguments) = ((*name).to_owned(), arguments.clone());
        Ok(Delta::Tool(ToolCall { id: format!("id_{index}"), name, arguments }))
    };
    let mut deltas: Vec<_> = calls.iter().enumerate().map(call).collect();
    deltas.push(Ok(Delta::Usage(Tokens { input: 10, output: 1 }.into())));
    deltas.push(Ok(Delta::End(StopReason::Tools)));
    ScriptedAnswer::Deltas(deltas)
}

fn result(value: Value) -> Reply {
    Reply {
        id: "r".into(),
        status: Status::Success,
        outputs: Values::from([("result".to_owned(), value)]),
        error: None,
        metadata: Metadata::default(),
        protocol_version: WrittenVersion::OWN,
    }
}

fn test_env(model: &Arc<ScriptedModel>, replies: Vec<Reply>) -> TestEnv {
    let tools = json!({ "tools": [{ "tool": "native:adder", "approval": "required" }, "native:key_reader"] });
    TestEnv::new(TestEnvOptions {
        agents: vec![agent("writer", tools)],
        providers: vec![model.clone()],
        replies,
        ..TestEnvOptions::default()
    })
}

/// One execution of the agent as a step.
async fn step(test_env: &TestEnv, approvals: Option<StepApprovals>, meter: &UsageMeter) -> Result<Values, Cause> {
    let mut call = invoke("writer", "x");
    call.key = Some(CallKey::new("run_1/pay").unwrap());
    call.approvals = approvals;
    let job = test_env.invocation_for(greenroom_rego::testing::admin(), call, None).await;
    execute(test_env.env.clone(), job, meter.clone()).await
}

/// The first execution of a step, which must wait.
async fn suspended(test_env: &TestEnv) -> SuspendedCall {
    let cause = step(test_env, Some(StepApprovals::default()), &UsageMeter::default()).await.unwrap_err();
    SuspendedCall::from_cause(&cause).unwrap_or_else(|| panic!("{cause}"))
}

fn decided(suspended: &SuspendedCall, approved: bool, reason: Option<&str>) -> Option<StepApprovals> {
    let decision = |call: &PendingToolCall| ToolDecision {
        call: call.call.clone(),
        approved,
        by: UserId::new("ada").unwrap(),
        reason: reason.map(str::to_owned),
    };
    let decisions = suspended.calls.iter().map(decision).collect();
    Some(StepApprovals { conversation: Some(suspended.conversation.clone()), decisions })
}

/// The tools of the requests that were made.
fn tools(test_env: &TestEnv) -> Vec<(String, String)> {
    let requests = test_env.pipeline.requests.lock().unwrap();
    let tool = |(_, request): &(String, Request)| match request {
        Request::CallTool(call) => (call.tool.clone(), call.key.as_ref().unwrap().to_string()),
        other => panic!("{other:?}"),
    };
    requests.iter().map(tool).collect()
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_cannot_wait_is_refused_before_the_model_is_called() {
    let model = ScriptedModel::new("play", true, vec![]);
    let test_env = test_env(&model, vec![]);
    let cause = step(&test_env, None, &UsageMeter::default()).await.unwrap_err();
    assert!(cause.code == ErrorCode::ApprovalRequired && cause.message.contains("workflow"), "{cause}");
    assert_eq!((SuspendedCall::from_cause(&cause), model.calls().len()), (None, 0));
}

#[tokio::test(start_paused = true)]
async fn the_other_calls_of_the_turn_are_made_and_recorded_and_none_is_repeated() {
    let calls = [("adder", json!({ "a": 2, "b": 3 })), ("key_reader", json!({}))];
    let model = ScriptedModel::new("play", true, vec![turn(&calls), text_answer(GOOD, 10, 1)]);
    let test_env = test_env(&model, vec![result(json!("a key")), result(json!(5))]);
    let waiting = suspended(&test_env).await;
    let [PendingToolCall { tool, arguments, .. }] = waiting.calls.as_slice() else { panic!("{waiting:?}") };
    assert_eq!((tool.as_str(), arguments), ("native:adder", &json!({ "a": 2, "b": 3 })));
    let other = ("native:key_reader".to_owned(), "run_1/pay/tool[1]".to_owned());
    assert_eq!((tools(&test_env), model.calls().len()), (vec![other.clone()], 1));

    let meter = UsageMeter::default();
    let outputs = step(&test_env, decided(&waiting, true, None), &meter).await.unwrap();
    assert_eq!(outputs["summary"], "ok");
    let approved = ("native:adder".to_owned(), "run_1/pay/tool[0]".to_owned());
    assert_eq!(tools(&test_env), [other, approved], "only the approved call is made");
    let requests = model.calls();
    assert_eq!((requests.len(), requests[1].key.as_str()), (2, "run_1/pay/turn[2]"));
    assert_eq!(requests[1].messages[..1], requests[0].messages[..], "the prompt is the recorded one");
    let results: Vec<(&str, &str)> = requests[1].messages[2]
        .parts
        .iter()
        .map(|part| match part {
            Part::ToolResult { id, content, is_error: false } => (id.as_str(), content.as_str()),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(results, [("id_0", "5"), ("id_1", "\"a key\"")]);
    assert_eq!(meter.total().tokens, Tokens { input: 10, output: 1 }, "the first request is not counted again");
}

#[tokio::test(start_paused = true)]
async fn a_rejected_call_is_a_result_and_the_model_continues() {
    for (reason, expected) in [(Some("too much"), "rejected by ada: too much"), (None, "rejected by ada")] {
        let turns = vec![turn(&[("adder", json!({ "a": 2 }))]), text_answer(GOOD, 10, 1)];
        let model = ScriptedModel::new("play", true, turns);
        let test_env = test_env(&model, vec![]);
        let waiting = suspended(&test_env).await;
        step(&test_env, decided(&waiting, false, reason), &UsageMeter::default()).await.unwrap();
        assert!(tools(&test_env).is_empty());
        let requests = model.calls();
        let [Part::ToolResult { content, is_error: true, .. }] = requests[1].messages[2].parts.as_slice() else {
            panic!("{requests:?}")
        };
        assert_eq!(content, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_without_a_decision_waits_again_and_a_call_that_is_wrong_never_waits() {
    let wrong = turn(&[("adder", json!("2 + 3"))]);
    let model = ScriptedModel::new("play", true, vec![wrong, turn(&[("adder", json!({ "a": 1 }))])]);
    let test_env = test_env(&model, vec![]);
    let waiting = suspended(&test_env).await;
    assert_eq!(model.calls().len(), 2, "the model has corrected its call");
    let undecided = StepApprovals { conversation: Some(waiting.conversation.clone()), decisions: Vec::new() };
    let cause = step(&test_env, Some(undecided), &UsageMeter::default()).await.unwrap_err();
    let next = SuspendedCall::from_cause(&cause).unwrap();
    assert_eq!((next.calls, model.calls().len()), (waiting.calls, 2));
}

#[tokio::test(start_paused = true)]
async fn large_arguments_are_shown_as_an_artifact() {
    let long = "x".repeat(10_000);
    let model = ScriptedModel::new("play", true, vec![turn(&[("adder", json!({ "a": long }))])]);
    let test_env = test_env(&model, vec![]);
    let waiting = suspended(&test_env).await;
    let artifact = greenroom_protocol::ArtifactRef::from_json(&waiting.calls[0].arguments).unwrap();
    let tenant = greenroom_rego::testing::admin().id.tenant;
    let stored = test_env.stores.artifacts.get(&tenant, &artifact.hash, 1 << 20).await.unwrap().unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&stored).unwrap(), json!({ "a": long }));
}

#[tokio::test(start_paused = true)]
async fn an_approval_is_none_for_another_tool_that_has_the_name_by_now() {
    let tools_of_writer = json!({ "tools": [{ "tool": "agent:adder", "approval": "required" }, "native:adder"] });
    let env_of = |model: &Arc<ScriptedModel>, members: Option<Value>| {
        let adder = members.map(|members| agent("adder", members));
        let agents = [agent("writer", tools_of_writer.clone())].into_iter().chain(adder).collect();
        TestEnv::new(TestEnvOptions { agents, providers: vec![model.clone()], ..TestEnvOptions::default() })
    };
    let before = ScriptedModel::new("play", true, vec![turn(&[("adder", json!({ "document": "x" }))])]);
    let before = env_of(&before, Some(json!({})));
    let waiting = suspended(&before).await;
    assert_eq!(waiting.calls[0].tool, "agent:adder");
    let (tenant, conversation) = (greenroom_rego::testing::admin().id.tenant, &waiting.conversation);
    let stored = before.stores.artifacts.get(&tenant, &conversation.hash, 1 << 20).await.unwrap().unwrap();

    // The agent does not exist any more, so the native tool has its name; or it has another description.
    for members in [None, Some(json!({ "description": "does other things" }))] {
        let model = ScriptedModel::new("play", true, vec![text_answer(GOOD, 10, 1)]);
        let after = env_of(&model, members);
        after.put_artifact(&stored, "application/json", "conversation.json").await;
        step(&after, decided(&waiting, true, None), &UsageMeter::default()).await.unwrap();
        assert!(after.pipeline.requests.lock().unwrap().is_empty(), "nothing else is called");
        let requests = model.calls();
        let [Part::ToolResult { content, is_error: true, .. }] = requests[0].messages[2].parts.as_slice() else {
            panic!("{requests:?}")
        };
        assert!(content.contains("has changed since"), "{content}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_calls_of_one_turn_that_wait_are_bounded() {
    let calls: Vec<(&str, Value)> = (0..34).map(|number| ("adder", json!({ "a": number }))).collect();
    let model = ScriptedModel::new("play", true, vec![turn(&calls), text_answer(GOOD, 10, 1)]);
    let test_env = test_env(&model, (0..32).map(|number| result(json!(number))).collect());
    let waiting = suspended(&test_env).await;
    assert_eq!(waiting.calls.len(), 32);
    step(&test_env, decided(&waiting, true, None), &UsageMeter::default()).await.unwrap();
    assert_eq!(tools(&test_env).len(), 32, "a call that does not wait is not made");
    let results = &model.calls()[1].messages[2].parts;
    let is_bounded = |part: &&Part| matches!(part, Part::ToolResult { content, is_error: true, .. } if content.contains("at most 32 calls"));
    assert_eq!((results.len(), results.iter().filter(is_bounded).count()), (34, 2));
}
