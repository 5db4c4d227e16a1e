//! The retry budget of a run: the retries of its steps, of their agents and of their model calls share one
//! budget and do not multiply, and a crash does not refill it.

use std::fmt::Write as _;
use std::time::Duration;

use greenroom_integration_tests::model_fixture::ModelFixture;
use greenroom_integration_tests::script_server::{ScriptServer, ServerBehavior};
use greenroom_integration_tests::wait::wait_until;

const AGENT: &str = "llm_agent";
const OUTER: &str = "outer_calls";
/// Steps that call the model concurrently.
const STEPS: usize = 4;
/// The retry budget of one run: `RUN_RETRIES_MAX` of the run machine.
const RETRIES: usize = 64;
const WAIT_MAX: Duration = Duration::from_secs(60);

/// Retry settings of each level: without a shared budget they would allow three hundred calls per step.
const RETRY: &str = "retry: { max_attempts: 10, backoff: fixed, delay: 0.02, max_delay: 0.02 }";

/// A model server that always fails, and a workflow whose only step is a workflow that calls it.
async fn fixture() -> (ScriptServer, ModelFixture) {
    let server =
        ScriptServer::start(|_| ServerBehavior::Status("500 Internal Server Error", "")).await.expect("a server");
    let fixture = ModelFixture::with_openai(server.url()).expect("a fixture");
    fixture.write_llm_agent_with(AGENT, 300, 50, &format!("{RETRY}\n")).expect("an agent's file");
    let head = |id: &str| {
        format!(
            "workflow_id: {id}\nname: {id}\ndescription: Calls a failing model\nversion: \"1.0.0\"\n\
             inputs:\n  - name: text\n    type: text\n    required: true\nsteps:\n"
        )
    };
    let mut inner = head("inner_calls");
    for number in 0..STEPS {
        let step = format!("step_{number}");
        let input = "inputs:\n      text: \"${inputs.text}\"";
        write!(inner, "  - id: {step}\n    agent: {AGENT}\n    {RETRY}\n    {input}\n    outputs: [text]\n")
            .expect("text");
    }
    inner.push_str("final_output: \"${steps.step_0.outputs.text}\"\n");
    fixture.definitions.write_workflow("inner_calls", &inner).expect("a workflow's file");
    let outer = format!(
        "{}  - id: inside\n    workflow: inner_calls\n    {RETRY}\n    inputs:\n      text: \"${{inputs.text}}\"\n\
         final_output: \"${{steps.inside.outputs.final_output}}\"\n",
        head(OUTER)
    );
    fixture.definitions.write_workflow(OUTER, &outer).expect("a workflow's file");
    (server, fixture)
}

#[tokio::test]
async fn nested_retries_do_not_multiply() {
    let (server, fixture) = fixture().await;
    let output = fixture.terminal.run(&["run", "workflow", OUTER, "--input", "text=hello"]).await.expect("an end");
    assert_eq!(output.expect_error(1).expect("an error")["code"], "model_failed", "{output:?}");
    let calls = server.count();
    assert!(calls <= RETRIES + STEPS, "{calls} calls");
    assert!(calls > RETRIES / 2, "the budget is used: {calls} calls");
}

#[tokio::test]
async fn a_crash_does_not_refill_the_retry_budget() {
    const BEFORE: usize = 45;
    let (server, fixture) = fixture().await;
    let process = fixture.terminal.start(&["run", "workflow", OUTER, "--input", "text=hello"]).expect("a run");
    let has_many = || async { (server.count() >= BEFORE).then_some(()) };
    wait_until("most retries are taken", WAIT_MAX, has_many).await.expect("the calls");
    drop(process);
    let resumed = fixture.terminal.run(&["runs", "resume"]).await.expect("an end");
    assert_eq!(resumed.json().expect("a report")["failed"], 2, "both runs have failed: {resumed:?}");
    let calls = server.count();
    // The call in flight of each step is repeated, and so is a retry whose entry was not durable yet.
    assert!(calls <= RETRIES + 3 * STEPS, "{calls} calls");
}
