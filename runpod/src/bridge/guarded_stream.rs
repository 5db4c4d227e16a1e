//! A connection whose peer has to make progress: it begins a request soon, and reads what is written to it. The bounds on
//! the headers and on the body of a request are set where those are read.
//!
//! The version of HTTP is found here, and not by the builder of hyper-util. That one passes the bytes that it has read to
//! the connection before any others, and the read buffer of HTTP/1.1, which always has room for 8 KiB more, grows to
//! 16 KiB. A stream of events has that buffer for as long as its reader is there.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use greenroom_protocol::ErrorCode;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep, timeout};

/// How long a peer may take until it is known which version of HTTP it uses.
const OPENING_TIME_MAX: Duration = Duration::from_secs(10);
/// How long a peer may read nothing of what is written.
const WRITE_STALL_MAX: Duration = Duration::from_secs(30);
/// The first bytes of a connection over HTTP/2.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The version of HTTP that a peer uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    /// HTTP/1.1, or 1.0.
    Http1,
    /// HTTP/2.
    Http2,
}

/// A connection with bounds on the time in which nothing happens.
pub(super) struct GuardedStream {
    stream: TcpStream,
    /// The bytes by which the version was found.
    first: [u8; PREFACE.len()],
    /// How many of them there are, and how many of them the protocol has read.
    first_len: usize,
    position: usize,
    /// While nothing can be written.
    stalled: Option<Pin<Box<Sleep>>>,
    /// Counts the connections whose peers read nothing.
    stalls: Arc<AtomicU64>,
}

impl GuardedStream {
    /// Guards a connection from now on, and waits until its version is known: the bytes differ from the preface of HTTP/2,
    /// or are all of it. A peer that has closed its side gets the error of HTTP/1.1.
    ///
    /// # Errors
    /// `TimedOut` if the peer takes too long, or the error of the connection.
    pub(super) async fn open(stream: TcpStream, stalls: Arc<AtomicU64>) -> io::Result<(Version, Self)> {
        let mut guarded = Self { stream, first: [0; PREFACE.len()], first_len: 0, position: 0, stalled: None, stalls };
        let version = timeout(OPENING_TIME_MAX, guarded.read_version()).await;
        let version = version.map_err(|_elapsed| timed_out("the peer begins no request"))??;
        Ok((version, guarded))
    }

    async fn read_version(&mut self) -> io::Result<Version> {
        loop {
            let rest = self.first.get_mut(self.first_len..).unwrap_or_default();
            let count = self.stream.read(rest).await?;
            self.first_len += count;
            let bytes = self.first.get(..self.first_len).unwrap_or_default();
            if bytes == PREFACE {
                return Ok(Version::Http2);
            }
            if count == 0 || !PREFACE.starts_with(bytes) {
                return Ok(Version::Http1);
            }
        }
    }

    /// Copies the first bytes, as many as there is room for. True if there were any.
    fn replay(&mut self, buffer: &mut ReadBuf<'_>) -> bool {
        let rest = self.first.get(self.position..self.first_len).unwrap_or_default();
        let bytes = rest.get(..rest.len().min(buffer.remaining())).unwrap_or_default();
        buffer.put_slice(bytes);
        self.position += bytes.len();
        !bytes.is_empty()
    }

    /// The result of a write, or an error if none was possible for too long.
    fn guard_write<T>(&mut self, context: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let timer = self.stalled.get_or_insert_with(|| Box::pin(sleep(WRITE_STALL_MAX)));
        match timer.as_mut().poll(context) {
            Poll::Ready(()) => {
                // Its reader cannot be sent the reason.
                self.stalls.fetch_add(1, Ordering::Relaxed);
                let stall_max_s = WRITE_STALL_MAX.as_secs();
                tracing::info!(error.code = %ErrorCode::TimedOut, stall_max_s, "peer of http reads nothing, connection ends");
                Poll::Ready(Err(timed_out("the peer reads nothing")))
            }
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncRead for GuardedStream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let has_first = this.replay(buffer);
        // The bytes that follow the first ones are read together with them.
        let read = Pin::new(&mut this.stream).poll_read(context, buffer);
        if has_first { Poll::Ready(Ok(())) } else { read }
    }
}

impl AsyncWrite for GuardedStream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write(context, bytes);
        this.guard_write(context, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write_vectored(context, slices);
        this.guard_write(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

fn timed_out(message: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, message)
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::*;

    async fn connected() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (client, listener.accept().await.unwrap().0)
    }

    #[tokio::test]
    async fn a_peer_that_begins_no_request_is_cut_off() {
        let (_client, server) = connected().await;
        tokio::time::pause();
        let opened = GuardedStream::open(server, Arc::default()).await;
        assert_eq!(opened.map(|(version, _)| version).unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn the_version_is_known_once_the_bytes_differ_from_the_preface_or_are_all_of_it() {
        for (bytes, expected) in [
            (&b"GET / HTTP/1.1\r\n\r\n"[..], Version::Http1),
            (b"PROPFIND / HTTP/1.1\r\n\r\n", Version::Http1),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nrest", Version::Http2),
            (b"PR", Version::Http1),
            (b"", Version::Http1),
        ] {
            let (mut client, server) = connected().await;
            client.write_all(bytes).await.unwrap();
            client.shutdown().await.unwrap();
            let (version, mut stream) = GuardedStream::open(server, Arc::default()).await.unwrap();
            let mut content = Vec::new();
            stream.read_to_end(&mut content).await.unwrap();
            assert_eq!((version, content.as_slice()), (expected, bytes));
        }
    }

    #[tokio::test]
    async fn what_follows_the_first_bytes_is_read_together_with_them() {
        let (mut client, server) = connected().await;
        let request = b"GET /v1/runs/run_1/events HTTP/1.1\r\nHost: h\r\n\r\n";
        client.write_all(request).await.unwrap();
        client.shutdown().await.unwrap();
        // All of it has arrived.
        while server.peek(&mut [0; 64]).await.unwrap() < request.len() {}
        let (_, mut stream) = GuardedStream::open(server, Arc::default()).await.unwrap();
        let mut bytes = [0; 1_024];
        let count = stream.read(&mut bytes).await.unwrap();
        assert_eq!(&bytes[..count], request);
        assert_eq!(stream.read(&mut bytes).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn a_peer_that_reads_nothing_is_cut_off() {
        let (mut client, server) = connected().await;
        client.write_all(b"GET").await.unwrap();
        let (_, mut server) = GuardedStream::open(server, Arc::default()).await.unwrap();
        tokio::time::pause();
        let content = vec![0; 1024 * 1024];
        let error = loop {
            if let Err(error) = server.write_all(&content).await {
                break error;
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(server.stalls.load(Ordering::Relaxed), 1);
    }
}
