//! Artifacts as large as they may be, from the command line through a pod into a folder or an S3 server and back: in
//! chunks, so that no process needs memory for a whole one. And pods whose S3 server fails.

mod fault_proxy;
mod faults;

use std::fs::{self, File};

use anyhow::{Context, Result, ensure};
use greenroom_integration_tests::definitions_dir::DefinitionsDir;
use greenroom_integration_tests::process_memory::{peak_kib, reset_peak};
use greenroom_integration_tests::terminal::{COMMAND_WAIT_MAX, CliHarness, RunningCommand};
use greenroom_integration_tests::wait::wait_until;
use greenroom_protocol::{ContentHash, ContentHasher};
use greenroom_registry::artifacts::ARTIFACT_BYTES_MAX;

const UP: [&str; 3] = ["up", "-o", "json"];
const RUNNING: &str = "greenroom is up";
/// Memory that a pod may need for an artifact of 256 MiB, in KiB. The allocator keeps much of what the chunks used; the
/// benchmark has the target.
const POD_KIB_MAX: u64 = 96 * 1024;
/// Memory of a whole command with its program, in KiB. It is less than the artifact.
const COMMAND_KIB_MAX: u64 = 200 * 1024;

/// The variables of the S3 server that the test command starts, under their names in the product.
pub(super) fn s3_variables() -> Result<[(&'static str, String); 4]> {
    let variable = |name: &str| {
        std::env::var(name).with_context(|| format!("{name} is not set; `scripts/test` starts the servers and sets it"))
    };
    Ok([
        ("S3_ENDPOINT", variable("GREENROOM_TEST_S3_URL")?),
        ("S3_BUCKET", variable("GREENROOM_TEST_S3_BUCKET")?),
        ("S3_ACCESS_KEY_ID", variable("GREENROOM_TEST_S3_ACCESS_KEY_ID")?),
        ("S3_SECRET_ACCESS_KEY", variable("GREENROOM_TEST_S3_SECRET_ACCESS_KEY")?),
    ])
}

/// A terminal whose pods have the agent `echo_agent` and these variables.
pub(super) fn terminal(variables: &[(&str, String)]) -> Result<CliHarness> {
    let mut terminal = CliHarness::open()?;
    DefinitionsDir::new(&terminal.folder().join("definitions"))?.write_echo_agent("echo_agent")?;
    terminal.set_variable("GREENROOM_DEFINITIONS", "definitions");
    for (name, value) in variables {
        terminal.set_variable(name, value);
    }
    Ok(terminal)
}

/// Waits for the end of a command, which must have needed less memory than the artifact.
async fn wait_frugal(process: RunningCommand) -> Result<()> {
    let (id, mut peak) = (process.id(), 0_u64);
    wait_until("the end of the command", COMMAND_WAIT_MAX, || {
        let sample = peak_kib(&id);
        peak = peak.max(sample.unwrap_or_default());
        async move { sample.is_none().then_some(()) }
    })
    .await?;
    ensure!(peak < COMMAND_KIB_MAX, "the command had {peak} KiB");
    process.wait().await.map(drop)
}

/// The hash of a file of zeros.
fn hash_of_zeros(length: u64) -> ContentHash {
    let (mut hasher, zeros) = (ContentHasher::default(), vec![0; 1024 * 1024]);
    for _ in 0..length / zeros.len() as u64 {
        hasher.update(&zeros);
    }
    hasher.finish()
}

#[tokio::test]
async fn the_largest_artifact_passes_without_memory_for_the_whole() -> Result<()> {
    let hash = hash_of_zeros(ARTIFACT_BYTES_MAX).to_string();
    for variables in [Vec::new(), s3_variables()?.to_vec()] {
        let store = if variables.is_empty() { "folder" } else { "s3" };
        let terminal = terminal(&variables)?;
        File::create(terminal.folder().join("large.bin"))?.set_len(ARTIFACT_BYTES_MAX)?;
        let up = terminal.start(&UP)?;
        up.wait_for_output(RUNNING).await?;
        let before = reset_peak(&up.id())?;

        // The request itself is rejected, because no agent takes such an input; its file is stored before.
        wait_frugal(terminal.start(&["run", "agent", "echo_agent", "--input", "text=@large.bin"])?).await?;
        wait_frugal(terminal.start(&["artifacts", "get", &hash, "--out", "copy.bin"])?).await?;
        let copy = fs::metadata(terminal.folder().join("copy.bin")).context("the artifact was not stored")?;
        assert_eq!(copy.len(), ARTIFACT_BYTES_MAX, "{store}");
        let peak = peak_kib(&up.id()).context("the memory of the pod")?;
        let rise = peak.saturating_sub(before);
        assert!(rise <= POD_KIB_MAX, "{store}: the memory of the pod rose by {rise} KiB");

        File::options().append(true).open(terminal.folder().join("large.bin"))?.set_len(ARTIFACT_BYTES_MAX + 1)?;
        let larger = terminal.run(&["run", "agent", "echo_agent", "--input", "text=@large.bin"]).await?;
        assert_eq!(larger.expect_error(2)?["code"], "payload_too_large", "{store}");
        up.terminate()?;
        assert_eq!(up.wait().await?.code, 0);
    }
    Ok(())
}

#[tokio::test]
async fn an_artifact_of_one_pod_is_read_by_another_one_that_has_the_bucket() -> Result<()> {
    let variables = s3_variables()?;
    let (first, second) = (terminal(&variables)?, terminal(&variables)?);
    let content = format!("only in the bucket {}", first.folder().display());
    first.write_file("note.bin", [content.as_bytes(), &[0xff]].concat())?;
    first.run(&["run", "agent", "echo_agent", "--input", "text=@note.bin"]).await?;
    let hash = ContentHash::from_content(&[content.as_bytes(), &[0xff]].concat()).to_string();
    second.run(&["artifacts", "get", &hash, "--out", "copy.bin"]).await?.expect_success()?;
    assert_eq!(fs::read(second.folder().join("copy.bin"))?, [content.as_bytes(), &[0xff]].concat());
    assert!(!first.data_dir().join("artifacts").exists() && !second.data_dir().join("artifacts").exists());
    Ok(())
}
