//! A policy that goes wrong denies, and harms nobody after it.

use greenroom_protocol::{Cause, ErrorCode};
use greenroom_rego::{AccessRequest, Engine, EvaluationError, Input, PolicySnapshot};

use crate::harness;

/// More than the faults after which an instance that were kept would be lost.
const FAULTS: u32 = 600;

async fn input(target: &str) -> std::sync::Arc<Input> {
    let asked = harness::user_request("admin", harness::start_run(target)).await;
    std::sync::Arc::clone(AccessRequest::new(asked, harness::facts(harness::workflow_resource(target))).input())
}

async fn faulty() -> Engine {
    let bundle = harness::faulty_bundle("faulty");
    Engine::new(PolicySnapshot::load(harness::compiler(), &bundle).await.unwrap()).await.unwrap()
}

async fn evaluation_error(engine: &mut Engine, target: &str) -> String {
    match engine.allowed(&*input(target).await).await {
        Err(EvaluationError::Failed(why)) => why,
        Err(other) => panic!("{target}: {other}"),
        Ok(verdict) => panic!("{target} was answered: {verdict:?}"),
    }
}

#[tokio::test]
async fn each_fault_denies_and_the_next_question_is_answered() {
    let mut engine = faulty().await;
    for (target, why) in [
        ("burn", "fuel"),
        ("hoard", "fuel"),
        ("conflict", "conflict"),
        ("oblige", "dance"),
        ("mistype", "invalid type"),
    ] {
        let found = evaluation_error(&mut engine, target).await;
        assert!(found.contains(why), "{target}: {found}");
        assert!(engine.allowed(&*input("good").await).await.unwrap().is_allowed(), "after {target}");
        assert!(!engine.allowed(&*input("bad").await).await.unwrap().is_allowed(), "after {target}");
    }
}

#[tokio::test]
async fn a_caller_who_makes_the_policy_trap_wears_out_no_engine() {
    let mut engine = faulty().await;
    let (conflict, good) = (input("conflict").await, input("good").await);
    for _ in 0..FAULTS {
        assert!(engine.allowed(&conflict).await.is_err());
    }
    assert!(engine.allowed(&good).await.unwrap().is_allowed());
}

#[tokio::test]
async fn many_decisions_leave_the_instance_as_it_was() {
    let mut engine = harness::engine().await;
    let asked = harness::user_request("admin", harness::invoke("executive_summary_agent")).await;
    let request = AccessRequest::new(asked, harness::summary_facts());
    for _ in 0..5_000 {
        assert!(engine.allowed(request.input()).await.unwrap().is_allowed());
    }
}

#[tokio::test]
async fn an_explanation_that_contradicts_itself_is_a_fault() {
    let mut engine = faulty().await;
    // It allows, and denies with a reason at once.
    let fault = engine.explain(&*input("silent").await).await.unwrap_err();
    assert_eq!(fault, EvaluationError::Failed("the policy contradicts itself".into()));
    assert_eq!(Cause::from(fault).code, ErrorCode::PolicyError);
}

#[tokio::test]
async fn an_input_larger_than_the_memory_is_a_fault() {
    let mut engine = harness::engine().await;
    let asked = harness::user_request("admin", harness::start_run("large")).await;
    let mut facts = harness::facts(harness::workflow_resource("large"));
    facts.policies = (0..400_000).map(|number| format!("a_policy_with_a_long_name_{number:040}")).collect();
    let request = AccessRequest::new(asked, facts);
    assert!(matches!(engine.allowed(request.input()).await, Err(EvaluationError::Failed(_))));
    assert!(engine.allowed(&*input("good").await).await.unwrap().is_allowed());
}
