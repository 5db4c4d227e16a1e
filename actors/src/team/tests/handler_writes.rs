//! What the handler of a member writes into the context itself: the end of its step does not replace it with the first
//! output of the agent, also if the step is repeated after a crash.

use greenroom_protocol::{Cause, Json, RunId, Values};

use super::*;

/// A member that provides two keys and whose handler writes one of them, in the run of the team (`w`) or in one that this
/// calls (`outer`). Its outputs are `out` and these; its step has the first one under the name of the key too.
fn definitions(outputs: &[&str]) -> TestDefinitions {
    let outputs: Vec<Json> = ["out"].iter().chain(outputs).map(|name| json!({"name": name, "type": "text"})).collect();
    let members = json!({
        "collaboration": {"provides_to_team": ["facts", "notes"]},
        "implementation": {"runtime": "python", "handler": "member.execute"},
        "outputs": outputs,
    });
    let inputs = json!({"text": "first output", "data": {"facts": "by the handler"}});
    let steps = json!([
        {"id": "find", "agent": "finder", "inputs": inputs, "outputs": ["facts"]},
        {"id": "check", "agent": "stranger", "inputs": {"text": "${steps.find.outputs.out}"}},
    ]);
    TestDefinitions {
        agents: vec![agent("finder_001", members), agent("stranger_001", json!({}))],
        workflows: vec![workflow("w", steps), workflow("outer", json!([{"id": "call", "workflow": "w"}]))],
        teams: vec![json!({"team_id": "crew", "name": "Crew", "agents": ["finder"], "workflows": ["w", "outer"]})],
    }
}

/// The step `find` returns its text, and the next one never ends.
fn stuck_at_check() -> Script {
    Arc::new(|call| {
        Box::pin(async move {
            if call.key.ends_with("/check") {
                std::future::pending::<()>().await;
            }
            Ok(values(json!({"out": call.inputs["text"], "facts": "by an output"})))
        })
    })
}

fn hanging() -> Script {
    Arc::new(|_| Box::pin(std::future::pending::<Result<Values, Cause>>()))
}

async fn start_detached(harness: &Harness, workflow: &str) -> RunId {
    let Request::StartTeam(start) = start_team("crew", workflow, json!({}), json!({})) else { panic!("a team") };
    let reply = harness.request(Request::StartTeam(StartTeam { detach: true, ..start })).await;
    assert_eq!((reply.status, &reply.error), (Status::Success, &None));
    run_id(&reply)
}

async fn context(harness: &Harness, run: &RunId) -> Values {
    until("the second step is active", || harness.calls().iter().any(|call| call.key.ends_with("/check"))).await;
    read(harness, run, &[]).await.outputs
}

#[tokio::test(start_paused = true)]
async fn the_first_output_does_not_replace_what_the_handler_has_written() {
    for workflow in ["w", "outer"] {
        let harness = Harness::new(definitions(&[]), stuck_at_check()).await;
        let run = start_detached(&harness, workflow).await;
        let expected = json!({"facts": "by the handler", "notes": "first output"});
        assert_eq!(context(&harness, &run).await, values(expected), "{workflow}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_output_with_the_name_of_the_key_replaces_what_the_handler_has_written() {
    for workflow in ["w", "outer"] {
        let harness = Harness::new(definitions(&["facts"]), stuck_at_check()).await;
        let run = start_detached(&harness, workflow).await;
        let expected = json!({"facts": "by an output", "notes": "first output"});
        assert_eq!(context(&harness, &run).await, values(expected), "{workflow}");
    }
}

/// The handler does not write what the context has, so that only the journal knows of its write.
#[tokio::test(start_paused = true)]
async fn a_repeated_step_keeps_what_its_handler_has_written_before_the_crash() {
    for workflow in ["w", "outer"] {
        let harness = Harness::new(definitions(&[]), hanging()).await;
        let run = start_detached(&harness, workflow).await;
        let is_write = |entry: &Entry| matches!(entry, Entry::ContextChanged { key, .. } if key.as_str() == "facts");
        until_entry(&harness, &run, 1, is_write).await;
        let harness = harness.crash(vec![definitions(&[])], stuck_at_check()).await;
        assert_eq!(harness.recover().await.resumed, 1);
        let expected = json!({"facts": "by the handler", "notes": "first output"});
        assert_eq!(context(&harness, &run).await, values(expected), "{workflow}");
        let writes = harness.entries(&run).await.into_iter().filter(is_write).count();
        assert_eq!(writes, 1, "{workflow}: the handler has not written again");
    }
}
