//! Connections over HTTP/1.1 that remain open, written by hand: a client that does little, so that what is measured is the
//! server.

use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Bytes that are read at once.
const READ_BYTES: usize = 8 * 1024;
/// Bytes of the headers of a response.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// The end of the headers.
const HEAD_END: &[u8] = b"\r\n\r\n";

/// A response.
pub(crate) struct HttpResponse {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

/// One connection, with one request under way.
pub(crate) struct HttpConnection {
    stream: TcpStream,
    /// What was read and belongs to no response yet.
    buffer: Vec<u8>,
}

impl HttpConnection {
    pub(crate) async fn open(addr: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(addr).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::new() })
    }

    /// Sends a request, and reads the response whole.
    pub(crate) async fn send(&mut self, request: &[u8]) -> anyhow::Result<HttpResponse> {
        self.stream.write_all(request).await?;
        let (status, length) = self.read_head().await?;
        while self.buffer.len() < length {
            self.read_more().await?;
        }
        let rest = self.buffer.split_off(length);
        let body = std::mem::replace(&mut self.buffer, rest);
        Ok(HttpResponse { status, body })
    }

    /// Sends a request whose response is a stream, and reads it until a text has arrived.
    pub(crate) async fn open_stream(&mut self, request: &[u8], text: &str) -> anyhow::Result<()> {
        self.stream.write_all(request).await?;
        let (status, _) = self.read_head().await?;
        ensure!(status == 200, "the stream is refused with {status}");
        self.read_until(text).await
    }

    /// Reads a stream until a text has arrived, and forgets all that was read.
    pub(crate) async fn read_until(&mut self, text: &str) -> anyhow::Result<()> {
        while find(&self.buffer, text.as_bytes()).is_none() {
            self.read_more().await.with_context(|| String::from_utf8_lossy(&self.buffer).into_owned())?;
        }
        self.buffer = Vec::new();
        Ok(())
    }

    /// The status of the next response, and the length of its body.
    async fn read_head(&mut self) -> anyhow::Result<(u16, usize)> {
        let end = loop {
            if let Some(end) = find(&self.buffer, HEAD_END) {
                break end;
            }
            ensure!(self.buffer.len() <= HEAD_BYTES_MAX, "the headers of a response do not end");
            self.read_more().await?;
        };
        let rest = self.buffer.split_off(end + HEAD_END.len());
        let head = String::from_utf8(std::mem::replace(&mut self.buffer, rest))?;
        let status = head.split(' ').nth(1).context("a status")?.parse::<u16>()?;
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>())
        });
        Ok((status, length.transpose()?.unwrap_or(0)))
    }

    async fn read_more(&mut self) -> anyhow::Result<()> {
        self.buffer.reserve(READ_BYTES);
        let length = self.stream.read_buf(&mut self.buffer).await?;
        ensure!(length > 0, "the connection has ended");
        Ok(())
    }
}

/// Connections to one server. A request takes one that is not in use, or opens another one.
pub(crate) struct HttpConnections {
    addr: SocketAddr,
    idle: Mutex<Vec<HttpConnection>>,
}

impl HttpConnections {
    pub(crate) const fn new(addr: SocketAddr) -> Self {
        Self { addr, idle: Mutex::new(Vec::new()) }
    }

    /// Sends a request. A connection that fails is not used again.
    pub(crate) async fn send(&self, request: &[u8]) -> anyhow::Result<HttpResponse> {
        let idle = self.idle().pop();
        let mut connection = match idle {
            Some(connection) => connection,
            None => HttpConnection::open(self.addr).await?,
        };
        let response = connection.send(request).await?;
        self.idle().push(connection);
        Ok(response)
    }

    fn idle(&self) -> MutexGuard<'_, Vec<HttpConnection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn find(bytes: &[u8], text: &[u8]) -> Option<usize> {
    bytes.windows(text.len()).position(|window| window == text)
}
