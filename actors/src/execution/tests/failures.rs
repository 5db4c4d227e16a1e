//! The retry, fallback or error after each class of failure.

use std::sync::Arc;
use std::time::Duration;

use greenroom_protocol::{ErrorCode, MicroUsd, Tokens};
use serde_json::json;

use super::{execute, test_env};
use crate::execution::invocation::UsageMeter;
use crate::model::{CallPhase, Delta, ModelError, ModelProvider, StopReason};
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
        Ok(Delta::Usage(Tokens { input: 5, output: 5 })),
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
    assert_eq!(meter.total().model.as_deref(), Some("other.two"), "the reply names the model that answered");
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
    let incomplete =
        ScriptedAnswer::Deltas(vec![Ok(Delta::Usage(Tokens { input: 9, output: 1 })), Ok(Delta::Text("{".into()))]);
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
