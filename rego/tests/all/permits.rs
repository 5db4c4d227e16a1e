//! Permits and their grants: the callers of nested requests, and what the guard rejects before policy.

use std::sync::Arc;

use async_trait::async_trait;
use greenroom_protocol::limits::HOPS_MAX;
use greenroom_protocol::request::Query;
use greenroom_protocol::{Cause, Envelope, ErrorCode, IdempotencyKey, MicroUsd, Received, Request, RunId, UserId};
use greenroom_rego::{
    AccessRequest, Caller, Denied, Engine, EvaluationError, Evaluator, Explanation, Facts, Guard, Input, Limits,
    PolicyDecision, Principal, Relation, Resource, TypedPermit, UsageFacts, UsageTotals,
};
use tokio::sync::Mutex;

use crate::harness;

#[tokio::test]
async fn a_grant_issues_requests_as_the_callee_of_its_permit() {
    let run = RunId::for_request(&harness::request_id(7));
    let grant = harness::run_grant("admin").await;
    assert_eq!(grant.run(), Some(&run), "the id of a run derives from the request that starts it");
    assert_eq!(grant.version(), Some(&harness::version()));
    let nested = grant.issue_request(harness::request_id(2), harness::invoke("executive_summary_agent"));
    assert_eq!(nested.run(), Some(&run));
    assert_eq!(nested.caller().kind(), "workflow");
    assert_eq!(nested.chain().iter().map(Caller::kind).collect::<Vec<_>>(), ["user", "workflow"]);
    assert_eq!(nested.trace(), grant.trace());
    assert_eq!(nested.deadline(), grant.deadline());
    assert!(nested.idempotency().is_none());
    let facts = harness::step_facts(harness::summary_facts());
    let permit = harness::guard().await.permit(AccessRequest::new(nested, facts)).await.unwrap();
    let TypedPermit::Invoke(permit) = permit.into_typed() else { panic!("an invocation was permitted") };
    let (grant, invoke) = permit.redeem();
    assert_eq!(invoke.agent.as_str(), "executive_summary_agent");
    assert_eq!(grant.run(), Some(&run));
    let next = grant.issue_request(harness::request_id(3), harness::invoke("other_agent"));
    assert_eq!(next.caller().to_string(), "agent:executive_summary_agent_001");
}

#[tokio::test]
async fn the_key_of_an_effect_is_the_same_at_each_repetition_by_its_caller() {
    let grant_of = async |name: &str, id: u128, key: Option<&str>, agent: &str| {
        let key = key.map(|key| IdempotencyKey::new(key).unwrap());
        let id = Some(harness::request_id(id));
        let envelope = Envelope { id, idempotency_key: key, ..Envelope::new(harness::invoke(agent)) };
        let received = Received::local(UserId::new(name).unwrap(), envelope, &harness::FixedIds, harness::NOW).unwrap();
        let request = harness::authenticator().authenticate(received).await.unwrap();
        let permit = harness::guard().await.permit(AccessRequest::new(request, harness::summary_facts())).await;
        permit.unwrap().redeem().0
    };
    let first = grant_of("admin", 1, Some("k"), "executive_summary_agent").await;
    let repeated = grant_of("admin", 2, Some("k"), "executive_summary_agent").await;
    assert_eq!(first.effect_key(), repeated.effect_key());
    for other in [
        grant_of("operator", 1, Some("k"), "executive_summary_agent").await,
        grant_of("admin", 1, Some("other"), "executive_summary_agent").await,
        grant_of("admin", 1, Some("k"), "executive_summary_agent_001").await,
        grant_of("admin", 1, None, "executive_summary_agent").await,
    ] {
        assert_ne!(first.effect_key(), other.effect_key());
    }
    let without_key = grant_of("admin", 1, None, "executive_summary_agent").await;
    assert_eq!(without_key.effect_key().as_str(), without_key.request_id().as_str());
    let nested = first.issue_request(harness::request_id(3), harness::invoke("other_agent"));
    assert!(nested.idempotency().is_none());
    let same_effect = first.issue_request_with_key(harness::request_id(3), harness::invoke("other_agent"));
    assert_eq!(same_effect.idempotency(), first.idempotency());
}

#[tokio::test]
async fn a_grant_without_a_callee_issues_only_denied_requests() {
    let guard = harness::guard().await;
    let request = harness::user_request("admin", Request::Query(Query::Agents)).await;
    let resource = Resource::Collection { kind: "agents".to_owned() };
    let permit = guard.permit(AccessRequest::new(request, harness::facts(resource))).await.unwrap();
    let nested = permit.grant().issue_request(harness::request_id(2), harness::invoke("executive_summary_agent"));
    assert_eq!(nested.caller(), &Caller::None);
    let relation = Relation {
        own_tenant: true,
        without_run: false,
        workflow_step: true,
        team_workflow: true,
        team_member: true,
        can_work_with: true,
        tool_declared: true,
        provides_to_team: true,
        own_memory: true,
        no_personal_data: true,
    };
    let facts = Facts { relation, ..harness::summary_facts() };
    let denied = guard.permit(AccessRequest::new(nested, facts)).await.unwrap_err();
    assert!(denied.codes().contains(&"caller_not_allowed".to_owned()), "{denied}");
}

#[tokio::test]
async fn the_length_of_a_call_chain_is_limited() {
    let guard = harness::guard().await;
    let mut grant = harness::run_grant("admin").await;
    let relation = Relation {
        own_tenant: true,
        workflow_step: true,
        can_work_with: true,
        tool_declared: true,
        ..Relation::default()
    };
    for hop in 2..=HOPS_MAX {
        let nested = grant.issue_request(harness::request_id(hop as u128), harness::invoke("executive_summary_agent"));
        let request = AccessRequest::new(nested, Facts { relation, ..harness::summary_facts() });
        grant = guard.permit(request).await.unwrap().redeem().0;
    }
    let nested = grant.issue_request(harness::request_id(99), harness::invoke("executive_summary_agent"));
    let request = AccessRequest::new(nested, Facts { relation, ..harness::summary_facts() });
    let denied = guard.permit(request).await.unwrap_err();
    assert_eq!(denied, Denied::TooManyHops { hops: HOPS_MAX + 1 });
    assert_eq!(Cause::from(denied).code, ErrorCode::TooManyHops);
}

#[tokio::test]
async fn a_compensation_and_what_it_calls_need_no_money_of_their_user() {
    let guard = harness::guard().await;
    let limits = Limits { usd: Some(MicroUsd(100)), ..Limits::default() };
    let run = harness::run_grant_of_principal(Principal { limits, ..harness::user("admin").unwrap() }).await;
    let relation = Relation { own_tenant: true, workflow_step: true, can_work_with: true, ..Relation::default() };
    let relation = Relation { tool_declared: true, ..relation };
    let spent = UsageTotals { usd: MicroUsd(100), ..UsageTotals::default() };
    let usage = UsageFacts { user: spent, available: true, ..UsageFacts::default() };
    let facts = |compensates| Facts { relation, usage, compensates, ..harness::summary_facts() };
    let call = || run.issue_request(harness::request_id(2), harness::invoke("executive_summary_agent"));
    let denied = guard.permit(AccessRequest::new(call(), facts(false))).await.unwrap_err();
    assert_eq!(denied.codes(), ["budget_exhausted"]);
    let grant = guard.permit(AccessRequest::new(call(), facts(true))).await.unwrap().redeem().0;
    assert_eq!((run.is_compensation(), grant.is_compensation()), (false, true));
    let nested = grant.issue_request(harness::request_id(3), harness::invoke("executive_summary_agent"));
    let permit = guard.permit(AccessRequest::new(nested, facts(false))).await.unwrap();
    assert!(permit.grant().is_compensation(), "what it calls is a part of it");
    let started = grant.issue_request(harness::request_id(4), harness::start_run("generate_quarterly_report"));
    let resource = harness::workflow_resource("generate_quarterly_report");
    let started = AccessRequest::new(started, Facts { resource, ..facts(true) });
    let input = serde_json::to_value(started.input().as_ref()).unwrap();
    assert_eq!(input["facts"].get("compensates"), None, "a run that it starts is work of its own");
}

#[tokio::test]
async fn a_compensation_by_an_agent_that_the_user_may_not_call_is_denied() {
    let run = harness::run_grant("operator").await;
    let call = run.issue_request(harness::request_id(2), harness::invoke("an_agent"));
    let facts = harness::step_facts(harness::agent_facts("an_agent", "security_risk", &[], &[]));
    let request = AccessRequest::new(call, Facts { compensates: true, ..facts });
    let denied = harness::guard().await.permit(request).await.unwrap_err();
    assert_eq!(denied.codes(), ["category_not_allowed"]);
}

#[tokio::test]
async fn facts_about_another_resource_are_rejected() {
    let request = harness::user_request("admin", harness::invoke("executive_summary_agent")).await;
    let facts = harness::facts(harness::workflow_resource("generate_quarterly_report"));
    let denied = harness::guard().await.permit(AccessRequest::new(request, facts)).await.unwrap_err();
    assert_eq!(denied, Denied::EvaluationFailed(EvaluationError::ResourceMismatch));
    assert_eq!(Cause::from(denied).code, ErrorCode::PolicyError);
}

/// Returns for each input the decision on the one before.
struct DelayedEvaluator {
    engine: Mutex<Engine>,
    previous: Mutex<Option<PolicyDecision>>,
}

#[async_trait]
impl Evaluator for DelayedEvaluator {
    async fn decide(&self, input: Arc<Input>) -> Result<PolicyDecision, EvaluationError> {
        let decision = self.engine.lock().await.decide(&input).await?;
        match self.previous.lock().await.replace(decision) {
            Some(previous) => Ok(previous),
            None => Err(EvaluationError::Unavailable("no previous decision".into())),
        }
    }

    async fn explain(&self, input: Arc<Input>) -> Result<Explanation, EvaluationError> {
        self.engine.lock().await.explain(&input).await
    }
}

#[tokio::test]
async fn a_decision_is_valid_for_its_own_input_only() {
    let evaluator = DelayedEvaluator { engine: Mutex::new(harness::engine().await), previous: Mutex::new(None) };
    let guard = Guard::new(Arc::new(evaluator));
    let request = || async {
        let request = harness::user_request("admin", harness::invoke("executive_summary_agent")).await;
        AccessRequest::new(request, harness::summary_facts())
    };
    let unavailable = guard.permit(request().await).await.unwrap_err();
    assert_eq!(unavailable, Denied::EvaluationFailed(EvaluationError::Unavailable("no previous decision".into())));
    assert_eq!(
        guard.permit(request().await).await.unwrap_err(),
        Denied::EvaluationFailed(EvaluationError::DecisionMismatch)
    );
}

#[tokio::test]
async fn an_explanation_of_an_input_from_json_equals_that_of_its_request() {
    let guard = harness::guard().await;
    let request = harness::user_request("guest", harness::invoke("executive_summary_agent")).await;
    let request = AccessRequest::new(request, harness::summary_facts());
    let explained = guard.explain(&request).await.unwrap();
    assert!(!explained.allow);
    assert!(explained.checks.iter().any(|check| check.id == "access_allowed" && !check.pass));
    let json = serde_json::to_vec(request.input().as_ref()).unwrap();
    let input: Input = serde_json::from_slice(&json).unwrap();
    assert_eq!(guard.explain_input(input).await.unwrap(), explained);
}
