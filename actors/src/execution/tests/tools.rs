//! The tool loop: each call is a nested request of the agent itself.

use std::sync::Arc;
use std::time::Duration;

use greenroom_protocol::{
    ArtifactRef, CallKey, ErrorCode, Metadata, MicroUsd, Reply, Request, Status, Tokens, Values, WrittenVersion,
};
use serde_json::{Value, json};

use super::execute;
use crate::execution::invocation::UsageMeter;
use crate::model::{Delta, Part, StopReason, ToolCall};
use crate::test_env::{ScriptedAnswer, ScriptedModel, TestEnv, TestEnvOptions, agent, text_answer};
use crate::tool::ToolInput;

const GOOD: &str = r#"{"summary": "ok"}"#;

fn calls(names: &[&str]) -> ScriptedAnswer {
    let call = |name: &&str| {
        let arguments = json!({"document": "inner"});
        Ok(Delta::Tool(ToolCall { id: format!("id_{name}"), name: (*name).to_owned(), arguments }))
    };
    let mut deltas: Vec<_> = names.iter().map(call).collect();
    deltas.push(Ok(Delta::Usage(Tokens { input: 10, output: 1 }.into())));
    deltas.push(Ok(Delta::End(StopReason::Tools)));
    ScriptedAnswer::Deltas(deltas)
}

fn reply(outputs: Value) -> Reply {
    let outputs: Values = serde_json::from_value(outputs).unwrap();
    let metadata = Metadata {
        tokens_used: Tokens { input: 3, output: 4 },
        cost: MicroUsd(5),
        model: Some("other.model".into()),
        policy_decisions: 1,
        ..Metadata::default()
    };
    Reply {
        id: "r".into(),
        status: Status::Success,
        outputs,
        error: None,
        metadata,
        protocol_version: WrittenVersion::OWN,
    }
}

fn test_env(model: &Arc<ScriptedModel>, replies: Vec<Reply>, turns: u32) -> TestEnv {
    let tools = json!({
        "tools": ["agent:helper", "native:adder", "agent:helper_002"],
        "limits": {"max_turns": turns},
    });
    TestEnv::new(TestEnvOptions {
        agents: vec![
            agent("writer", tools),
            agent("helper_001", json!({"description": "helps"})),
            agent("helper_002", json!({})),
        ],
        providers: vec![model.clone()],
        replies,
        ..TestEnvOptions::default()
    })
}

#[tokio::test(start_paused = true)]
async fn each_call_is_a_nested_request_of_the_agent_itself() {
    let model = ScriptedModel::new("play", true, vec![calls(&["helper", "adder"]), text_answer(GOOD, 10, 1)]);
    let test_env = test_env(&model, vec![reply(json!({"summary": "helped"})), reply(json!({"result": 5}))], 4);
    let meter = UsageMeter::default();
    let job = test_env.invocation("writer", "x").await;
    let key = job.key();
    execute(test_env.env.clone(), job, meter.clone()).await.unwrap();
    let requests = test_env.pipeline.requests.lock().unwrap();
    let [(first, Request::Invoke(invoke)), (second, Request::CallTool(call))] = requests.as_slice() else {
        panic!("{requests:?}")
    };
    assert_eq!((first.as_str(), second.as_str()), ("agent:writer", "agent:writer"));
    assert_eq!((invoke.agent.as_str(), &invoke.inputs["document"]), ("helper", &json!("inner")));
    assert_eq!(invoke.key.as_ref().unwrap().as_str(), format!("{key}/tool[0]"));
    assert_eq!(call.tool, "native:adder");
    let usage = meter.total();
    assert_eq!(usage.tokens, Tokens { input: 26, output: 10 }, "its own two calls and both nested calls");
    assert_eq!((usage.cost.0, usage.decisions), (24 + 10, 2));
    assert_eq!(usage.model.as_deref(), Some("play.one"), "its own model, not that of the nested call");
    let model_requests = model.calls();
    assert_eq!(
        model_requests[0].tools.iter().map(|tool| tool.name.as_str()).collect::<Vec<_>>(),
        ["helper", "adder", "helper_002"]
    );
    assert_eq!(model_requests[0].tools[0].description, "helps");
    let results = &model_requests[1].messages[2].parts;
    assert!(matches!(&results[0], Part::ToolResult { content, is_error: false, .. } if content.contains("helped")));
    assert!(matches!(&results[1], Part::ToolResult { id, .. } if id == "id_adder"));
}

/// A model that calls the adder this many times in one turn, where no call gets its result before `together` of them
/// are there.
fn adding(calls: usize, together: usize) -> (Arc<ScriptedModel>, TestEnv) {
    let adder = |index: usize| {
        Ok(Delta::Tool(ToolCall { id: format!("id_{index}"), name: "adder".into(), arguments: json!({ "a": index }) }))
    };
    let mut deltas: Vec<_> = (0..calls).map(adder).collect();
    deltas.push(Ok(Delta::End(StopReason::Tools)));
    let model = ScriptedModel::new("play", true, vec![ScriptedAnswer::Deltas(deltas), text_answer(GOOD, 10, 1)]);
    let test_env = TestEnv::new(TestEnvOptions {
        agents: vec![agent("writer", json!({ "tools": ["native:adder"] }))],
        providers: vec![model.clone()],
        replies: (0..calls).map(|number| reply(json!({ "result": number }))).collect(),
        concurrent_requests: together,
        ..TestEnvOptions::default()
    });
    (model, test_env)
}

#[tokio::test(start_paused = true)]
async fn the_calls_of_one_turn_run_at_the_same_time_within_a_bound() {
    let (model, test_env) = adding(16, 8);
    let job = test_env.invocation("writer", "x").await;
    let ended = execute(test_env.env.clone(), job, UsageMeter::default());
    tokio::time::timeout(Duration::from_secs(20), ended).await.expect("they wait for no other").unwrap();
    let requests = test_env.pipeline.requests.lock().unwrap();
    let order: Vec<Value> = requests
        .iter()
        .map(|(_, request)| match request {
            Request::CallTool(call) => call.arguments["a"].clone(),
            other => panic!("{other:?}"),
        })
        .collect();
    let expected: Vec<Value> = (0..16).map(|index| json!(index)).collect();
    assert_eq!(order, expected);
    let ids: Vec<String> = model.calls()[1].messages[2]
        .parts
        .iter()
        .map(|part| match part {
            Part::ToolResult { id, .. } => id.clone(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(ids, (0..16).map(|index| format!("id_{index}")).collect::<Vec<_>>(), "in the order of the calls");
}

#[tokio::test(start_paused = true)]
async fn a_call_beyond_the_bound_waits_until_another_has_its_result() {
    // Nine calls at the same time would be needed for the first result.
    let (_, test_env) = adding(9, 9);
    let job = test_env.invocation("writer", "x").await;
    let ended = execute(test_env.env.clone(), job, UsageMeter::default());
    assert!(tokio::time::timeout(Duration::from_secs(20), ended).await.is_err(), "the ninth call was made");
    assert_eq!(test_env.pipeline.requests.lock().unwrap().len(), 8);
}

#[tokio::test(start_paused = true)]
async fn a_result_is_not_wrapped_twice() {
    let model = ScriptedModel::new("play", true, vec![calls(&["adder", "helper"]), text_answer(GOOD, 10, 1)]);
    let wrapped = json!({ "result": { "result": 5 } });
    let test_env = test_env(&model, vec![reply(wrapped.clone()), reply(wrapped)], 4);
    execute(test_env.env.clone(), test_env.invocation("writer", "x").await, UsageMeter::default()).await.unwrap();
    let contents: Vec<String> = model.calls()[1].messages[2]
        .parts
        .iter()
        .map(|part| match part {
            Part::ToolResult { content, is_error: false, .. } => content.clone(),
            other => panic!("{other:?}"),
        })
        .collect();
    let outputs_of_an_agent = "{\"result\":{\"result\":5}}";
    assert_eq!(contents, ["{\"result\":5}", outputs_of_an_agent]);
}

#[tokio::test(start_paused = true)]
async fn arguments_that_are_no_object_are_a_result_that_reports_it() {
    for (arguments, words) in [
        (json!([]), "one JSON object, not a list: []"),
        (json!("2 + 3"), "not a text that is no JSON object: \"2 + 3\""),
        (json!(7), "not a number: 7"),
    ] {
        let call = ToolCall { id: "a".into(), name: "adder".into(), arguments };
        let turn = ScriptedAnswer::Deltas(vec![Ok(Delta::Tool(call)), Ok(Delta::End(StopReason::Tools))]);
        let model = ScriptedModel::new("play", true, vec![turn, text_answer(GOOD, 10, 1)]);
        let test_env = test_env(&model, vec![], 4);
        execute(test_env.env.clone(), test_env.invocation("writer", "x").await, UsageMeter::default()).await.unwrap();
        let model_requests = model.calls();
        let [Part::ToolResult { content, is_error: true, .. }] = model_requests[1].messages[2].parts.as_slice() else {
            panic!("one result")
        };
        assert!(content.contains(words), "{content}");
        assert!(test_env.pipeline.requests.lock().unwrap().is_empty(), "no tool is called");
    }
}

#[tokio::test(start_paused = true)]
async fn a_denied_or_unknown_tool_is_a_result_and_the_conversation_continues() {
    let model = ScriptedModel::new("play", true, vec![calls(&["helper", "nonsense"]), text_answer(GOOD, 10, 1)]);
    let test_env = test_env(&model, vec![], 4);
    execute(test_env.env.clone(), test_env.invocation("writer", "x").await, UsageMeter::default()).await.unwrap();
    let model_requests = model.calls();
    for (part, word) in model_requests[1].messages[2].parts.iter().zip(["policy_denied", "nonsense"]) {
        assert!(matches!(part, Part::ToolResult { content, is_error: true, .. } if content.contains(word)), "{part:?}");
    }
    assert_eq!(test_env.pipeline.requests.lock().unwrap().len(), 1, "an unknown tool causes no request");
}

#[tokio::test(start_paused = true)]
async fn the_loop_ends_at_its_bound() {
    let model = ScriptedModel::new("play", true, (0..9).map(|_| calls(&["adder"])).collect());
    let replies = (0..9).map(|_| reply(json!({"result": 1}))).collect();
    let test_env = test_env(&model, replies, 2);
    let error = execute(test_env.env.clone(), test_env.invocation("writer", "x").await, UsageMeter::default())
        .await
        .unwrap_err();
    assert_eq!((error.code, model.calls().len()), (ErrorCode::TooManyTurns, 3));
    assert_eq!(test_env.pipeline.requests.lock().unwrap().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_long_result_becomes_an_artifact_that_the_model_may_read() {
    let turns = vec![calls(&["adder"]), calls(&["read_artifact"]), text_answer(GOOD, 10, 1)];
    let model = ScriptedModel::new("play", true, turns);
    let long = "ö".repeat(200_000);
    let replies = vec![reply(json!({"result": long})), reply(json!({"result": {"text": "more"}}))];
    let test_env = test_env(&model, replies, 4);
    execute(test_env.env.clone(), test_env.invocation("writer", "x").await, UsageMeter::default()).await.unwrap();
    let model_requests = model.calls();
    let offers_reader = |index: usize| model_requests[index].tools.iter().any(|tool| tool.name == "read_artifact");
    assert_eq!((offers_reader(0), offers_reader(1), offers_reader(2)), (false, true, true));
    let [Part::ToolResult { content, is_error: false, .. }] = model_requests[1].messages[2].parts.as_slice() else {
        panic!("one result")
    };
    let result: Value = serde_json::from_str(content).unwrap();
    let whole = json!(long).to_string();
    assert_eq!((&result["total_bytes"], content.len() < 16_384), (&json!(whole.len()), true));
    let excerpt = result["excerpt"].as_str().unwrap();
    assert!(whole.starts_with(excerpt) && result["next_offset"] == json!(excerpt.len()), "{}", excerpt.len());
    let artifact = ArtifactRef::from_json(&result["artifact"]).unwrap();
    let tenant = greenroom_rego::testing::admin().id.tenant;
    let stored = test_env.stores.artifacts.get(&tenant, &artifact.hash, 1 << 20).await.unwrap().unwrap();
    assert_eq!(stored, whole.into_bytes());
    let requests = test_env.pipeline.requests.lock().unwrap();
    assert!(matches!(&requests[1].1, Request::CallTool(call) if call.tool == "native:read_artifact"), "{requests:?}");
}

#[tokio::test(start_paused = true)]
async fn a_tool_is_found_by_its_name_with_a_namespace_or_spaces_around_it() {
    let turn = calls(&["functions.adder", " adder ", " functions.helper_002", "functions.", "other.adder"]);
    let model = ScriptedModel::new("play", true, vec![turn, text_answer(GOOD, 10, 1)]);
    let replies = (0..3).map(|_| reply(json!({ "result": 5 }))).collect();
    let test_env = test_env(&model, replies, 4);
    execute(test_env.env.clone(), test_env.invocation("writer", "x").await, UsageMeter::default()).await.unwrap();
    let parts = &model.calls()[1].messages[2].parts;
    let is_error = |part: &Part| matches!(part, Part::ToolResult { is_error: true, .. });
    assert_eq!(parts.iter().map(is_error).collect::<Vec<_>>(), [false, false, false, true, true]);
}

#[tokio::test]
async fn a_tool_is_called_by_scheme_and_name() {
    let model = ScriptedModel::new("play", true, vec![]);
    let test_env = test_env(&model, vec![], 1);
    let tenant = greenroom_rego::testing::admin().id.tenant;
    let files = test_env.env.files.for_agent(&tenant, &test_env.agent("writer"), None);
    let input = |arguments: Values| ToolInput { arguments, key: CallKey::new("req_1/tool[0]").unwrap(), trace: None };
    let addends = Values::from([("a".into(), json!(2)), ("b".into(), json!(3))]);
    let sum = test_env.env.call_tool("native:adder", input(addends), &files).await;
    assert_eq!(sum.unwrap(), json!(5));
    let unknown = test_env.env.call_tool("native:divider", input(Values::new()), &files).await.unwrap_err();
    assert_eq!(unknown.code, ErrorCode::UnknownTool);
    for name in ["adder", "mcp:adder", "agent:helper_002"] {
        let error = test_env.env.call_tool(name, input(Values::new()), &files).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::UnknownTool, "{name}");
    }
    let crashed = test_env.env.call_tool("native:panicking", input(Values::new()), &files).await.unwrap_err();
    assert_eq!(crashed.code, ErrorCode::AgentCrashed, "a panic of a tool does not unwind further");
}
