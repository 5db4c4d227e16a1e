//! Kills a process with a thousand runs in flight and measures how soon the next process resumes a step.
//!
//! The pod runs in a child of this program, because only a process can be killed.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use greenroom_client::CallParams;
use greenroom_integration_tests::bench::{Threshold, record};
use greenroom_integration_tests::definitions_dir::DefinitionsDir;
use greenroom_integration_tests::test_pod::{StoreKind, test_config, text};
use greenroom_protocol::{UserId, WorkflowId};
use greenroom_runtimes::models::scripted::{Script, Scripted, ScriptedCall, ScriptedReply};
use greenroom_supervisor::clock::{TimeOrdered, WallClock};
use greenroom_supervisor::compose::{Overrides, compose_with};
use greenroom_supervisor::pod::Pod;

/// Interrupted runs.
const RUNS: usize = 1_000;

pub(crate) fn main(arguments: &[&str]) -> anyhow::Result<()> {
    match arguments {
        [part, dir] => {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
            runtime.block_on(run_child(part, Path::new(dir)))
        }
        _ => measure(),
    }
}

fn measure() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let definitions_dir = DefinitionsDir::new(&definitions(folder.path()))?;
    definitions_dir.write_model_agent("thinking_agent", "scripted.slow")?;
    definitions_dir.write_row_workflow("three_steps", "thinking_agent", 3)?;
    let (mut interrupted, _) = start_child("start", folder.path())?;
    interrupted.kill()?;
    interrupted.wait()?;
    let started_at = Instant::now();
    let (mut resuming, line) = start_child("resume", folder.path())?;
    let resumed = started_at.elapsed();
    resuming.kill()?;
    resuming.wait()?;
    ensure!(line == "resumed", "the child printed {line}");
    let name = format!("{RUNS} interrupted runs: first step resumed after");
    record("recovery", name, resumed.as_secs_f64() * 1e3, "ms", Threshold::AtMost(500.0))
}

fn definitions(folder: &Path) -> PathBuf {
    folder.join("definitions")
}

/// Starts a child process and waits for the line that it prints.
fn start_child(part: &str, folder: &Path) -> anyhow::Result<(Child, String)> {
    let mut child = Command::new(std::env::current_exe()?)
        .args(["only", "recovery", part])
        .arg(folder)
        .stdout(Stdio::piped())
        .spawn()?;
    let out = child.stdout.take().context("the child has no output")?;
    let mut line = String::new();
    BufReader::new(out).read_line(&mut line)?;
    Ok((child, line.trim().to_owned()))
}

async fn run_child(part: &str, folder: &Path) -> anyhow::Result<()> {
    let call = ScriptedCall { delay_ms: 300_000, reply: ScriptedReply::Blank, ..ScriptedCall::default() };
    let scripted = Arc::new(Scripted::new(Script { calls: vec![call] }));
    let mut config = test_config(folder, StoreKind::Full, Some(&definitions(folder)))?;
    config.data_dir = folder.to_owned();
    let overrides = Overrides { providers: vec![scripted.clone()], ..Overrides::default() };
    let mut pod = compose_with(&config, Arc::new(WallClock), Arc::new(TimeOrdered), overrides).await?;
    if part == "start" {
        start(&pod).await?;
        wait_for_calls(&scripted, RUNS as u64).await?;
        print_line("started")?;
    } else {
        pod.recover();
        wait_for_calls(&scripted, 1).await?;
        print_line("resumed")?;
    }
    // The parent kills this process; it does not end by itself.
    std::future::pending().await
}

async fn start(pod: &Pod) -> anyhow::Result<()> {
    let client = pod.client(&UserId::new("admin")?);
    let workflow = WorkflowId::new("three_steps")?;
    for _ in 0..RUNS {
        let params = CallParams { inputs: text("x"), detach: true, ..CallParams::default() };
        let reply = client.run_workflow(workflow.clone(), params).await?;
        ensure!(reply.error.is_none(), "{:?}", reply.error);
    }
    Ok(())
}

async fn wait_for_calls(scripted: &Scripted, count: u64) -> anyhow::Result<()> {
    let waiting = async {
        while scripted.stats().calls < count {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), waiting).await.context("no step was called")
}

fn print_line(line: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}
