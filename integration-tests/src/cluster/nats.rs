//! The NATS server of one run of the harness: it can be killed and started again, JetStream has little space, and a
//! subscriber that reads nothing is disconnected soon.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, ensure};
use futures::StreamExt;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::jetstream;
use crate::nats_server::NatsServer;
use crate::wait::wait_until;

/// What JetStream may store.
const STORE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// What the server keeps for a subscriber that does not read, beside the buffers of the system.
const PENDING_BYTES_MAX: usize = 8 * 1024 * 1024;
/// What a message of the harness has; a server accepts twice as much.
const MESSAGE_BYTES: usize = 512 * 1024;
/// Messages that neither the server nor the buffers of the system keep for a subscriber.
const FLOOD_MESSAGES: usize = 96;
/// The subject of the flood, to which no pod subscribes.
const FLOOD_SUBJECT: &str = "chaos.flood";
/// What the protocol begins with: everything is subscribed to, and the server confirms it.
const SUBSCRIBE_ALL: &[u8] = b"CONNECT {\"verbose\":false,\"name\":\"slow consumer\"}\r\nSUB > 1\r\nPING\r\n";
/// The request to which each pod that serves over NATS replies, and how long the next reply is waited for.
const PING_SUBJECT: &str = "$SRV.PING.greenroom";
const PING_SILENCE: Duration = Duration::from_millis(500);
/// Longest wait for a reply of the server, and for pods that connect again.
const SERVER_WAIT_MAX: Duration = Duration::from_secs(60);
const PODS_WAIT_MAX: Duration = Duration::from_secs(90);

/// The server.
#[derive(Debug)]
pub struct OwnNats {
    server: NatsServer,
    // It is removed once the server has ended.
    _store: TempDir,
}

impl OwnNats {
    /// Starts a server with JetStream.
    ///
    /// # Errors
    /// If the program is missing, or does not listen in time.
    pub async fn start() -> anyhow::Result<Self> {
        let store = tempfile::tempdir()?;
        let folder = store.path().display();
        let configuration = format!(
            "max_pending: {PENDING_BYTES_MAX}\nwrite_deadline: \"2s\"\n\
             jetstream {{\n  store_dir: \"{folder}\"\n  max_file_store: {STORE_BYTES_MAX}\n}}\n"
        );
        Ok(Self { server: NatsServer::start_with(&configuration).await?, _store: store })
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// Its address, `HOST:PORT`.
    #[must_use]
    pub fn address(&self) -> String {
        self.url().trim_start_matches("nats://").to_owned()
    }

    /// Ends the server at once.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.server.kill()
    }

    /// Starts the killed server again.
    ///
    /// # Errors
    /// If it does not listen in time.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        self.server.restart().await
    }

    /// Waits until so many pods, of all clusters, serve requests over NATS.
    ///
    /// # Errors
    /// If they do not in time.
    pub async fn wait_serving(&self, pods: usize) -> anyhow::Result<()> {
        let (client, last_count) = (async_nats::connect(self.url()).await?, AtomicUsize::new(0));
        let are_serving = || async {
            let count = count_serving(&client).await.ok()?;
            last_count.store(count, Ordering::Relaxed);
            (count == pods).then_some(())
        };
        let waited = wait_until("the pods serve over NATS", PODS_WAIT_MAX, are_serving).await;
        waited.with_context(|| format!("of {pods} pods, {} serve", last_count.load(Ordering::Relaxed)))
    }

    /// Fills JetStream until it refuses another message.
    ///
    /// # Errors
    /// If it has space for everything.
    pub async fn fill_jetstream(&self) -> anyhow::Result<()> {
        jetstream::fill_jetstream(&self.url(), STORE_BYTES_MAX).await
    }

    /// Gives JetStream its space back.
    ///
    /// # Errors
    /// If the server does not reply.
    pub async fn empty_jetstream(&self) -> anyhow::Result<()> {
        jetstream::empty_jetstream(&self.url()).await
    }

    /// Subscribes to everything without reading any of it, and returns once the server has disconnected the subscriber.
    ///
    /// # Errors
    /// If the server keeps the subscriber.
    pub async fn starve_subscriber(&self) -> anyhow::Result<()> {
        let mut subscriber = TcpStream::connect(self.address()).await.context("the server does not listen")?;
        subscriber.write_all(SUBSCRIBE_ALL).await?;
        let subscribed = timeout(SERVER_WAIT_MAX, read_until_pong(&mut subscriber)).await;
        subscribed.context("the server does not reply")??;
        let client = async_nats::connect(self.url()).await?;
        let inbox = client.new_inbox();
        let mut marker = client.subscribe(inbox.clone()).await?;
        for _ in 0..FLOOD_MESSAGES {
            client.publish(FLOOD_SUBJECT, vec![b'x'; MESSAGE_BYTES].into()).await?;
        }
        // Messages of one connection are processed in order, so that the whole flood was when this one arrives.
        client.publish(inbox, "".into()).await?;
        client.flush().await?;
        timeout(SERVER_WAIT_MAX, marker.next()).await.context("the server does not forward a message")?;
        let mut sink = tokio::io::sink();
        let ended = timeout(SERVER_WAIT_MAX, tokio::io::copy(&mut subscriber, &mut sink)).await;
        // A reset is an end too.
        let received = ended.context("the server keeps a subscriber that reads nothing")?.unwrap_or_default();
        let flood = u64::try_from(FLOOD_MESSAGES * MESSAGE_BYTES)?;
        ensure!(received < flood, "the subscriber has received everything");
        Ok(())
    }
}

/// Reads what the server sends first, up to its reply to the `PING`.
async fn read_until_pong(subscriber: &mut TcpStream) -> anyhow::Result<()> {
    let (mut received, mut piece) = (Vec::new(), [0_u8; 4_096]);
    while !received.windows(4).any(|bytes| bytes == b"PONG") {
        let count = subscriber.read(&mut piece).await?;
        ensure!(count > 0, "the server refuses the subscriber: {}", String::from_utf8_lossy(&received));
        received.extend_from_slice(piece.get(..count).unwrap_or_default());
    }
    Ok(())
}

/// The number of pods that reply to a ping of their service.
async fn count_serving(client: &async_nats::Client) -> anyhow::Result<usize> {
    let inbox = client.new_inbox();
    let mut replies = client.subscribe(inbox.clone()).await?;
    client.publish_with_reply(PING_SUBJECT, inbox, "".into()).await?;
    let mut count = 0;
    while let Ok(Some(reply)) = timeout(PING_SILENCE, replies.next()).await {
        // A message without a body says that no pod receives the ping.
        count += usize::from(!reply.payload.is_empty());
    }
    Ok(count)
}
