//! Memory on servers: in Qdrant, and with vectors that a model computes. What fails is a coded error, and an execution
//! continues without memory.

use anyhow::{Context as _, Result};
use greenroom_integration_tests::model_fixture::ModelFixture;
use greenroom_integration_tests::script_server::{ScriptServer, ServerBehavior};
use greenroom_protocol::Json;
use greenroom_runtimes::model_server::{ModelServer, RecordedRequest, Step, response};
use serde_json::json;

use super::{USERS, memories, write_remembering_agent};

/// Names what serves the gRPC of Qdrant for tests.
const QDRANT_VARIABLE: &str = "GREENROOM_TEST_QDRANT";
const TEXT: &str = "The office is in the old mill by the river.";

async fn fixture(agent: &str) -> Result<(ModelFixture, ScriptServer)> {
    let server = ScriptServer::start(|_| ServerBehavior::Good).await?;
    let fixture = ModelFixture::with_openai(server.url())?;
    fixture.terminal.write_file("greenroom.toml", USERS)?;
    fixture.terminal.write_file("note.txt", TEXT)?;
    write_remembering_agent(&fixture, agent, "")?;
    Ok((fixture, server))
}

#[tokio::test]
async fn memories_are_in_qdrant_if_it_has_a_url() -> Result<()> {
    const AGENT: &str = "in_qdrant_agent";
    let (mut fixture, _server) = fixture(AGENT).await?;
    assert_eq!(memories(&fixture, &["list", AGENT]).await?, Vec::<Json>::new());
    let url = std::env::var(QDRANT_VARIABLE).with_context(|| {
        format!("{QDRANT_VARIABLE} is not set; `scripts/test` starts what serves it (start_qdrant)")
    })?;
    fixture.terminal.set_variable("QDRANT_URL", &url);
    // A real server may have what an earlier run of the test has left.
    fixture.terminal.run(&["memory", "forget", AGENT, "--all"]).await?.expect_success()?;
    fixture.terminal.run(&["memory", "ingest", AGENT, "note.txt"]).await?.expect_success()?;
    let question = ["run", "agent", AGENT, "--input", "text=Where is the office of the company?"];
    fixture.terminal.run(&question).await?.expect_success()?;
    let found = memories(&fixture, &["recall", AGENT, "the office in the old mill"]).await?;
    assert_eq!((found[0]["text"].as_str(), found[0]["source"].as_str()), (Some(TEXT), Some("note.txt")), "{found:#?}");
    assert_eq!(memories(&fixture, &["list", AGENT]).await?.len(), 2);
    assert_eq!(memories(&fixture, &["list", AGENT, "--user", "stranger"]).await?, Vec::<Json>::new());
    fixture.terminal.set_variable("QDRANT_URL", "");
    assert_eq!(memories(&fixture, &["list", AGENT]).await?, Vec::<Json>::new(), "the database has none of them");
    fixture.terminal.set_variable("QDRANT_URL", &url);
    assert_eq!(fixture.terminal.run(&["memory", "forget", AGENT, "--all"]).await?.expect_success()?["forgotten"], 2);
    Ok(())
}

#[tokio::test]
async fn without_qdrant_an_agent_works_and_a_command_for_memory_has_the_reason() -> Result<()> {
    const AGENT: &str = "without_qdrant_agent";
    let (mut fixture, server) = fixture(AGENT).await?;
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    fixture.terminal.set_variable("QDRANT_URL", &format!("http://127.0.0.1:{port}"));
    let question = ["run", "agent", AGENT, "--input", "text=Where is the office?"];
    fixture.terminal.run(&question).await?.expect_success()?;
    assert_eq!(server.count(), 1);
    for words in [&["memory", "list", AGENT][..], &["memory", "count", AGENT], &["memory", "ingest", AGENT, "note.txt"]]
    {
        let error = fixture.terminal.run(words).await?.expect_error(1)?;
        assert_eq!(
            (error["code"].as_str(), error["details"]["store"].as_str()),
            (Some("store_unavailable"), Some("qdrant_unreachable"))
        );
    }
    Ok(())
}

/// A reply whose vectors are along the first axis for texts about the office, and along the second one for others.
fn embeddings(request: &RecordedRequest) -> String {
    let texts = request.body["input"].as_array().cloned().unwrap_or_default();
    let about_office =
        |text: &Json| text.as_str().is_some_and(|text| text.contains("office") || text.contains("workplace"));
    let vector = |text: &Json| if about_office(text) { [1.0, 0.0] } else { [0.0, 1.0] };
    let data = texts.iter().enumerate().map(|(index, text)| json!({ "index": index, "embedding": vector(text) }));
    let body = json!({ "data": data.collect::<Vec<_>>(), "usage": { "prompt_tokens": 1_000, "total_tokens": 1_000 } });
    response("200 OK", "", &body.to_string())
}

fn use_model(fixture: &mut ModelFixture, url: &str) {
    for (name, value) in [
        ("GREENROOM_MEMORY_EMBEDDER", "openai"),
        ("GREENROOM_MEMORY_MODEL", "text-embedding-3-small"),
        ("GREENROOM_MEMORY_DIMENSIONS", "2"),
        ("GREENROOM_MEMORY_BASE_URL", url),
        ("GREENROOM_MEMORY_API_KEY", "sk-embedding"),
    ] {
        fixture.terminal.set_variable(name, value);
    }
}

#[tokio::test]
async fn a_model_finds_synonyms_and_is_paid_from_the_budgets() -> Result<()> {
    const AGENT: &str = "with_embeddings_agent";
    let server = ModelServer::start(|request| vec![Step::Send(embeddings(request))]).await?;
    let (mut fixture, _models) = fixture(AGENT).await?;
    // What the embedded embedder has computed is never compared with the vectors of a model.
    fixture.terminal.run(&["memory", "ingest", AGENT, "note.txt", "--source", "hashed"]).await?.expect_success()?;
    use_model(&mut fixture, server.url());
    fixture.terminal.run(&["memory", "ingest", AGENT, "note.txt"]).await?.expect_success()?;
    let found = memories(&fixture, &["recall", AGENT, "Where is my workplace?"]).await?;
    assert_eq!(found.iter().map(|row| row["source"].as_str()).collect::<Vec<_>>(), [Some("note.txt")], "{found:#?}");
    assert_eq!(memories(&fixture, &["recall", AGENT, "soup with leek"]).await?, Vec::<Json>::new());
    let requests = server.requests();
    assert_eq!(requests.len(), 3, "{requests:#?}");
    for request in &requests {
        assert_eq!(request.line, "POST /v1/embeddings HTTP/1.1");
        assert_eq!(request.headers["authorization"], "Bearer sk-embedding");
        assert_eq!(
            (&request.body["model"], &request.body["dimensions"]),
            (&json!("text-embedding-3-small"), &json!(2))
        );
    }
    assert_eq!(requests[0].body["input"], json!([TEXT]));
    let costs = fixture.terminal.run(&["costs"]).await?.expect_success()?;
    // 3 calls of 1,000 tokens at 0.02 dollars for a million.
    assert_eq!(costs["total_micro_usd"], 60, "{costs:#}");
    Ok(())
}

#[tokio::test]
async fn a_reading_that_was_interrupted_is_completed_without_computing_a_vector_twice() -> Result<()> {
    const AGENT: &str = "interrupted_agent";
    // The second call fails, as if the server had stopped in the middle of the document.
    let server = ModelServer::start(|request| match request.number {
        1 => vec![Step::Send(response("500 Internal Server Error", "", "{}"))],
        _ => vec![Step::Send(embeddings(request))],
    })
    .await?;
    let (mut fixture, _models) = fixture(AGENT).await?;
    use_model(&mut fixture, server.url());
    let paragraphs: Vec<String> =
        (0..80).map(|number| format!("Rule {number}. {}", "Every office has a rule of its own. ".repeat(30))).collect();
    fixture.terminal.write_file("rules.txt", paragraphs.join("\n\n"))?;
    let ingest = ["memory", "ingest", AGENT, "rules.txt"];
    let error = fixture.terminal.run(&ingest).await?.expect_error(1)?;
    assert_eq!(error["code"], "model_failed", "{error:#}");
    let stored = fixture.terminal.run(&["memory", "count", AGENT]).await?.expect_success()?;
    assert_eq!(stored["of_documents"], 64, "a batch: {stored:#}");

    let completed = fixture.terminal.run(&ingest).await?.expect_success()?;
    let parts = completed["documents"][0]["parts"].as_u64().context("parts")?;
    assert!((65..128).contains(&parts), "{parts}");
    // The memory has room for the document once, and it is read again all the same.
    fixture.terminal.set_variable("GREENROOM_MEMORY_OWNER_MAX", &parts.to_string());
    let repeated = fixture.terminal.run(&ingest).await?.expect_success()?;
    assert_eq!((&repeated["documents"][0]["parts"], &repeated["documents"][0]["replaced"]), (&json!(parts), &json!(0)));
    let counted = fixture.terminal.run(&["memory", "count", AGENT]).await?.expect_success()?;
    assert_eq!((&counted["memories"], &counted["of_documents"]), (&json!(parts), &json!(parts)), "{counted:#}");
    let sent: Vec<usize> =
        server.requests().iter().map(|request| request.body["input"].as_array().map_or(0, Vec::len)).collect();
    let remaining = usize::try_from(parts)? - 64;
    assert_eq!(sent, [64, remaining, remaining], "one batch, the call that failed, and what was missing");
    Ok(())
}

#[tokio::test]
async fn an_embedding_that_a_budget_does_not_cover_is_not_sent() -> Result<()> {
    const AGENT: &str = "without_budget_agent";
    let server = ModelServer::start(|request| vec![Step::Send(embeddings(request))]).await?;
    let (mut fixture, _models) = fixture(AGENT).await?;
    fixture.terminal.write_file(
        "greenroom.toml",
        format!("{USERS}\n[tenants.default.limits]\nusd = 0.000001\nperiod = \"day\"\n"),
    )?;
    use_model(&mut fixture, server.url());
    let error = fixture.terminal.run(&["memory", "ingest", AGENT, "note.txt"]).await?.expect_error(1)?;
    assert_eq!(error["code"], "budget_exceeded", "{error:#}");
    assert_eq!(server.count(), 0);
    Ok(())
}
