//! Pinning: an interrupted run resumes with the definitions that it started with, even if their files have
//! changed, and reports the change; the active policy authorizes its steps.

use std::fs;

use anyhow::{Context, Result};
use greenroom_integration_tests::model_fixture::ModelFixture;
use greenroom_integration_tests::script_server::{ScriptServer, ServerBehavior};
use greenroom_integration_tests::terminal::COMMAND_WAIT_MAX;
use greenroom_integration_tests::wait::wait_until;
use greenroom_protocol::Json;
use serde_json::json;

use super::reload::changed_bundle;

const AGENT: &str = "llm_agent";
const WORKFLOW: &str = "calls_in_a_row";
const AGENT_FILE: &str = "agents/business_ops/llm_agent.yaml";
const WORDS: [&str; 5] = ["run", "workflow", WORKFLOW, "--input", "text=hello"];

/// A run of two steps whose process was killed while the second was in flight, and the run's id.
async fn interrupt_run() -> Result<(ModelFixture, ScriptServer, String)> {
    let server =
        ScriptServer::start(|request| if request.number == 1 { ServerBehavior::Silence } else { ServerBehavior::Good })
            .await?;
    let mut fixture = ModelFixture::with_openai(server.url())?;
    let bundle = fs::read(super::reload::SHIPPED)?;
    fixture.terminal.write_file("policy/guard.tar.gz", bundle)?;
    let policy = fixture.terminal.folder().join("policy").display().to_string();
    fixture.terminal.set_variable("GREENROOM_POLICY", &policy);
    fixture.write_llm_agent(AGENT, 120, 100)?;
    fixture.definitions.write_row_workflow(WORKFLOW, AGENT, 2)?;
    let process = fixture.terminal.start(&WORDS)?;
    let is_in_flight = || async { (server.count() > 1).then_some(()) };
    wait_until("the second step is in flight", COMMAND_WAIT_MAX, is_in_flight).await?;
    drop(process);
    let runs = fixture.terminal.run(&["runs", "list"]).await?.expect_success()?;
    let run = runs["runs"][0]["run_id"].as_str().context("a run")?.to_owned();
    Ok((fixture, server, run))
}

async fn run_report(fixture: &ModelFixture, run: &str) -> Result<Json> {
    fixture.terminal.run(&["runs", "show", run]).await?.expect_success()
}

fn resumed_event(run_report: &Json) -> Option<&Json> {
    run_report["events"].as_array()?.iter().find(|event| event["event"] == "run_resumed")
}

/// A policy that denies this action to an administrator.
fn without(action: &str) -> Result<Vec<u8>> {
    changed_bundle(|data| {
        let may = data["cfg"]["roles"]["admin"]["anywhere"].as_object_mut();
        assert!(may.is_some_and(|may| may.remove(action).is_some()), "the policy has no {action}");
    })
}

#[tokio::test]
async fn an_interrupted_run_ends_with_its_pinned_versions_and_reports_the_change() -> Result<()> {
    let (fixture, server, run) = interrupt_run().await?;
    let pinned_version = run_report(&fixture, &run).await?["run"]["version"].clone();
    let agent = fixture.definitions.dir().join(AGENT_FILE);
    let text = fs::read_to_string(&agent)?;
    fs::write(&agent, text.replace("You answer.", "You contradict."))?;
    fixture.definitions.write_row_workflow(WORKFLOW, AGENT, 3)?;

    let report = fixture.terminal.run(&["runs", "resume"]).await?.expect_success()?;
    assert_eq!(report["resumed"], 1, "{report:#}");
    let report = run_report(&fixture, &run).await?;
    assert_eq!(
        (&report["run"]["status"], &report["run"]["version"]),
        (&json!("success"), &pinned_version),
        "{report:#}"
    );
    assert_eq!(resumed_event(&report).context("a resumed event")?["definitions_changed"], true);
    assert_eq!(report["reply"]["metadata"]["workflow_steps"], 2, "{report:#}");
    let requests = server.requests();
    assert_eq!(requests.len(), 3, "the second step was in flight");
    assert!(requests.iter().all(|request| request.body.to_string().contains("You answer.")), "{requests:#?}");

    // A new run has the new versions.
    let new_run = fixture.terminal.run(&WORDS).await?.expect_success()?;
    assert_eq!(new_run["metadata"]["workflow_steps"], 3, "{new_run:#}");
    let requests = server.requests().split_off(3);
    assert!(requests.iter().all(|request| request.body.to_string().contains("You contradict.")), "{requests:#?}");
    let new_run = fixture.terminal.run(&["runs", "list"]).await?.expect_success()?;
    assert_ne!(new_run["runs"][0]["version"], pinned_version, "{new_run:#}");
    Ok(())
}

#[tokio::test]
async fn a_resumed_run_with_unchanged_files_reports_no_change() -> Result<()> {
    let (fixture, _server, run) = interrupt_run().await?;
    fixture.terminal.run(&["runs", "resume"]).await?.expect_success()?;
    let report = run_report(&fixture, &run).await?;
    assert_eq!(resumed_event(&report).context("a resumed event")?["definitions_changed"], false);
    Ok(())
}

#[tokio::test]
async fn a_resumed_run_is_authorized_by_the_active_policy_and_ends_denied() -> Result<()> {
    // The policy allows the run to resume, and denies its step.
    let (fixture, server, run) = interrupt_run().await?;
    fixture.terminal.write_file("policy/guard.tar.gz", without("invoke")?)?;
    let output = fixture.terminal.run(&["runs", "resume"]).await?;
    assert_eq!(output.code, 1, "{output:?}");
    let report = run_report(&fixture, &run).await?;
    assert_eq!(report["reply"]["error"]["code"], "policy_denied", "{report:#}");
    assert_eq!(server.count(), 2, "no request was sent after the denial");
    Ok(())
}

#[tokio::test]
async fn a_run_whose_resumption_is_denied_ends_denied() -> Result<()> {
    let (fixture, server, run) = interrupt_run().await?;
    fixture.terminal.write_file("policy/guard.tar.gz", without("resume_run")?)?;
    let resumed = fixture.terminal.run(&["runs", "resume"]).await?.json()?;
    assert_eq!(resumed["terminated"], 1, "{resumed:#}");
    let report = run_report(&fixture, &run).await?;
    assert_eq!(
        (&report["run"]["status"], &report["reply"]["error"]["code"]),
        (&json!("denied"), &json!("policy_denied"))
    );
    assert_eq!(server.count(), 2, "no request was sent after the denial");
    Ok(())
}
