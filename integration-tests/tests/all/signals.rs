//! SIGINT, SIGTERM and SIGHUP end every command, whatever it waits for. An interrupted command names the run that it
//! waited for, and how to continue with it.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use greenroom_integration_tests::model_fixture::ModelFixture;
use greenroom_integration_tests::script_server::{RecordedRequest, ScriptServer, ServerBehavior};
use greenroom_integration_tests::terminal::{COMMAND_WAIT_MAX, CliHarness, RunningCommand};
use greenroom_integration_tests::wait::wait_until;
use greenroom_supervisor::data_dir::DataDirLock;

const WORKFLOW: &str = "one_call";

/// Sends each signal to a command that has printed `ready` and never ends by itself.
async fn expect_ended(terminal: &CliHarness, words: &[&str], ready: impl AsyncFn(&RunningCommand)) -> Result<()> {
    let mut signals = vec![(130, "SIGINT"), (143, "SIGTERM")];
    if !ignores_hangup()? {
        signals.push((129, "SIGHUP"));
    }
    for (code, signal) in signals {
        let process = terminal.start(words)?;
        ready(&process).await;
        match signal {
            "SIGINT" => process.interrupt()?,
            "SIGHUP" => process.hang_up()?,
            _ => process.terminate()?,
        }
        let output = process.wait().await?;
        assert_eq!(output.code, code, "{output:?}");
        assert!(output.err.contains(signal), "the command names the signal: {output:?}");
    }
    Ok(())
}

/// True if these tests were started by `nohup`: the commands that they start ignore SIGHUP then, as they have to.
fn ignores_hangup() -> Result<bool> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).context("the ignored signals")?;
    Ok(u64::from_str_radix(ignored.trim(), 16)? & 1 == 1)
}

/// Creates a pipe that no process writes.
fn make_pipe(terminal: &CliHarness) -> Result<String> {
    let path = terminal.folder().join("pipe");
    ensure!(Command::new("mkfifo").arg(&path).status()?.success(), "mkfifo failed");
    Ok(path.display().to_string())
}

/// Waits until a process has opened, or tries to open, a file for reading.
async fn wait_for_open(process: &RunningCommand, name: &str) {
    let blocked = || async {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", process.id())).ok()?;
        let waits = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("wchan")).ok());
        waits.into_iter().any(|function| function.contains("fifo") || function.contains("pipe")).then_some(())
    };
    // Some kernels do not show where a thread waits; then the time that the command needs to start has to do.
    let _ = wait_until(name, std::time::Duration::from_secs(5), blocked).await;
}

#[tokio::test]
async fn a_signal_ends_a_command_that_waits_for_a_file_or_for_the_owner() -> Result<()> {
    let terminal = CliHarness::open()?;
    let pipe = make_pipe(&terminal)?;
    let words = ["policy", "eval", "--input", &pipe];
    expect_ended(&terminal, &words, async |process: &RunningCommand| wait_for_open(process, "the input").await).await?;
    let input = format!("document=@{pipe}");
    let words = ["run", "agent", "executive_summary_agent", "--input", &input];
    expect_ended(&terminal, &words, async |process: &RunningCommand| wait_for_open(process, "the file").await).await?;

    let _lock = DataDirLock::acquire(&terminal.data_dir()).await?;
    let waiting =
        async |process: &RunningCommand| process.wait_for_output("waiting for process").await.expect("a note");
    expect_ended(&terminal, &["agents", "list"], waiting).await
}

/// A model that is silent for the word `hold`.
async fn silent_fixture() -> Result<(ScriptServer, ModelFixture)> {
    let silent = |request: &RecordedRequest| match request.body.to_string().contains("hold") {
        true => ServerBehavior::Silence,
        false => ServerBehavior::Good,
    };
    let server = ScriptServer::start(silent).await?;
    let fixture = ModelFixture::with_openai(server.url())?;
    fixture.write_llm_agent("llm_agent", 60, 200)?;
    fixture.definitions.write_row_workflow(WORKFLOW, "llm_agent", 1)?;
    Ok((server, fixture))
}

/// Starts a run that never ends, interrupts its command and returns the command's error.
async fn interrupt_run(server: &ScriptServer, fixture: &ModelFixture) -> Result<greenroom_protocol::Json> {
    let process = fixture.terminal.start(&["run", "workflow", WORKFLOW, "--input", "text=hold"])?;
    let is_called = || async { (server.open() > 0).then_some(()) };
    wait_until("the step is in flight", COMMAND_WAIT_MAX, is_called).await?;
    process.interrupt()?;
    let output = process.wait().await?;
    let error = output.expect_error(130)?;
    assert_eq!(error["code"], "interrupted", "{error:#}");
    assert!(output.err.contains(error["message"].as_str().context("a message")?), "{output:?}");
    Ok(error)
}

fn run_of(error: &greenroom_protocol::Json) -> Result<(String, String)> {
    let run = error["details"]["run_id"].as_str().context("the run")?.to_owned();
    Ok((run, error["message"].as_str().context("a message")?.to_owned()))
}

#[tokio::test]
async fn an_interrupted_run_of_this_process_is_named_and_resumes_as_printed() -> Result<()> {
    let (server, fixture) = silent_fixture().await?;
    let (run, message) = run_of(&interrupt_run(&server, &fixture).await?)?;
    assert!(message.contains(&format!("`greenroom runs resume {run}`")), "{message}");
    let (up, _client) = fixture.up().await?;
    let is_resumed = || async { (server.count() == 2).then_some(()) };
    wait_until("the step is repeated", COMMAND_WAIT_MAX, is_resumed).await?;
    fixture.terminal.run(&["runs", "cancel", &run]).await?.expect_success()?;
    up.terminate()?;
    assert_eq!(up.wait().await?.code, 0);
    Ok(())
}

#[tokio::test]
async fn an_interrupted_command_leaves_the_run_of_its_host_and_names_both() -> Result<()> {
    let (server, fixture) = silent_fixture().await?;
    let (up, _client) = fixture.up().await?;
    let (run, message) = run_of(&interrupt_run(&server, &fixture).await?)?;
    for words in [format!("continues in process {}", up.id()), format!("`greenroom runs watch {run}`")] {
        assert!(message.contains(&words), "{message}");
    }
    let report = fixture.terminal.run(&["runs", "show", &run]).await?.expect_success()?;
    assert_eq!(report["run"]["status"], "running", "{report:#}");
    let watch = fixture.terminal.start(&["runs", "watch", &run])?;
    watch.wait_for_output("step_started").await?;
    watch.terminate()?;
    let output = watch.wait().await?;
    assert_eq!(output.code, 143, "{output:?}");
    assert!(output.err.contains(&run), "{output:?}");
    fixture.terminal.run(&["runs", "cancel", &run]).await?.expect_success()?;
    up.interrupt()?;
    assert_eq!(up.wait().await?.code, 0, "a host that is interrupted has drained");
    Ok(())
}
