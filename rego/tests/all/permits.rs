//! What a permit carries, whom it lets speak, and what the guard refuses before any policy.

use std::sync::Arc;

use async_trait::async_trait;
use greenroom_protocol::limits::HOPS_MAX;
use greenroom_protocol::request::Query;
use greenroom_protocol::{Cause, ErrorCode, Request, RunId};
use greenroom_rego::{
    AccessRequest, Caller, Denied, Engine, EvaluationError, Evaluator, Explanation, Facts, Guard, Input,
    PolicyDecision, Relation, Resource, TypedPermit,
};
use tokio::sync::Mutex;

use crate::harness;

#[tokio::test]
async fn a_permit_speaks_as_what_it_called_on_stage() {
    let run = RunId::for_request(&harness::request_id(7));
    let grant = harness::run_grant("admin").await;
    assert_eq!(grant.run(), Some(&run), "a run is named after the request that starts it");
    assert_eq!(grant.version(), Some(&harness::version()));
    let spoken = grant.issue_request(harness::request_id(2), harness::invoke("executive_summary_agent"));
    assert_eq!(spoken.run(), Some(&run));
    assert_eq!(spoken.caller().kind(), "workflow");
    assert_eq!(spoken.chain().iter().map(Caller::kind).collect::<Vec<_>>(), ["user", "workflow"]);
    assert_eq!(spoken.trace(), grant.trace());
    assert_eq!(spoken.deadline(), grant.deadline());
    assert!(spoken.idempotency().is_none());
    let facts = harness::step_facts(harness::summary_facts());
    let permit = harness::guard().await.permit(AccessRequest::new(spoken, facts)).await.unwrap();
    let TypedPermit::Invoke(permit) = permit.into_typed() else { panic!("an invocation was permitted") };
    let (grant, invoke) = permit.redeem();
    assert_eq!(invoke.agent.as_str(), "executive_summary_agent");
    assert_eq!(grant.run(), Some(&run));
    let caller = grant.issue_request(harness::request_id(3), harness::invoke("other_agent"));
    assert_eq!(caller.caller().to_string(), "agent:executive_summary_agent_001");
}

#[tokio::test]
async fn a_permit_that_called_nobody_has_no_voice() {
    let guard = harness::guard().await;
    let asked = harness::user_request("admin", Request::Query(Query::Agents)).await;
    let records = Resource::Collection { kind: "agents".to_owned() };
    let permit = guard.permit(AccessRequest::new(asked, harness::facts(records))).await.unwrap();
    let spoken = permit.grant().issue_request(harness::request_id(2), harness::invoke("executive_summary_agent"));
    assert_eq!(spoken.caller(), &Caller::None);
    let relation = Relation {
        own_tenant: true,
        workflow_step: true,
        team_workflow: true,
        team_member: true,
        can_work_with: true,
        tool_declared: true,
        provides_to_team: true,
        own_memory: true,
    };
    let facts = Facts { relation, ..harness::summary_facts() };
    let denied = guard.permit(AccessRequest::new(spoken, facts)).await.unwrap_err();
    assert!(denied.codes().contains(&"caller_not_allowed".to_owned()), "{denied}");
}

#[tokio::test]
async fn a_chain_of_calls_ends() {
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
        let spoken = grant.issue_request(harness::request_id(hop as u128), harness::invoke("executive_summary_agent"));
        let request = AccessRequest::new(spoken, Facts { relation, ..harness::summary_facts() });
        grant = guard.permit(request).await.unwrap().redeem().0;
    }
    let spoken = grant.issue_request(harness::request_id(99), harness::invoke("executive_summary_agent"));
    let request = AccessRequest::new(spoken, Facts { relation, ..harness::summary_facts() });
    let denied = guard.permit(request).await.unwrap_err();
    assert_eq!(denied, Denied::TooManyHops { hops: HOPS_MAX + 1 });
    assert_eq!(Cause::from(denied).code, ErrorCode::TooManyHops);
}

#[tokio::test]
async fn facts_about_something_else_are_refused() {
    let asked = harness::user_request("admin", harness::invoke("executive_summary_agent")).await;
    let facts = harness::facts(harness::workflow_resource("generate_quarterly_report"));
    let denied = harness::guard().await.permit(AccessRequest::new(asked, facts)).await.unwrap_err();
    assert_eq!(denied, Denied::EvaluationFailed(EvaluationError::ResourceMismatch));
    assert_eq!(Cause::from(denied).code, ErrorCode::PolicyError);
}

/// Keeps the first verdict that it hears, and answers the next question with it.
struct Parrot {
    engine: Mutex<Engine>,
    heard: Mutex<Option<PolicyDecision>>,
}

#[async_trait]
impl Evaluator for Parrot {
    async fn allowed(&self, input: Arc<Input>) -> Result<PolicyDecision, EvaluationError> {
        let fresh = self.engine.lock().await.allowed(&input).await?;
        match self.heard.lock().await.replace(fresh) {
            Some(old) => Ok(old),
            None => Err(EvaluationError::Unavailable("listening".into())),
        }
    }

    async fn explain(&self, input: Arc<Input>) -> Result<Explanation, EvaluationError> {
        self.engine.lock().await.explain(&input).await
    }
}

#[tokio::test]
async fn a_verdict_answers_its_own_question_only() {
    let parrot = Parrot { engine: Mutex::new(harness::engine().await), heard: Mutex::new(None) };
    let guard = Guard::new(Arc::new(parrot));
    let ask = || async {
        let asked = harness::user_request("admin", harness::invoke("executive_summary_agent")).await;
        AccessRequest::new(asked, harness::summary_facts())
    };
    let unreachable = guard.permit(ask().await).await.unwrap_err();
    assert_eq!(unreachable, Denied::EvaluationFailed(EvaluationError::Unavailable("listening".into())));
    assert_eq!(
        guard.permit(ask().await).await.unwrap_err(),
        Denied::EvaluationFailed(EvaluationError::DecisionMismatch)
    );
}

#[tokio::test]
async fn an_explanation_makes_no_permit_and_reads_documents_by_hand() {
    let guard = harness::guard().await;
    let asked = harness::user_request("guest", harness::invoke("executive_summary_agent")).await;
    let request = AccessRequest::new(asked, harness::summary_facts());
    let explained = guard.explain(&request).await.unwrap();
    assert!(!explained.allow);
    assert!(explained.checks.iter().any(|check| check.id == "access_allowed" && !check.pass));
    let by_hand = serde_json::to_vec(request.input().as_ref()).unwrap();
    let input: Input = serde_json::from_slice(&by_hand).unwrap();
    assert_eq!(guard.explain_input(input).await.unwrap(), explained);
}
