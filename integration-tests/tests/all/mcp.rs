//! The Model Context Protocol in both directions: agents with the tools of servers, and agents as the tools of a server.

mod filesystem;
mod hostile;
mod official_client;
mod over_http;

use std::path::Path;

use anyhow::{Context, Result};
use greenroom_integration_tests::model_fixture::ModelFixture;
use greenroom_integration_tests::script_server::{RecordedRequest, ScriptServer, ServerBehavior};
use greenroom_integration_tests::terminal::CommandOutput;
use serde_json::{Value, json};

/// The variable with the Python that has the packages of the tests.
const PYTHON_VARIABLE: &str = "GREENROOM_TEST_PYTHON";
const AGENT: &str = "llm_agent";

/// The Python of the tests.
fn python() -> Result<String> {
    std::env::var(PYTHON_VARIABLE).with_context(|| {
        format!("{PYTHON_VARIABLE} names no Python with the packages of the tests; `scripts/test` installs it")
    })
}

/// A table of the settings for a server that is a process.
fn server_table(name: &str, command: &Path, args: &[&str], more: &str) -> String {
    let (command, args) = (json!(command), json!(args));
    format!("[mcp.servers.{name}]\ncommand = {command}\nargs = {args}\n{more}")
}

/// The events of an answer that calls this tool.
fn tool_call(name: &str, arguments: &Value) -> String {
    let call = json!({ "index": 0, "id": "call_1", "type": "function",
                       "function": { "name": name, "arguments": arguments.to_string() } });
    let chunk = |delta: Value, reason: Value| {
        let chunk = json!({ "choices": [{ "index": 0, "delta": delta, "finish_reason": reason }] });
        format!("data: {chunk}\n\n")
    };
    chunk(json!({ "tool_calls": [call] }), Value::Null) + &chunk(json!({}), json!("tool_calls")) + "data: [DONE]\n\n"
}

/// An agent with one tool of a server, whose model calls it in each of its first turns, and what has arrived.
struct ToolFixture {
    model: ScriptServer,
    fixture: ModelFixture,
}

impl ToolFixture {
    /// The agent names this tool, without its scheme; the model calls it so many times with these arguments.
    async fn start(settings: &str, tool: &str, arguments: Value, calls: usize) -> Result<Self> {
        let name = tool.replace('/', "_");
        let script = move |request: &RecordedRequest| match request.number < calls {
            true => ServerBehavior::Events(tool_call(&name, &arguments)),
            false => ServerBehavior::Good,
        };
        let model = ScriptServer::start(script).await?;
        let fixture = ModelFixture::with_openai(model.url())?;
        fixture.terminal.write_file("greenroom.toml", settings)?;
        fixture.write_llm_agent_with(AGENT, 60, 1_000, &format!("tools: [\"mcp:{tool}\"]\n"))?;
        Ok(Self { model, fixture })
    }

    /// Runs the agent as this user.
    async fn run(&self, user: &str) -> Result<CommandOutput> {
        let words = ["run", "agent", AGENT, "--input", "text=hello", "--user", user];
        self.fixture.terminal.run(&words).await
    }

    /// The results of the tool in the last request to the model, in the order of the calls.
    fn tool_results(&self) -> Vec<String> {
        let requests = self.model.requests();
        let messages = requests.last().and_then(|request| request.body["messages"].as_array()).cloned();
        let results = messages.into_iter().flatten().filter(|message| message["role"] == "tool");
        results.map(|message| message["content"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// Runs the agent, which succeeds whatever the tool does, and returns the results of the tool.
    async fn results(&self) -> Result<Vec<String>> {
        let reply = self.run("admin").await?.expect_success()?;
        anyhow::ensure!(reply["outputs"]["text"] == "done", "{reply:#}");
        Ok(self.tool_results())
    }

    /// The names of the tools that the model was offered in its first request.
    fn offered(&self) -> Vec<String> {
        let requests = self.model.requests();
        let tools = requests.first().and_then(|request| request.body["tools"].as_array()).cloned().unwrap_or_default();
        tools.iter().map(|tool| tool["function"]["name"].as_str().unwrap_or_default().to_owned()).collect()
    }
}
