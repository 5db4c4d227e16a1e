//! A headless Chromium, which a test drives over the pipe of its DevTools: messages of JSON, each ended by a zero byte.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use greenroom_integration_tests::terminal::{CliHarness, RunningCommand};
use greenroom_protocol::Json;
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::pipe;
use tokio::time::{interval, timeout};

/// Longest wait for the browser.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// Interval between two evaluations.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// Starts the browser with the pipes as its files 3 and 4; `$0` is the folder of its own files.
const START: &str = "exec chromium --headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run \
                     --disable-background-networking --disable-component-update --disable-sync \
                     --user-data-dir=\"$0\" --remote-debugging-pipe about:blank 3<requests 4>responses";

/// A browser with one page. It ends with the test.
pub(super) struct Browser {
    process: RunningCommand,
    requests: pipe::Sender,
    responses: BufReader<pipe::Receiver>,
    /// The session with the page; empty before there is one.
    session: String,
    number: u64,
    errors: Vec<String>,
    _terminal: CliHarness,
}

impl Browser {
    /// Starts the browser with an empty page.
    pub(super) async fn start() -> Result<Self> {
        let mut terminal = CliHarness::open()?;
        let folder = terminal.folder().to_owned();
        terminal.set_variable("HOME", &folder.display().to_string());
        let (requests, responses) = (folder.join("requests"), folder.join("responses"));
        let created = Command::new("mkfifo").args([&requests, &responses]).status()?;
        ensure!(created.success(), "no pipes can be created");
        // Both ends are open, so that neither side waits for the other one.
        let mut options = pipe::OpenOptions::new();
        options.read_write(true);
        let (requests, responses) = (options.open_sender(&requests)?, options.open_receiver(&responses)?);
        let profile = folder.join("profile");
        let profile = profile.to_str().context("the path is UTF-8")?;
        let process = terminal.start_program(Path::new("/bin/sh"), &["-c", START, profile])?;
        let responses = BufReader::new(responses);
        let (session, errors) = (String::new(), Vec::new());
        let mut browser = Self { process, requests, responses, session, number: 0, errors, _terminal: terminal };
        browser.attach().await.with_context(|| browser.process.err())?;
        Ok(browser)
    }

    /// Opens a page in a window of this size, and forgets the errors of the one before.
    pub(super) async fn open(&mut self, url: &str, width: u32, height: u32) -> Result<()> {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.call("Emulation.setDeviceMetricsOverride", size).await?;
        self.errors.clear();
        let opened = self.call("Page.navigate", json!({ "url": url })).await?;
        ensure!(opened.get("errorText").is_none(), "{url}: {opened}");
        Ok(())
    }

    /// Evaluates an expression on the page until its value is the expected one, and returns the value.
    pub(super) async fn wait_for(&mut self, expression: &str, is_expected: impl Fn(&Json) -> bool) -> Result<Json> {
        let parameters = json!({ "expression": expression, "returnByValue": true });
        let mut ticks = interval(POLL_INTERVAL);
        let polling = async {
            loop {
                ticks.tick().await;
                let evaluated = self.call("Runtime.evaluate", parameters.clone()).await?;
                let value = evaluated["result"]["value"].clone();
                if is_expected(&value) {
                    return anyhow::Ok(value);
                }
            }
        };
        timeout(WAIT_MAX, polling).await.with_context(|| format!("the page has another value: {expression}"))?
    }

    /// What the page has reported: exceptions, messages of the console, and resources that were not loaded.
    pub(super) fn errors(&self) -> &[String] {
        &self.errors
    }

    async fn attach(&mut self) -> Result<()> {
        let target = self.call("Target.createTarget", json!({ "url": "about:blank" })).await?;
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let attached = self.call("Target.attachToTarget", attach).await?;
        attached["sessionId"].as_str().context("a session")?.clone_into(&mut self.session);
        for domain in ["Page", "Runtime", "Log"] {
            self.call(&format!("{domain}.enable"), json!({})).await?;
        }
        Ok(())
    }

    /// Calls a method of the DevTools, and returns its result.
    async fn call(&mut self, method: &str, parameters: Json) -> Result<Json> {
        self.number += 1;
        let mut message = json!({ "id": self.number, "method": method, "params": parameters });
        if !self.session.is_empty() {
            message["sessionId"] = self.session.as_str().into();
        }
        let mut bytes = message.to_string().into_bytes();
        bytes.push(0);
        self.requests.write_all(&bytes).await?;
        loop {
            let received =
                timeout(WAIT_MAX, self.receive()).await.with_context(|| format!("no result of {method}"))??;
            if received["id"] == self.number {
                ensure!(received.get("error").is_none(), "{method}: {received}");
                return Ok(received["result"].clone());
            }
            self.on_event(&received);
        }
    }

    async fn receive(&mut self) -> Result<Json> {
        let mut bytes = Vec::new();
        self.responses.read_until(0, &mut bytes).await?;
        bytes.pop();
        serde_json::from_slice(&bytes).context("a message is JSON")
    }

    fn on_event(&mut self, event: &Json) {
        let parameters = &event["params"];
        let is_error = match event["method"].as_str().unwrap_or_default() {
            "Runtime.exceptionThrown" => true,
            "Runtime.consoleAPICalled" => matches!(parameters["type"].as_str(), Some("error" | "warning" | "assert")),
            "Log.entryAdded" => matches!(parameters["entry"]["level"].as_str(), Some("error" | "warning")),
            _ => false,
        };
        if is_error {
            self.errors.push(parameters.to_string());
        }
    }
}
