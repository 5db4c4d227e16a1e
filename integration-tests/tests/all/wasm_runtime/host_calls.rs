//! What components call: each call is a request of the agent itself, which the guard decides and the audit records.

use anyhow::{Context, Result, ensure};
use greenroom_client::CallParams;
use greenroom_integration_tests::test_pod::text;
use greenroom_protocol::limits::HOPS_MAX;
use greenroom_protocol::request::Page;
use greenroom_protocol::{Status, TeamId, WorkflowId};
use greenroom_runtimes::wasm::test_components::Behavior;
use serde_json::json;

use super::{Folder, TEXT, admin, call, cause, may_call, output};

#[tokio::test]
async fn a_component_calls_the_agents_that_its_definition_names_and_no_others() -> Result<()> {
    let folder = Folder::new()?;
    folder.definitions.write_echo_agent("echo_agent")?;
    folder.write_agent("allowed_agent", Behavior::CallAgent("echo_agent"), &may_call("echo_agent"))?;
    folder.write_agent("denied_agent", Behavior::CallAgent("echo_agent"), "")?;
    folder.write_agent("lost_agent", Behavior::CallAgent("no_such_agent"), "")?;
    let pod = folder.start_pod().await?;
    let client = admin(&pod)?;
    let reply = call(&client, "allowed_agent", "hello").await?;
    assert_eq!(output(&reply)?, "hello");
    assert_eq!(reply.usage().agents.len(), 2, "the call is counted: {reply:?}");
    let reply = call(&client, "denied_agent", "hello").await?;
    assert_eq!(cause(&reply)?.code.as_str(), "policy_denied");
    assert!(cause(&reply)?.details["reasons"].is_array(), "{reply:?}");
    let reply = call(&client, "lost_agent", "hello").await?;
    assert_eq!(cause(&reply)?.code.as_str(), "unknown_agent");
    let audit = client.audit(Page::default()).await?;
    let audit = serde_json::to_string(&audit.outputs)?;
    ensure!(audit.contains("denied_agent") && audit.contains("echo_agent"), "{audit}");
    ensure!(!audit.contains("hello"), "the audit has no input: {audit}");
    pod.shutdown().await;
    Ok(())
}

#[tokio::test]
async fn a_component_that_calls_itself_is_denied_and_a_chain_of_calls_is_bounded() -> Result<()> {
    let folder = Folder::new()?;
    folder.write_agent("self_agent", Behavior::CallAgent("self_agent"), "")?;
    let names: Vec<String> = (0..=HOPS_MAX + 1).map(|number| format!("chain_{number:03}_agent")).collect();
    for (name, next) in names.iter().zip(names.iter().skip(1)) {
        folder.write_agent(name, Behavior::CallAgent(next), &may_call(next))?;
    }
    folder.definitions.write_echo_agent(names.last().context("a name")?)?;
    let pod = folder.start_pod().await?;
    let client = admin(&pod)?;
    let reply = call(&client, "self_agent", "hello").await?;
    assert_eq!(cause(&reply)?.code.as_str(), "policy_denied");
    let reply = call(&client, names.first().context("a name")?, "hello").await?;
    assert_eq!(cause(&reply)?.code.as_str(), "too_many_hops");
    // Its second half is short enough.
    let reply = call(&client, names.get(HOPS_MAX / 2).context("a name")?, "hello").await?;
    assert_eq!(output(&reply)?, "hello");
    pod.shutdown().await;
    Ok(())
}

#[tokio::test]
async fn a_component_stores_an_artifact_and_another_one_opens_it() -> Result<()> {
    const FILE: &str = "  - name: file\n    type: file\n    required: true\n";
    let folder = Folder::new()?;
    folder.write_agent_with("storing_agent", Behavior::StoreArtifact, (TEXT, FILE), "")?;
    folder.write_agent_with("opening_agent", Behavior::OpenArtifact, (FILE, TEXT), "")?;
    let pod = folder.start_pod().await?;
    let client = admin(&pod)?;
    let reply = call(&client, "storing_agent", "the content").await?;
    let file = reply.outputs.get("file").with_context(|| format!("{reply:?}"))?;
    assert_eq!(file["$artifact"]["name"], "stored.json");
    let reply = client.agent("opening_agent").input("file", file).send().await?;
    assert_eq!(output(&reply)?, "the content");
    let missing = json!({ "$artifact": {
        "hash": "0".repeat(64), "bytes": 1, "media_type": "application/json", "name": "missing.json"
    } });
    let reply = client.agent("opening_agent").input("file", missing).send().await?;
    assert_eq!(cause(&reply)?.code.as_str(), "unknown_record");
    let reply = client.agent("opening_agent").input("file", "/etc/passwd").send().await?;
    assert_eq!(cause(&reply)?.code.as_str(), "path_not_allowed");
    pod.shutdown().await;
    Ok(())
}

#[tokio::test]
async fn members_of_a_team_share_its_context_within_their_definitions() -> Result<()> {
    const CONTEXT: &str = "  - name: facts\n    type: object\n  - name: tone\n    type: text\n";
    let folder = Folder::new()?;
    folder.write_agent(
        "writing_agent",
        Behavior::WriteContext("facts"),
        "collaboration:\n  provides_to_team: [facts]\n",
    )?;
    folder.write_agent("denied_agent", Behavior::WriteContext("facts"), "")?;
    folder.write_agent_with("reading_agent", Behavior::ReadContext, (TEXT, CONTEXT), "")?;
    for (workflow, agent) in [("letter", "writing_agent"), ("denied_letter", "denied_agent")] {
        let steps = format!(
            "workflow_id: {workflow}\nname: Letter\ndescription: A letter\nversion: \"1.0.0\"\ninputs:\n{TEXT}steps:\n\
             \x20 - id: write\n    agent: {agent}\n    inputs: {{ text: \"${{inputs.text}}\" }}\n    outputs: [text]\n\
             \x20 - id: read\n    agent: reading_agent\n    depends_on: [write]\n    inputs: {{ text: now }}\n    \
             outputs: [facts, tone]\nfinal_output: \"${{steps.read.outputs.facts}}\"\n"
        );
        folder.definitions.write_workflow(workflow, &steps)?;
    }
    folder.definitions.write_team(
        "letter_team",
        "team_id: letter_team\nname: Letters\ndescription: Writes letters\n\
         agents: [writing_agent, denied_agent, reading_agent]\nworkflows: [letter, denied_letter]\n\
         shared_context: { tone: warm }\n",
    )?;
    let pod = folder.start_pod().await?;
    let client = admin(&pod)?;
    let run = |workflow: &'static str| {
        let client = client.clone();
        async move {
            let params = CallParams { inputs: text("hello"), ..CallParams::default() };
            let reply = client.run_team(TeamId::new("letter_team")?, WorkflowId::new(workflow)?, params).await?;
            anyhow::Ok(reply)
        }
    };
    let reply = run("letter").await?;
    assert_eq!(reply.status, Status::Success, "{reply:?}");
    // At the end of its step, the first output of the agent does not replace what it has written under a key by itself.
    ensure!(reply.outputs.get("facts") == Some(&json!({ "text": "hello" })), "{:?}", reply.outputs);
    let reply = run("denied_letter").await?;
    let cause = cause(&reply)?;
    assert_eq!((cause.code.as_str(), &cause.details["step"]), ("policy_denied", &json!("write")));
    // Outside of a team there is nothing to write.
    let reply = call(&client, "writing_agent", "hello").await?;
    assert_eq!(super::cause(&reply)?.code.as_str(), "unknown_run");
    pod.shutdown().await;
    Ok(())
}
