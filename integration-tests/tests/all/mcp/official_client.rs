//! The official client of MCP lists our agents and calls one: over standard input and output, and over HTTP with a key. The
//! program `integration-tests/python/mcp_calls.py` prints what has arrived; these tests judge it.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use greenroom_integration_tests::definitions_dir::DefinitionsDir;
use greenroom_integration_tests::http_pod::{ADMIN_KEY, GUEST_KEY, send_to};
use greenroom_integration_tests::terminal::{CliHarness, binary};
use greenroom_integration_tests::up_process::UpProcess;
use serde_json::Value;

use super::python;

const PROGRAM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/python/mcp_calls.py");
const TOOL: &str = "agent_echo_agent";
/// More tools than a page has.
const AGENTS: usize = 60;
const LIST: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;

fn write_definitions(definitions: &DefinitionsDir) -> Result<()> {
    definitions.write_echo_agent("echo_agent")?;
    definitions.write_many_agents(AGENTS)?;
    definitions.write_row_workflow("row", "echo_agent", 2)
}

/// Runs the program, and returns what has arrived.
async fn inspect(terminal: &CliHarness, words: &[&str]) -> Result<Value> {
    let arguments: Vec<&str> = [PROGRAM, "--tool", TOOL].into_iter().chain(words.iter().copied()).collect();
    let output = terminal.start_program(Path::new(&python()?), &arguments)?.wait().await?;
    output.expect_success()
}

/// Fails unless a client of each lifecycle has listed and called everything.
fn expect_everything(document: &Value) -> Result<()> {
    for (mode, version) in [("auto", "2026-07-28"), ("legacy", "2025-11-25")] {
        let found = &document[mode];
        ensure!(found["version"] == version, "{mode}: {found:#}");
        let tools = found["tools"].as_array().context("tools")?;
        ensure!(tools.len() == AGENTS + 2, "{mode}: {} tools", tools.len());
        let echo = tools.iter().find(|tool| tool["name"] == TOOL).context("the agent")?;
        ensure!(echo["inputSchema"]["required"][0] == "text", "{echo:#}");
        ensure!(tools.iter().any(|tool| tool["name"] == "workflow_row"), "the workflow is a tool");
        let called = &found["called"];
        ensure!(called["isError"] == false && called["structuredContent"]["text"] == "hello", "{called:#}");
        let refused = &found["without_input"];
        ensure!(refused["isError"] == true, "{refused:#}");
        ensure!(refused["structuredContent"]["error"]["code"] == "missing_input", "{refused:#}");
        ensure!(found["unknown"]["error"]["code"] == -32_602, "{found:#}");
    }
    Ok(())
}

#[tokio::test]
async fn the_official_client_calls_an_agent_over_standard_input_and_output() -> Result<()> {
    let terminal = CliHarness::open()?;
    let definitions = DefinitionsDir::new(&terminal.folder().join("definitions"))?;
    write_definitions(&definitions)?;
    let (binary, data) = (binary()?, terminal.data_dir());
    let path = |path: &Path| path.to_str().context("a path in UTF-8").map(str::to_owned);
    let (binary, data, dir) = (path(&binary)?, path(&data)?, path(definitions.dir())?);
    let words = ["--", &binary, "mcp", "--data-dir", &data, "--definitions", &dir];
    expect_everything(&inspect(&terminal, &words).await?)
}

#[tokio::test]
async fn the_official_client_calls_an_agent_over_http_with_a_key() -> Result<()> {
    let up = UpProcess::start(|_, definitions| write_definitions(definitions)).await?;
    let url = format!("http://{}/mcp", up.addr);
    let key = format!("ApiKey {ADMIN_KEY}");
    expect_everything(&inspect(&up.terminal, &["--url", &url, "--authorization", &key]).await?)?;
    let guest = format!("ApiKey {GUEST_KEY}");
    let denied = inspect(&up.terminal, &["--url", &url, "--authorization", &guest]).await?;
    let called = &denied["auto"]["called"];
    ensure!(called["isError"] == true, "{called:#}");
    ensure!(called["structuredContent"]["error"]["code"] == "policy_denied", "{called:#}");
    for key in [None, Some("no-key")] {
        let refused = send_to(up.addr, "POST /mcp", key, &["Content-Type: application/json"], LIST).await?;
        ensure!(refused.status == 401 && refused.header("www-authenticate").is_some(), "{refused:?}");
    }
    let stream = send_to(up.addr, "GET /mcp", Some(ADMIN_KEY), &["Accept: text/event-stream"], "").await?;
    ensure!(stream.status == 405, "{stream:?}");
    Ok(())
}

#[tokio::test]
async fn nothing_but_messages_is_written_to_standard_output() -> Result<()> {
    let terminal = CliHarness::open_without_format()?;
    let line = format!("printf '%s\\n' '{LIST}' nonsense | \"$0\" mcp -o json --user guest --tool agent_none");
    let output = terminal.run_shell(&line).await?;
    ensure!(output.code == 0, "{output:?}");
    let messages: Vec<Value> = output.out.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    ensure!(messages.len() == 2 && messages.iter().all(|message| message["jsonrpc"] == "2.0"), "{messages:?}");
    Ok(())
}
