//! Documents as memory: an agent cites the document and the lines of what it recalls; a document that is read again
//! replaces its parts; what is remembered for a user or a tenant can be forgotten.

use anyhow::Result;
use greenroom_integration_tests::model_fixture::ModelFixture;
use greenroom_integration_tests::script_server::{ScriptServer, ServerBehavior};
use greenroom_protocol::Json;

use super::{AGENT, USERS, memories, prompt_parts, write_remembering_agent};

/// A document of three parts: each section is longer than half of a part.
fn handbook(days: u32) -> String {
    let general = "General rules apply to everybody in the company. ".repeat(20);
    let annual = format!("Annual leave is {days} days for every full-time employee. ").repeat(20);
    let travel = "Travel by train is booked at the front desk of each site. ".repeat(20);
    format!("# Handbook\n\n{general}\n\n## Leave\n\n{annual}\n\n## Travel\n\n{travel}\n")
}

async fn fixture() -> Result<(ModelFixture, ScriptServer)> {
    let server = ScriptServer::start(|_| ServerBehavior::Good).await?;
    let fixture = ModelFixture::with_openai(server.url())?;
    fixture.terminal.write_file("greenroom.toml", USERS)?;
    write_remembering_agent(&fixture, AGENT, "")?;
    Ok((fixture, server))
}

async fn count(fixture: &ModelFixture) -> Result<(u64, u64)> {
    let counted = fixture.terminal.run(&["memory", "count", AGENT]).await?.expect_success()?;
    let number = |name: &str| counted[name].as_u64().unwrap_or_default();
    Ok((number("memories"), number("of_documents")))
}

#[tokio::test]
async fn an_agent_cites_the_document_and_the_lines_of_what_it_recalls() -> Result<()> {
    let (fixture, server) = fixture().await?;
    let terminal = &fixture.terminal;
    terminal.write_file("handbook.md", handbook(30))?;
    let ingested = terminal.run(&["memory", "ingest", AGENT, "handbook.md"]).await?.expect_success()?;
    let parts = ingested["documents"][0]["parts"].as_u64().unwrap_or_default();
    assert_eq!((ingested["documents"][0]["source"].as_str(), parts >= 3), (Some("handbook.md"), true), "{ingested:#}");
    assert_eq!(count(&fixture).await?, (parts, parts));

    let found = memories(&fixture, &["recall", AGENT, "How many days of annual leave?"]).await?;
    assert_eq!(found[0]["source"], "handbook.md", "{found:#?}");
    assert!(found[0]["text"].as_str().is_some_and(|text| text.contains("30 days")), "{found:#?}");
    let lines = (found[0]["first_line"].as_u64(), found[0]["last_line"].as_u64());
    assert!(matches!(lines, (Some(first), Some(last)) if first <= 7 && 7 <= last), "{lines:?}");
    assert_eq!(found[0]["user"], "local/default/admin");

    let question = ["run", "agent", AGENT, "--input", "text=How many days of annual leave does an employee have?"];
    terminal.run(&question).await?.expect_success()?;
    let (user, system) = prompt_parts(&server.requests()[0].body);
    assert!(user.contains("(handbook.md, lines ") && user.contains("Annual leave is 30 days"), "{user}");
    assert!(!system.contains("handbook"), "what a document contains is data: {system}");
    assert_eq!(count(&fixture).await?, (parts + 1, parts), "the execution is remembered beside the document");
    Ok(())
}

#[tokio::test]
async fn a_document_that_is_read_again_replaces_its_parts_and_can_be_forgotten() -> Result<()> {
    let (fixture, _server) = fixture().await?;
    let terminal = &fixture.terminal;
    let ingest = ["memory", "ingest", AGENT, "handbook.md"];
    terminal.write_file("handbook.md", handbook(30))?;
    terminal.write_file("other.md", "Something else: the printer is on the second floor.")?;
    terminal.run(&["memory", "ingest", AGENT, "handbook.md", "other.md"]).await?.expect_success()?;
    let before = count(&fixture).await?;
    let unchanged = terminal.run(&ingest).await?.expect_success()?;
    assert_eq!((count(&fixture).await?, &unchanged["documents"][0]["replaced"]), (before, &Json::from(0)));
    terminal.write_file("handbook.md", handbook(28))?;
    let changed = terminal.run(&ingest).await?.expect_success()?;
    assert_eq!(changed["documents"][0]["replaced"], 1, "the part that has changed: {changed:#}");
    let found = memories(&fixture, &["recall", AGENT, "days of annual leave for a full-time employee"]).await?;
    let texts: Vec<_> = found.iter().filter_map(|found| found["text"].as_str()).collect();
    assert!(texts.iter().any(|text| text.contains("28 days")), "{texts:#?}");
    assert!(!texts.iter().any(|text| text.contains("30 days")), "{texts:#?}");

    let forgotten = terminal.run(&["memory", "forget", AGENT, "--source", "handbook.md"]).await?.expect_success()?;
    assert_eq!(forgotten["forgotten"].as_u64(), Some(before.1 - 1));
    let left = memories(&fixture, &["list", AGENT]).await?;
    assert_eq!((left.len(), left[0]["source"].as_str()), (1, Some("other.md")));
    Ok(())
}

#[tokio::test]
async fn what_is_no_document_is_refused_with_the_reason_and_changes_nothing() -> Result<()> {
    let (fixture, _server) = fixture().await?;
    let terminal = &fixture.terminal;
    terminal.write_file("picture.png", [0x89, b'P', 0xff, 0x00])?;
    terminal.write_file("blank.txt", " \n\n ")?;
    terminal.write_file("good.txt", "The office is in the old mill by the river.")?;
    terminal.write_file("large.txt", "x".repeat(11 * 1024 * 1024))?;
    for (file, code, text) in [
        ("picture.png", "invalid_input", "not a text in UTF-8"),
        ("missing.txt", "invalid_input", "missing.txt"),
        ("blank.txt", "invalid_input", "has no text"),
        ("large.txt", "payload_too_large", "the limit is 10485760"),
    ] {
        let error = terminal.run(&["memory", "ingest", AGENT, file]).await?.expect_error(2)?;
        assert_eq!(error["code"], code, "{error:#}");
        assert!(error["message"].as_str().is_some_and(|message| message.contains(text)), "{error:#}");
    }
    for user in ["operator", "guest"] {
        let denied = terminal.run(&["memory", "ingest", AGENT, "good.txt", "--user", user]).await?.expect_error(3)?;
        assert_eq!(denied["details"]["reasons"][0]["code"], "role_missing", "{denied:#}");
    }
    let named = ["memory", "ingest", AGENT, "good.txt", "--source", "two\nlines"];
    assert_eq!(terminal.run(&named).await?.expect_error(2)?["code"], "invalid_request");
    assert_eq!(count(&fixture).await?, (0, 0));
    Ok(())
}

#[tokio::test]
async fn a_memory_has_room_for_a_bounded_number_of_parts() -> Result<()> {
    let (mut fixture, _server) = fixture().await?;
    fixture.terminal.set_variable("GREENROOM_MEMORY_OWNER_MAX", "2");
    fixture.terminal.write_file("handbook.md", handbook(30))?;
    let error = fixture.terminal.run(&["memory", "ingest", AGENT, "handbook.md"]).await?.expect_error(2)?;
    assert_eq!(error["code"], "payload_too_large");
    assert!(error["message"].as_str().is_some_and(|message| message.contains("memory.owner_max is 2")), "{error:#}");
    Ok(())
}

#[tokio::test]
async fn memories_of_a_user_or_of_a_tenant_are_forgotten_for_all_agents() -> Result<()> {
    let (fixture, _server) = fixture().await?;
    let terminal = &fixture.terminal;
    terminal.write_file("note.txt", "The office is in the old mill by the river.")?;
    for (name, user) in [("of admin", "admin"), ("of stranger", "stranger")] {
        let words = ["memory", "ingest", AGENT, "note.txt", "--source", name, "--user", user];
        terminal.run(&words).await?.expect_success()?;
    }
    let question = ["run", "agent", AGENT, "--input", "text=Where is the office?", "--user", "operator"];
    terminal.run(&question).await?.expect_success()?;
    assert_eq!(count(&fixture).await?, (2, 1));
    let forget =
        |words: &'static [&'static str]| async move { terminal.run(&[&["memory", "forget"], words].concat()).await };
    let denied = forget(&["--of", "local/default/operator", "--user", "operator"]).await?.expect_error(3)?;
    assert_eq!(denied["code"], "policy_denied");
    let foreign = forget(&["--of", "local/another/stranger"]).await?.expect_error(2)?;
    assert_eq!(foreign["code"], "invalid_input", "a user of another tenant: {foreign:#}");
    assert_eq!(forget(&["--of", "local/default/operator"]).await?.expect_success()?["forgotten"], 1);
    assert_eq!(forget(&["--tenant"]).await?.expect_success()?["forgotten"], 1);
    assert_eq!(count(&fixture).await?, (0, 0));
    assert_eq!(
        memories(&fixture, &["list", AGENT, "--user", "stranger"]).await?.len(),
        1,
        "the other tenant has its own"
    );
    let audit = terminal.run(&["audit", "list", "--limit", "200"]).await?.expect_success()?;
    for part in ["memory_ingest", "forget_memories", "forgot 1 memories of the user local/default/operator"] {
        assert!(audit.to_string().contains(part), "{part}");
    }
    Ok(())
}
