//! The server of files of the MCP project, as an agent uses it: through the guard, within the folder that the server has.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use greenroom_integration_tests::script_server::{ScriptServer, ServerBehavior};
use greenroom_integration_tests::terminal::CliHarness;
use serde_json::json;

use super::{ToolFixture, server_table};

/// The variable with the program of the server.
const SERVER_VARIABLE: &str = "GREENROOM_TEST_MCP_FILESYSTEM";
const TOOL: &str = "filesystem/read_text_file";
const CONTENT: &str = "The invoice of March is 42 EUR.";

fn server() -> Result<PathBuf> {
    let program = std::env::var(SERVER_VARIABLE)
        .with_context(|| format!("{SERVER_VARIABLE} names no program; `scripts/test` installs it"))?;
    Ok(PathBuf::from(program))
}

/// A folder with one file, and the table of a server that has it.
fn folder() -> Result<(tempfile::TempDir, String, String)> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().canonicalize()?;
    std::fs::write(path.join("invoice.txt"), CONTENT)?;
    let root = path.to_str().context("a path in UTF-8")?.to_owned();
    let table = server_table("filesystem", &server()?, &[&root], "tools = [\"read_text_file\", \"list_directory\"]\n");
    Ok((folder, table, root))
}

#[tokio::test]
async fn an_agent_reads_a_file_of_the_server_and_a_guest_does_not() -> Result<()> {
    let (_folder, table, root) = folder()?;
    let arguments = json!({ "path": format!("{root}/invoice.txt") });
    let fixture = ToolFixture::start(&table, TOOL, arguments, 1).await?;
    let denied = fixture.run("guest").await?.expect_error(3)?;
    ensure!(denied["code"] == "policy_denied" && fixture.model.count() == 0, "{denied:#}");
    let results = fixture.results().await?;
    ensure!(fixture.offered() == ["filesystem_read_text_file"], "{:?}", fixture.offered());
    ensure!(results.len() == 1 && results[0].contains(CONTENT), "{results:?}");
    let audit = fixture.fixture.terminal.run(&["audit", "list"]).await?.expect_success()?;
    ensure!(audit.to_string().contains("mcp:filesystem/read_text_file"), "the call is audited: {audit:#}");
    Ok(())
}

#[tokio::test]
async fn a_failure_that_the_server_reports_is_a_result_that_the_model_reads() -> Result<()> {
    let (_folder, table, _) = folder()?;
    let fixture = ToolFixture::start(&table, TOOL, json!({ "path": "/etc/passwd" }), 1).await?;
    let results = fixture.results().await?;
    ensure!(results[0].contains("handler_failed") && results[0].contains("Access denied"), "{results:?}");
    Ok(())
}

#[tokio::test]
async fn the_command_lists_the_tools_that_the_settings_allow() -> Result<()> {
    let (_folder, table, _) = folder()?;
    let terminal = CliHarness::open()?;
    terminal.write_file("greenroom.toml", table)?;
    let listed = terminal.run(&["config", "mcp"]).await?.expect_success()?;
    let server = &listed["servers"][0];
    let names: Vec<&str> =
        server["tools"].as_array().context("tools")?.iter().filter_map(|tool| tool["name"].as_str()).collect();
    ensure!(names == ["filesystem/list_directory", "filesystem/read_text_file"], "{listed:#}");
    ensure!(server["status"] == "connected" && server["is_external"] == true, "{listed:#}");
    let unknown = terminal.run(&["config", "mcp", "mail"]).await?.expect_error(2)?;
    ensure!(unknown["message"].as_str().is_some_and(|message| message.contains("filesystem")), "{unknown:#}");
    Ok(())
}

#[tokio::test]
async fn a_tool_that_the_server_does_not_list_is_not_offered() -> Result<()> {
    let (_folder, table, _) = folder()?;
    let fixture = ToolFixture::start(&table, "filesystem/write_file", json!({}), 1).await?;
    let results = fixture.results().await?;
    ensure!(fixture.offered().is_empty() && results[0].contains("there is no tool"), "{results:?}");
    Ok(())
}

#[tokio::test]
async fn a_definition_with_a_server_that_is_not_configured_is_refused_with_those_that_are() -> Result<()> {
    let (_folder, table, _) = folder()?;
    let model = ScriptServer::start(|_| ServerBehavior::Good).await?;
    let fixture = greenroom_integration_tests::model_fixture::ModelFixture::with_openai(model.url())?;
    fixture.terminal.write_file("greenroom.toml", table)?;
    fixture.write_llm_agent_with("mailer", 60, 100, "tools: [\"mcp:mailbox/send\"]\n")?;
    let checked = fixture.terminal.run(&["definitions", "check"]).await?;
    ensure!(checked.code == 2 && checked.out.contains("the configured MCP servers are `filesystem`"), "{checked:?}");
    Ok(())
}
