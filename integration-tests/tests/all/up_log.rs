//! What `greenroom up -o json` writes to standard error is a log: each line is one JSON object, whatever is
//! rejected, fails or panics. The metrics count what the platform failed at, and each denial once.

use std::io::Write;
use std::os::unix::net::UnixStream;

use anyhow::{Context, Result, ensure};
use greenroom_integration_tests::terminal::{COMMAND_WAIT_MAX, CliHarness, CommandOutput, RunningCommand};
use greenroom_integration_tests::wait::wait_until;
use greenroom_protocol::Json;

const RUNNING: &str = "greenroom is up";

/// The lines of a log.
fn log_lines(err: &str) -> Result<Vec<Json>> {
    let lines = err.lines().map(|line| serde_json::from_str(line).with_context(|| format!("not JSON: {line}")));
    let lines: Vec<Json> = lines.collect::<Result<_>>()?;
    for line in &lines {
        ensure!(line["timestamp"].is_string() && line["level"].is_string(), "{line}");
    }
    Ok(lines)
}

fn has_error(lines: &[Json], code: &str) -> bool {
    lines.iter().any(|line| line["error.code"] == code)
}

async fn wait_for_lines(up: &RunningCommand, code: &str) -> Result<()> {
    let is_logged = || async { has_error(&log_lines(&up.err()).ok()?, code).then_some(()) };
    wait_until(code, COMMAND_WAIT_MAX, is_logged).await.with_context(|| up.err())
}

#[tokio::test]
async fn each_line_of_a_running_host_is_json_rejections_at_ingress_included() -> Result<()> {
    let mut terminal = CliHarness::open()?;
    terminal.set_variable("GREENROOM_SERVICE_HOST", "10.0.0.1");
    let up = terminal.start(&["up", "-o", "json"])?;
    up.wait_for_output(RUNNING).await?;
    let socket = terminal.data_dir().join("control.sock");
    UnixStream::connect(&socket)?.write_all(&[0, 0, 0, 2, b'{', b'x'])?;
    wait_for_lines(&up, "invalid_request").await?;
    let agent = ["run", "agent", "executive_summary_agent", "--input", "document=x", "-o", "json"];
    terminal.run(&[&agent[..], &["--user", "stranger"]].concat()).await?.expect_error(3)?;
    wait_for_lines(&up, "unauthenticated").await?;
    terminal.run(&agent).await?.expect_success()?;
    up.terminate()?;
    let output = up.wait().await?;
    let lines = log_lines(&output.err)?;
    assert_eq!(output.code, 0);
    assert!(
        lines.iter().any(|line| line["level"] == "WARN" && line.to_string().contains("GREENROOM_SERVICE_HOST")),
        "{lines:#?}"
    );
    assert!(lines.iter().any(|line| line["agent_id"].is_string()), "{lines:#?}");
    Ok(())
}

/// Fails unless the host has not started, for this cause, and both outputs are JSON.
fn expect_not_started(output: &CommandOutput, exit: i32, code: &str) -> Result<()> {
    let error = output.expect_error(exit)?;
    assert_eq!(error["code"], code, "{output:?}");
    ensure!(has_error(&log_lines(&output.err)?, code), "{output:?}");
    Ok(())
}

#[tokio::test]
async fn a_start_that_fails_is_a_line_of_the_log_too() -> Result<()> {
    let up = ["up", "-o", "json"];
    let terminal = CliHarness::open()?;
    expect_not_started(&terminal.run(&["up", "--bogus", "-o", "json"]).await?, 2, "invalid_request")?;
    for (name, value, exit, code) in [
        ("GREENROOM_GUARD_WORKERS", "many", 2, "invalid_configuration"),
        ("GREENROOM_LOG", "no=such=filter", 2, "invalid_configuration"),
        ("GREENROOM_METRICS_ADDR", "192.0.2.1:1", 2, "invalid_configuration"),
        ("DATABASE_URL", "mysql://h/d", 2, "invalid_configuration"),
        ("GREENROOM_DEFINITIONS", "/nowhere", 2, "invalid_definition"),
        ("GREENROOM_DATA_DIR", "/proc/nowhere", 1, "store_unavailable"),
    ] {
        let mut terminal = CliHarness::open()?;
        terminal.set_variable(name, value);
        expect_not_started(&terminal.run(&up).await?, exit, code).with_context(|| name.to_owned())?;
    }
    let running = terminal.start(&up)?;
    running.wait_for_output(RUNNING).await?;
    expect_not_started(&terminal.run(&up).await?, 1, "data_directory_in_use")
}

#[tokio::test]
async fn wrong_arguments_are_a_document_where_the_format_is_json_and_text_elsewhere() -> Result<()> {
    let terminal = CliHarness::open()?;
    let error = terminal.run(&["-o", "json", "agents", "lst"]).await?.expect_error(2)?;
    assert_eq!(error["code"], "invalid_request");
    assert!(error["message"].as_str().is_some_and(|text| text.contains("lst")), "{error:#}");
    let text = terminal.run(&["agents", "lst", "-o", "table"]).await?;
    assert_eq!((text.code, text.out.as_str()), (2, ""));
    assert!(text.err.contains("Usage"), "{text:?}");
    let help = terminal.run(&["--help"]).await?;
    assert_eq!((help.code, help.out.contains("Exit codes")), (0, true));
    Ok(())
}
