//! Agents that remember: what one execution answered is in the next one's prompt, in the user's part;
//! each tenant and agent has a memory of its own, and the policy says who may look into it.

use std::fs;

use anyhow::{Context, Result, ensure};
use greenroom_integration_tests::model_fixture::ModelFixture;
use greenroom_integration_tests::script_server::{ScriptServer, ServerBehavior};
use greenroom_protocol::Json;

const AGENT: &str = "remembering_agent";
const USERS: &str = r#"
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

/// An agent that asks a model, and recalls what is like its `text`.
fn remembering(stand: &ModelFixture, id: &str, more: &str) -> Result<()> {
    stand.asking_agent(id, 60, 1_000)?;
    let file = stand.definitions.dir().join(format!("agents/business_ops/{id}.yaml"));
    let written = fs::read_to_string(&file)?;
    Ok(fs::write(file, format!("{written}memory_recall: {{ query: text, limit: 3 }}\n{more}"))?)
}

async fn remembered(stand: &ModelFixture, words: &[&str]) -> Result<Vec<Json>> {
    let said = stand.terminal.run(&[&["memory"], words].concat()).await?.done()?;
    Ok(said["memories"].as_array().context("memories")?.clone())
}

/// The text of the user's part, and of the system part, of a request as the server saw it.
fn parts(body: &Json) -> (String, String) {
    let of = |role: &str| {
        let messages = body["messages"].as_array().into_iter().flatten();
        messages.filter(|message| message["role"] == role).map(|message| message["content"].to_string()).collect()
    };
    (of("user"), of("system"))
}

#[tokio::test]
async fn what_was_answered_is_recalled_for_what_is_like_it_and_for_its_own_tenant() -> Result<()> {
    let server = ScriptServer::start(|_| ServerBehavior::Good).await?;
    let stand = ModelFixture::asking(server.url())?;
    stand.terminal.file("greenroom.toml", USERS)?;
    remembering(&stand, AGENT, "")?;
    let ask = |text: &'static str, user: &'static str| {
        let words = ["run", "agent", AGENT, "--input", text, "--user", user];
        let terminal = &stand.terminal;
        async move { terminal.run(&words).await?.done() }
    };
    let reply = ask("text=Revenue of the northern region in the spring", "admin").await?;
    ensure!(reply["metadata"]["policy_decisions"] == 3, "call, look and memory are judged: {reply:#}");
    ask("text=How was the revenue of the northern region?", "operator").await?;
    ask("text=A recipe for soup with potatoes", "admin").await?;
    ask("text=Revenue of the northern region in the spring", "stranger").await?;
    let asked = server.asked();
    let told: Vec<_> = asked.iter().map(|asked| parts(&asked.body)).collect();
    assert_eq!(told.len(), 4);
    assert!(!told[0].0.contains("Remembered"), "nothing was there yet");
    assert!(told[1].0.contains("Remembered") && told[1].0.contains("in the spring"), "{}", told[1].0);
    assert!(!told[2].0.contains("Remembered"), "what is not alike is not recalled: {}", told[2].0);
    assert!(!told[3].0.contains("Remembered"), "nor what another tenant has asked: {}", told[3].0);
    assert!(told.iter().all(|(_, system)| !system.contains("Remembered") && !system.contains("northern")));

    assert_eq!(remembered(&stand, &["list", AGENT]).await?.len(), 3);
    assert_eq!(remembered(&stand, &["list", AGENT, "--user", "stranger"]).await?.len(), 1);
    let found = remembered(&stand, &["recall", AGENT, "soup and potatoes", "--user", "operator"]).await?;
    assert_eq!(found.len(), 1);
    assert!(found[0]["text"].as_str().is_some_and(|text| text.contains("recipe")), "{found:#?}");

    let id = found[0]["memory_id"].as_str().context("an id")?;
    assert_eq!(stand.terminal.run(&["memory", "forget", AGENT, id]).await?.done()?["forgotten"], 1);
    assert_eq!(remembered(&stand, &["recall", AGENT, "soup and potatoes"]).await?, Vec::<Json>::new());
    assert_eq!(stand.terminal.run(&["memory", "forget", AGENT, "--all"]).await?.done()?["forgotten"], 2);
    assert_eq!(remembered(&stand, &["list", AGENT, "--user", "stranger"]).await?.len(), 1);

    let audit = stand.terminal.run(&["audit", "list", "--limit", "200"]).await?.done()?;
    for action in ["memory_read", "memory_write", "memory_forget"] {
        let records = audit["records"].as_array().into_iter().flatten();
        assert!(records.map(|record| &record["event"]["action"]).any(|found| found == action), "{action}");
    }
    assert!(!audit.to_string().contains("northern"), "the audit never holds what is remembered");
    assert_eq!(stand.terminal.run(&["audit", "verify"]).await?.done()?["holds"], true);
    Ok(())
}

#[tokio::test]
async fn whoever_may_not_look_into_a_memory_is_told_the_rule() -> Result<()> {
    let server = ScriptServer::start(|_| ServerBehavior::Good).await?;
    let stand = ModelFixture::asking(server.url())?;
    stand.terminal.file("greenroom.toml", USERS)?;
    remembering(&stand, AGENT, "")?;
    for (words, user, rule) in [
        (&["memory", "list", AGENT][..], "guest", "role_missing"),
        (&["memory", "recall", AGENT, "anything"], "guest", "role_missing"),
        (&["memory", "list", AGENT], "elsewhere", "category_not_allowed"),
        (&["memory", "forget", AGENT, "--all"], "operator", "role_missing"),
    ] {
        let error = stand.terminal.run(&[words, &["--user", user]].concat()).await?.refused(3)?;
        assert_eq!(error["code"], "policy_denied", "{user}");
        assert_eq!(error["details"]["reasons"][0]["code"], rule, "{user}: {error:#}");
    }
    let unknown = stand.terminal.run(&["memory", "list", "nobody_agent"]).await?.refused(2)?;
    assert_eq!(unknown["code"], "unknown_agent");
    let usage = stand.terminal.run(&["memory", "forget", AGENT]).await?;
    assert_eq!(usage.code, 2, "which one, or all of them, has to be said: {usage:?}");
    Ok(())
}

#[tokio::test]
async fn the_same_effect_is_remembered_once_and_a_failed_one_never() -> Result<()> {
    let server = ScriptServer::start(|asked| match asked.number {
        0 => ServerBehavior::Status("500 Internal Server Error", ""),
        _ => ServerBehavior::Good,
    })
    .await?;
    let stand = ModelFixture::asking(server.url())?;
    stand.terminal.file("greenroom.toml", USERS)?;
    remembering(&stand, AGENT, "")?;
    let words = ["run", "agent", AGENT, "--input", "text=How are sales?", "--idempotency-key", "once"];
    for _ in 0..2 {
        assert_eq!(stand.terminal.run(&words).await?.done()?["outputs"]["text"], "done");
    }
    assert_eq!(remembered(&stand, &["list", AGENT]).await?.len(), 1);
    let failed = ["run", "agent", AGENT, "--input", "text=How are sales?", "--model", "nobody.nothing"];
    assert_ne!(stand.terminal.run(&failed).await?.code, 0);
    assert_eq!(remembered(&stand, &["list", AGENT]).await?.len(), 1);
    Ok(())
}
