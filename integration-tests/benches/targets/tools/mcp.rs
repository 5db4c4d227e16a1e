//! Tools of an MCP server that is a process of the pod: what a pod adds to a call that a program could make itself over
//! the pipes of such a process. A call of an agent passes identity, policy and audit.

use std::collections::BTreeMap;
use std::fs;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use greenroom_integration_tests::bench::{Latencies, Threshold, record};
use greenroom_protocol::{AgentId, Json};
use greenroom_supervisor::config::{McpAddress, McpServerConfig};
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::GROUP;
use super::echo_pod::{PodFolder, call_numbers, sized_text};
use super::mcp_model::{NO_TOOL, ToolCallingModel};
use super::mcp_server::{TOOL, VERSION};
use crate::child_process::own_part;

/// The agent.
const AGENT: &str = "tool_agent";
/// The name of the server.
const SERVER: &str = "bench";
/// Longest time of one call, and of the start of the server.
const WAIT_MAX: Duration = Duration::from_secs(60);

pub(super) async fn measure() -> anyhow::Result<()> {
    let (folder, model) = (PodFolder::new()?, ToolCallingModel::default());
    write_agent(&folder)?;
    let server = server_config()?;
    let pod = folder.start(vec![Arc::new(model.clone())], |config| config.mcp.servers.push(server)).await?;
    let (agent, mut direct) = (AgentId::new(AGENT)?, DirectClient::start().await?);
    let (mut alone, mut with_tool, mut without_tool) = (Vec::new(), Vec::new(), Vec::new());
    for (number, is_measured) in call_numbers()? {
        let value = sized_text(&format!("{number}/"));
        let elapsed = direct.call(&value).await?;
        pod.call(&agent, &value).await?;
        let tool_time = model.take_elapsed().context("the model was not called with a result")?;
        pod.call(&agent, &sized_text(&format!("{NO_TOOL}{number}/"))).await?;
        let bare_time = model.take_elapsed().context("the model was not called with a failure")?;
        if is_measured {
            alone.push(elapsed);
            with_tool.push(tool_time);
            without_tool.push(bare_time);
        }
    }
    pod.shutdown().await;
    let [alone, with_tool, without_tool] =
        [alone, with_tool, without_tool].map(|times| times.into_iter().collect::<Latencies>());
    let p50 = with_tool.millis(0.5);
    let name = "MCP: added by the pod to a call of a tool over standard input and output, p50";
    record(GROUP, name, p50 - alone.millis(0.5), "ms", Threshold::AtMost(1.0))?;
    let rows = [
        ("of it, between two calls of the model without a tool, p50", without_tool.millis(0.5)),
        ("the tool, called by a program over its pipes, p50", alone.millis(0.5)),
        ("the tool, called by a program over its pipes, p99", alone.millis(0.99)),
        ("from the end of an answer to the next call of the model, p50", p50),
        ("from the end of an answer to the next call of the model, p99", with_tool.millis(0.99)),
    ];
    for (row, measured) in rows {
        record(GROUP, format!("  MCP: {row}"), measured, "ms", Threshold::Informational)?;
    }
    Ok(())
}

/// Writes an agent whose model may call the tool.
fn write_agent(folder: &PodFolder) -> anyhow::Result<()> {
    let agents = folder.definitions.dir().join("agents/business_ops");
    fs::create_dir_all(&agents)?;
    let text = format!(
        "agent_id: {AGENT}\nname: {AGENT}\ncategory: business_ops\ndescription: Calls a tool\nversion: \"1.0.0\"\n\
         capabilities: [text_generation]\ninputs:\n  - name: text\n    type: text\n    required: true\n\
         outputs:\n  - name: text\n    type: text\npolicies: [require_authentication, audit_all_actions]\n\
         tools: [\"mcp:{SERVER}/{TOOL}\"]\nlimits:\n  max_concurrency: 100\n\
         implementation:\n  runtime: llm\n  model: scripted.tools\n  timeout: 60\n\
         \x20 prompt:\n    system: You call a tool.\n    user: \"{{{{ inputs.text }}}}\"\n"
    );
    Ok(fs::write(agents.join(format!("{AGENT}.yaml")), text)?)
}

/// The server as a pod has it configured.
fn server_config() -> anyhow::Result<McpServerConfig> {
    let command = std::env::current_exe()?.into_os_string().into_string();
    let command = command.map_err(|path| anyhow::anyhow!("{} is not UTF-8", path.display()))?;
    let args = ["only", GROUP, "serve_mcp"].map(str::to_owned).into();
    Ok(McpServerConfig {
        name: SERVER.to_owned(),
        address: McpAddress::Process { command, args, env: BTreeMap::new() },
        missing: Vec::new(),
        timeout: WAIT_MAX,
        start_timeout: WAIT_MAX,
        tools: None,
        internal: true,
    })
}

/// Calls a server of its own over its pipes, with lines of JSON and nothing else.
struct DirectClient {
    _process: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    line: String,
}

impl DirectClient {
    async fn start() -> anyhow::Result<Self> {
        let mut command = Command::from(own_part(&[GROUP, "serve_mcp"])?);
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
        let stdin = process.stdin.take().context("the server has no standard input")?;
        let stdout = process.stdout.take().context("the server has no standard output")?;
        let mut client = Self { _process: process, stdin, stdout: BufReader::new(stdout), line: String::new() };
        let info = json!({ "name": "bench", "version": "1" });
        let params = json!({ "protocolVersion": VERSION, "capabilities": {}, "clientInfo": info });
        let request = json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params });
        client.exchange(&format!("{request}\n")).await?;
        let notification = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
        client.stdin.write_all(format!("{notification}\n").as_bytes()).await?;
        Ok(client)
    }

    /// Calls the tool, which returns this text. The message is written before the time is taken, and the result is parsed
    /// after it.
    async fn call(&mut self, value: &str) -> anyhow::Result<Duration> {
        let params = json!({ "name": TOOL, "arguments": { "text": value } });
        let request = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params });
        let line = format!("{request}\n");
        let started_at = Instant::now();
        self.exchange(&line).await?;
        let elapsed = started_at.elapsed();
        let response: Json = serde_json::from_str(&self.line)?;
        let text = response.pointer("/result/content/0/text").and_then(Json::as_str);
        ensure!(text == Some(value), "the server has returned {response}");
        Ok(elapsed)
    }

    /// Writes a line, and reads the next one.
    async fn exchange(&mut self, line: &str) -> anyhow::Result<()> {
        self.line.clear();
        self.stdin.write_all(line.as_bytes()).await?;
        self.stdin.flush().await?;
        let length = self.stdout.read_line(&mut self.line).await?;
        ensure!(length > 0, "the server has ended");
        Ok(())
    }
}
