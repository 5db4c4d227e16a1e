//! Plays the scripts of the comparison to the worker of RunPod's SDK and to ours, and prints the table of their difference.
//!
//! `runpod_comparison PYTHON` uses the Python that has the SDK; `runpod_comparison PYTHON --write PAGE` writes the table into a
//! page, and `runpod_comparison PYTHON --check PAGE` fails if the page has another one. With each, the client of the SDK gets its
//! results from a worker of ours before.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, ensure};
use greenroom_integration_tests::runpod_api::FakeRunPod;
use greenroom_integration_tests::runpod_comparison::{WorkerKind, play_both, read_table, write_table};
use greenroom_integration_tests::runpod_jobs::{DrivenWorker, VerbHandler, test_options};

const USAGE: &str = "usage: runpod_comparison PYTHON [--write PAGE | --check PAGE]";
/// The program of the client.
const CLIENT: &str = "comparisons/runpod/client.py";

fn main() -> anyhow::Result<ExitCode> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let (python, page) = match words.as_slice() {
        [python] => (python, None),
        [python, kind @ ("--write" | "--check"), page] => (python, Some((*kind, *page))),
        _ => anyhow::bail!(USAGE),
    };
    let python = PathBuf::from(python);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(call(&python))?;
    let rows = runtime.block_on(play_both(&WorkerKind::Sdk(python)))?;
    for row in &rows {
        println!("{}\n  SDK:       {}\n  greenroom: {}", row.subject, row.sdk, row.own);
    }
    match page {
        None => {}
        Some(("--write", page)) => {
            let text = std::fs::read_to_string(page).context(USAGE)?;
            std::fs::write(page, write_table(&text, &rows)?)?;
        }
        Some((_, page)) => {
            let found = read_table(&std::fs::read_to_string(page).context(USAGE)?)?;
            ensure!(found == rows, "{page} has another table: run this with --write");
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Lets the client of the SDK get results, parts of a stream, a failure and a cancellation.
async fn call(python: &Path) -> anyhow::Result<()> {
    let runpod = FakeRunPod::start().await?;
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join(CLIENT);
    let mut client = Command::new(python)
        .arg(&program)
        .envs(runpod.environment())
        .env("RUNPOD_ENDPOINTS_URL", runpod.endpoints_url())
        .spawn()
        .with_context(|| format!("{} {}", python.display(), program.display()))?;
    let called = async {
        let status = tokio::task::spawn_blocking(move || client.wait()).await??;
        ensure!(status.success(), "the client has not got what it expects");
        Ok(())
    };
    let handler = std::sync::Arc::new(VerbHandler::default());
    let worker = DrivenWorker::new(&runpod.environment(), handler, test_options(4))?;
    worker.run_until(called).await?;
    Ok(())
}
