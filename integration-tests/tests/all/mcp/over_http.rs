//! Servers at a URL: a call with its token, and servers that redirect, answer without end, are silent, or are away for a
//! while. Each is a bounded result with a code, which the model reads.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use greenroom_client::Client;
use greenroom_integration_tests::http_pod::ADMIN_KEY;
use greenroom_integration_tests::model_fixture::ModelFixture;
use greenroom_integration_tests::script_server::{RecordedRequest, ScriptServer, ServerBehavior};
use greenroom_integration_tests::terminal::{COMMAND_WAIT_MAX, CliHarness};
use greenroom_integration_tests::up_process::UpProcess;
use greenroom_integration_tests::wait::wait_until;
use greenroom_runtimes::model_server::{ModelServer, Step, response};
use serde_json::{Value, json};

use super::hostile::PROMPT_MAX;
use super::{AGENT, ToolFixture, tool_call};

const VARIABLE: &str = "SERVER_TOKEN";
const TOKEN: &str = "planted-token-of-the-server";
/// Seconds of a call and of a start that do not end by their time.
const TIMEOUT_S: u32 = 20;
/// More bytes than a message may have.
const LONG_BYTES: usize = 5 * 1024 * 1024;

/// The table of a server at this URL, with a token that a variable has, and this time for a start and for a call.
fn table(url: &str, timeout_s: u32) -> String {
    format!(
        "[mcp.servers.remote]\nurl = \"{url}\"\nbearer_env = \"{VARIABLE}\"\ntimeout_s = {timeout_s}\n\
         start_timeout_s = {timeout_s}\n"
    )
}

/// An agent whose model calls this tool of the server once in each execution, with a text.
async fn agent(url: &str, tool: &str, token: &str, timeout_s: u32) -> Result<ToolFixture> {
    let events = tool_call(&format!("remote_{tool}"), &json!({ "text": "salute" }));
    let script = move |request: &RecordedRequest| {
        let mut messages = request.body["messages"].as_array().into_iter().flatten();
        match messages.any(|message| message["role"] == "tool") {
            true => ServerBehavior::Good,
            false => ServerBehavior::Events(events.clone()),
        }
    };
    let model = ScriptServer::start(script).await?;
    let mut fixture = ModelFixture::with_openai(model.url())?;
    fixture.terminal.set_variable(VARIABLE, token);
    fixture.terminal.write_file("greenroom.toml", table(url, timeout_s))?;
    fixture.write_llm_agent_with(AGENT, 60, 1_000, &format!("tools: [\"mcp:remote/{tool}\"]\n"))?;
    Ok(ToolFixture { model, fixture })
}

/// The reply to a request, as JSON.
fn reply(request: &RecordedRequest, member: &str, value: &Value) -> Vec<Step> {
    let message = json!({ "jsonrpc": "2.0", "id": request.body["id"], member: value });
    vec![Step::Send(response("200 OK", "", &message.to_string()))]
}

/// A server of the versions with a handshake, which has one tool and no sessions; `call` decides what a call does.
async fn server(call: impl Fn(&RecordedRequest) -> Vec<Step> + Send + Sync + 'static) -> Result<ModelServer> {
    let script = move |request: &RecordedRequest| match request.body["method"].as_str().unwrap_or_default() {
        "initialize" => {
            let result = json!({ "protocolVersion": "2025-11-25", "capabilities": { "tools": {} },
                                 "serverInfo": { "name": "remote", "version": "1" } });
            reply(request, "result", &result)
        }
        "tools/list" => {
            let schema = json!({ "type": "object", "properties": { "text": { "type": "string" } } });
            let tool = json!({ "name": "good", "description": "is good", "inputSchema": schema });
            reply(request, "result", &json!({ "tools": [tool] }))
        }
        "tools/call" => call(request),
        method if method.starts_with("notifications/") => vec![Step::Send(response("202 Accepted", "", ""))],
        _ => reply(request, "error", &json!({ "code": -32_601, "message": "there is no such method" })),
    };
    Ok(ModelServer::start(script).await?)
}

/// The results of one execution by a pod that is running.
async fn results(fixture: &ToolFixture, client: &Client) -> Result<Vec<String>> {
    let reply = client.agent(AGENT).input("text", "hello").send().await?;
    ensure!(reply.error.is_none(), "{reply:?}");
    Ok(fixture.tool_results())
}

#[tokio::test]
async fn an_agent_calls_a_tool_of_another_pod_and_again_after_that_pod_was_restarted() -> Result<()> {
    let other = UpProcess::start(|_, definitions| definitions.write_echo_agent("echo_agent")).await?;
    let fixture = agent(&format!("http://{}/mcp", other.addr), "agent_echo_agent", ADMIN_KEY, TIMEOUT_S).await?;
    let (pod, client) = fixture.fixture.up().await?;
    let called = results(&fixture, &client).await?;
    ensure!(fixture.offered() == ["remote_agent_echo_agent"], "{:?}", fixture.offered());
    ensure!(called.len() == 1 && called[0].contains("salute"), "{called:?}");
    other.kill();
    let called = results(&fixture, &client).await?;
    ensure!(called[0].contains("interrupted"), "{called:?}");
    other.restart().await?;
    let is_called = || async {
        let called = results(&fixture, &client).await.ok()?;
        called.first()?.contains("salute").then_some(())
    };
    wait_until("the server is connected again", COMMAND_WAIT_MAX, is_called).await.with_context(|| pod.err())?;
    ensure!(!pod.err().contains("panicked") && !pod.err().contains(ADMIN_KEY), "{}", pod.err());
    Ok(())
}

#[tokio::test]
async fn each_request_has_the_token_of_the_variable_and_nothing_shows_it() -> Result<()> {
    let fine = |request: &RecordedRequest| {
        reply(request, "result", &json!({ "content": [{ "type": "text", "text": "fine" }] }))
    };
    let server = server(fine).await?;
    let fixture = agent(server.url(), "good", TOKEN, TIMEOUT_S).await?;
    let called = fixture.results().await?;
    ensure!(called.len() == 1 && called[0].contains("fine"), "{called:?}");
    let requests = server.requests();
    ensure!(requests.iter().any(|request| request.body["method"] == "tools/call"), "{requests:?}");
    for request in requests {
        let sent = request.headers.get("authorization").map(String::as_str);
        ensure!(sent == Some("Bearer planted-token-of-the-server"), "{}: {sent:?}", request.body["method"]);
    }
    let listed = fixture.fixture.terminal.run(&["config", "mcp"]).await?;
    ensure!(listed.code == 0 && !format!("{listed:?}").contains(TOKEN), "{listed:?}");
    ensure!(fixture.model.requests().iter().all(|request| !request.body.to_string().contains(TOKEN)));
    Ok(())
}

#[tokio::test]
async fn a_redirect_to_another_host_is_not_followed() -> Result<()> {
    let elsewhere = server(|request| reply(request, "result", &json!({ "content": [] }))).await?;
    let location = format!("Location: {}\r\n", elsewhere.url());
    let redirect = response("307 Temporary Redirect", &location, "{}");
    let of_calls = redirect.clone();
    let server = server(move |_| vec![Step::Send(of_calls.clone())]).await?;
    let fixture = agent(server.url(), "good", TOKEN, TIMEOUT_S).await?;
    let called = fixture.results().await?;
    ensure!(called[0].contains("interrupted"), "{called:?}");
    let always = ModelServer::start(move |_| vec![Step::Send(redirect.clone())]).await?;
    let terminal = CliHarness::open()?;
    terminal.write_file("greenroom.toml", format!("[mcp.servers.remote]\nurl = \"{}\"\n", always.url()))?;
    let listed = terminal.run(&["config", "mcp"]).await?;
    ensure!(listed.json()?["servers"][0]["status"] == "failed", "{listed:?}");
    ensure!(always.count() > 0 && elsewhere.count() == 0, "{:?}", elsewhere.requests());
    Ok(())
}

#[tokio::test]
async fn a_reply_that_is_too_long_is_not_read_to_its_end() -> Result<()> {
    let long = "x".repeat(LONG_BYTES);
    let head = |kind: &str| format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\nconnection: close\r\n\r\n");
    let (document, stream) = (head("application/json"), head("text/event-stream"));
    // A length that is stated, one that is not, a body without an end, and an event without an end.
    let replies = [
        (vec![Step::Send(response("200 OK", "", &long))], "payload_too_large"),
        (vec![Step::Send(document.clone() + &long)], "payload_too_large"),
        (vec![Step::Send(document), Step::Endless("x".repeat(64 * 1024))], "payload_too_large"),
        // The library states no reason why a stream has ended.
        (vec![Step::Send(stream + "data: "), Step::Endless("x".repeat(64 * 1024))], "interrupted"),
    ];
    for (number, (steps, code)) in replies.into_iter().enumerate() {
        let server = server(move |_| steps.clone()).await?;
        let fixture = agent(server.url(), "good", TOKEN, TIMEOUT_S).await?;
        let since = Instant::now();
        let called = fixture.results().await?;
        ensure!(called[0].contains(code) && since.elapsed() < PROMPT_MAX, "{number}: {called:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_server_that_is_silent_ends_the_call_and_not_the_agent() -> Result<()> {
    let server = server(|_| vec![Step::Silence]).await?;
    let fixture = agent(server.url(), "good", TOKEN, 2).await?;
    let since = Instant::now();
    let called = fixture.results().await?;
    ensure!(called[0].contains("timed_out") && since.elapsed() < PROMPT_MAX, "{called:?}");
    let silent = ModelServer::start(|_| vec![Step::Silence]).await?;
    let fixture = agent(silent.url(), "good", TOKEN, 2).await?;
    let listed = fixture.fixture.terminal.run(&["config", "mcp"]).await?;
    let server = listed.json()?["servers"][0].clone();
    let reason = server["reason"].as_str().unwrap_or_default();
    ensure!(server["status"] == "failed" && reason.contains("within 2 seconds"), "{listed:?}");
    Ok(())
}
