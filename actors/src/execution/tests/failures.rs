//! The retry, fallback or error after each class of failure.

use std::sync::Arc;
use std::time::Duration;

use greenroom_protocol::request::Invoke;
use greenroom_protocol::{ErrorCode, MicroUsd, Tokens};
use serde_json::json;

use super::{execute, nested, test_env};
use crate::execution::invocation::UsageMeter;
use crate::model::{CallPhase, Delta, ModelError, ModelProvider, StopReason, ToolCall};
use crate::test_env::{ScriptedAnswer, ScriptedModel, TestEnv, TestEnvOptions, agent, invoke, text_answer};

const GOOD: &str = r#"{"summary": "ok"}"#;

fn overloaded(seconds: Option<u64>) -> ScriptedAnswer {
    ScriptedAnswer::Fail(ModelError::Overloaded { status: 429, retry_after: seconds.map(Duration::from_secs) })
}

fn failed(status: u16) -> ScriptedAnswer {
    ScriptedAnswer::Fail(ModelError::Failed { status: Some(status), message: "boom".into() })
}

fn ends(stop: StopReason) -> ScriptedAnswer {
    ScriptedAnswer::Deltas(vec![
        Ok(Delta::Text("{".into())),
        Ok(Delta::Usage(Tokens { input: 5, output: 5 }.into())),
        Ok(Delta::End(stop)),
    ])
}

#[tokio::test(start_paused = true)]
async fn an_overload_is_retried_after_the_providers_delay_and_costs_nothing() {
    let model = ScriptedModel::new("play", true, vec![overloaded(Some(7)), text_answer(GOOD, 10, 1)]);
    let test_env = test_env(&model);
    let (start, meter) = (tokio::time::Instant::now(), UsageMeter::default());
    execute(test_env.env.clone(), test_env.invocation("writer", "x").await, meter.clone()).await.unwrap();
    assert!(start.elapsed() >= Duration::from_secs(7), "{:?}", start.elapsed());
    let usage = meter.total();
    assert_eq!((usage.tokens, usage.estimated), (Tokens { input: 10, output: 1 }, false));
}

#[tokio::test(start_paused = true)]
async fn a_failed_call_is_retried_and_its_missing_usage_is_estimated() {
    let model = ScriptedModel::new("play", true, vec![failed(500), text_answer(GOOD, 10, 1)]);
    let test_env = test_env(&model);
    let meter = UsageMeter::default();
    execute(test_env.env.clone(), test_env.invocation("writer", "x").await, meter.clone()).await.unwrap();
    let usage = meter.total();
    assert_eq!(usage.tokens, Tokens { input: 10, output: 1 }, "only reported tokens");
    assert!(usage.estimated && usage.cost > MicroUsd(12), "and the reservation of the failed call");
}

#[tokio::test(start_paused = true)]
async fn an_unreachable_provider_costs_nothing_and_the_next_one_is_called() {
    let unreachable = || ScriptedAnswer::Fail(ModelError::Unreachable);
    let model = ScriptedModel::new("play", true, vec![unreachable(), unreachable(), unreachable()]);
    let other = ScriptedModel::new("other", true, vec![text_answer(GOOD, 10, 1)]);
    let test_env = TestEnv::new(TestEnvOptions {
        agents: vec![agent("writer", json!({}))],
        providers: vec![model.clone(), other.clone() as Arc<dyn ModelProvider>],
        ..TestEnvOptions::default()
    });
    let (start, meter) = (tokio::time::Instant::now(), UsageMeter::default());
    execute(test_env.env.clone(), test_env.invocation("writer", "x").await, meter.clone()).await.unwrap();
    assert_eq!((model.calls().len(), other.calls().len()), (3, 1));
    assert!(start.elapsed() >= Duration::from_millis(600), "it backs off: {:?}", start.elapsed());
    let usage = meter.total();
    assert_eq!((usage.tokens, usage.estimated), (Tokens { input: 10, output: 1 }, false));
}

#[tokio::test(start_paused = true)]
async fn a_model_that_keeps_failing_is_followed_by_the_next_of_its_chain() {
    let model = ScriptedModel::new("play", true, vec![failed(500), failed(502), failed(503)]);
    let other = ScriptedModel::new("other", true, vec![text_answer(GOOD, 10, 1)]);
    let test_env = TestEnv::new(TestEnvOptions {
        agents: vec![agent("writer", json!({}))],
        providers: vec![model.clone(), other.clone() as Arc<dyn ModelProvider>],
        ..TestEnvOptions::default()
    });
    let meter = UsageMeter::default();
    execute(test_env.env.clone(), test_env.invocation("writer", "x").await, meter.clone()).await.unwrap();
    assert_eq!((model.calls().len(), other.calls().len()), (3, 1));
    let usage = meter.total();
    assert_eq!(usage.models, ["play.one", "other.two"], "every model that was paid");
    assert_eq!(greenroom_protocol::Metadata::from(usage).model.as_deref(), Some("play.one, other.two"));
}

#[tokio::test(start_paused = true)]
async fn a_model_without_a_configured_provider_is_skipped() {
    let other = ScriptedModel::new("other", true, vec![text_answer(GOOD, 10, 1)]);
    let test_env = test_env(&other);
    let meter = UsageMeter::default();
    execute(test_env.env.clone(), test_env.invocation("writer", "x").await, meter.clone()).await.unwrap();
    assert_eq!(meter.total().model.as_deref(), Some("other.two"));
    let mut request = invoke("writer", "x");
    request.options.model = Some("absent.model".into());
    let job = test_env.invocation_for(greenroom_rego::testing::admin(), request, None).await;
    let error = execute(test_env.env.clone(), job, UsageMeter::default()).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::UnknownModel, "a request that names the model fails");
}

#[tokio::test(start_paused = true)]
async fn a_permanent_failure_is_not_retried() {
    let overflow = ModelError::ContextOverflow { requested: Some(1_500), limit: Some(1_000) };
    let cases = [
        (ends(StopReason::Refusal), ErrorCode::ModelRefused),
        (ends(StopReason::Length), ErrorCode::OutputTruncated),
        (ScriptedAnswer::Fail(overflow), ErrorCode::ContextOverflow),
        (ScriptedAnswer::Fail(ModelError::Rejected { status: 400, message: "no".into() }), ErrorCode::ModelFailed),
        (ScriptedAnswer::Fail(ModelError::Unauthorized { status: 401 }), ErrorCode::ModelUnauthorized),
    ];
    for (scripted, code) in cases {
        let model = ScriptedModel::new("play", true, vec![scripted, text_answer(GOOD, 1, 1)]);
        let test_env = test_env(&model);
        let error = execute(test_env.env.clone(), test_env.invocation("writer", "x").await, UsageMeter::default())
            .await
            .unwrap_err();
        assert_eq!((error.code, model.calls().len()), (code, 1));
        if code == ErrorCode::ContextOverflow {
            assert_eq!(error.details["tokens_over"], 500);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_incomplete_stream_is_retried_and_its_reported_usage_counts() {
    let incomplete = ScriptedAnswer::Deltas(vec![
        Ok(Delta::Usage(Tokens { input: 9, output: 1 }.into())),
        Ok(Delta::Text("{".into())),
    ]);
    let garbled = ScriptedAnswer::Deltas(vec![Err(ModelError::MalformedResponse { message: "x".into() })]);
    for (scripted, counted) in [(incomplete, true), (garbled, false)] {
        let model = ScriptedModel::new("play", true, vec![scripted, text_answer(GOOD, 10, 1)]);
        let test_env = test_env(&model);
        let meter = UsageMeter::default();
        execute(test_env.env.clone(), test_env.invocation("writer", "x").await, meter.clone()).await.unwrap();
        let tokens = if counted { Tokens { input: 19, output: 2 } } else { Tokens { input: 10, output: 1 } };
        assert_eq!((meter.total().tokens, meter.total().estimated), (tokens, !counted));
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_model_times_out_and_is_settled_at_its_reservation() {
    let model = ScriptedModel::new(
        "play",
        true,
        vec![ScriptedAnswer::Fail(ModelError::TimedOut { phase: CallPhase::FirstToken })],
    );
    let test_env = test_env(&model);
    let meter = UsageMeter::default();
    let error =
        execute(test_env.env.clone(), test_env.invocation("writer", "x").await, meter.clone()).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::TimedOut);
    assert!(meter.total().estimated);
}

#[tokio::test(start_paused = true)]
async fn all_retries_of_a_request_share_one_budget() {
    let answers = (0..20).map(|_| failed(500)).collect();
    let model = ScriptedModel::new("play", true, answers);
    let retry = json!({"retry": {"max_attempts": 10, "delay": 0.1}});
    let test_env = TestEnv::new(TestEnvOptions {
        agents: vec![agent("writer", retry)],
        providers: vec![model.clone()],
        ..TestEnvOptions::default()
    });
    let error = execute(test_env.env.clone(), test_env.invocation("writer", "x").await, UsageMeter::default())
        .await
        .unwrap_err();
    assert_eq!(error.code, ErrorCode::ModelFailed);
    assert_eq!(model.calls().len(), 7, "one call and six retries, however they nest");
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_is_called_as_a_tool_takes_its_retries_from_the_budget_of_its_caller() {
    let call = ToolCall { id: "a".into(), name: "reader".into(), arguments: json!({ "document": "y" }) };
    let turn = ScriptedAnswer::Deltas(vec![Ok(Delta::Tool(call)), Ok(Delta::End(StopReason::Tools))]);
    let mut answers = vec![failed(500), failed(500), turn];
    answers.extend((0..20).map(|_| failed(500)));
    let model = ScriptedModel::new("play", true, answers);
    let retry = json!({ "retry": { "max_attempts": 10, "delay": 0.1 } });
    let test_env = TestEnv::new(TestEnvOptions {
        agents: vec![agent("writer", json!({ "tools": ["agent:reader"] })), agent("reader", retry)],
        providers: vec![model.clone()],
        // The caller waits for the result of its call until the end of the test.
        concurrent_requests: 2,
        ..TestEnvOptions::default()
    });
    let job = test_env.invocation("writer", "x").await;
    let grant = job.grant.clone();
    let delegated = Invoke { key: Some(job.key().child("tool[0]")), ..invoke("reader", "y") };
    let mut caller = Box::pin(execute(test_env.env.clone(), job, UsageMeter::default()));
    assert!(tokio::time::timeout(Duration::from_secs(5), &mut caller).await.is_err(), "it waits for the result");
    assert_eq!((model.calls().len(), test_env.pipeline.requests.lock().unwrap().len()), (3, 1));
    let callee = nested(&test_env, &grant, delegated).await;
    let error = execute(test_env.env.clone(), callee, UsageMeter::default()).await.unwrap_err();
    assert_eq!((error.code, model.calls().len()), (ErrorCode::ModelFailed, 3 + 5), "two of six retries were taken");
    drop(caller);
}

/// The calls of a model that gives these answers to an agent with these members, and the code of the failure.
async fn calls_until_failure(answers: Vec<ScriptedAnswer>, members: serde_json::Value) -> (usize, ErrorCode) {
    let model = ScriptedModel::new("play", true, answers);
    let test_env = TestEnv::new(TestEnvOptions {
        agents: vec![agent("writer", members)],
        providers: vec![model.clone()],
        ..TestEnvOptions::default()
    });
    let ended = execute(test_env.env.clone(), test_env.invocation("writer", "x").await, UsageMeter::default()).await;
    (model.calls().len(), ended.unwrap_err().code)
}

#[tokio::test(start_paused = true)]
async fn retries_repairs_and_the_definition_do_not_multiply() {
    let garbled = || ScriptedAnswer::Deltas(vec![Err(ModelError::MalformedResponse { message: "x".into() })]);
    let prose = || text_answer("no JSON at all", 10, 1);
    let silent = || ScriptedAnswer::Fail(ModelError::TimedOut { phase: CallPhase::Idle });
    let many = |answer: &dyn Fn() -> ScriptedAnswer| (0..20).map(|_| answer()).collect::<Vec<_>>();
    let three = || json!({ "retry": { "max_attempts": 3, "delay": 0.1 } });
    for (answers, members, calls, code) in [
        (many(&|| failed(500)), json!({}), 3, ErrorCode::ModelFailed),
        (many(&|| failed(500)), three(), 3, ErrorCode::ModelFailed),
        (many(&garbled), json!({}), 2, ErrorCode::ModelFailed),
        (many(&garbled), three(), 3, ErrorCode::ModelFailed),
        (many(&prose), json!({}), 3, ErrorCode::InvalidOutput),
        (many(&prose), three(), 3, ErrorCode::InvalidOutput),
        (many(&|| overloaded(None)), three(), 3, ErrorCode::ModelOverloaded),
        (many(&|| ends(StopReason::Other("error".into()))), three(), 3, ErrorCode::ModelFailed),
        (many(&silent), json!({}), 1, ErrorCode::TimedOut),
        (many(&silent), three(), 3, ErrorCode::TimedOut),
        (many(&prose), json!({ "retry": { "max_attempts": 1 } }), 1, ErrorCode::InvalidOutput),
        (vec![failed(500), prose(), failed(500), prose()], three(), 3, ErrorCode::ModelFailed),
    ] {
        assert_eq!(calls_until_failure(answers, members.clone()).await, (calls, code), "{members}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_whole_answer_is_used_whatever_the_server_calls_its_end() {
    let answer = |text: &str, reason: &str| {
        ScriptedAnswer::Deltas(vec![
            Ok(Delta::Text(text.into())),
            Ok(Delta::Usage(Tokens { input: 5, output: 5 }.into())),
            Ok(Delta::End(StopReason::Other(reason.into()))),
        ])
    };
    for (text, reason, calls) in
        [(GOOD, "sunset", 1), ("{\"summary\": \"o", "sunset", 2), ("{}", "sunset", 2), (GOOD, "internal_error", 2)]
    {
        let model = ScriptedModel::new("play", true, vec![answer(text, reason), text_answer(GOOD, 10, 1)]);
        let test_env = test_env(&model);
        let meter = UsageMeter::default();
        let outputs = execute(test_env.env.clone(), test_env.invocation("writer", "x").await, meter).await.unwrap();
        assert_eq!((outputs["summary"].as_str(), model.calls().len()), (Some("ok"), calls), "{text} {reason}");
    }
    for (arguments, requests) in [(json!({}), 1), (json!("{\"a\": "), 0), (json!(null), 0)] {
        let call = ToolCall { id: "a".into(), name: "nothing".into(), arguments };
        let end = Ok(Delta::End(StopReason::Other("sunset".into())));
        let turn = ScriptedAnswer::Deltas(vec![Ok(Delta::Tool(call)), end]);
        let model = ScriptedModel::new("play", true, vec![turn, text_answer(GOOD, 10, 1)]);
        let test_env = test_env(&model);
        execute(test_env.env.clone(), test_env.invocation("writer", "x").await, UsageMeter::default()).await.unwrap();
        let results = model.calls()[1].messages.len() / 2;
        assert_eq!(results, requests, "a call is made only if its arguments are whole");
    }
}

#[tokio::test(start_paused = true)]
async fn the_calls_of_each_turn_are_counted_anew() {
    let tool_call = || {
        let call = ToolCall { id: "a".into(), name: "nothing".into(), arguments: json!({}) };
        ScriptedAnswer::Deltas(vec![Ok(Delta::Tool(call)), Ok(Delta::End(StopReason::Tools))])
    };
    let mut answers = Vec::new();
    for _ in 0..4 {
        answers.extend([failed(500), tool_call()]);
    }
    answers.extend([failed(500), text_answer(GOOD, 10, 1)]);
    let model = ScriptedModel::new("play", true, answers);
    let test_env = test_env(&model);
    execute(test_env.env.clone(), test_env.invocation("writer", "x").await, UsageMeter::default()).await.unwrap();
    assert_eq!(model.calls().len(), 10, "five turns, each with one failure");
}

#[tokio::test(start_paused = true)]
async fn a_text_that_was_written_is_never_free() {
    let text = || Ok(Delta::Text(GOOD.into()));
    let overloaded = || Err(ModelError::Overloaded { status: 529, retry_after: None });
    let counted = |input, output| Ok(Delta::Usage(Tokens { input, output }.into()));
    let end = || Ok(Delta::End(StopReason::Complete));
    for (deltas, calls) in [
        (vec![text(), counted(0, 0), end()], 1),
        (vec![text(), counted(1_000, 0), end()], 1),
        (vec![text(), counted(1 << 63, 1 << 63), end()], 1),
        (vec![text(), end()], 1),
        (vec![text(), overloaded()], 2),
        (vec![Ok(Delta::Reasoning), overloaded()], 2),
    ] {
        let model = ScriptedModel::new("play", true, vec![ScriptedAnswer::Deltas(deltas), text_answer(GOOD, 10, 1)]);
        let test_env = test_env(&model);
        let meter = UsageMeter::default();
        execute(test_env.env.clone(), test_env.invocation("writer", "x").await, meter.clone()).await.unwrap();
        let usage = meter.total();
        assert_eq!(model.calls().len(), calls);
        assert!(usage.estimated && usage.cost > MicroUsd(8_192) && usage.cost < MicroUsd(100_000), "{usage:?}");
        let rows = test_env.ledger.costs(None).await.unwrap();
        let booked: MicroUsd = rows.iter().map(|row| row.actual.cost + row.estimated.cost).sum();
        assert_eq!(booked, usage.cost, "the cost of the reply is the cost in the ledger");
    }
}

#[tokio::test(start_paused = true)]
async fn a_delay_longer_than_the_agents_timeout_is_an_error_at_once() {
    let model = ScriptedModel::new("play", true, vec![overloaded(Some(3_600)), text_answer(GOOD, 1, 1)]);
    let test_env = test_env(&model);
    let start = tokio::time::Instant::now();
    let error = execute(test_env.env.clone(), test_env.invocation("writer", "x").await, UsageMeter::default())
        .await
        .unwrap_err();
    assert_eq!((error.code, error.retry_after_ms), (ErrorCode::ModelOverloaded, Some(3_600_000)));
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    let next = execute(test_env.env.clone(), test_env.invocation("writer", "x").await, UsageMeter::default()).await;
    assert_eq!(next.unwrap_err().code, ErrorCode::ModelOverloaded);
    assert_eq!(model.calls().len(), 1, "the delay applies to every execution");
}

#[tokio::test(start_paused = true)]
async fn an_execution_never_waits_for_a_provider_after_its_deadline() {
    let model = ScriptedModel::new("play", true, vec![overloaded(Some(100_000)), text_answer(GOOD, 1, 1)]);
    let test_env = test_env(&model);
    let start = tokio::time::Instant::now();
    let error = execute(test_env.env.clone(), test_env.invocation("writer", "x").await, UsageMeter::default())
        .await
        .unwrap_err();
    assert_eq!(error.code, ErrorCode::ModelOverloaded);
    assert!(error.retry_after_ms >= Some(100_000_000));
    assert!(start.elapsed() < Duration::from_secs(1));
}
