//! Executions without actors: a scripted model, an in-memory ledger, a pipeline that records requests.

mod approvals;
mod compensation;
mod failures;
mod memory;
mod money;
mod tools;

use std::sync::Arc;

use greenroom_protocol::request::Invoke;
use greenroom_protocol::{ErrorCode, Request, Tokens};
use greenroom_rego::{Grant, Resource, TypedPermit, testing};
use serde_json::json;
use tokio::sync::mpsc;

use super::invocation::{Invocation, UsageMeter};
use super::stream::AnswerEvent;
use super::{Cause, Values, execute};
use crate::handler::{HandlerInput, HandlerMode};
use crate::model::{Part, Role};
use crate::pipeline::Settlements;
use crate::test_env::{FnHandler, ScriptedModel, TestEnv, TestEnvOptions, agent, invoke, native, text_answer};

/// The text of a message's first part.
fn text(message: &crate::model::Message) -> &str {
    match message.parts.first() {
        Some(Part::Text(text)) => text,
        other => panic!("{other:?}"),
    }
}

fn test_env(model: &Arc<ScriptedModel>) -> TestEnv {
    TestEnv::new(TestEnvOptions {
        agents: vec![agent("writer", json!({}))],
        providers: vec![model.clone()],
        ..TestEnvOptions::default()
    })
}

/// The invocation of an agent that the agent of this grant calls.
async fn nested(test_env: &TestEnv, grant: &Grant, invoke: Invoke) -> Box<Invocation> {
    let agent = test_env.agent(invoke.agent.as_str());
    let id = invoke.key.as_ref().unwrap().request_id(1);
    let resource = Resource::Agent { agent: agent.id().clone(), version: agent.hash() };
    let request = grant.issue_request(id, Request::Invoke(invoke));
    match testing::permit_request(request, resource).await.unwrap().into_typed() {
        TypedPermit::Invoke(permit) => Invocation::from_permit(permit, agent, None, Settlements::default()).unwrap(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_becomes_outputs_and_its_tokens_become_cost() {
    let model = ScriptedModel::new("play", true, vec![text_answer(r#"{"summary": "short", "extra": 1}"#, 100, 10)]);
    let test_env = test_env(&model);
    let meter = UsageMeter::default();
    let job = test_env.invocation("writer", "a long text").await;
    let outputs = execute(test_env.env.clone(), job, meter.clone()).await.unwrap();
    assert_eq!(outputs, Values::from([("summary".to_owned(), json!("short"))]));
    let usage = meter.total();
    assert_eq!(usage.tokens, Tokens { input: 100, output: 10 });
    assert_eq!(usage.cost.0, 120, "one and two microdollars per token");
    assert_eq!((usage.model.as_deref(), usage.estimated), (Some("play.one"), false));
    assert_eq!(usage.agents.len(), 1);
    let model_request = &model.calls()[0];
    assert_eq!(model_request.model, "play.one");
    assert!(model_request.system.contains("writer"));
    assert!(text(&model_request.messages[0]).contains("a long text"));
    assert!(!model_request.system.contains("a long text"), "no input is in the system part");
    assert_eq!(model_request.worst.output, u64::from(model_request.tokens_max));
    assert!(model_request.worst.input >= model_request.system.len() as u64 + 11);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_does_not_match_is_repaired_at_most_twice() {
    let wrong = || text_answer("this is no JSON", 10, 1);
    let model = ScriptedModel::new("play", true, vec![wrong(), wrong(), text_answer(r#"{"summary": "ok"}"#, 10, 1)]);
    let test_env = test_env(&model);
    let meter = UsageMeter::default();
    let job = test_env.invocation("writer", "x").await;
    let outputs = execute(test_env.env.clone(), job, meter.clone()).await.unwrap();
    assert_eq!(outputs["summary"], "ok");
    assert_eq!(meter.total().tokens, Tokens { input: 30, output: 3 }, "every attempt counts");
    let model_requests = model.calls();
    let last = model_requests.last().unwrap();
    assert_eq!(last.messages.len(), 5);
    assert_eq!(last.messages[1].role, Role::Assistant);
    assert!(text(&last.messages[2]).contains("Answer again"));
    assert_eq!(
        model_requests.iter().map(|request| request.key.clone()).collect::<std::collections::BTreeSet<_>>().len(),
        3
    );

    let model =
        ScriptedModel::new("play", true, vec![wrong(), wrong(), wrong(), text_answer(r#"{"summary": "ok"}"#, 1, 1)]);
    let test_env = self::test_env(&model);
    let job = test_env.invocation("writer", "x").await;
    let error = execute(test_env.env.clone(), job, UsageMeter::default()).await.unwrap_err();
    assert_eq!((error.code, model.calls().len()), (ErrorCode::InvalidOutput, 3));
}

#[tokio::test(start_paused = true)]
async fn outputs_of_a_wrong_type_are_rejected() {
    let wrong = || text_answer(r#"{"summary": ["a", 1]}"#, 1, 1);
    let model = ScriptedModel::new("play", true, vec![wrong(), wrong(), wrong()]);
    let test_env = test_env(&model);
    let job = test_env.invocation("writer", "x").await;
    let error = execute(test_env.env.clone(), job, UsageMeter::default()).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::InvalidOutput);
    assert!(text(&model.calls()[1].messages[2]).contains("summary"), "the repair message names the problem");
}

#[tokio::test(start_paused = true)]
async fn deltas_are_published_as_they_arrive() {
    let model =
        ScriptedModel::new("play", true, vec![text_answer("no", 1, 1), text_answer(r#"{"summary": "ok"}"#, 1, 1)]);
    let test_env = test_env(&model);
    let (sink, mut published) = mpsc::channel(8);
    let job = test_env.invocation_for(greenroom_rego::testing::admin(), invoke("writer", "x"), Some(sink)).await;
    execute(test_env.env.clone(), job, UsageMeter::default()).await.unwrap();
    assert_eq!(published.recv().await, Some(AnswerEvent::Text("no".into())));
    assert_eq!(published.recv().await, Some(AnswerEvent::Restarted));
    assert_eq!(published.recv().await, Some(AnswerEvent::Text(r#"{"summary": "ok"}"#.into())));
    assert_eq!(published.recv().await, None);
}

#[tokio::test]
async fn handlers_run_in_their_mode_and_their_outputs_are_validated() {
    let copy_document = |input: HandlerInput| async move {
        Ok(Values::from([("summary".to_owned(), input.inputs["document"].clone())]))
    };
    let return_nothing = |_: HandlerInput| async { Ok(Values::new()) };
    let panicking = |input: HandlerInput| async move {
        if input.inputs.is_empty() { Ok(Values::new()) } else { panic!("the test requires a panic") }
    };
    let test_env = TestEnv::new(TestEnvOptions {
        agents: vec![
            native("async", "native.copies"),
            native("blocking", "native.blocks"),
            native("incomplete", "native.omits"),
            native("panicking", "native.panics"),
            native("unknown", "native.nothing"),
            agent("python", json!({"implementation": {"runtime": "python", "handler": "a.b"}})),
        ],
        handlers: vec![
            Arc::new(FnHandler("native.copies", HandlerMode::Async, copy_document)),
            Arc::new(FnHandler("native.blocks", HandlerMode::Blocking, copy_document)),
            Arc::new(FnHandler("native.omits", HandlerMode::Async, return_nothing)),
            Arc::new(FnHandler("native.panics", HandlerMode::Blocking, panicking)),
        ],
        ..TestEnvOptions::default()
    });
    let run = async |id: &str| {
        let meter = UsageMeter::default();
        let result = execute(test_env.env.clone(), test_env.invocation(id, "text").await, meter.clone()).await;
        (result.map_err(|cause| cause.code), meter.total().model)
    };
    for id in ["async", "blocking"] {
        let (result, model) = run(id).await;
        assert_eq!(result, Ok(Values::from([("summary".to_owned(), json!("text"))])));
        assert_eq!(model.as_deref(), Some("native"));
    }
    assert_eq!(run("incomplete").await.0, Err(ErrorCode::InvalidOutput));
    assert_eq!(run("panicking").await.0, Err(ErrorCode::AgentCrashed));
    assert_eq!(run("unknown").await.0, Err(ErrorCode::RuntimeUnavailable));
    assert_eq!(run("python").await.0, Err(ErrorCode::RuntimeUnavailable));
}

#[tokio::test]
async fn inputs_are_validated_before_the_agent_runs() {
    let model = ScriptedModel::new("play", true, vec![]);
    let test_env = test_env(&model);
    let mut wrong = invoke("writer", "x");
    wrong.inputs.insert("document".into(), json!(7));
    let job = test_env.invocation_for(greenroom_rego::testing::admin(), wrong, None).await;
    let error = execute(test_env.env.clone(), job, UsageMeter::default()).await.unwrap_err();
    assert_eq!((error.code, model.calls().len()), (ErrorCode::InvalidInput, 0));
}

#[tokio::test]
async fn an_artifact_is_loaded_before_the_prompt_is_rendered() {
    let model = ScriptedModel::new("play", true, vec![text_answer(r#"{"summary": "ok"}"#, 1, 1)]);
    let test_env = test_env(&model);
    let artifact = test_env.put_artifact(b"the whole text", "text/plain", "report.txt").await;
    let mut large = invoke("writer", "x");
    large.inputs.insert("document".into(), artifact.to_json());
    let job = test_env.invocation_for(greenroom_rego::testing::admin(), large, None).await;
    execute(test_env.env.clone(), job, UsageMeter::default()).await.unwrap();
    assert!(text(&model.calls()[0].messages[0]).contains("the whole text"));
}

#[tokio::test(start_paused = true)]
async fn an_agent_is_retried_as_its_definition_requires() {
    let calls = Arc::new(std::sync::atomic::AtomicU32::new(0));
    let counter = calls.clone();
    let failing = move |input: HandlerInput| {
        let times = counter.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        async move {
            if times < 2 {
                return Err(Cause::new(ErrorCode::StoreUnavailable, "not now"));
            }
            Ok(Values::from([("summary".to_owned(), json!(input.key.as_str()))]))
        }
    };
    let retry = json!({
        "implementation": {"runtime": "native", "handler": "native.fails"},
        "retry": {"max_attempts": 3, "delay": 1.0},
    });
    let test_env = TestEnv::new(TestEnvOptions {
        agents: vec![agent("stubborn", retry), native("meek", "native.fails")],
        handlers: vec![Arc::new(FnHandler("native.fails", HandlerMode::Async, failing))],
        ..TestEnvOptions::default()
    });
    let job = test_env.invocation("meek", "x").await;
    assert!(execute(test_env.env.clone(), job, UsageMeter::default()).await.is_err());
    let job = test_env.invocation("stubborn", "x").await;
    let key = job.key();
    let result = execute(test_env.env.clone(), job, UsageMeter::default()).await.unwrap();
    assert_eq!(result["summary"], key.as_str(), "every attempt has the same key");
    assert_eq!(calls.load(std::sync::atomic::Ordering::SeqCst), 3);
}
