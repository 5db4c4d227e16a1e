//! Measures the memory that a pod needs for the largest artifact, and how fast it passes: from this process over the
//! socket of `greenroom up` into a folder or an S3 server, and back in parts.

use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, ensure};
use futures::{StreamExt, stream};
use greenroom_client::Client;
use greenroom_integration_tests::bench::{Threshold, missing, record, scaled};
use greenroom_integration_tests::process_memory::{peak_kib, reset_peak};
use greenroom_protocol::{ContentHash, Json};
use greenroom_registry::artifacts::ArtifactSource;

use crate::running_pod::RunningPod;

/// MiB of the artifact, as many as one may have.
const ARTIFACT_MIB: u64 = 256;
/// MiB that the memory of the pod may rise by.
const RISE_MIB_MAX: f64 = 32.0;
/// Bytes of one chunk of the upload.
const CHUNK_BYTES: usize = 256 * 1024;
/// Chunks of one MiB.
const CHUNKS_PER_MIB: u64 = 4;
/// The variables of the S3 server that the scripts start, with those of the product.
const S3_VARIABLES: [(&str, &str); 4] = [
    ("GREENROOM_TEST_S3_URL", "S3_ENDPOINT"),
    ("GREENROOM_TEST_S3_BUCKET", "S3_BUCKET"),
    ("GREENROOM_TEST_S3_ACCESS_KEY_ID", "S3_ACCESS_KEY_ID"),
    ("GREENROOM_TEST_S3_SECRET_ACCESS_KEY", "S3_SECRET_ACCESS_KEY"),
];

pub(crate) fn main(_: &[&str]) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(measure("a folder", &[]))?;
    match s3_variables() {
        Some(variables) => runtime.block_on(measure("S3", &variables)),
        None => missing(
            "artifacts",
            rise_name("S3"),
            "no S3 server; scripts/bench starts one",
            "MiB",
            Threshold::AtMost(RISE_MIB_MAX),
        ),
    }
}

fn rise_name(store: &str) -> String {
    format!("{} MiB into {store} and back: rise of the pod's memory", scaled(ARTIFACT_MIB))
}

/// The settings of the S3 server; `None` if there is none.
fn s3_variables() -> Option<Vec<(&'static str, String)>> {
    S3_VARIABLES.into_iter().map(|(name, setting)| Some((setting, std::env::var(name).ok()?))).collect()
}

/// Content that no other run of the benchmark has, in chunks.
fn content() -> ArtifactSource<'static> {
    let chunks = (0..scaled(ARTIFACT_MIB) * CHUNKS_PER_MIB).map(|number| {
        let mut chunk = format!("{} {number} ", std::process::id()).into_bytes();
        chunk.resize(CHUNK_BYTES, 0xff);
        Ok(chunk.into())
    });
    stream::iter(chunks).boxed()
}

async fn measure(store: &str, variables: &[(&str, String)]) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let pod = RunningPod::start(folder.path(), |command: &mut Command| {
        command.envs(variables.iter().map(|(name, value)| (name, value)));
    })
    .await?;
    let before = reset_peak(&pod.process())?;
    let started_at = Instant::now();
    let stored = pod.socket().store_artifact(content(), "application/octet-stream", "large.bin").await?;
    let uploaded = started_at.elapsed();
    let started_at = Instant::now();
    let bytes = read(&Client::new(Arc::new(pod.socket().clone())), stored.hash).await?;
    let read_back = started_at.elapsed();
    ensure!(bytes == stored.bytes, "{bytes} bytes of {} were read", stored.bytes);
    let peak = peak_kib(&pod.process()).context("the pod has ended")?;
    let rise_mib = peak.saturating_sub(before) as f64 / 1_024.0;
    record("artifacts", rise_name(store), rise_mib, "MiB", Threshold::AtMost(RISE_MIB_MAX))?;
    let size_mib = scaled(ARTIFACT_MIB) as f64;
    for (direction, elapsed) in [("into", uploaded), ("from", read_back)] {
        let rate = size_mib / elapsed.as_secs_f64();
        record("artifacts", format!("  of it, {direction} {store}"), rate, "MiB/s", Threshold::Informational)?;
    }
    Ok(())
}

/// Reads an artifact in parts, and returns the number of its bytes as the last reply has it.
async fn read(client: &Client, hash: ContentHash) -> anyhow::Result<u64> {
    let mut after = 0;
    loop {
        let reply = client.artifact(hash, after).await?;
        ensure!(reply.error.is_none(), "{:?}", reply.error);
        let number = |name: &str| reply.outputs.get(name).and_then(Json::as_u64);
        match number("next") {
            Some(next) => after = next,
            None => return number("bytes").context("the reply has no size"),
        }
    }
}
