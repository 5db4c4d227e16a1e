//! A connection whose peer has to make progress: it begins a request soon, and reads what is written to it. The bounds on
//! the headers and on the body of a request are set where those are read.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

/// How long a peer may take until it is known which version of HTTP it uses.
const OPENING_TIME_MAX: Duration = Duration::from_secs(10);
/// How long a peer may read nothing of what is written.
const WRITE_STALL_MAX: Duration = Duration::from_secs(30);
/// The first bytes of a connection over HTTP/2.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A connection with bounds on the time in which nothing happens.
pub(super) struct GuardedStream {
    stream: TcpStream,
    /// Until the version is known.
    opening: Option<Pin<Box<Sleep>>>,
    /// Bytes of the preface that have arrived.
    matched: usize,
    /// While nothing can be written.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl GuardedStream {
    /// Guards a connection, from now on.
    pub(super) fn new(stream: TcpStream) -> Self {
        Self { stream, opening: Some(Box::pin(sleep(OPENING_TIME_MAX))), matched: 0, stalled: None }
    }

    /// Ends the time of the opening once the version is known: the bytes differ from the preface, or are all of it.
    fn on_bytes(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if PREFACE.get(self.matched) != Some(byte) {
                self.opening = None;
                return;
            }
            self.matched += 1;
        }
        if self.matched == PREFACE.len() {
            self.opening = None;
        }
    }

    /// The result of a write, or an error if none was possible for too long.
    fn guard_write<T>(&mut self, context: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let timer = self.stalled.get_or_insert_with(|| Box::pin(sleep(WRITE_STALL_MAX)));
        match timer.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(timed_out("the peer reads nothing"))),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncRead for GuardedStream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let filled = buffer.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(context, buffer);
        if this.opening.is_some() && read.is_ready() {
            this.on_bytes(buffer.filled().get(filled..).unwrap_or_default());
        }
        if read.is_pending()
            && let Some(timer) = this.opening.as_mut()
            && timer.as_mut().poll(context).is_ready()
        {
            return Poll::Ready(Err(timed_out("the peer begins no request")));
        }
        read
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
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    async fn connected() -> (TcpStream, GuardedStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (client, GuardedStream::new(listener.accept().await.unwrap().0))
    }

    #[tokio::test]
    async fn a_peer_that_begins_no_request_is_cut_off() {
        let (_client, mut server) = connected().await;
        tokio::time::pause();
        let read = server.read(&mut [0; 16]).await;
        assert_eq!(read.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn the_version_is_known_once_the_bytes_differ_from_the_preface_or_are_all_of_it() {
        let (_client, mut server) = connected().await;
        server.on_bytes(b"PR");
        assert!(server.opening.is_some());
        server.on_bytes(b"OPFIND / HTTP/1.1");
        assert!(server.opening.is_none());
        let (_client, mut server) = connected().await;
        let (first, last) = PREFACE.split_at(PREFACE.len() - 1);
        server.on_bytes(first);
        assert!(server.opening.is_some());
        server.on_bytes(last);
        assert!(server.opening.is_none());
    }

    #[tokio::test]
    async fn a_peer_that_reads_nothing_is_cut_off() {
        let (_client, mut server) = connected().await;
        tokio::time::pause();
        let content = vec![0; 1024 * 1024];
        let error = loop {
            if let Err(error) = server.write_all(&content).await {
                break error;
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
