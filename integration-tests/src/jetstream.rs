//! What a test does to the JetStream of a server of its own: it fills the space, gives it back, and waits for what the pods
//! store there.

use std::time::Duration;

use anyhow::{bail, ensure};
use async_nats::jetstream;
use async_nats::jetstream::context::PublishErrorKind;
use async_nats::jetstream::stream::Config;

use crate::wait::wait_until;

/// The stream that fills JetStream, and its subject. No pod subscribes to it.
const STREAM: &str = "test_filling";
const SUBJECT: &str = "test.filling";
/// What a message has; a server accepts twice as much.
const MESSAGE_BYTES: usize = 512 * 1024;
/// Messages beyond the space of the server, of which it refuses at least one.
const SPARE_MESSAGES: usize = 8;

/// Fills the JetStream of this server, which may store so many bytes, until it refuses another message of any stream.
///
/// # Errors
/// If it has space for everything, or does not reply.
pub async fn fill_jetstream(url: &str, bytes_max: usize) -> anyhow::Result<()> {
    let jetstream = jetstream::new(async_nats::connect(url).await?);
    let subjects = vec![SUBJECT.to_owned()];
    jetstream.create_stream(Config { name: STREAM.to_owned(), subjects, ..Config::default() }).await?;
    for _ in 0..bytes_max.div_ceil(MESSAGE_BYTES) + SPARE_MESSAGES {
        let acknowledgement = jetstream.publish(SUBJECT, vec![b'x'; MESSAGE_BYTES].into()).await?;
        if let Err(error) = acknowledgement.await {
            ensure!(error.kind() != PublishErrorKind::TimedOut, "JetStream does not reply: {error}");
            return Ok(());
        }
    }
    bail!("JetStream stores more than {bytes_max} bytes")
}

/// Gives JetStream its space back.
///
/// # Errors
/// If the server does not reply.
pub async fn empty_jetstream(url: &str) -> anyhow::Result<()> {
    let jetstream = jetstream::new(async_nats::connect(url).await?);
    jetstream.delete_stream(STREAM).await?;
    Ok(())
}

/// Waits until the pods with this prefix have copied the root chain of the audit up to the record with this number.
///
/// # Errors
/// If they have not in time, or the server does not reply.
pub async fn wait_root_copied(url: &str, prefix: &str, number: u64, timeout: Duration) -> anyhow::Result<()> {
    let (jetstream, stream) = (jetstream::new(async_nats::connect(url).await?), format!("{prefix}_audit_root"));
    let is_copied = || async {
        let copied = jetstream.get_stream(&stream).await.ok()?.get_info().await.ok()?.state.last_sequence;
        (copied >= number).then_some(())
    };
    wait_until("the root chain is copied", timeout, is_copied).await
}
