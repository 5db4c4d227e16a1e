//! A thousand runs in flight, the process killed: how soon the next one resumes the first step.
//!
//! The house lives in a child of this program, because only a process can be killed.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use greenroom_client::client::Work;
use greenroom_integration_tests::bench::{Bar, record};
use greenroom_integration_tests::definitions_dir::Stagehand;
use greenroom_integration_tests::test_pod::{Keeps, configure, text};
use greenroom_protocol::{UserId, WorkflowId};
use greenroom_runtimes::scripted::{Play, Scene, Script, Scripted};
use greenroom_supervisor::clock::{TimeOrdered, WallClock};
use greenroom_supervisor::compose::{Extras, compose_with};
use greenroom_supervisor::pod::House;

/// Runs that are interrupted.
const RUNS: usize = 1_000;

pub(crate) fn main(words: &[&str]) -> anyhow::Result<()> {
    match words {
        [part, dir] => {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
            runtime.block_on(live(part, Path::new(dir)))
        }
        _ => measure(),
    }
}

fn measure() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let stagehand = Stagehand::new(&definitions(folder.path()))?;
    stagehand.model_agent("thinking_agent", "scripted.slow")?;
    stagehand.row_workflow("three_steps", "thinking_agent", 3)?;
    let (mut first, _) = child("start", folder.path())?;
    first.kill()?;
    first.wait()?;
    let began = Instant::now();
    let (mut second, told) = child("resume", folder.path())?;
    let resumed = began.elapsed();
    second.kill()?;
    second.wait()?;
    ensure!(told == "resumed", "the child said {told}");
    let name = format!("{RUNS} interrupted runs: first step resumed after");
    record("recovery", name, resumed.as_secs_f64() * 1e3, "ms", Bar::AtMost(500.0))
}

fn definitions(folder: &Path) -> PathBuf {
    folder.join("definitions")
}

/// Starts a child and waits for its one line.
fn child(part: &str, folder: &Path) -> anyhow::Result<(Child, String)> {
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

async fn live(part: &str, folder: &Path) -> anyhow::Result<()> {
    let scene = Scene { hold_ms: 300_000, play: Play::Blank, ..Scene::default() };
    let scripted = Arc::new(Scripted::new(Script { scenes: vec![scene] }));
    let mut config = configure(folder, Keeps::Full, Some(&definitions(folder)))?;
    config.data_dir = folder.to_owned();
    let extras = Extras { providers: vec![scripted.clone()], ..Extras::default() };
    let mut house = compose_with(&config, Arc::new(WallClock), Arc::new(TimeOrdered), extras).await?;
    if part == "start" {
        start(&house).await?;
        called(&scripted, RUNS as u64).await?;
        tell("started")?;
    } else {
        house.recover();
        called(&scripted, 1).await?;
        tell("resumed")?;
    }
    // The parent kills this process; it never ends by itself.
    std::future::pending().await
}

async fn start(house: &House) -> anyhow::Result<()> {
    let client = house.client(&UserId::new("admin")?);
    let workflow = WorkflowId::new("three_steps")?;
    for _ in 0..RUNS {
        let work = Work { inputs: text("x"), detach: true, ..Work::default() };
        let reply = client.run_workflow(workflow.clone(), work).await?;
        ensure!(reply.error.is_none(), "{:?}", reply.error);
    }
    Ok(())
}

async fn called(scripted: &Scripted, count: u64) -> anyhow::Result<()> {
    let waiting = async {
        while scripted.played().calls < count {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), waiting).await.context("no step was called")
}

fn tell(word: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{word}")?;
    Ok(out.flush()?)
}
