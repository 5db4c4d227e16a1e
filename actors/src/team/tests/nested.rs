//! Teams and workflows inside each other: each run finds the context of its team, also after a crash.

use greenroom_protocol::{Json, RunId, Status};

use super::*;
use crate::run::tests::harness::start;

/// A team whose workflow calls another workflow for each of two names, and a workflow that forms the team for each.
fn nested() -> TestDefinitions {
    let provides = json!({"collaboration": {"provides_to_team": ["facts"]}});
    let each = |target: Json| {
        let mut step = json!({"id": "each", "for_each": {"items": ["a", "b"], "max_concurrency": 2},
            "inputs": {"name": "${item}"}, "outputs": ["seen"]});
        step.as_object_mut().unwrap().extend(target.as_object().unwrap().clone());
        json!([step])
    };
    TestDefinitions {
        agents: vec![agent("finder_001", provides), agent("writer_001", json!({}))],
        workflows: vec![
            workflow("in_team", each(json!({"workflow": "inner"}))),
            workflow("of_teams", each(json!({"workflow": "inner", "team": "crew"}))),
            workflow(
                "inner",
                json!([
                    {"id": "find", "agent": "finder", "inputs": {"text": "${context.quarter} ${inputs.name}"}},
                    {"id": "write", "agent": "writer", "depends_on": ["find"],
                     "inputs": {"text": "${inputs.name}: ${context.facts}"}, "outputs": ["seen"]},
                ]),
            ),
        ],
        teams: vec![json!({
            "team_id": "crew", "name": "Crew", "agents": ["finder", "writer"],
            "shared_context": {"quarter": "Q4"},
        })],
    }
}

fn echo() -> Script {
    immediate(|call| Ok(values(json!({"out": call.inputs["text"]}))))
}

/// No member completes the step `write`.
fn stuck_at_write() -> Script {
    Arc::new(|call| {
        Box::pin(async move {
            if call.key.ends_with("/write") {
                std::future::pending::<()>().await;
            }
            Ok(values(json!({"out": call.inputs["text"]})))
        })
    })
}

async fn wait_at_write(harness: &Harness) {
    until("both last steps are active", || {
        harness.calls().iter().filter(|call| call.key.ends_with("/write")).count() == 2
    })
    .await;
}

async fn reply(harness: &Harness, run: &RunId) -> greenroom_protocol::Reply {
    let until = greenroom_protocol::Deadline::after(harness.clock.now(), crate::run::RUN_TIME_MAX);
    harness.runs.wait_ended(run, until).await.unwrap()
}

/// What the writers have seen: facts of one shared context, whichever finder wrote last.
fn assert_shared(outputs: &Json) {
    let facts: Vec<&str> = outputs.as_array().unwrap().iter().map(|facts| facts.as_str().unwrap()).collect();
    assert_eq!(facts.len(), 2);
    assert!(facts[0].starts_with("a: Q4 ") && facts[1].starts_with("b: Q4 "), "{facts:?}");
}

#[tokio::test(start_paused = true)]
async fn a_workflow_inside_a_teams_run_has_the_context_of_the_team() {
    let harness = Harness::new(nested(), echo()).await;
    let reply = harness.request(start_team("crew", "in_team", json!({}), json!({}))).await;
    assert_eq!((reply.status, &reply.error), (Status::Success, &None));
    assert_shared(&reply.outputs["seen"]);
    let activations = |name: &'static str| {
        harness.events.count(move |event| matches!(event, ActorEvent::AgentActivated(agent) if agent.as_str() == name))
    };
    assert_eq!((activations("finder_001"), activations("writer_001")), (1, 1), "the members of the one team work");
}

#[tokio::test(start_paused = true)]
async fn a_team_inside_a_workflow_has_a_context_of_its_own_for_each_item() {
    let harness = Harness::new(nested(), echo()).await;
    let reply = harness.request(start("of_teams", json!({}))).await;
    assert_eq!((reply.status, &reply.error), (Status::Success, &None));
    assert_eq!(reply.outputs["seen"], json!(["a: Q4 a", "b: Q4 b"]));
    assert_eq!(harness.events.count(|event| matches!(event, ActorEvent::TeamFormed { .. })), 2);
}

#[tokio::test(start_paused = true)]
async fn a_workflow_inside_a_teams_run_finds_the_context_again_after_a_crash() {
    let harness = Harness::new(nested(), stuck_at_write()).await;
    let Request::StartTeam(start) = start_team("crew", "in_team", json!({}), json!({})) else { panic!("a team") };
    let run = run_id(&harness.request(Request::StartTeam(StartTeam { detach: true, ..start })).await);
    wait_at_write(&harness).await;
    let harness = harness.crash(vec![nested()], echo()).await;
    assert_eq!(harness.recover().await.resumed, 1);
    assert_shared(&reply(&harness, &run).await.outputs["seen"]);
    assert_eq!(harness.calls().len(), 2, "what the finders provided was still there: {:?}", harness.calls());
}

#[tokio::test(start_paused = true)]
async fn a_team_inside_a_workflow_finds_its_context_again_after_a_crash() {
    let harness = Harness::new(nested(), stuck_at_write()).await;
    let run = run_id(&harness.request(detached("of_teams", json!({}))).await);
    wait_at_write(&harness).await;
    let harness = harness.crash(vec![nested()], echo()).await;
    assert_eq!(harness.recover().await.resumed, 1);
    assert_eq!(reply(&harness, &run).await.outputs["seen"], json!(["a: Q4 a", "b: Q4 b"]));
    assert_eq!(harness.calls().len(), 2, "what the finders provided was still there: {:?}", harness.calls());
    until("all teams have gone", || harness.events.count(|event| matches!(event, ActorEvent::TeamDisbanded(_))) == 2)
        .await;
    assert!(harness.teams.info().await.unwrap().teams.is_empty());
}
