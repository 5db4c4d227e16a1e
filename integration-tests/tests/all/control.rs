//! One process hosts the platform, and other processes control it: runs are started, watched, approved and
//! cancelled from a second terminal, a second host is rejected, the host drains, and its metrics are read.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result};
use greenroom_integration_tests::definitions_dir::DefinitionsDir;
use greenroom_integration_tests::terminal::{COMMAND_WAIT_MAX, CliHarness, CommandOutput, RunningCommand};
use greenroom_integration_tests::wait::wait_until;
use greenroom_protocol::Json;
use serde_json::json;

const UP: &str = "greenroom is up";
/// Timeout of one read of a socket.
const SOCKET_WAIT_MAX: Duration = Duration::from_secs(5);

/// A workflow with an approval step between two agents' steps.
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

/// A terminal whose definitions are an agent that echoes, one with a slow model, one with a silent model, and
/// two workflows.
fn prepare() -> Result<CliHarness> {
    let mut terminal = CliHarness::open()?;
    let definitions = terminal.folder().join("definitions");
    let status = DefinitionsDir::new(&definitions)?;
    status.write_echo_agent("echo_agent")?;
    status.write_model_agent("slow_agent", "scripted.slow")?;
    status.write_model_agent("silent_agent", "scripted.silent")?;
    status.write_workflow("signed_letter", LETTER)?;
    status.write_row_workflow("silence", "silent_agent", 1)?;
    let script = json!({ "calls": [
        { "model": "silent", "reply": "silence" },
        { "model": "slow", "delay_ms": 1500, "reply": { "json": { "text": "at last" } } },
    ]});
    let script = terminal.write_file("script.json", script.to_string())?;
    terminal.set_variable("GREENROOM_SCRIPT", script.to_str().context("a path of words")?);
    terminal.add_options(&["--definitions", definitions.to_str().context("a path of words")?]);
    // Each reply names the pod that executed the request.
    terminal.set_variable("GREENROOM_POD", "host");
    Ok(terminal)
}

/// Starts the host; later commands run as another pod.
async fn start_host(terminal: &mut CliHarness) -> Result<RunningCommand> {
    let up = terminal.start(&["up"])?;
    up.wait_for_output(UP).await?;
    terminal.set_variable("GREENROOM_POD", "guest");
    Ok(up)
}

/// Starts a workflow and returns the id of its run.
async fn start_detached(terminal: &CliHarness, workflow: &str) -> Result<String> {
    let words = ["run", "workflow", workflow, "--input", "text=Dear all", "--detach", "-o", "json"];
    let reply = terminal.run(&words).await?.expect_success()?;
    assert_eq!(reply["metadata"]["pod"], "host", "the host executes the run: {reply:#}");
    reply["id"].as_str().map(str::to_owned).with_context(|| format!("{reply:#} has no id"))
}

/// Waits until the run has this status.
async fn wait_for_status(terminal: &CliHarness, run: &str, status: &str) -> Result<Json> {
    wait_until(&format!("{run} is {status}"), COMMAND_WAIT_MAX, || async {
        let report = terminal.run(&["runs", "show", run, "-o", "json"]).await.ok()?.expect_success().ok()?;
        (report["run"]["status"] == status).then_some(report)
    })
    .await
}

/// The last event of a watch.
fn last_event(watched: &CommandOutput) -> Result<Json> {
    let line = watched.out.lines().last().with_context(|| format!("{watched:?} has no event"))?;
    serde_json::from_str(line).with_context(|| line.to_owned())
}

#[tokio::test]
async fn a_run_that_awaits_approval_is_approved_from_another_terminal() -> Result<()> {
    let mut terminal = prepare()?;
    let _up = start_host(&mut terminal).await?;
    let run = start_detached(&terminal, "signed_letter").await?;
    let watch = terminal.start(&["runs", "watch", &run, "-o", "json"])?;
    watch.wait_for_output("approval_requested").await?;
    watch.wait_for_output("Sign Dear all?").await?;
    wait_for_status(&terminal, &run, "waiting_approval").await?;

    let denied = terminal.run(&["runs", "approve", &run, "sign", "--user", "operator"]).await?.expect_error(3)?;
    assert_eq!(denied["code"], "policy_denied");
    let wrong = terminal.run(&["runs", "approve", &run, "send"]).await?.expect_error(2)?;
    assert_eq!(wrong["code"], "unknown_step");
    terminal.run(&["runs", "approve", &run, "sign"]).await?.expect_success()?;

    let watched = watch.wait().await?;
    let end = last_event(&watched)?;
    assert_eq!((watched.code, &end["event"], &end["reply"]["status"]), (0, &"run_ended".into(), &"success".into()));
    let report = wait_for_status(&terminal, &run, "success").await?;
    assert!(report["events"].as_array().is_some_and(|events| events.len() >= 7), "{report:#}");
    assert_eq!(end["reply"]["outputs"]["final_output"], "Dear all, signed");
    let second_approval = terminal.run(&["runs", "approve", &run, "sign"]).await?.expect_error(2)?;
    assert_eq!(second_approval["code"], "run_not_active");

    let run = start_detached(&terminal, "signed_letter").await?;
    wait_for_status(&terminal, &run, "waiting_approval").await?;
    terminal.run(&["runs", "reject", &run, "sign"]).await?.expect_success()?;
    let watched = terminal.run(&["runs", "watch", &run, "-o", "json"]).await?;
    assert_eq!((watched.code, &last_event(&watched)?["reply"]["error"]["code"]), (1, &"approval_rejected".into()));

    let runs = terminal.run(&["runs", "list", "-o", "json"]).await?.expect_success()?;
    let statuses: Vec<_> = runs["runs"].as_array().into_iter().flatten().map(|run| &run["status"]).collect();
    assert_eq!(statuses, ["failed", "success"], "the newest first: {runs:#}");
    assert_eq!(terminal.run(&["audit", "verify"]).await?.expect_success()?["valid"], true);
    Ok(())
}

/// Starts a workflow that awaits approval, and runs the command that it prints in another terminal.
async fn approve_as_printed(terminal: &CliHarness) -> Result<()> {
    let process = terminal.start(&["run", "workflow", "signed_letter", "--input", "text=Dear all", "-o", "json"])?;
    process.wait_for_output("sign awaits approval: Sign Dear all?").await?;
    let stderr = process.err();
    let command = stderr
        .lines()
        .find_map(|line| line.trim().strip_prefix("greenroom runs approve "))
        .context("a command to approve with")?;
    let words: Vec<&str> = ["runs", "approve"].into_iter().chain(command.split_whitespace()).collect();
    terminal.run(&words).await?.expect_success()?;
    assert_eq!(process.wait().await?.expect_success()?["outputs"]["final_output"], "Dear all, signed");
    Ok(())
}

#[tokio::test]
async fn a_run_in_the_foreground_prints_how_to_approve_it_and_waits() -> Result<()> {
    let mut terminal = prepare()?;
    let _up = start_host(&mut terminal).await?;
    approve_as_printed(&terminal).await
}

#[tokio::test]
async fn a_run_without_a_host_is_approved_from_another_terminal_as_well() -> Result<()> {
    approve_as_printed(&prepare()?).await
}

#[tokio::test]
async fn a_run_is_cancelled_from_another_terminal() -> Result<()> {
    let mut terminal = prepare()?;
    let _up = start_host(&mut terminal).await?;
    let words = ["run", "workflow", "silence", "--input", "text=Dear all", "-o", "json"];
    let process = terminal.start(&words)?;
    let run = wait_until("the run is listed", COMMAND_WAIT_MAX, || async {
        let runs = terminal.run(&["runs", "list", "-o", "json"]).await.ok()?.expect_success().ok()?;
        runs["runs"][0]["run_id"].as_str().map(str::to_owned)
    })
    .await?;
    wait_for_status(&terminal, &run, "running").await?;
    let denied = terminal.run(&["runs", "cancel", &run, "--user", "guest"]).await?.expect_error(3)?;
    assert_eq!(denied["code"], "policy_denied");
    terminal.run(&["runs", "cancel", &run]).await?.expect_success()?;

    let output = process.wait().await?;
    assert_eq!(output.expect_error(1)?["code"], "cancelled");
    assert_eq!(output.json()?["status"], "cancelled");
    wait_for_status(&terminal, &run, "cancelled").await?;
    let second_cancel = terminal.run(&["runs", "cancel", &run]).await?.expect_error(2)?;
    assert_eq!(second_cancel["code"], "run_not_active");
    Ok(())
}

#[tokio::test]
async fn a_second_host_is_rejected_with_the_owner_of_the_directory() -> Result<()> {
    let mut terminal = prepare()?;
    let up = start_host(&mut terminal).await?;
    let second = terminal.run(&["up", "-o", "json"]).await?;
    let error = second.expect_error(1)?;
    assert_eq!((&error["code"], &error["details"]["owner"]), (&"data_directory_in_use".into(), &up.id().into()));
    assert!(second.err.contains(&up.id()), "{second:?}");
    // The first host still works.
    start_detached(&terminal, "signed_letter").await?;
    Ok(())
}

#[tokio::test]
async fn a_terminated_host_finishes_its_executions_and_closes_every_audit_entry() -> Result<()> {
    let mut terminal = prepare()?;
    let up = start_host(&mut terminal).await?;
    let socket = terminal.data_dir().join("control.sock");
    assert!(socket.exists());
    let process = terminal.start(&["run", "agent", "slow_agent", "--input", "text=Dear all", "-o", "json"])?;
    wait_until("the agent is executing", COMMAND_WAIT_MAX, || async {
        let audit = terminal.run(&["audit", "list", "-o", "json"]).await.ok()?.expect_success().ok()?;
        let records = audit["records"].as_array()?;
        records.iter().any(|record| record["event"]["action"] == "invoke").then_some(())
    })
    .await?;
    up.terminate()?;
    assert_eq!(process.wait().await?.expect_success()?["outputs"]["text"], "at last");
    let output = up.wait().await?;
    assert_eq!(output.code, 0, "{output:?}");
    assert!(!socket.exists(), "the socket is removed");

    // The directory is unlocked, and the audit has no open entry.
    let verified = terminal.run(&["audit", "verify", "-o", "json"]).await?.expect_success()?;
    assert_eq!(verified["valid"], true, "{verified:#}");
    let audit = terminal.run(&["audit", "list", "-o", "json"]).await?.expect_success()?;
    assert!(!audit.to_string().contains("interrupted"), "{audit:#}");
    let words = ["run", "agent", "echo_agent", "--input", "text=Dear all", "-o", "json"];
    assert_eq!(terminal.run(&words).await?.expect_success()?["metadata"]["pod"], "guest");
    Ok(())
}

/// The nine metrics of the client's document, with their types.
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

/// The page of metrics at an address.
pub(crate) fn scrape(address: &str) -> Result<String> {
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
    terminal.set_variable("GREENROOM_METRICS_ADDR", &address);
    let up = terminal.start(&["up"])?;
    up.wait_for_output(&format!("http://{address}/metrics")).await?;
    terminal.write_file("s.csv", "day,sold\n2025-01-02,3\n2025-02-02,4\n")?;
    let words = ["run", "team", "report_team", "--input", "data_source=@s.csv", "-o", "json"];
    let reply = terminal.run(&words).await?.expect_success()?;
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
    let served = wait_until("the metrics are served", COMMAND_WAIT_MAX, || {
        page = scrape(&address).unwrap_or_default();
        let has_all = wanted.iter().all(|line| page.lines().any(|served| served == line));
        async move { has_all.then_some(()) }
    })
    .await;
    served.with_context(|| format!("wanted {wanted:#?}, served {page}"))?;
    for (name, kind) in METRICS {
        assert!(page.lines().any(|line| line == format!("# TYPE {name} {kind}")), "{name} is a {kind}: {page}");
    }
    Ok(())
}
