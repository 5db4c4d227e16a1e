//! A policy that fails denies the request, and does not affect later requests.

use greenroom_protocol::{Cause, ErrorCode};
use greenroom_rego::{AccessRequest, Engine, EvaluationError, Input, PolicySnapshot};

use crate::harness;

/// More than the errors after which every evaluation of a reused instance would fail.
const ERRORS: u32 = 600;

async fn input(resource: &str) -> std::sync::Arc<Input> {
    let request = harness::user_request("admin", harness::start_run(resource)).await;
    std::sync::Arc::clone(AccessRequest::new(request, harness::facts(harness::workflow_resource(resource))).input())
}

async fn faulty_engine() -> Engine {
    let bundle = harness::test_bundle("faulty");
    Engine::new(PolicySnapshot::load(harness::compiler(), &bundle).await.unwrap()).await.unwrap()
}

async fn evaluation_error(engine: &mut Engine, resource: &str) -> String {
    match engine.decide(&*input(resource).await).await {
        Err(EvaluationError::Failed(message)) => message,
        Err(other) => panic!("{resource}: {other}"),
        Ok(decision) => panic!("{resource} was decided: {decision:?}"),
    }
}

#[tokio::test]
async fn each_evaluation_error_denies_and_the_next_request_is_decided() {
    let mut engine = faulty_engine().await;
    for (resource, expected) in [
        ("burn", "fuel"),
        ("hoard", "fuel"),
        ("conflict", "conflict"),
        ("oblige", "dance"),
        ("mistype", "invalid type"),
    ] {
        let message = evaluation_error(&mut engine, resource).await;
        assert!(message.contains(expected), "{resource}: {message}");
        assert!(engine.decide(&*input("good").await).await.unwrap().is_allowed(), "after {resource}");
        assert!(!engine.decide(&*input("bad").await).await.unwrap().is_allowed(), "after {resource}");
    }
}

#[tokio::test]
async fn a_caller_who_makes_the_policy_trap_exhausts_no_engine() {
    let mut engine = faulty_engine().await;
    let (conflict, good) = (input("conflict").await, input("good").await);
    for _ in 0..ERRORS {
        assert!(engine.decide(&conflict).await.is_err());
    }
    assert!(engine.decide(&good).await.unwrap().is_allowed());
}

#[tokio::test]
async fn an_instance_does_not_degrade_over_many_decisions() {
    let mut engine = harness::engine().await;
    let request = harness::user_request("admin", harness::invoke("executive_summary_agent")).await;
    let request = AccessRequest::new(request, harness::summary_facts());
    for _ in 0..5_000 {
        assert!(engine.decide(request.input()).await.unwrap().is_allowed());
    }
}

#[tokio::test]
async fn an_explanation_that_contradicts_itself_is_an_evaluation_error() {
    let mut engine = faulty_engine().await;
    // The policy allows this resource and also denies it with a reason.
    let error = engine.explain(&*input("silent").await).await.unwrap_err();
    assert_eq!(error, EvaluationError::Failed("the policy contradicts itself".into()));
    assert_eq!(Cause::from(error).code, ErrorCode::PolicyError);
}

#[tokio::test]
async fn an_input_larger_than_the_memory_is_an_evaluation_error() {
    let mut engine = harness::engine().await;
    let request = harness::user_request("admin", harness::start_run("large")).await;
    let mut facts = harness::facts(harness::workflow_resource("large"));
    facts.policies = (0..400_000).map(|number| format!("a_policy_with_a_long_name_{number:040}")).collect();
    let request = AccessRequest::new(request, facts);
    assert!(matches!(engine.decide(request.input()).await, Err(EvaluationError::Failed(_))));
    assert!(engine.decide(&*input("good").await).await.unwrap().is_allowed());
}
