//! One budget of retries for a run: of the retries of its steps, of their agents and of the calls of
//! their models none multiplies another, and a crash does not fill the budget again.

use std::fmt::Write as _;
use std::time::Duration;

use greenroom_integration_tests::model_fixture::ModelFixture;
use greenroom_integration_tests::script_server::{ScriptServer, ServerBehavior};
use greenroom_integration_tests::wait::until;

const AGENT: &str = "asking_agent";
const OUTER: &str = "asking_from_outside";
/// Steps that ask at one time.
const STEPS: usize = 4;
/// The retries of one run, `RUN_RETRIES_MAX` of the machine.
const RETRIES: usize = 64;
const WAIT_MAX: Duration = Duration::from_secs(60);

/// Retries at each level: by themselves they would come to three hundred calls a step.
const RETRY: &str = "retry: { max_attempts: 10, backoff: fixed, delay: 0.02, max_delay: 0.02 }";

/// A model's server that always fails, and a workflow whose only step is a workflow that asks it.
async fn stand() -> (ScriptServer, ModelFixture) {
    let server =
        ScriptServer::start(|_| ServerBehavior::Status("500 Internal Server Error", "")).await.expect("a server");
    let stand = ModelFixture::asking(server.url()).expect("a stand");
    stand.asking_agent_with(AGENT, 300, 50, &format!("{RETRY}\n")).expect("an agent's file");
    let head = |id: &str| {
        format!(
            "workflow_id: {id}\nname: {id}\ndescription: Asks in vain\nversion: \"1.0.0\"\n\
             inputs:\n  - name: text\n    type: text\n    required: true\nsteps:\n"
        )
    };
    let mut inner = head("asking_inside");
    for number in 0..STEPS {
        let step = format!("step_{number}");
        let input = "inputs:\n      text: \"${inputs.text}\"";
        write!(inner, "  - id: {step}\n    agent: {AGENT}\n    {RETRY}\n    {input}\n    outputs: [text]\n")
            .expect("text");
    }
    inner.push_str("final_output: \"${steps.step_0.outputs.text}\"\n");
    stand.definitions.workflow("asking_inside", &inner).expect("a workflow's file");
    let outer = format!(
        "{}  - id: inside\n    workflow: asking_inside\n    {RETRY}\n    inputs:\n      text: \"${{inputs.text}}\"\n\
         final_output: \"${{steps.inside.outputs.final_output}}\"\n",
        head(OUTER)
    );
    stand.definitions.workflow(OUTER, &outer).expect("a workflow's file");
    (server, stand)
}

#[tokio::test]
async fn nested_retries_do_not_multiply() {
    let (server, stand) = stand().await;
    let said = stand.terminal.run(&["run", "workflow", OUTER, "--input", "text=hello"]).await.expect("an end");
    assert_eq!(said.refused(1).expect("an error")["code"], "model_failed", "{said:?}");
    let calls = server.count();
    assert!(calls <= RETRIES + STEPS, "{calls} calls");
    assert!(calls > RETRIES / 2, "what the budget allows is tried: {calls} calls");
}

#[tokio::test]
async fn a_crash_does_not_fill_the_budget_again() {
    const BEFORE: usize = 45;
    let (server, stand) = stand().await;
    let process = stand.terminal.start(&["run", "workflow", OUTER, "--input", "text=hello"]).expect("a run");
    let many = || async { (server.count() >= BEFORE).then_some(()) };
    until("most retries are taken", WAIT_MAX, many).await.expect("the calls");
    drop(process);
    let resumed = stand.terminal.run(&["runs", "resume"]).await.expect("an end");
    assert_eq!(resumed.json().expect("a report")["failed"], 2, "both runs have ended, and not well: {resumed:?}");
    let calls = server.count();
    // Each step's call in flight is made anew, and so may be a retry that was not written down in time.
    assert!(calls <= RETRIES + 3 * STEPS, "{calls} calls");
}
