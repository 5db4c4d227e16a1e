//! Actors of a team that fail: its members, the team itself and the supervisor of all teams. No job is stranded, and
//! no caller gets a cause that does not pass.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use greenroom_protocol::request::{CallOptions, ContextChange, ContextWrite, Invoke, StartTeam};
use greenroom_protocol::{AgentId, ContextKey, Deadline, ErrorCode, Reply, Request, RunId, Status, Values};
use greenroom_rego::{Resource, TypedPermit, testing};
use serde_json::json;
use tokio::sync::Semaphore;

use super::{at_check, crew, definitions, read, stuck_at_check};
use crate::dispatcher::TeamHost;
use crate::execution::invocation::Invocation;
use crate::observer::ActorEvent;
use crate::pipeline::Settlements;
use crate::run::tests::harness::{Harness, Script, TestDefinitions, until, values};
use crate::supervision::ChildKind;

fn restarts(harness: &Harness, kind: ChildKind) -> usize {
    let kind = kind.as_str();
    harness.events.count(move |event| matches!(event, ActorEvent::ChildRestarted { kind: found } if *found == kind))
}

/// A gate that opens once, and agents that wait at it before the step with this end of its key returns its text.
fn gated(step: &'static str) -> (Arc<Semaphore>, Script) {
    let gate = Arc::new(Semaphore::new(0));
    let waited = Arc::clone(&gate);
    let script: Script = Arc::new(move |call| {
        let gate = Arc::clone(&waited);
        Box::pin(async move {
            if call.key.ends_with(step) {
                gate.acquire().await.unwrap().forget();
            }
            Ok(values(json!({"out": format!("{}:{}", call.agent, call.inputs["text"].as_str().unwrap())})))
        })
    });
    (gate, script)
}

async fn end_of(harness: &Harness, run: &RunId) -> Reply {
    let until = Deadline::after(harness.clock.now(), crate::run::RUN_TIME_MAX);
    harness.runs.wait_ended(run, until).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_run_continues_while_its_team_is_restarted() {
    let (gate, script) = gated("/check");
    let harness = Harness::new(definitions(), script).await;
    let run = at_check(&harness).await;
    // The next step reads the context and needs a member before the team has been restarted.
    harness.teams.kill_team(&run);
    gate.add_permits(1);
    let reply = end_of(&harness, &run).await;
    assert_eq!((reply.status, &reply.error), (Status::Success, &None));
    assert_eq!(reply.outputs["report"], json!("writer_001:finder_001:Q4 2024 Acme"));
    assert_eq!(restarts(&harness, ChildKind::Team), 1);
    until("the team has gone", || harness.events.count(|event| matches!(event, ActorEvent::TeamDisbanded(_))) == 2)
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_job_for_a_member_of_a_dead_team_is_executed_by_the_next_incarnation() {
    let harness = Harness::new(definitions(), stuck_at_check()).await;
    let run = at_check(&harness).await;
    let agent = harness.runs.env().resolver.agent(&AgentId::new("writer_001").unwrap(), None).await.unwrap();
    let request = Request::Invoke(Invoke {
        agent: agent.id().clone(),
        inputs: values(json!({"text": "hello"})),
        context: Values::new(),
        version: None,
        key: None,
        options: CallOptions::default(),
        approvals: None,
    });
    let resource = Resource::Agent { agent: agent.id().clone(), version: agent.hash() };
    let permit = testing::permit(1, request, resource, harness.clock.now()).await.unwrap().into_typed();
    let TypedPermit::Invoke(permit) = permit else { panic!("another verb") };
    let invocation = Invocation::from_permit(permit, agent, None, Settlements::default()).unwrap();
    harness.teams.kill_team(&run);
    until("the team has died", || harness.events.count(|event| matches!(event, ActorEvent::TeamDisbanded(_))) == 1)
        .await;
    assert_eq!(restarts(&harness, ChildKind::Team), 0, "nobody takes the job now");
    let Ok(executed) = TeamHost::invoke(&harness.teams, &run, invocation).await else { panic!("a member of the team") };
    assert_eq!(executed.unwrap().outputs, values(json!({"out": "hello"})));
    assert_eq!(restarts(&harness, ChildKind::Team), 1);
}

#[tokio::test(start_paused = true)]
async fn a_run_continues_while_the_supervisor_of_all_teams_is_restarted() {
    let (gate, script) = gated("/check");
    let harness = Harness::new(definitions(), script).await;
    let run = at_check(&harness).await;
    harness.restart_team_supervisor().await;
    gate.add_permits(1);
    let reply = end_of(&harness, &run).await;
    assert_eq!((reply.status, &reply.error), (Status::Success, &None));
    assert_eq!(reply.outputs["report"], json!("writer_001:finder_001:Q4 2024 Acme"));
    until("the team has gone", || harness.events.count(|event| matches!(event, ActorEvent::TeamDisbanded(_))) == 2)
        .await;
    assert!(harness.teams.info().await.unwrap().teams.is_empty());
}

/// The team with a step of its member that is tried twice.
fn with_retry() -> TestDefinitions {
    let mut definitions = definitions();
    definitions.workflows[0]["steps"][2]["retry"] = json!({"max_attempts": 2, "delay": 0.01});
    definitions
}

#[tokio::test(start_paused = true)]
async fn a_member_that_dies_with_its_team_has_a_cause_that_passes_and_is_started_again() {
    for (definitions, status) in [(definitions(), Status::Failed), (with_retry(), Status::Success)] {
        let (gate, script) = gated("/write");
        let harness = Harness::new(definitions, script).await;
        let run = start_detached(&harness).await;
        until("the member is at work", || harness.calls().len() == 3).await;
        harness.teams.kill_team(&run);
        if status == Status::Success {
            until("the member is called again", || harness.calls().len() == 4).await;
            gate.add_permits(1);
        }
        let reply = end_of(&harness, &run).await;
        assert_eq!(reply.status, status, "{:?}", reply.error);
        if let Some(cause) = reply.error {
            assert_eq!((cause.code, cause.code.is_retryable()), (ErrorCode::AgentCrashed, true));
        }
    }
}

async fn start_detached(harness: &Harness) -> RunId {
    let Request::StartTeam(start) = crew(json!({})) else { panic!("a team") };
    let reply = harness.request(Request::StartTeam(StartTeam { detach: true, ..start })).await;
    crate::run::tests::harness::run_id(&reply)
}

#[tokio::test(start_paused = true)]
async fn a_team_that_dies_before_its_run_starts_is_reported_by_a_cause_that_passes() {
    let harness = Harness::new(definitions(), stuck_at_check()).await;
    harness.pipeline.holds_starts.store(true, Ordering::Relaxed);
    let killed = async {
        until("the team is formed", || {
            harness.events.count(|event| matches!(event, ActorEvent::TeamFormed { .. })) == 1
        })
        .await;
        let hosted = harness.teams.inner.hosted().keys().next().cloned();
        harness.teams.kill_team(&hosted.unwrap());
    };
    let (reply, ()) = tokio::join!(harness.request(crew(json!({}))), killed);
    let cause = reply.error.unwrap();
    assert_eq!((cause.code, cause.code.is_retryable()), (ErrorCode::AgentCrashed, true), "{cause}");
    until("the team without a run has gone", || harness.teams.inner.hosted().is_empty()).await;
}

#[tokio::test(start_paused = true)]
async fn the_context_is_read_and_written_while_its_team_is_being_restarted() {
    let harness = Harness::new(definitions(), stuck_at_check()).await;
    let run = at_check(&harness).await;
    harness.teams.kill_team(&run);
    until("the team has died", || harness.events.count(|event| matches!(event, ActorEvent::TeamDisbanded(_))) == 1)
        .await;
    let (key, change) = (ContextKey::new("company").unwrap(), ContextChange::Put(json!("Apex")));
    let write = ContextWrite { run: run.clone(), key, expect: None, change, ttl_ms: None };
    assert_eq!(harness.request(Request::ContextWrite(write)).await.status, Status::Success);
    assert_eq!(read(&harness, &run, &["company"]).await.outputs, values(json!({"company": "Apex"})));
    assert_eq!(restarts(&harness, ChildKind::Team), 0, "the run has the context, and needs no team for it");
    until("the team was restarted", || restarts(&harness, ChildKind::Team) == 1).await;
    assert_eq!(read(&harness, &run, &["company"]).await.outputs, values(json!({"company": "Apex"})));
}

#[tokio::test(start_paused = true)]
async fn a_supervisor_of_members_that_fails_too_often_fails_its_team_which_starts_anew() {
    let (gate, script) = gated("/check");
    let harness = Harness::new(definitions(), script).await;
    let run = at_check(&harness).await;
    let restarts_max = ChildKind::Members.restart_policy().restarts_max as usize;
    for restart in 1..=restarts_max {
        harness.teams.kill_members(&run);
        until("they were restarted", || restarts(&harness, ChildKind::Members) == restart).await;
    }
    harness.teams.kill_members(&run);
    until("the team was restarted", || restarts(&harness, ChildKind::Team) == 1).await;
    gate.add_permits(1);
    let reply = end_of(&harness, &run).await;
    assert_eq!((reply.status, &reply.error), (Status::Success, &None), "the members work again");
}

#[tokio::test(start_paused = true)]
async fn a_team_that_fails_too_often_ends_its_run_by_its_row_and_no_other() {
    let harness = Harness::new(definitions(), stuck_at_check()).await;
    let (run, other) = (at_check(&harness).await, start_detached(&harness).await);
    until("both are at their second step", || harness.calls().len() == 4).await;
    for restart in 1..=ChildKind::Team.restart_policy().restarts_max as usize {
        harness.teams.kill_team(&run);
        until("the team has come back", || restarts(&harness, ChildKind::Team) == restart).await;
    }
    harness.teams.kill_team(&run);
    until("the run has left", || harness.runs.hosted() == 1).await;
    let reply = harness.stores.runs.reply(&run).await.unwrap().unwrap();
    assert_eq!((reply.status, reply.error.unwrap().code), (Status::Failed, ErrorCode::AgentCrashed));
    assert_eq!(harness.teams.team_info(&other).await.map(|info| info.formed), Some(true));
}
