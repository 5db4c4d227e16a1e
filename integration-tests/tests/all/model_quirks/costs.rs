//! Counts as servers report them, and what is booked: a text that was written is never free, and a reply reports what
//! the ledger has.

use std::time::Duration;

use greenroom_integration_tests::model_fixture::ModelFixture;
use greenroom_integration_tests::script_server::{RecordedRequest, ScriptServer, ServerBehavior};
use greenroom_integration_tests::wait::wait_until;
use serde_json::{Value, json};

use super::{AGENT, CallOutcome, DONE, call_with_events, text, usage};

const GOOD: &str = "{\"text\": \"done\"}";
/// The cost of a thousand input and two hundred output tokens, at 3 and 15 dollars a million.
const COUNTED_MICROS: u64 = 6_000;

/// Fails unless reply and ledger have the same cost; returns it, and whether it is estimated.
async fn booked_cost(outcome: &CallOutcome) -> (u64, bool) {
    outcome.expect_text("done");
    let metadata = &outcome.reply["metadata"];
    let costs = outcome.costs().await;
    assert_eq!(metadata["cost_micro_usd"], costs["total_micro_usd"], "{costs:#}");
    let estimated: u64 = costs["costs"]
        .as_array()
        .expect("rows")
        .iter()
        .map(|row| row["calls_estimated"].as_u64().expect("a number"))
        .sum();
    assert_eq!(estimated > 0, metadata["estimated"] == true, "{costs:#}");
    (metadata["cost_micro_usd"].as_u64().expect("a whole number"), estimated > 0)
}

#[tokio::test]
async fn a_text_is_never_free_whatever_the_server_counts() {
    for (counts, is_counted) in [
        (usage(1_000, 200), true),
        (usage(1_000, 200) + &usage(0, 0), true),
        (String::new(), false),
        (usage(0, 0), false),
        (usage(1_000, -5), false),
        (usage(i64::MAX, i64::MAX), false),
    ] {
        let outcome = call_with_events(text(GOOD) + &counts + DONE).await;
        let (micros, is_estimated) = booked_cost(&outcome).await;
        if is_counted {
            assert_eq!((micros, is_estimated), (COUNTED_MICROS, false), "{counts}");
        } else {
            assert!(is_estimated && micros > 1_000 && micros < 100_000, "{micros} of {counts}");
        }
    }
}

#[tokio::test]
async fn money_on_the_wire_is_a_whole_number() {
    let outcome = call_with_events(text(GOOD) + &usage(1_000, 200) + DONE).await;
    let metadata = &outcome.reply["metadata"];
    assert_eq!((&metadata["cost_micro_usd"], metadata["cost_usd"].as_f64()), (&json!(6_000), Some(0.006)));
    let costs = outcome.costs().await;
    assert_eq!(costs["costs"][0]["cost_micro_usd"], Value::from(COUNTED_MICROS));
    let table = outcome.fixture.terminal.run(&["costs", "-o", "table"]).await.expect("an end");
    assert!(table.out.ends_with("total $0.006000\n"), "{table:?}");
    let model = metadata["model"].as_str().expect("a text");
    assert_eq!((model, &metadata["models"]), ("openai.scripted-model", &json!(["openai.scripted-model"])));
}

/// Bound of every wait.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// A workflow whose second step is never answered, as a step of another workflow; and the server.
async fn broken_off() -> (ScriptServer, ModelFixture) {
    let script = |request: &RecordedRequest| {
        if request.number == 1 { ServerBehavior::Silence } else { ServerBehavior::Good }
    };
    let server = ScriptServer::start(script).await.expect("a server");
    let fixture = ModelFixture::with_openai(server.url()).expect("a fixture");
    fixture.write_llm_agent(AGENT, 120, 1_000).expect("a file");
    fixture.definitions.write_row_workflow("inner", AGENT, 2).expect("a workflow");
    let outer = "workflow_id: outer\nname: outer\ndescription: Calls the other one\nversion: \"1.0.0\"\n\
                 inputs:\n  - name: text\n    type: text\n    required: true\nsteps:\n  - id: inside\n    workflow: inner\n\
                 \x20   inputs:\n      text: \"${inputs.text}\"\n\
                 final_output: \"${steps.inside.outputs.final_output}\"\n";
    fixture.definitions.write_workflow("outer", outer).expect("a workflow");
    (server, fixture)
}

async fn document(fixture: &ModelFixture, words: &[&str]) -> Value {
    fixture.terminal.run(words).await.expect("an end").expect_success().expect("a document")
}

/// Fails unless the run reports the cost that `greenroom costs` has in all, marks it as estimated and names the model.
async fn expect_booked(fixture: &ModelFixture, run: &str) {
    let output = document(fixture, &["runs", "show", run]).await;
    let metadata = &output["reply"]["metadata"];
    let costs = document(fixture, &["costs"]).await;
    assert_eq!(metadata["cost_micro_usd"], costs["total_micro_usd"], "{output:#} {costs:#}");
    assert_eq!(metadata["estimated"], true, "{output:#}");
    assert!(costs["total_micro_usd"].as_u64() > Some(10_000), "the reservation is more than the first call: {costs:#}");
    let model = "openai.scripted-model";
    assert_eq!((&metadata["model"], &metadata["models"]), (&json!(model), &json!([model])), "{output:#}");
}

/// Cancels a run of this workflow in a call, and returns its id once it has ended.
async fn cancel_in_call(fixture: &ModelFixture, server: &ScriptServer, workflow: &str, call: usize) -> String {
    let started = document(fixture, &["run", "workflow", workflow, "--input", "text=hello", "--detach"]).await;
    let run = started["id"].as_str().expect("an id").to_owned();
    let is_in_call = || async { (server.count() == call).then_some(()) };
    wait_until("the call", WAIT_MAX, is_in_call).await.expect("a call");
    document(fixture, &["runs", "cancel", &run]).await;
    let ended = || async {
        let output = document(fixture, &["runs", "show", &run]).await;
        output.get("reply").is_some_and(|reply| !reply.is_null()).then_some(())
    };
    wait_until("the end of the run", WAIT_MAX, ended).await.expect("an end");
    run
}

#[tokio::test]
async fn a_cancelled_run_reports_what_was_booked_for_it() {
    let (server, fixture) = broken_off().await;
    let (process, _) = fixture.up().await.expect("a pod");
    let run = cancel_in_call(&fixture, &server, "outer", 2).await;
    expect_booked(&fixture, &run).await;
    drop(process);
}

#[tokio::test]
async fn a_run_that_is_cancelled_in_its_only_call_names_its_model() {
    let server = ScriptServer::start(|_| ServerBehavior::Silence).await.expect("a server");
    let fixture = ModelFixture::with_openai(server.url()).expect("a fixture");
    fixture.write_llm_agent(AGENT, 120, 1_000).expect("a file");
    fixture.definitions.write_row_workflow("single", AGENT, 1).expect("a workflow");
    let (process, _) = fixture.up().await.expect("a pod");
    let run = cancel_in_call(&fixture, &server, "single", 1).await;
    expect_booked(&fixture, &run).await;
    drop(process);
}

#[tokio::test]
async fn a_resumed_run_reports_what_was_booked_before_the_crash() {
    let (server, fixture) = broken_off().await;
    let process = fixture.terminal.start(&["run", "workflow", "outer", "--input", "text=hello"]).expect("a run");
    let is_in_second_call = || async { (server.count() == 2).then_some(()) };
    wait_until("the second call", WAIT_MAX, is_in_second_call).await.expect("a call");
    drop(process);
    document(&fixture, &["runs", "resume"]).await;
    let runs = document(&fixture, &["runs", "list"]).await;
    let is_outer = |run: &&Value| run["workflow_id"] == "outer";
    let run = runs["runs"].as_array().expect("runs").iter().find(is_outer).expect("the outer run");
    expect_booked(&fixture, run["run_id"].as_str().expect("an id")).await;
}
