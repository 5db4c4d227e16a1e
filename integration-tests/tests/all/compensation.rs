//! Compensation has time and money of its own: it succeeds after the deadline of its run, and after its budget.

use anyhow::{Context, Result, ensure};
use greenroom_integration_tests::model_fixture::ModelFixture;
use greenroom_integration_tests::script_server::{ScriptServer, ServerBehavior};
use greenroom_protocol::Json;

const AGENT: &str = "llm_agent";

/// A workflow whose first step is compensated by this agent, and whose next steps call the model.
fn workflow(compensating: &str, members: &str) -> String {
    let mut text = format!(
        "workflow_id: reversible\nname: R\n{members}steps:\n  - id: first\n    agent: echo\n    inputs: {{ text: done }}\n    \
         compensate: {{ agent: {compensating}, inputs: {{ text: \"take back ${{steps.first.outputs.text}}\" }} }}\n"
    );
    for (before, step) in
        ["first", "second", "third", "fourth", "fifth"].iter().zip(["second", "third", "fourth", "fifth", "sixth"])
    {
        text.push_str(&format!(
            "  - {{ id: {step}, agent: {AGENT}, depends_on: [{before}], inputs: {{ text: hello }} }}\n"
        ));
    }
    text
}

fn fixture(server: &ScriptServer, compensating: &str, members: &str) -> Result<ModelFixture> {
    let fixture = ModelFixture::with_openai(server.url())?;
    fixture.write_llm_agent(AGENT, 60, 200)?;
    fixture.write_llm_agent("expensive_agent", 60, 4_000)?;
    fixture.definitions.write_echo_agent("echo")?;
    fixture.definitions.write_workflow("reversible", &workflow(compensating, members))?;
    Ok(fixture)
}

/// The error of a run that fails with this code.
async fn failure(fixture: &ModelFixture, options: &[&str], code: &str) -> Result<Json> {
    let words = [&["run", "workflow", "reversible"], options].concat();
    let output = fixture.terminal.run(&words).await?;
    let error = output.json()?.get("error").cloned().context("an error")?;
    ensure!((output.code, error["code"].as_str()) == (1, Some(code)), "{error:#}");
    Ok(error)
}

#[tokio::test]
async fn a_run_that_has_no_money_left_is_compensated_with_a_call_that_costs_money() -> Result<()> {
    let server = ScriptServer::start(|_| ServerBehavior::Good).await?;
    let fixture = fixture(&server, AGENT, "")?;
    let error = failure(&fixture, &["--max-cost-usd", "0.01"], "budget_exceeded").await?;
    assert_eq!(error["details"]["undone"], serde_json::json!(["first"]), "{error:#}");
    let last = server.requests().last().context("a request")?.body.to_string();
    assert!(last.contains("take back done"), "{last}");
    Ok(())
}

#[tokio::test]
async fn a_compensation_is_bounded_by_the_limit_of_its_run() -> Result<()> {
    let server = ScriptServer::start(|_| ServerBehavior::Good).await?;
    // The worst case of 4,000 tokens costs six cents.
    let fixture = fixture(&server, "expensive_agent", "")?;
    let error = failure(&fixture, &["--max-cost-usd", "0.01"], "budget_exceeded").await?;
    assert_eq!(error["details"]["not_undone"], serde_json::json!(["first"]), "{error:#}");
    Ok(())
}

#[tokio::test]
async fn a_run_whose_time_is_up_is_compensated_by_a_request_of_its_own() -> Result<()> {
    let server = ScriptServer::start(|_| ServerBehavior::Silence).await?;
    let fixture = fixture(&server, "echo", "timeout: 1\ncompensation_timeout: 30\n")?;
    let error = failure(&fixture, &[], "timed_out").await?;
    assert_eq!(error["details"]["undone"], serde_json::json!(["first"]), "{error:#}");
    Ok(())
}
