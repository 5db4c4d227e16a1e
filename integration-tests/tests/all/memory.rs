//! Agent memory: the outputs of an execution are recalled into the user's part of a later prompt; each tenant
//! and agent has a memory of its own, and the policy decides who may read it.

use std::fs;

use anyhow::{Context, Result, ensure};
use greenroom_integration_tests::model_fixture::ModelFixture;
use greenroom_integration_tests::script_server::{ScriptServer, ServerBehavior};
use greenroom_protocol::Json;

mod documents;
mod retention;
mod servers;

const AGENT: &str = "remembering_agent";
/// The users of these tests, and of others that need some of them.
pub(super) const USERS: &str = r#"
[[users]]
name = "admin"
roles = ["admin"]

[[users]]
name = "operator"
roles = ["agent_operator"]
permissions = { allowed_categories = ["business_ops"] }

[[users]]
name = "elsewhere"
roles = ["agent_operator"]
permissions = { allowed_categories = ["data_analytics"] }

[[users]]
name = "guest"

[[users]]
name = "stranger"
tenant = "another"
roles = ["admin"]
"#;

/// Writes an agent that calls a model and recalls memories similar to its `text`.
fn write_remembering_agent(fixture: &ModelFixture, id: &str, more: &str) -> Result<()> {
    fixture.write_llm_agent(id, 60, 1_000)?;
    let file = fixture.definitions.dir().join(format!("agents/business_ops/{id}.yaml"));
    let written = fs::read_to_string(&file)?;
    Ok(fs::write(file, format!("{written}memory_recall: {{ query: text, limit: 3 }}\n{more}"))?)
}

async fn memories(fixture: &ModelFixture, arguments: &[&str]) -> Result<Vec<Json>> {
    let report = fixture.terminal.run(&[&["memory"], arguments].concat()).await?.expect_success()?;
    Ok(report["memories"].as_array().context("memories")?.clone())
}

/// The texts of the user's part and of the system part of a request.
fn prompt_parts(body: &Json) -> (String, String) {
    let texts_of = |role: &str| {
        let messages = body["messages"].as_array().into_iter().flatten();
        messages.filter(|message| message["role"] == role).map(|message| message["content"].to_string()).collect()
    };
    (texts_of("user"), texts_of("system"))
}

#[tokio::test]
async fn outputs_are_recalled_for_similar_inputs_of_the_same_tenant() -> Result<()> {
    let server = ScriptServer::start(|_| ServerBehavior::Good).await?;
    let fixture = ModelFixture::with_openai(server.url())?;
    fixture.terminal.write_file("greenroom.toml", USERS)?;
    write_remembering_agent(&fixture, AGENT, "")?;
    let call_agent = |text: &'static str, user: &'static str| {
        let arguments = ["run", "agent", AGENT, "--input", text, "--user", user];
        let terminal = &fixture.terminal;
        async move { terminal.run(&arguments).await?.expect_success() }
    };
    let reply = call_agent("text=Revenue of the northern region in the spring", "admin").await?;
    ensure!(reply["metadata"]["policy_decisions"] == 3, "call, recall and memory write are authorized: {reply:#}");
    call_agent("text=How was the revenue of the northern region?", "operator").await?;
    call_agent("text=A recipe for soup with potatoes", "admin").await?;
    call_agent("text=Revenue of the northern region in the spring", "stranger").await?;
    let requests = server.requests();
    let prompts: Vec<_> = requests.iter().map(|request| prompt_parts(&request.body)).collect();
    assert_eq!(prompts.len(), 4);
    assert!(!prompts[0].0.contains("Remembered"), "the memory was empty");
    assert!(prompts[1].0.contains("Remembered") && prompts[1].0.contains("in the spring"), "{}", prompts[1].0);
    assert!(!prompts[2].0.contains("Remembered"), "a dissimilar text is not recalled: {}", prompts[2].0);
    assert!(!prompts[3].0.contains("Remembered"), "nor a text of another tenant: {}", prompts[3].0);
    assert!(prompts.iter().all(|(_, system)| !system.contains("Remembered") && !system.contains("northern")));

    assert_eq!(memories(&fixture, &["list", AGENT]).await?.len(), 3);
    assert_eq!(memories(&fixture, &["list", AGENT, "--user", "stranger"]).await?.len(), 1);
    let matches = memories(&fixture, &["recall", AGENT, "soup and potatoes", "--user", "operator"]).await?;
    assert_eq!(matches.len(), 1);
    assert!(matches[0]["text"].as_str().is_some_and(|text| text.contains("recipe")), "{matches:#?}");

    let id = matches[0]["memory_id"].as_str().context("an id")?;
    assert_eq!(fixture.terminal.run(&["memory", "forget", AGENT, id]).await?.expect_success()?["forgotten"], 1);
    assert_eq!(memories(&fixture, &["recall", AGENT, "soup and potatoes"]).await?, Vec::<Json>::new());
    assert_eq!(fixture.terminal.run(&["memory", "forget", AGENT, "--all"]).await?.expect_success()?["forgotten"], 2);
    assert_eq!(memories(&fixture, &["list", AGENT, "--user", "stranger"]).await?.len(), 1);

    let audit = fixture.terminal.run(&["audit", "list", "--limit", "200"]).await?.expect_success()?;
    for action in ["memory_read", "memory_write", "memory_forget"] {
        let records = audit["records"].as_array().into_iter().flatten();
        assert!(records.map(|record| &record["event"]["action"]).any(|recorded| recorded == action), "{action}");
    }
    assert!(!audit.to_string().contains("northern"), "the audit contains no remembered text");
    assert_eq!(fixture.terminal.run(&["audit", "verify"]).await?.expect_success()?["valid"], true);
    Ok(())
}

#[tokio::test]
async fn a_denied_memory_access_names_the_rule() -> Result<()> {
    let server = ScriptServer::start(|_| ServerBehavior::Good).await?;
    let fixture = ModelFixture::with_openai(server.url())?;
    fixture.terminal.write_file("greenroom.toml", USERS)?;
    write_remembering_agent(&fixture, AGENT, "")?;
    for (arguments, user, rule) in [
        (&["memory", "list", AGENT][..], "guest", "role_missing"),
        (&["memory", "recall", AGENT, "anything"], "guest", "role_missing"),
        (&["memory", "list", AGENT], "elsewhere", "category_not_allowed"),
        (&["memory", "forget", AGENT, "--all"], "operator", "role_missing"),
    ] {
        let error = fixture.terminal.run(&[arguments, &["--user", user]].concat()).await?.expect_error(3)?;
        assert_eq!(error["code"], "policy_denied", "{user}");
        assert_eq!(error["details"]["reasons"][0]["code"], rule, "{user}: {error:#}");
    }
    let unknown = fixture.terminal.run(&["memory", "list", "missing_agent"]).await?.expect_error(2)?;
    assert_eq!(unknown["code"], "unknown_agent");
    let usage = fixture.terminal.run(&["memory", "forget", AGENT]).await?;
    assert_eq!(usage.code, 2, "an id or `--all` is required: {usage:?}");
    Ok(())
}

#[tokio::test]
async fn a_repeated_effect_is_remembered_once_and_a_failed_one_never() -> Result<()> {
    let server = ScriptServer::start(|request| match request.number {
        0 => ServerBehavior::Status("500 Internal Server Error", ""),
        _ => ServerBehavior::Good,
    })
    .await?;
    let fixture = ModelFixture::with_openai(server.url())?;
    fixture.terminal.write_file("greenroom.toml", USERS)?;
    write_remembering_agent(&fixture, AGENT, "")?;
    let arguments = ["run", "agent", AGENT, "--input", "text=How are sales?", "--idempotency-key", "once"];
    for _ in 0..2 {
        assert_eq!(fixture.terminal.run(&arguments).await?.expect_success()?["outputs"]["text"], "done");
    }
    assert_eq!(memories(&fixture, &["list", AGENT]).await?.len(), 1);
    let failed = ["run", "agent", AGENT, "--input", "text=How are sales?", "--model", "missing.model"];
    assert_ne!(fixture.terminal.run(&failed).await?.code, 0);
    assert_eq!(memories(&fixture, &["list", AGENT]).await?.len(), 1);
    Ok(())
}
