//! A consumer that reads nothing: the server ends its connection, and neither the pod nor another caller is slower for it.

use std::io::{Error, ErrorKind};

use anyhow::{Context as _, Result};
use futures::future::join_all;
use greenroom_integration_tests::nats_server::NatsServer;
use greenroom_integration_tests::wait::wait_until;
use greenroom_protocol::Status;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use super::fixture::{ADMIN_KEY, Caller, ECHO, NatsPod, WAIT_MAX, start};

/// Replies that the consumer requests, and their bytes: more than the buffers of the system hold.
const REPLIES: usize = 300;
const REPLY_BYTES: usize = 64 * 1024;
/// The smallest buffer of a socket.
const SOCKET_BYTES: u32 = 4 * 1024;
/// Requests of the consumer that may be under way: more would be too much for the connection of the pod too.
const UNDER_WAY_MAX: u64 = 8;
/// Requests of the other caller.
const REQUESTS: usize = 50;

/// Connects to the server of this URL, by the protocol itself: the library would read what arrives.
async fn connect(url: &str) -> Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(SOCKET_BYTES)?;
    let mut stream = socket.connect(url.trim_start_matches("nats://").parse()?).await?;
    stream.write_all(b"CONNECT {\"verbose\":false,\"headers\":true}\r\nSUB _INBOX.slow 1\r\n").await?;
    Ok(stream)
}

/// The requests that the pod has replied to.
fn count_replied(pod: &NatsPod) -> Option<u64> {
    let page = pod.pod.metrics().render();
    page.lines().find_map(|line| line.strip_prefix("nats_requests{outcome=\"success\"} "))?.parse().ok()
}

/// Sends the requests, and reads no reply. The server may end the connection meanwhile.
async fn request(stream: &mut TcpStream, pod: &NatsPod) -> Result<()> {
    let head = format!("NATS/1.0\r\nAuthorization: ApiKey {ADMIN_KEY}\r\n\r\n");
    let body = format!("{{\"inputs\":{{\"text\":\"{}\"}}}}", "x".repeat(REPLY_BYTES));
    let subject = format!("greenroom.v1.agents.{ECHO}.execute");
    let (head_bytes, all_bytes) = (head.len(), head.len() + body.len());
    let message = format!("HPUB {subject} _INBOX.slow {head_bytes} {all_bytes}\r\n{head}{body}\r\n");
    let replied_before = count_replied(pod).context("the metric")?;
    for sent in 1..=REPLIES as u64 {
        if stream.write_all(message.as_bytes()).await.is_err() {
            break;
        }
        let is_replied = || async {
            let replied = count_replied(pod)?.saturating_sub(replied_before);
            (replied.saturating_add(UNDER_WAY_MAX) >= sent).then_some(())
        };
        wait_until("the pod replies", WAIT_MAX, is_replied).await?;
    }
    Ok(())
}

/// True for the error of a connection that the other side has ended.
fn is_end(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_reads_nothing_slows_neither_the_pod_nor_another_caller() -> Result<()> {
    let server = NatsServer::start_with("max_pending: 2097152\n").await?;
    let pod = start(&server.url(), "greenroom").await?;
    let caller = Caller::connect(&server.url(), "greenroom").await?;
    let mut slow = connect(&server.url()).await?;
    request(&mut slow, &pod).await?;
    for reply in join_all((0..REQUESTS).map(|_| caller.echo("x"))).await {
        assert_eq!(reply?.status, Status::Success);
    }
    // Nothing is read before the server has ended the connection, because what is read makes room for more.
    let is_ended = || async { slow.try_write(b"PING\r\n").is_err_and(|error| is_end(&error)).then_some(()) };
    wait_until("the server ends the connection", WAIT_MAX, is_ended).await?;
    let mut rest = Vec::new();
    let _ = timeout(WAIT_MAX, slow.read_to_end(&mut rest)).await?;
    assert!(rest.len() < REPLIES * REPLY_BYTES, "the server has dropped what was not read");
    let page = pod.pod.metrics().render();
    assert!(pod.shows("nats_connected 1") && pod.shows("nats_reconnects 0"), "{page}");
    assert!(pod.shows("nats_dropped{message=\"outgoing\"} 0"), "{page}");
    assert_eq!(caller.echo("after it").await?.status, Status::Success);
    pod.pod.shutdown().await;
    Ok(())
}
