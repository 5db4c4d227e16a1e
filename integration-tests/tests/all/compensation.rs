//! Compensation has time and money of its own: it succeeds after the deadline of its run, after its budget, and after
//! that of its user.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use greenroom_client::CallParams;
use greenroom_integration_tests::model_fixture::ModelFixture;
use greenroom_integration_tests::script_server::{ScriptServer, ServerBehavior, TOKENS_IN, TOKENS_OUT};
use greenroom_integration_tests::wait::wait_until;
use greenroom_protocol::request::CallOptions;
use greenroom_protocol::{Json, MicroUsd, WorkflowId};
use serde_json::json;

const AGENT: &str = "llm_agent";
const WAIT_MAX: Duration = Duration::from_secs(60);
/// Cost of one answer, at the standard tier's 3 and 15 dollars per million tokens.
const ANSWER_MICROS: u64 = TOKENS_IN * 3 + TOKENS_OUT * 15;

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

/// The workflow `paused`: a first step that this agent compensates, a call that costs money, and an approval.
fn paused_workflow(compensating: &str) -> String {
    format!(
        "workflow_id: paused\nname: P\nsteps:\n  - id: first\n    agent: echo\n    inputs: {{ text: done }}\n    \
         compensate: {{ agent: {compensating}, inputs: {{ text: \"take back ${{steps.first.outputs.text}}\" }} }}\n  \
         - {{ id: call, agent: {AGENT}, depends_on: [first], inputs: {{ text: hello }} }}\n  \
         - {{ id: wait, approval: {{ prompt: 'Continue?' }}, depends_on: [call] }}\n"
    )
}

/// Waits until what `runs show` prints of a run has this property, and returns it.
async fn wait_run(fixture: &ModelFixture, run: &str, subject: &str, is_true: impl Fn(&Json) -> bool) -> Result<Json> {
    let document = || async {
        let document = fixture.terminal.run(&["runs", "show", run]).await.ok()?.expect_success().ok()?;
        is_true(&document).then_some(document)
    };
    wait_until(subject, WAIT_MAX, document).await
}

/// Cancels a run of `paused` after one answer, once the user who owns it has these members; returns the document of the
/// run that has ended.
async fn cancel_of_owner(fixture: &ModelFixture, compensating: &str, owner: &str) -> Result<Json> {
    fixture.definitions.write_workflow("paused", &paused_workflow(compensating))?;
    let (process, client) = fixture.up().await?;
    let options = CallOptions { cost_max: Some(MicroUsd(20_000)), ..CallOptions::default() };
    let params = CallParams { options, detach: true, ..CallParams::default() };
    let run = client.run_workflow(WorkflowId::new("paused")?, params).await?.id;
    wait_run(fixture, &run, "the run waits", |document| document["run"]["status"] == "waiting_approval").await?;
    drop(process);
    let users = format!("[[users]]\nname = \"admin\"\n{owner}\n[[users]]\nname = \"clara\"\nroles = [\"admin\"]\n");
    fixture.terminal.write_file("greenroom.toml", users)?;
    let (process, _) = fixture.up().await?;
    let is_resumed = |document: &Json| {
        let events = document["events"].as_array();
        events.is_some_and(|events| events.iter().any(|event| event["event"] == "run_resumed"))
    };
    wait_run(fixture, &run, "the run is resumed", is_resumed).await?;
    fixture.terminal.run(&["runs", "cancel", &run, "--user", "clara"]).await?.expect_success()?;
    let document = wait_run(fixture, &run, "the run has ended", |document| document["reply"].is_object()).await?;
    let refusal = fixture.terminal.run(&["run", "agent", "echo", "--input", "text=x"]).await?.expect_error(3)?;
    drop(process);
    ensure!(refusal["code"] == "policy_denied", "its owner may do nothing else: {refusal:#}");
    Ok(document)
}

#[tokio::test]
async fn a_user_whose_money_is_used_up_exactly_still_compensates() -> Result<()> {
    let owner = format!("roles = [\"admin\"]\nlimits = {{ usd = {} }}", MicroUsd(ANSWER_MICROS).as_usd());
    for (compensating, requests) in [("echo", 1), (AGENT, 2)] {
        let server = ScriptServer::start(|_| ServerBehavior::Good).await?;
        let fixture = fixture(&server, compensating, "")?;
        let document = cancel_of_owner(&fixture, compensating, &owner).await?;
        let reply = &document["reply"];
        assert_eq!(reply["error"]["details"]["undone"], json!(["first"]), "{compensating}: {document:#}");
        assert_eq!(server.count(), requests, "{compensating}");
        assert_eq!(reply["metadata"]["cost_micro_usd"], json!(ANSWER_MICROS * requests as u64), "{document:#}");
    }
    Ok(())
}

#[tokio::test]
async fn a_user_whose_tokens_are_used_up_exactly_still_compensates() -> Result<()> {
    let owner = format!("roles = [\"admin\"]\nlimits = {{ tokens = {} }}", TOKENS_IN + TOKENS_OUT);
    let server = ScriptServer::start(|_| ServerBehavior::Good).await?;
    let fixture = fixture(&server, AGENT, "")?;
    let document = cancel_of_owner(&fixture, AGENT, &owner).await?;
    assert_eq!(document["reply"]["error"]["details"]["undone"], json!(["first"]), "{document:#}");
    Ok(())
}

#[tokio::test]
async fn a_compensation_that_another_rule_denies_is_reported_as_missing() -> Result<()> {
    let server = ScriptServer::start(|_| ServerBehavior::Good).await?;
    let fixture = fixture(&server, "echo", "")?;
    // An operator without categories may resume runs, and call no agent.
    let document = cancel_of_owner(&fixture, "echo", "roles = [\"agent_operator\"]").await?;
    assert_eq!(document["reply"]["error"]["details"]["not_undone"], json!(["first"]), "{document:#}");
    let events = document["events"].to_string();
    ensure!(events.contains("not_compensated") && events.contains("category_not_allowed"), "{events}");
    Ok(())
}
