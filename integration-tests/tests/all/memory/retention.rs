//! Retention: memories are deleted that many days after they were remembered, by a command for its own tenant and by a pod
//! for all.

use anyhow::Result;
use greenroom_integration_tests::model_fixture::ModelFixture;
use greenroom_integration_tests::script_server::{ScriptServer, ServerBehavior};
use sqlx::{Connection as _, SqliteConnection};

use super::{AGENT, USERS, memories, write_remembering_agent};

const DAY_MICROS: i64 = 24 * 60 * 60 * 1_000_000;

/// Makes all memories of the database older.
async fn age(fixture: &ModelFixture, days: i64) -> Result<()> {
    let database = fixture.terminal.data_dir().join("greenroom.db");
    let mut connection = SqliteConnection::connect(&format!("sqlite:{}", database.display())).await?;
    sqlx::query("UPDATE memories SET at = at - ?").bind(days * DAY_MICROS).execute(&mut connection).await?;
    Ok(connection.close().await?)
}

async fn ingest(fixture: &ModelFixture, source: &str, user: &str) -> Result<()> {
    let words = ["memory", "ingest", AGENT, "note.txt", "--source", source, "--user", user];
    fixture.terminal.run(&words).await?.expect_success().map(drop)
}

/// The documents that the agent remembers for the tenant of a user.
async fn sources(fixture: &ModelFixture, user: &str) -> Result<Vec<String>> {
    let rows = memories(fixture, &["list", AGENT, "--user", user]).await?;
    Ok(rows.iter().filter_map(|row| row["source"].as_str().map(str::to_owned)).collect())
}

#[tokio::test]
async fn a_command_deletes_the_memories_of_its_tenant_after_their_retention() -> Result<()> {
    let server = ScriptServer::start(|_| ServerBehavior::Good).await?;
    let mut fixture = ModelFixture::with_openai(server.url())?;
    fixture.terminal.write_file("greenroom.toml", USERS)?;
    fixture.terminal.write_file("note.txt", "The office is in the old mill by the river.")?;
    write_remembering_agent(&fixture, AGENT, "")?;
    let question = ["run", "agent", AGENT, "--input", "text=Where is the office?"];
    fixture.terminal.run(&question).await?.expect_success()?;
    ingest(&fixture, "old", "admin").await?;
    ingest(&fixture, "read again", "admin").await?;
    ingest(&fixture, "of another tenant", "stranger").await?;
    age(&fixture, 3).await?;
    ingest(&fixture, "read again", "admin").await?;

    let prune = |user: &'static str| ["runs", "prune", "--older-than", "365d", "--user", user];
    let pruned = fixture.terminal.run(&prune("admin")).await?.expect_success()?;
    assert_eq!(pruned["memories"], 0, "without the setting nothing is deleted: {pruned:#}");
    fixture.terminal.set_variable("GREENROOM_MEMORY_RETENTION_DAYS", "2");
    let pruned = fixture.terminal.run(&prune("admin")).await?.expect_success()?;
    assert_eq!(pruned["memories"], 2, "the execution and the document: {pruned:#}");
    assert_eq!(memories(&fixture, &["list", AGENT]).await?.len(), 1);
    assert_eq!(sources(&fixture, "admin").await?, ["read again"]);
    assert_eq!(sources(&fixture, "stranger").await?, ["of another tenant"]);
    let found = memories(&fixture, &["recall", AGENT, "the office in the old mill"]).await?;
    assert_eq!(found.len(), 1, "{found:#?}");

    let pruned = fixture.terminal.run(&prune("stranger")).await?.expect_success()?;
    assert_eq!(pruned["memories"], 1, "{pruned:#}");
    let repeated = fixture.terminal.run(&prune("admin")).await?.expect_success()?;
    assert_eq!(repeated["memories"], 0, "{repeated:#}");
    let audit = fixture.terminal.run(&["audit", "list", "--limit", "200"]).await?.expect_success()?;
    assert!(audit.to_string().contains("pruned 2 memories after their retention"), "{audit:#}");
    Ok(())
}

#[tokio::test]
async fn pruning_the_database_deletes_memories_too() -> Result<()> {
    let server = ScriptServer::start(|_| ServerBehavior::Good).await?;
    let mut fixture = ModelFixture::with_openai(server.url())?;
    fixture.terminal.write_file("greenroom.toml", USERS)?;
    fixture.terminal.write_file("note.txt", "The office is in the old mill by the river.")?;
    write_remembering_agent(&fixture, AGENT, "")?;
    ingest(&fixture, "old", "admin").await?;
    age(&fixture, 3).await?;
    fixture.terminal.set_variable("GREENROOM_MEMORY_RETENTION_DAYS", "2");
    let pruned = fixture.terminal.run(&["db", "prune", "--older-than", "365d"]).await?.expect_success()?;
    assert_eq!(pruned["memories"], 1, "{pruned:#}");
    assert_eq!(sources(&fixture, "admin").await?, Vec::<String>::new());
    Ok(())
}
