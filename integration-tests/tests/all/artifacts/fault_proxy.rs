//! A proxy in front of the S3 server, whose connections all have the same fault at a time. It knows no more of a request
//! than its head.

use std::net::SocketAddr;

use anyhow::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// What happens to a connection.
#[derive(Debug, Clone, Copy)]
pub(super) enum Fault {
    /// It is forwarded.
    None,
    /// Its first request, which has no body, is refused with this status and code.
    Refuse { status: &'static str, code: &'static str },
    /// It is closed after this many bytes of replies.
    CutReplies(u64),
    /// The time in its first request is wrong by twelve hours.
    ShiftTime,
    /// Nothing is replied.
    Hang,
}

/// The proxy, which ends when it is dropped.
pub(super) struct FaultProxy {
    address: SocketAddr,
    fault: watch::Sender<Fault>,
    _task: JoinSet<()>,
}

impl FaultProxy {
    /// Starts a proxy to a server, without a fault.
    pub(super) async fn start(upstream: &str) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let upstream = upstream.trim_start_matches("http://").trim_end_matches('/').to_owned();
        let fault = watch::Sender::new(Fault::None);
        let mut task = JoinSet::new();
        task.spawn(accept(listener, upstream, fault.subscribe()));
        Ok(Self { address, fault, _task: task })
    }

    /// Closes all connections. The next ones have this fault.
    pub(super) fn set(&self, fault: Fault) {
        self.fault.send_replace(fault);
    }

    /// The address of the proxy.
    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

async fn accept(listener: TcpListener, upstream: String, fault: watch::Receiver<Fault>) {
    let mut connections = JoinSet::new();
    while let Ok((connection, _)) = listener.accept().await {
        connections.spawn(serve_until_changed(connection, upstream.clone(), fault.clone()));
    }
}

async fn serve_until_changed(connection: TcpStream, upstream: String, mut fault: watch::Receiver<Fault>) {
    let current = *fault.borrow_and_update();
    tokio::select! {
        // The end of a connection, also by an error, is no matter of the proxy.
        _ = serve(connection, upstream, current) => {}
        _ = fault.changed() => {}
    }
}

async fn serve(mut connection: TcpStream, upstream: String, fault: Fault) -> std::io::Result<()> {
    let (replies_max, shifts_time) = match fault {
        Fault::Hang => return std::future::pending().await,
        Fault::Refuse { status, code } => return refuse(&mut connection, status, code).await,
        Fault::CutReplies(bytes) => (bytes, false),
        Fault::ShiftTime => (u64::MAX, true),
        Fault::None => (u64::MAX, false),
    };
    let mut server = TcpStream::connect(upstream).await?;
    if shifts_time {
        server.write_all(shift_time(read_head(&mut connection).await?).as_bytes()).await?;
    }
    if replies_max == u64::MAX {
        return copy_bidirectional(&mut connection, &mut server).await.map(drop);
    }
    let ((mut from_client, mut to_client), (from_server, mut to_server)) = (connection.split(), server.split());
    let mut from_server = from_server.take(replies_max);
    tokio::select! {
        result = copy(&mut from_client, &mut to_server) => result.map(drop),
        result = copy(&mut from_server, &mut to_client) => result.map(drop),
    }
}

/// Reads the head of a request without a body.
async fn read_head(connection: &mut TcpStream) -> std::io::Result<String> {
    let mut received = Vec::new();
    while !received.ends_with(b"\r\n\r\n") {
        if connection.read_buf(&mut received).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(String::from_utf8_lossy(&received).into_owned())
}

async fn refuse(connection: &mut TcpStream, status: &str, code: &str) -> std::io::Result<()> {
    read_head(connection).await?;
    let body = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>for the test</Message></Error>");
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/xml\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
    );
    connection.write_all((head + &body).as_bytes()).await?;
    connection.shutdown().await
}

/// Moves the time of a request by twelve hours within its day, which is a part of the signature of its own.
fn shift_time(head: String) -> String {
    const NAME: &str = "x-amz-date: ";
    let Some((before, after)) = head.split_once(NAME) else { return head };
    let (day, rest) = after.split_at("20260102T".len());
    let (hour, rest) = rest.split_at(2);
    let shifted = (hour.parse::<u32>().unwrap_or_default() + 12) % 24;
    format!("{before}{NAME}{day}{shifted:02}{rest}")
}
