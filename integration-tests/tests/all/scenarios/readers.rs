//! Readers of the events of a run over HTTP: `curl`, as a program of its own.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::Result;
use greenroom_integration_tests::http_pod::ADMIN_KEY;
use greenroom_integration_tests::terminal::{CliHarness, RunningCommand};

/// Starts a reader of the events of a run, after the event with this id.
pub(super) fn start_reader(
    terminal: &CliHarness,
    addr: SocketAddr,
    run: &str,
    last_id: Option<&str>,
) -> Result<RunningCommand> {
    let key = format!("Authorization: ApiKey {ADMIN_KEY}");
    let last = last_id.map(|id| format!("Last-Event-ID: {id}"));
    let url = format!("http://{addr}/v1/runs/{run}/events");
    let mut words = vec!["--silent", "--no-buffer", "--header", key.as_str()];
    words.extend(last.iter().flat_map(|header| ["--header", header.as_str()]));
    words.push(url.as_str());
    terminal.start_program(Path::new("curl"), &words)
}
