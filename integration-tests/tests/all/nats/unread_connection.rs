//! A connection to a NATS server that is never read, by the protocol itself: the library would read what arrives.

use std::io;
use std::io::ErrorKind;

use anyhow::Result;
use greenroom_integration_tests::wait::wait_until;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use super::fixture::{ADMIN_KEY, WAIT_MAX};

/// The smallest buffer of a socket.
const SOCKET_BYTES: u32 = 4 * 1024;

/// Where replies to the connection are sent.
pub(super) const INBOX: &str = "_INBOX.unread";

/// A connection with an inbox.
pub(super) struct UnreadConnection(TcpStream);

impl UnreadConnection {
    /// Connects to the server of this URL.
    pub(super) async fn connect(url: &str) -> Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.set_recv_buffer_size(SOCKET_BYTES)?;
        let mut stream = socket.connect(url.trim_start_matches("nats://").parse()?).await?;
        let beginning = format!("CONNECT {{\"verbose\":false,\"headers\":true}}\r\nSUB {INBOX} 1\r\n");
        stream.write_all(beginning.as_bytes()).await?;
        Ok(Self(stream))
    }

    /// Sends a request of the administrator, and reads nothing of what follows. The error is that of a connection that the
    /// server has ended.
    pub(super) async fn request(&mut self, subject: &str, body: &str) -> io::Result<()> {
        let head = format!("NATS/1.0\r\nAuthorization: ApiKey {ADMIN_KEY}\r\n\r\n");
        let (head_bytes, all_bytes) = (head.len(), head.len() + body.len());
        let message = format!("HPUB {subject} {INBOX} {head_bytes} {all_bytes}\r\n{head}{body}\r\n");
        self.0.write_all(message.as_bytes()).await
    }

    /// True once the server has ended the connection, which a write finds out.
    pub(super) fn is_ended(&self) -> bool {
        let is_end =
            |kind| matches!(kind, ErrorKind::BrokenPipe | ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted);
        self.0.try_write(b"PING\r\n").is_err_and(|error| is_end(error.kind()))
    }

    /// Waits until the server has ended the connection, and returns the bytes that it had sent before and nobody has read.
    pub(super) async fn wait_ended(mut self) -> Result<usize> {
        // Nothing is read before, because what is read makes room for more.
        let is_ended = || async { self.is_ended().then_some(()) };
        wait_until("the server ends the connection", WAIT_MAX, is_ended).await?;
        let mut rest = Vec::new();
        // A connection that was reset has an error at its end.
        let _ = timeout(WAIT_MAX, self.0.read_to_end(&mut rest)).await?;
        Ok(rest.len())
    }
}
