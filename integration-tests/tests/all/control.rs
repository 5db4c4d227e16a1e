//! One process hosts the platform, and others act on it: runs are started, followed, answered and
//! stopped from a second terminal, a second host is refused, the host drains, and its metrics are read.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result};
use greenroom_integration_tests::definitions_dir::DefinitionsDir;
use greenroom_integration_tests::terminal::{COMMAND_WAIT_MAX, CliHarness, CommandOutput, RunningCommand};
use greenroom_integration_tests::wait::until;
use greenroom_protocol::Json;
use serde_json::json;

const UP: &str = "greenroom is up";
/// How long one answer of a socket is waited for.
const SOCKET_WAIT_MAX: Duration = Duration::from_secs(5);

/// A workflow that asks a person between two steps.
const LETTER: &str = "\
workflow_id: signed_letter
name: A letter that is signed
inputs:
  - { name: text, type: text, required: true }
steps:
  - id: draft
    agent: echo_agent
    inputs: { text: \"${inputs.text}\" }
    outputs: [text]
  - id: sign
    approval: { prompt: \"Sign ${steps.draft.outputs.text}?\" }
  - id: send
    agent: echo_agent
    depends_on: [sign]
    inputs: { text: \"${steps.draft.outputs.text}, signed\" }
    outputs: [text]
final_output: \"${steps.send.outputs.text}\"
";

/// A terminal whose definitions are an agent that echoes, one that takes its time, one that never
/// answers, and a workflow of each.
fn prepared() -> Result<CliHarness> {
    let mut terminal = CliHarness::open()?;
    let definitions = terminal.folder().join("definitions");
    let state = DefinitionsDir::new(&definitions)?;
    state.echo_agent("echo_agent")?;
    state.model_agent("slow_agent", "scripted.slow")?;
    state.model_agent("silent_agent", "scripted.silent")?;
    state.workflow("signed_letter", LETTER)?;
    state.row_workflow("silence", "silent_agent", 1)?;
    let script = json!({ "calls": [
        { "model": "silent", "play": "silence" },
        { "model": "slow", "delay_ms": 1500, "reply": { "json": { "text": "at last" } } },
    ]});
    let script = terminal.file("script.json", script.to_string())?;
    terminal.variable("GREENROOM_SCRIPT", script.to_str().context("a path of words")?);
    terminal.always(&["--definitions", definitions.to_str().context("a path of words")?]);
    // The name of the process that did the work stands in each reply.
    terminal.variable("GREENROOM_POD", "host");
    Ok(terminal)
}

/// Hosts the platform; what is typed afterwards is typed on another pod.
async fn hosted(terminal: &mut CliHarness) -> Result<RunningCommand> {
    let up = terminal.start(&["up"])?;
    up.says(UP).await?;
    terminal.variable("GREENROOM_POD", "guest");
    Ok(up)
}

/// Starts a workflow, and answers with its run.
async fn detached(terminal: &CliHarness, workflow: &str) -> Result<String> {
    let words = ["run", "workflow", workflow, "--input", "text=Dear all", "--detach", "-o", "json"];
    let reply = terminal.run(&words).await?.done()?;
    assert_eq!(reply["metadata"]["pod"], "host", "the host does the work: {reply:#}");
    reply["id"].as_str().map(str::to_owned).with_context(|| format!("{reply:#} has no id"))
}

/// Waits until the run is in this state.
async fn is_in(terminal: &CliHarness, run: &str, state: &str) -> Result<Json> {
    until(&format!("{run} is {state}"), COMMAND_WAIT_MAX, || async {
        let shown = terminal.run(&["runs", "show", run, "-o", "json"]).await.ok()?.done().ok()?;
        (shown["run"]["state"] == state).then_some(shown)
    })
    .await
}

/// The last event of a watch.
fn last(watched: &CommandOutput) -> Result<Json> {
    let line = watched.out.lines().last().with_context(|| format!("{watched:?} saw nothing"))?;
    serde_json::from_str(line).with_context(|| line.to_owned())
}

#[tokio::test]
async fn a_run_that_waits_for_a_person_is_answered_from_another_terminal() -> Result<()> {
    let mut terminal = prepared()?;
    let _up = hosted(&mut terminal).await?;
    let run = detached(&terminal, "signed_letter").await?;
    let watch = terminal.start(&["runs", "watch", &run, "-o", "json"])?;
    watch.says("approval_asked").await?;
    watch.says("Sign Dear all?").await?;
    is_in(&terminal, &run, "waiting_approval").await?;

    let denied = terminal.run(&["runs", "approve", &run, "sign", "--user", "operator"]).await?.refused(3)?;
    assert_eq!(denied["code"], "policy_denied");
    let wrong = terminal.run(&["runs", "approve", &run, "send"]).await?.refused(2)?;
    assert_eq!(wrong["code"], "unknown_step");
    terminal.run(&["runs", "approve", &run, "sign"]).await?.done()?;

    let watched = watch.ended().await?;
    let end = last(&watched)?;
    assert_eq!((watched.code, &end["event"], &end["reply"]["status"]), (0, &"run_ended".into(), &"success".into()));
    let shown = is_in(&terminal, &run, "success").await?;
    assert!(shown["events"].as_array().is_some_and(|events| events.len() >= 7), "{shown:#}");
    assert_eq!(end["reply"]["outputs"]["final_output"], "Dear all, signed");
    let late = terminal.run(&["runs", "approve", &run, "sign"]).await?.refused(2)?;
    assert_eq!(late["code"], "run_not_active");

    let run = detached(&terminal, "signed_letter").await?;
    is_in(&terminal, &run, "waiting_approval").await?;
    terminal.run(&["runs", "reject", &run, "sign"]).await?.done()?;
    let watched = terminal.run(&["runs", "watch", &run, "-o", "json"]).await?;
    assert_eq!((watched.code, &last(&watched)?["reply"]["error"]["code"]), (1, &"approval_rejected".into()));

    let runs = terminal.run(&["runs", "list", "-o", "json"]).await?.done()?;
    let states: Vec<_> = runs["runs"].as_array().into_iter().flatten().map(|run| &run["state"]).collect();
    assert_eq!(states, ["failed", "success"], "the newest first: {runs:#}");
    assert_eq!(terminal.run(&["audit", "verify"]).await?.done()?["holds"], true);
    Ok(())
}

/// Types a workflow that waits for a person, and then what it says to type, in another terminal.
async fn approved_as_it_says(terminal: &CliHarness) -> Result<()> {
    let work = terminal.start(&["run", "workflow", "signed_letter", "--input", "text=Dear all", "-o", "json"])?;
    work.says("sign waits for a person: Sign Dear all?").await?;
    let said = work.err();
    let command = said.lines().find_map(|line| line.trim().strip_prefix("greenroom runs approve ")).context("how")?;
    let words: Vec<&str> = ["runs", "approve"].into_iter().chain(command.split_whitespace()).collect();
    terminal.run(&words).await?.done()?;
    assert_eq!(work.ended().await?.done()?["outputs"]["final_output"], "Dear all, signed");
    Ok(())
}

#[tokio::test]
async fn a_run_in_the_foreground_says_how_to_approve_it_and_waits() -> Result<()> {
    let mut terminal = prepared()?;
    let _up = hosted(&mut terminal).await?;
    approved_as_it_says(&terminal).await
}

#[tokio::test]
async fn a_run_without_a_host_is_approved_from_another_terminal_as_well() -> Result<()> {
    approved_as_it_says(&prepared()?).await
}

#[tokio::test]
async fn a_run_is_cancelled_from_another_terminal() -> Result<()> {
    let mut terminal = prepared()?;
    let _up = hosted(&mut terminal).await?;
    let words = ["run", "workflow", "silence", "--input", "text=Dear all", "-o", "json"];
    let work = terminal.start(&words)?;
    let run = until("the run is listed", COMMAND_WAIT_MAX, || async {
        let runs = terminal.run(&["runs", "list", "-o", "json"]).await.ok()?.done().ok()?;
        runs["runs"][0]["run_id"].as_str().map(str::to_owned)
    })
    .await?;
    is_in(&terminal, &run, "running").await?;
    let denied = terminal.run(&["runs", "cancel", &run, "--user", "guest"]).await?.refused(3)?;
    assert_eq!(denied["code"], "policy_denied");
    terminal.run(&["runs", "cancel", &run]).await?.done()?;

    let ended = work.ended().await?;
    assert_eq!(ended.refused(1)?["code"], "cancelled");
    assert_eq!(ended.json()?["status"], "cancelled");
    is_in(&terminal, &run, "cancelled").await?;
    let again = terminal.run(&["runs", "cancel", &run]).await?.refused(2)?;
    assert_eq!(again["code"], "run_not_active");
    Ok(())
}

#[tokio::test]
async fn a_second_host_is_refused_and_told_who_the_first_is() -> Result<()> {
    let mut terminal = prepared()?;
    let up = hosted(&mut terminal).await?;
    let second = terminal.run(&["up", "-o", "json"]).await?;
    let error = second.refused(1)?;
    assert_eq!((&error["code"], &error["details"]["owner"]), (&"data_directory_in_use".into(), &up.id().into()));
    assert!(second.err.contains(&up.id()), "{second:?}");
    // The first one is none the worse.
    detached(&terminal, "signed_letter").await?;
    Ok(())
}

#[tokio::test]
async fn a_host_that_is_asked_to_end_finishes_what_it_has_and_leaves_nothing_open() -> Result<()> {
    let mut terminal = prepared()?;
    let up = hosted(&mut terminal).await?;
    let socket = terminal.data_dir().join("control.sock");
    assert!(socket.exists());
    let work = terminal.start(&["run", "agent", "slow_agent", "--input", "text=Dear all", "-o", "json"])?;
    until("the agent is at work", COMMAND_WAIT_MAX, || async {
        let audit = terminal.run(&["audit", "list", "-o", "json"]).await.ok()?.done().ok()?;
        let records = audit["records"].as_array()?;
        records.iter().any(|record| record["event"]["action"] == "invoke").then_some(())
    })
    .await?;
    up.terminate()?;
    assert_eq!(work.ended().await?.done()?["outputs"]["text"], "at last");
    let ended = up.ended().await?;
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(!socket.exists(), "the socket is gone");

    // The folder is free, and the audit has no open end.
    let verified = terminal.run(&["audit", "verify", "-o", "json"]).await?.done()?;
    assert_eq!(verified["holds"], true, "{verified:#}");
    let audit = terminal.run(&["audit", "list", "-o", "json"]).await?.done()?;
    assert!(!audit.to_string().contains("interrupted"), "{audit:#}");
    let words = ["run", "agent", "echo_agent", "--input", "text=Dear all", "-o", "json"];
    assert_eq!(terminal.run(&words).await?.done()?["metadata"]["pod"], "guest");
    Ok(())
}

/// The nine of the client's document, with the types that it gives them.
const METRICS: [(&str, &str); 9] = [
    ("agent_execution_time", "histogram"),
    ("agent_success_rate", "gauge"),
    ("team_formation_time", "histogram"),
    ("workflow_completion_rate", "gauge"),
    ("policy_denials", "counter"),
    ("active_agents", "gauge"),
    ("concurrent_teams", "gauge"),
    ("llm_token_usage", "counter"),
    ("error_rate", "gauge"),
];

fn scraped(address: &str) -> Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(SOCKET_WAIT_MAX))?;
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut page = String::new();
    stream.read_to_string(&mut page)?;
    Ok(page)
}

#[tokio::test]
async fn the_host_serves_the_nine_metrics_under_their_names_and_types() -> Result<()> {
    let mut terminal = CliHarness::open()?;
    let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
    terminal.variable("GREENROOM_METRICS_ADDR", &address);
    let up = terminal.start(&["up"])?;
    up.says(&format!("http://{address}/metrics")).await?;
    terminal.file("s.csv", "day,sold\n2025-01-02,3\n2025-02-02,4\n")?;
    let words = ["run", "team", "report_team", "--input", "data_source=@s.csv", "-o", "json"];
    let reply = terminal.run(&words).await?.done()?;
    let denied = ["run", "agent", "executive_summary_agent", "--input", "document=x", "--user", "guest"];
    assert_eq!(terminal.run(&denied).await?.code, 3);

    let wanted = [
        "agent_execution_time_count{status=\"success\"} 5".to_owned(),
        "agent_execution_time_bucket{status=\"success\",le=\"+Inf\"} 5".to_owned(),
        "team_formation_time_count 1".to_owned(),
        "workflow_completion_rate 1".to_owned(),
        "policy_denials{code=\"policy_denied\"} 1".to_owned(),
        "concurrent_teams 0".to_owned(),
        format!("llm_token_usage{{direction=\"input\"}} {}", reply["metadata"]["tokens_used"]["input"]),
        "error_rate 0".to_owned(),
    ];
    let mut page = String::new();
    let seen = until("the figures are served", COMMAND_WAIT_MAX, || {
        page = scraped(&address).unwrap_or_default();
        let all = wanted.iter().all(|line| page.lines().any(|served| served == line));
        async move { all.then_some(()) }
    })
    .await;
    seen.with_context(|| format!("wanted {wanted:#?}, served {page}"))?;
    for (name, kind) in METRICS {
        assert!(page.lines().any(|line| line == format!("# TYPE {name} {kind}")), "{name} is a {kind}: {page}");
    }
    Ok(())
}
