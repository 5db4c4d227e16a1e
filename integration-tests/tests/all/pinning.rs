//! A run that was interrupted goes on with the definitions that it began with, whatever its files say
//! by now, and tells so; what it may do is asked of the policy in force.

use std::fs;

use anyhow::{Context, Result};
use greenroom_integration_tests::model_fixture::ModelFixture;
use greenroom_integration_tests::script_server::{ScriptServer, ServerBehavior};
use greenroom_integration_tests::terminal::COMMAND_WAIT_MAX;
use greenroom_integration_tests::wait::until;
use greenroom_protocol::Json;
use serde_json::json;

use super::reload::changed;

const AGENT: &str = "asking_agent";
const WORKFLOW: &str = "asking_in_a_row";
const AGENT_FILE: &str = "agents/business_ops/asking_agent.yaml";
const WORDS: [&str; 5] = ["run", "workflow", WORKFLOW, "--input", "text=hello"];

/// A run of two steps whose process was killed while its second was in flight, and its name.
async fn interrupted() -> Result<(ModelFixture, ScriptServer, String)> {
    let server =
        ScriptServer::start(|asked| if asked.number == 1 { ServerBehavior::Silence } else { ServerBehavior::Good })
            .await?;
    let mut stand = ModelFixture::asking(server.url())?;
    let bundle = fs::read(super::reload::SHIPPED)?;
    stand.terminal.file("policy/guard.tar.gz", bundle)?;
    let policy = stand.terminal.folder().join("policy").display().to_string();
    stand.terminal.variable("GREENROOM_POLICY", &policy);
    stand.asking_agent(AGENT, 120, 100)?;
    stand.definitions.row_workflow(WORKFLOW, AGENT, 2)?;
    let process = stand.terminal.start(&WORDS)?;
    let seen = || async { (server.count() > 1).then_some(()) };
    until("the second step is in flight", COMMAND_WAIT_MAX, seen).await?;
    drop(process);
    let runs = stand.terminal.run(&["runs", "list"]).await?.done()?;
    let run = runs["runs"][0]["run_id"].as_str().context("a run")?.to_owned();
    Ok((stand, server, run))
}

async fn shown(stand: &ModelFixture, run: &str) -> Result<Json> {
    stand.terminal.run(&["runs", "show", run]).await?.done()
}

fn resumed(shown: &Json) -> Option<&Json> {
    shown["events"].as_array()?.iter().find(|event| event["event"] == "run_resumed")
}

/// A policy under which an administrator may not do this.
fn without(action: &str) -> Result<Vec<u8>> {
    changed(|data| {
        let may = data["cfg"]["roles"]["admin"]["anywhere"].as_object_mut();
        assert!(may.is_some_and(|may| may.remove(action).is_some()), "the policy has no {action}");
    })
}

#[tokio::test]
async fn an_interrupted_run_ends_with_the_versions_that_it_began_with_and_says_so() -> Result<()> {
    let (stand, server, run) = interrupted().await?;
    let began_with = shown(&stand, &run).await?["run"]["version"].clone();
    let agent = stand.definitions.dir().join(AGENT_FILE);
    let text = fs::read_to_string(&agent)?;
    fs::write(&agent, text.replace("You answer.", "You contradict."))?;
    stand.definitions.row_workflow(WORKFLOW, AGENT, 3)?;

    let report = stand.terminal.run(&["runs", "resume"]).await?.done()?;
    assert_eq!(report["resumed"], 1, "{report:#}");
    let ended = shown(&stand, &run).await?;
    assert_eq!((&ended["run"]["state"], &ended["run"]["version"]), (&json!("success"), &began_with), "{ended:#}");
    assert_eq!(resumed(&ended).context("it says that it was resumed")?["definitions_changed"], true);
    assert_eq!(ended["reply"]["metadata"]["workflow_steps"], 2, "{ended:#}");
    let asked = server.asked();
    assert_eq!(asked.len(), 3, "the second step was in flight");
    assert!(asked.iter().all(|asked| asked.body.to_string().contains("You answer.")), "{asked:#?}");

    // What begins now has the new versions.
    let fresh = stand.terminal.run(&WORDS).await?.done()?;
    assert_eq!(fresh["metadata"]["workflow_steps"], 3, "{fresh:#}");
    let asked = server.asked().split_off(3);
    assert!(asked.iter().all(|asked| asked.body.to_string().contains("You contradict.")), "{asked:#?}");
    let fresh = stand.terminal.run(&["runs", "list"]).await?.done()?;
    assert_ne!(fresh["runs"][0]["version"], began_with, "{fresh:#}");
    Ok(())
}

#[tokio::test]
async fn a_run_whose_files_are_as_they_were_says_so_too() -> Result<()> {
    let (stand, _server, run) = interrupted().await?;
    stand.terminal.run(&["runs", "resume"]).await?.done()?;
    let ended = shown(&stand, &run).await?;
    assert_eq!(resumed(&ended).context("it says that it was resumed")?["definitions_changed"], false);
    Ok(())
}

#[tokio::test]
async fn a_resumed_run_is_judged_by_the_policy_in_force_and_ends_denied() -> Result<()> {
    // The run itself may go on; its step may not.
    let (stand, server, run) = interrupted().await?;
    stand.terminal.file("policy/guard.tar.gz", without("invoke")?)?;
    let resumed = stand.terminal.run(&["runs", "resume"]).await?;
    assert_eq!(resumed.code, 1, "{resumed:?}");
    let ended = shown(&stand, &run).await?;
    assert_eq!(ended["reply"]["error"]["code"], "policy_denied", "{ended:#}");
    assert_eq!(server.count(), 2, "nothing was asked after the policy said no");
    Ok(())
}

#[tokio::test]
async fn a_run_that_may_not_be_resumed_any_more_ends_denied() -> Result<()> {
    let (stand, server, run) = interrupted().await?;
    stand.terminal.file("policy/guard.tar.gz", without("resume_run")?)?;
    let resumed = stand.terminal.run(&["runs", "resume"]).await?.json()?;
    assert_eq!(resumed["refused"], 1, "{resumed:#}");
    let ended = shown(&stand, &run).await?;
    assert_eq!((&ended["run"]["state"], &ended["reply"]["error"]["code"]), (&json!("denied"), &json!("policy_denied")));
    assert_eq!(server.count(), 2, "nothing was asked after the policy said no");
    Ok(())
}
