//! The money of a compensation: its own budget bounds it, and not what its user and its tenant have left.

use std::sync::Arc;

use greenroom_protocol::request::{CallOptions, Invoke, StartRun};
use greenroom_protocol::{
    CallKey, Cause, ContentHash, ErrorCode, MicroUsd, Request, RunId, SpendingLimits, StepId, Values, WorkflowId,
};
use greenroom_registry::ledger::{Amount, Budget, Periods};
use greenroom_rego::{Facts, Principal, Resource, SpendingScope, TypedPermit, testing};

use super::{execute, test_env};
use crate::execution::invocation::{Invocation, UsageMeter};
use crate::pipeline::Settlements;
use crate::test_env::{ScriptedModel, TestEnv, invoke, text_answer};

const GOOD: &str = r#"{"summary": "ok"}"#;

/// Limits in US dollars.
fn limits(micros: u64) -> SpendingLimits {
    SpendingLimits { cost_max: Some(MicroUsd(micros)), tokens_max: None }
}

/// A user who has neither money nor tokens, of a tenant that has none either.
fn principal_without_money() -> Principal {
    let mut principal = testing::admin();
    (principal.limits.usd, principal.limits.tokens) = (Some(MicroUsd(0)), Some(0));
    (principal.tenant_limits.usd, principal.tenant_limits.tokens) = (Some(MicroUsd(0)), Some(0));
    principal
}

/// The call of a run with these limits that has the key of a compensation, and that is one if the host has established
/// it; with the run.
async fn call(
    test_env: &TestEnv,
    principal: Principal,
    of_run: SpendingLimits,
    compensates: bool,
) -> (RunId, Box<Invocation>) {
    let workflow = WorkflowId::new("w").unwrap();
    let start = Request::StartRun(StartRun {
        workflow: workflow.clone(),
        inputs: Values::new(),
        context: Values::new(),
        version: None,
        detach: false,
        key: None,
        options: CallOptions::default(),
    });
    let started = testing::user_request(principal, 7, start, test_env.clock.now());
    let version = ContentHash::from_content(b"w");
    let permit = testing::permit_request(started, Resource::Workflow { workflow, version }).await.unwrap();
    let run = permit.grant().run().unwrap().clone();
    let grant = permit.grant().with_spending_limits(SpendingScope::Run(run.clone()), of_run);
    let key = CallKey::for_step(&run, &StepId::new("one").unwrap(), None).compensation();
    let agent = test_env.agent("writer");
    let resource = Resource::Agent { agent: agent.id().clone(), version: agent.hash() };
    let id = key.request_id(1);
    let request = grant.issue_request(id, Request::Invoke(Invoke { key: Some(key), ..invoke("writer", "x") }));
    let facts = Facts { compensates, ..Facts::for_resource(resource) };
    match testing::permit_with_facts(request, facts).await.unwrap().into_typed() {
        TypedPermit::Invoke(permit) => {
            (run, Invocation::from_permit(permit, agent, None, Settlements::default()).unwrap())
        }
        other => panic!("{other:?}"),
    }
}

fn scripted_model() -> Arc<ScriptedModel> {
    ScriptedModel::new("play", true, vec![text_answer(GOOD, 10, 1)])
}

/// The error of a call, of which nothing was sent.
async fn refusal(principal: Principal, of_run: SpendingLimits, compensates: bool) -> (RunId, Cause) {
    let model = scripted_model();
    let test_env = test_env(&model);
    let (run, job) = call(&test_env, principal, of_run, compensates).await;
    let error = execute(test_env.env.clone(), job, UsageMeter::default()).await.unwrap_err();
    assert_eq!((error.code, model.calls().len()), (ErrorCode::BudgetExceeded, 0));
    (run, error)
}

#[tokio::test(start_paused = true)]
async fn a_compensation_is_charged_to_its_user_and_tenant_who_have_nothing_left() {
    let model = scripted_model();
    let test_env = test_env(&model);
    let (run, job) = call(&test_env, principal_without_money(), limits(20_000), true).await;
    execute(test_env.env.clone(), job, UsageMeter::default()).await.unwrap();
    let (now, user) = (test_env.clock.now(), testing::admin().id);
    let usage = test_env.ledger.usage(&user, Periods::default(), now).await.unwrap();
    assert_eq!((usage.cost_spent, usage.tenant_cost_spent, usage.tokens_spent), (MicroUsd(12), MicroUsd(12), 11));
    let own = Budget::Execution(CallKey::for_run_compensation(&run));
    let charged = test_env.ledger.charged(&own).await.unwrap();
    assert_eq!((charged.settled.cost, charged.reserved), (MicroUsd(12), Amount::default()));
}

#[tokio::test(start_paused = true)]
async fn the_budget_of_a_compensation_is_as_large_as_that_of_its_run() {
    let (run, error) = refusal(principal_without_money(), limits(100), true).await;
    let own = CallKey::for_run_compensation(&run);
    assert_eq!(error.details["budget"], "execution");
    assert_eq!(error.details["owner"], own.as_str());
    assert_eq!(error.details["max_micro_usd"], 100);
}

#[tokio::test(start_paused = true)]
async fn a_compensation_of_a_run_without_a_limit_may_use_as_much_as_its_user_and_tenant_in_all() {
    let unlimited = SpendingLimits::default();
    let mut principal = testing::admin();
    principal.limits.usd = Some(MicroUsd(100));
    let (run, error) = refusal(principal, unlimited, true).await;
    let own = CallKey::for_run_compensation(&run);
    assert_eq!(error.details["budget"], "execution");
    assert_eq!(error.details["owner"], own.as_str());
    let model = scripted_model();
    let test_env = test_env(&model);
    let mut principal = testing::admin();
    principal.tenant_limits.usd = Some(MicroUsd(20_000));
    let (_, job) = call(&test_env, principal, unlimited, true).await;
    assert!(execute(test_env.env.clone(), job, UsageMeter::default()).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_call_that_only_has_the_key_of_a_compensation_is_limited_by_its_user() {
    let (_, error) = refusal(principal_without_money(), limits(20_000), false).await;
    assert_eq!(error.details["budget"], "user");
}
