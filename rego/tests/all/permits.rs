//! What a permit carries, whom it lets speak, and what the guard refuses before any policy.

use std::sync::Arc;

use async_trait::async_trait;
use greenroom_protocol::limits::HOPS_MAX;
use greenroom_protocol::request::Look;
use greenroom_protocol::{Cause, Code, Request, RunId};
use greenroom_rego::{
    Denied, Engine, Evaluator, Explanation, Facts, Fault, Guard, Input, Narrowed, Question, Relation, Speaker, Target,
    Verdict,
};
use tokio::sync::Mutex;

use crate::harness;

#[tokio::test]
async fn a_permit_speaks_as_what_it_called_on_stage() {
    let run = RunId::of(&harness::request_id(7));
    let grant = harness::run_of("admin").await;
    assert_eq!(grant.run(), Some(&run), "a run is named after the request that starts it");
    assert_eq!(grant.version(), Some(&harness::version()));
    let spoken = grant.speak(harness::request_id(2), harness::invoke("executive_summary_agent"));
    assert_eq!(spoken.run(), Some(&run));
    assert_eq!(spoken.speaker().kind(), "workflow");
    assert_eq!(spoken.chain().iter().map(Speaker::kind).collect::<Vec<_>>(), ["user", "workflow"]);
    assert_eq!(spoken.trace(), grant.trace());
    assert_eq!(spoken.deadline(), grant.deadline());
    assert!(spoken.idempotency().is_none());
    let facts = harness::of_a_step(harness::summary_facts());
    let permit = harness::guard().await.permit(Question::new(spoken, facts)).await.unwrap();
    let Narrowed::Invoke(permit) = permit.narrow() else { panic!("an invocation was permitted") };
    let (grant, invoke) = permit.redeem();
    assert_eq!(invoke.agent.as_str(), "executive_summary_agent");
    assert_eq!(grant.run(), Some(&run));
    let speaker = grant.speak(harness::request_id(3), harness::invoke("other_agent"));
    assert_eq!(speaker.speaker().to_string(), "agent:executive_summary_agent_001");
}

#[tokio::test]
async fn a_permit_that_called_nobody_has_no_voice() {
    let guard = harness::guard().await;
    let asked = harness::asked("admin", Request::Look(Look::Agents)).await;
    let records = Target::Records { what: "agents".to_owned() };
    let permit = guard.permit(Question::new(asked, harness::facts(records))).await.unwrap();
    let spoken = permit.grant().speak(harness::request_id(2), harness::invoke("executive_summary_agent"));
    assert_eq!(spoken.speaker(), &Speaker::Nobody);
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
    let denied = guard.permit(Question::new(spoken, facts)).await.unwrap_err();
    assert!(denied.codes().contains(&"caller_not_allowed".to_owned()), "{denied}");
}

#[tokio::test]
async fn a_chain_of_calls_ends() {
    let guard = harness::guard().await;
    let mut grant = harness::run_of("admin").await;
    let relation = Relation {
        own_tenant: true,
        workflow_step: true,
        can_work_with: true,
        tool_declared: true,
        ..Relation::default()
    };
    for hop in 2..=HOPS_MAX {
        let spoken = grant.speak(harness::request_id(hop as u128), harness::invoke("executive_summary_agent"));
        let question = Question::new(spoken, Facts { relation, ..harness::summary_facts() });
        grant = guard.permit(question).await.unwrap().redeem().0;
    }
    let spoken = grant.speak(harness::request_id(99), harness::invoke("executive_summary_agent"));
    let question = Question::new(spoken, Facts { relation, ..harness::summary_facts() });
    let denied = guard.permit(question).await.unwrap_err();
    assert_eq!(denied, Denied::TooManyHops { hops: HOPS_MAX + 1 });
    assert_eq!(Cause::from(denied).code, Code::TooManyHops);
}

#[tokio::test]
async fn facts_about_something_else_are_refused() {
    let asked = harness::asked("admin", harness::invoke("executive_summary_agent")).await;
    let facts = harness::facts(harness::workflow_target("generate_quarterly_report"));
    let denied = harness::guard().await.permit(Question::new(asked, facts)).await.unwrap_err();
    assert_eq!(denied, Denied::Fault(Fault::Mismatch));
    assert_eq!(Cause::from(denied).code, Code::PolicyFault);
}

/// Keeps the first verdict that it hears, and answers the next question with it.
struct Parrot {
    engine: Mutex<Engine>,
    heard: Mutex<Option<Verdict>>,
}

#[async_trait]
impl Evaluator for Parrot {
    async fn allowed(&self, input: Arc<Input>) -> Result<Verdict, Fault> {
        let fresh = self.engine.lock().await.allowed(&input).await?;
        match self.heard.lock().await.replace(fresh) {
            Some(old) => Ok(old),
            None => Err(Fault::Unreachable("listening".into())),
        }
    }

    async fn explain(&self, input: Arc<Input>) -> Result<Explanation, Fault> {
        self.engine.lock().await.explain(&input).await
    }
}

#[tokio::test]
async fn a_verdict_answers_its_own_question_only() {
    let parrot = Parrot { engine: Mutex::new(harness::engine().await), heard: Mutex::new(None) };
    let guard = Guard::new(Arc::new(parrot));
    let ask = || async {
        let asked = harness::asked("admin", harness::invoke("executive_summary_agent")).await;
        Question::new(asked, harness::summary_facts())
    };
    let unreachable = guard.permit(ask().await).await.unwrap_err();
    assert_eq!(unreachable, Denied::Fault(Fault::Unreachable("listening".into())));
    assert_eq!(guard.permit(ask().await).await.unwrap_err(), Denied::Fault(Fault::Seal));
}

#[tokio::test]
async fn an_explanation_makes_no_permit_and_reads_documents_by_hand() {
    let guard = harness::guard().await;
    let asked = harness::asked("guest", harness::invoke("executive_summary_agent")).await;
    let question = Question::new(asked, harness::summary_facts());
    let explained = guard.explain(&question).await.unwrap();
    assert!(!explained.allow);
    assert!(explained.checks.iter().any(|check| check.id == "access_allowed" && !check.pass));
    let by_hand = serde_json::to_vec(question.input().as_ref()).unwrap();
    let input: Input = serde_json::from_slice(&by_hand).unwrap();
    assert_eq!(guard.explain_input(input).await.unwrap(), explained);
}
