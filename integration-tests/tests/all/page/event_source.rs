//! The `EventSource` of a browser, which sends no headers and connects again by itself: by a token it reads the events of a
//! run, each once, and it ends with the run.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use greenroom_integration_tests::up_process::UpProcess;
use serde_json::json;

use super::browser::Browser;

const ECHO: &str = "echo_agent";
const WORKFLOW: &str = "two_steps";
const INPUTS: &str = r#"{"inputs":{"text":"hello"}}"#;
/// The state of an `EventSource` that does not connect again.
const CLOSED: u8 = 2;

/// The numbers and the kinds of the events in a text.
fn numbers_and_kinds(text: &str) -> Vec<(&str, &str)> {
    text.split("\n\n").filter_map(number_and_kind).collect()
}

fn number_and_kind(block: &str) -> Option<(&str, &str)> {
    let number = block.lines().find_map(|line| line.strip_prefix("id: "))?;
    let kind = block.lines().find_map(|line| line.strip_prefix("event: "))?;
    Some((number, kind))
}

#[tokio::test]
async fn an_event_source_reads_each_event_of_a_run_once_and_ends_with_it() -> Result<()> {
    let up = UpProcess::start(|_, definitions| {
        definitions.write_echo_agent(ECHO)?;
        definitions.write_row_workflow(WORKFLOW, ECHO, 2)
    })
    .await?;
    let ended = up.post(&format!("/v1/workflows/{WORKFLOW}/run"), &[], INPUTS).await?;
    let run = ended.json()?["id"].as_str().context("an id")?.to_owned();
    let events = up.get(&format!("/v1/runs/{run}/events")).await?.text();
    let expected = numbers_and_kinds(&events);
    ensure!(expected.len() >= 6, "{events}");
    let issued = up.post(&format!("/v1/runs/{run}/events-token"), &[], "").await?.json()?;
    let url = issued["url"].as_str().context("a URL")?;
    let kinds: BTreeSet<&str> = expected.iter().map(|(_, kind)| *kind).collect();
    let mut browser = Browser::start().await?;
    browser.open(&format!("http://{}/", up.addr), 1280, 800).await?;
    browser.wait_for("document.getElementById('state') !== null", |value| *value == true).await?;
    let read = format!(
        "(() => {{ window.read = []; window.source = new EventSource({});
           {}.forEach((kind) => window.source.addEventListener(kind, (event) =>
             window.read.push([event.lastEventId, event.type]))); return 1; }})()",
        json!(url),
        json!(kinds),
    );
    browser.wait_for(&read, |value| *value == 1).await?;
    // After the last event it connects again, and the status of that response ends it.
    let view = "({ state: window.source.readyState, read: window.read })";
    let view = browser.wait_for(view, |view| view["state"] == CLOSED).await?;
    assert_eq!(view["read"], json!(expected));
    Ok(())
}
