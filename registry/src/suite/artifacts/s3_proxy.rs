//! A proxy in front of the S3 server that lets connections fail. It does not understand requests, except for their
//! length when it replies itself.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy, copy_bidirectional};
use tokio::net::TcpStream;

use crate::suite::fault_proxy::FaultProxy;

/// What happens to a connection.
#[derive(Debug, Clone, Copy)]
pub(super) enum Fault {
    /// It is forwarded.
    None,
    /// Its first request is refused with this status and code.
    Refuse { status: &'static str, code: &'static str },
    /// It is closed after this many bytes of requests.
    CutRequests(u64),
    /// It is closed after this many bytes of replies.
    CutReplies(u64),
    /// The time in its first request is wrong by twelve hours.
    ShiftTime,
    /// Nothing is replied.
    Hang,
}

/// The proxy, which ends when it is dropped.
pub(super) struct S3Proxy {
    proxy: FaultProxy,
    faults: Arc<Mutex<VecDeque<Fault>>>,
}

impl S3Proxy {
    /// Starts a proxy to a server, without faults.
    pub(super) async fn start(upstream: &str) -> Self {
        let upstream = upstream.trim_start_matches("http://").trim_end_matches('/').to_owned();
        let faults = Arc::<Mutex<VecDeque<Fault>>>::default();
        let next = Arc::clone(&faults);
        let proxy = FaultProxy::start(move |connection| {
            let mut faults = next.lock().unwrap();
            let fault = if faults.len() > 1 { faults.pop_front() } else { faults.front().copied() };
            serve(connection, upstream.clone(), fault.unwrap_or(Fault::None))
        });
        Self { proxy: proxy.await, faults }
    }

    /// Closes all connections. The next ones have these faults, and each later one the last of them.
    pub(super) fn fail(&self, faults: &[Fault]) {
        *self.faults.lock().unwrap() = faults.iter().copied().collect();
        self.proxy.close_connections();
    }

    /// The address of the proxy.
    pub(super) fn url(&self) -> String {
        format!("http://{}", self.proxy.address())
    }
}

async fn serve(mut connection: TcpStream, upstream: String, fault: Fault) -> std::io::Result<()> {
    if let Fault::Refuse { status, code } = fault {
        return refuse(connection, status, code).await;
    }
    if matches!(fault, Fault::Hang) {
        return std::future::pending().await;
    }
    let mut server = TcpStream::connect(upstream).await?;
    let (requests_max, replies_max) = match fault {
        Fault::CutRequests(bytes) => (bytes, u64::MAX),
        Fault::CutReplies(bytes) => (u64::MAX, bytes),
        Fault::ShiftTime => {
            let mut received = read_until(&mut connection, |received| request_length(received).is_some()).await?;
            shift_time(&mut received);
            server.write_all(&received).await?;
            return copy_bidirectional(&mut connection, &mut server).await.map(drop);
        }
        Fault::None | Fault::Refuse { .. } | Fault::Hang => {
            return copy_bidirectional(&mut connection, &mut server).await.map(drop);
        }
    };
    let ((from_client, mut to_client), (from_server, mut to_server)) = (connection.split(), server.split());
    let (mut from_client, mut from_server) = (from_client.take(requests_max), from_server.take(replies_max));
    tokio::select! {
        result = copy(&mut from_client, &mut to_server) => result.map(drop),
        result = copy(&mut from_server, &mut to_client) => result.map(drop),
    }
}

/// Reads a request to its end, so that the reply is not lost, and replies with an error of S3.
async fn refuse(mut connection: TcpStream, status: &str, code: &str) -> std::io::Result<()> {
    let body = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>for the test</Message></Error>");
    let mut reply = format!("HTTP/1.1 {status}\r\nContent-Type: application/xml\r\nConnection: close\r\n");
    reply.push_str(&format!("Content-Length: {}\r\n\r\n{body}", body.len()));
    read_until(&mut connection, |received| request_length(received).is_some_and(|length| received.len() >= length))
        .await?;
    connection.write_all(reply.as_bytes()).await?;
    connection.shutdown().await
}

/// The length of the first request, once its head has arrived.
fn request_length(received: &[u8]) -> Option<usize> {
    let end = received.windows(4).position(|bytes| bytes == b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(&received[..end]).to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
    Some(end + length.unwrap_or(0))
}

/// Reads until this much of a request has arrived.
async fn read_until(connection: &mut TcpStream, is_enough: impl Fn(&[u8]) -> bool) -> std::io::Result<Vec<u8>> {
    let mut received = Vec::new();
    while !is_enough(&received) {
        if connection.read_buf(&mut received).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(received)
}

/// Moves the time of a request by twelve hours within its day, which is a part of the signature of its own.
fn shift_time(request: &mut [u8]) {
    const NAME: &[u8] = b"x-amz-date: ";
    let at = request.windows(NAME.len()).position(|bytes| bytes.eq_ignore_ascii_case(NAME)).unwrap();
    let hour = at + NAME.len() + "20260102T".len();
    let digits = request.get_mut(hour..hour + 2).unwrap();
    let shifted = (std::str::from_utf8(digits).unwrap().parse::<u32>().unwrap() + 12) % 24;
    digits.copy_from_slice(format!("{shifted:02}").as_bytes());
}
