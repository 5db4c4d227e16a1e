//! Teams as actors: members, shared context, end and restarts.

mod failures;
mod handler_writes;
mod nested;
mod parked;

use std::sync::Arc;
use std::time::Duration;

use greenroom_protocol::journal::Entry;
use greenroom_protocol::request::{ContextChange, ContextRead, ContextWrite, Signal, StartTeam};
use greenroom_protocol::{ContextKey, ErrorCode, Request, RunId, Status, StepId};
use serde_json::json;

use crate::observer::ActorEvent;
use crate::run::RUN_TIME_MAX;
use crate::run::tests::harness::{
    Harness, Script, TestDefinitions, agent, detached, immediate, run_id, start_team, until, until_entry, values,
    workflow,
};

/// A team of two, and a workflow that also calls an agent that is not a member.
pub(crate) fn definitions() -> TestDefinitions {
    let provides = json!({"collaboration": {"provides_to_team": ["facts"]}});
    TestDefinitions {
        agents: vec![agent("finder_001", provides), agent("writer_001", json!({})), agent("stranger_001", json!({}))],
        workflows: vec![workflow(
            "w",
            json!([
                {"id": "find", "agent": "finder", "inputs": {"text": "${context.quarter} ${context.company}"}},
                {"id": "check", "agent": "stranger", "inputs": {"text": "${steps.find.outputs.out}"}},
                {"id": "write", "agent": "writer", "depends_on": ["check"], "inputs": {"text": "${context.facts}"}, "outputs": ["report"]},
            ]),
        )],
        teams: vec![json!({
            "team_id": "crew", "name": "Crew", "agents": ["finder", "writer"], "workflows": ["w"],
            "shared_context": {"quarter": "Q4 2024", "company": "Acme"},
        })],
    }
}

fn script() -> Script {
    immediate(|call| Ok(values(json!({"out": format!("{}:{}", call.agent, call.inputs["text"].as_str().unwrap())}))))
}

fn crew(context: serde_json::Value) -> Request {
    start_team("crew", "w", json!({}), context)
}

#[tokio::test(start_paused = true)]
async fn a_team_runs_its_workflow_over_one_context_and_counts_its_members() {
    let harness = Harness::new(definitions(), script()).await;
    let reply = harness.request(crew(json!({"quarter": "Q1 2025"}))).await;
    assert_eq!((reply.status, &reply.error), (Status::Success, &None));
    let found = "finder_001:Q1 2025 Acme";
    assert_eq!(reply.outputs["report"], json!(format!("writer_001:{found}")), "a member saw what another one provides");
    assert_eq!((reply.metadata.agents_involved, reply.metadata.workflow_steps), (2, 3));
    assert_eq!(reply.metadata.agents.len(), 3);
    let run = run_id(&reply);
    let record = harness.stores.runs.get(&run).await.unwrap().unwrap();
    assert_eq!(record.team.unwrap().as_str(), "crew");
    let last = harness.calls().into_iter().last().unwrap();
    assert_eq!(last.context["facts"], json!(found));
    assert_eq!(last.context["quarter"], json!("Q1 2025"));
    assert_eq!(harness.events.count(|event| matches!(event, ActorEvent::TeamFormed { .. })), 1);
    until("the team has gone", || harness.events.count(|event| matches!(event, ActorEvent::TeamDisbanded(_))) == 1)
        .await;
    assert!(harness.teams.info().await.unwrap().teams.is_empty());
    let request = harness.pipeline.requests.lock().unwrap().clone();
    assert!(request.iter().any(|line| line.starts_with("start_run team:crew/")), "the run is begun as the team");
    assert!(request.iter().any(|line| line.starts_with("context_write workflow:w/")));
}

#[tokio::test(start_paused = true)]
async fn a_repeated_request_returns_the_first_reply_and_forms_no_team() {
    let harness = Harness::new(definitions(), script()).await;
    let first = harness.request_with_key(crew(json!({})), Some("once")).await;
    assert_eq!((first.status, &first.error), (Status::Success, &None));
    let calls = harness.calls().len();
    let repeated = harness.request_with_key(crew(json!({})), Some("once")).await;
    assert_eq!((&repeated.id, &repeated.outputs, repeated.status), (&first.id, &first.outputs, first.status));
    let other = harness.request_with_key(crew(json!({"quarter": "Q1 2025"})), Some("once")).await;
    assert_eq!(other.error.map(|cause| cause.code), Some(ErrorCode::IdempotencyConflict));
    assert_eq!(harness.calls().len(), calls, "nobody works again");
    assert_eq!(harness.events.count(|event| matches!(event, ActorEvent::TeamFormed { .. })), 1);
}

#[tokio::test(start_paused = true)]
async fn only_members_are_invoked_through_the_team() {
    let harness = Harness::new(definitions(), script()).await;
    harness.request(crew(json!({}))).await;
    let activations = |name: &'static str| {
        harness.events.count(move |event| matches!(event, ActorEvent::AgentActivated(agent) if agent.as_str() == name))
    };
    assert_eq!((activations("finder_001"), activations("writer_001"), activations("stranger_001")), (1, 1, 0));
    let remaining = || harness.events.count(|event| matches!(event, ActorEvent::AgentPassivated(_)));
    until("the members have left with the team", || remaining() == 2).await;
}

/// The second step never ends; every other step completes.
pub(crate) fn stuck_at_check() -> Script {
    Arc::new(|call| {
        Box::pin(async move {
            if call.key.ends_with("/check") {
                std::future::pending::<()>().await;
            }
            Ok(values(json!({"out": call.inputs["text"]})))
        })
    })
}

pub(crate) async fn at_check(harness: &Harness) -> RunId {
    let Request::StartTeam(start) = crew(json!({})) else { panic!("a team") };
    let reply = harness.request(Request::StartTeam(StartTeam { detach: true, ..start })).await;
    assert_eq!(reply.status, Status::Success);
    if harness.stores.cluster.is_shared() {
        // A detached run has no owner yet.
        tokio::time::advance(crate::run::LEASE * 2).await;
        assert_eq!(harness.runs.recover_due().await.unwrap().resumed, 1);
    }
    until("the second step is active", || harness.calls().len() == 2).await;
    run_id(&reply)
}

async fn read(harness: &Harness, run: &RunId, keys: &[&str]) -> greenroom_protocol::Reply {
    let keys = keys.iter().map(|key| ContextKey::new(key).unwrap()).collect();
    harness.request(Request::ContextRead(ContextRead { run: run.clone(), keys })).await
}

#[tokio::test(start_paused = true)]
async fn the_context_is_read_and_written_by_permit_while_the_team_is_active() {
    let harness = Harness::new(definitions(), stuck_at_check()).await;
    let run = at_check(&harness).await;
    assert_eq!(harness.teams.team_info(&run).await.unwrap().members.len(), 2);
    let all = read(&harness, &run, &[]).await.outputs;
    assert_eq!(all, values(json!({"quarter": "Q4 2024", "company": "Acme", "facts": "Q4 2024 Acme"})));
    let write = |expect, change| {
        let (run, key) = (run.clone(), ContextKey::new("notes").unwrap());
        Request::ContextWrite(ContextWrite { run, key, expect, change, ttl_ms: Some(5_000) })
    };
    let put = harness.request(write(Some(0), ContextChange::Put(json!(["a"])))).await;
    assert_eq!(put.status, Status::Success);
    let stale = harness.request(write(Some(0), ContextChange::Put(json!([])))).await;
    assert_eq!(stale.error.unwrap().code, ErrorCode::VersionConflict);
    harness.request(write(None, ContextChange::Append(json!("b")))).await;
    assert_eq!(read(&harness, &run, &["notes"]).await.outputs, values(json!({"notes": ["a", "b"]})));
    tokio::time::advance(Duration::from_secs(6)).await;
    assert!(read(&harness, &run, &["notes"]).await.outputs.is_empty(), "its time was up");
    let foreign = read(&harness, &RunId::new("run_none").unwrap(), &[]).await;
    assert_eq!(foreign.error.unwrap().code, ErrorCode::UnknownRun);
}

#[tokio::test(start_paused = true)]
async fn a_resumed_run_has_its_team_and_the_shared_context() {
    let harness = Harness::new(definitions(), stuck_at_check()).await;
    let run = at_check(&harness).await;
    let harness = harness.crash(vec![definitions()], script()).await;
    assert_eq!(harness.recover().await.resumed, 1);
    let deadline = greenroom_protocol::Deadline::after(harness.clock.now(), Duration::from_secs(60));
    let reply = harness.runs.wait_ended(&run, deadline).await.unwrap();
    assert_eq!((reply.status, &reply.error), (Status::Success, &None));
    assert_eq!(reply.outputs["report"], json!("writer_001:Q4 2024 Acme"));
    assert_eq!(reply.metadata.agents_involved, 2);
    until("the team has gone", || harness.events.count(|event| matches!(event, ActorEvent::TeamDisbanded(_))) == 1)
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_team_as_a_step_is_formed_for_it_and_stopped_with_it() {
    let mut nested = definitions();
    nested
        .workflows
        .push(workflow("outer", json!([{"id": "t", "team": "crew", "workflow": "w", "outputs": ["report"]}])));
    let harness = Harness::new(nested.clone(), script()).await;
    let reply = harness.request(crate::run::tests::harness::start("outer", json!({}))).await;
    assert_eq!(
        (reply.status, &reply.outputs["report"]),
        (Status::Success, &json!("writer_001:finder_001:Q4 2024 Acme"))
    );
    let harness = Harness::new(nested, stuck_at_check()).await;
    let run = run_id(&harness.request(detached("outer", json!({}))).await);
    until("the second step is active", || harness.calls().len() == 2).await;
    harness.signal(&run, greenroom_protocol::request::Signal::Cancel).await;
    until("no run is left", || harness.runs.hosted() == 0).await;
    until("the team has gone", || harness.events.count(|event| matches!(event, ActorEvent::TeamDisbanded(_))) == 1)
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_team_waits_for_a_person_as_long_as_its_run() {
    let mut waiting = definitions();
    waiting.workflows[0]["steps"][1] = json!({"id": "check", "approval": {"prompt": "Go on?"}, "depends_on": ["find"]});
    let harness = Harness::new(waiting, script()).await;
    let Request::StartTeam(start) = crew(json!({})) else { panic!("a team") };
    let run = run_id(&harness.request(Request::StartTeam(StartTeam { detach: true, ..start })).await);
    until_entry(&harness, &run, 1, |entry| matches!(entry, Entry::ApprovalRequested { .. })).await;
    tokio::time::advance(RUN_TIME_MAX * 2).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(harness.events.count(|event| matches!(event, ActorEvent::TeamDisbanded(_))), 0);
    let approved = harness.signal(&run, Signal::Approve { step: StepId::new("check").unwrap(), call: None }).await;
    assert_eq!(approved.status, Status::Success, "{approved:?}");
    let deadline = greenroom_protocol::Deadline::after(harness.clock.now(), Duration::from_secs(60));
    let reply = harness.runs.wait_ended(&run, deadline).await.unwrap();
    assert_eq!((reply.status, &reply.error), (Status::Success, &None));
    assert_eq!(reply.outputs["report"], json!("writer_001:finder_001:Q4 2024 Acme"));
    until("the team has gone", || harness.events.count(|event| matches!(event, ActorEvent::TeamDisbanded(_))) == 1)
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_team_that_cannot_be_formed_is_rejected() {
    let mut wrong = definitions();
    wrong.teams[0]["shared_context"] = json!({"not a key": 1});
    let harness = Harness::new(wrong, script()).await;
    assert_eq!(harness.request(crew(json!({}))).await.error.unwrap().code, ErrorCode::InvalidInput);
    let unknown = harness.request(start_team("crew", "none", json!({}), json!({}))).await;
    assert!(unknown.error.is_some());
    until("nothing is left", || harness.runs.hosted() == 0).await;
    assert!(harness.teams.info().await.unwrap().teams.is_empty());
}
