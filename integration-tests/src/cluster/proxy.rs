//! A TCP proxy between one pod and a server, whose connections can be closed, delayed, or left open without a byte
//! passing. It knows nothing of what it forwards.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Bytes that are forwarded at once.
const BUFFER_BYTES: usize = 64 * 1024;

/// What happens to the connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// They are forwarded.
    Open,
    /// Each piece that is forwarded is delayed.
    Delayed(Duration),
    /// They remain, new ones are accepted, and nothing passes. What was sent meanwhile passes once the link is open.
    Silent,
    /// They are closed, and so is each new one.
    Cut,
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open => f.write_str("open"),
            Self::Delayed(delay) => write!(f, "delayed by {delay:?}"),
            Self::Silent => f.write_str("half-open"),
            Self::Cut => f.write_str("cut"),
        }
    }
}

/// The state that all connections follow.
#[derive(Debug, Clone, Copy)]
struct LinkState {
    link: Link,
    /// Connections of an earlier generation are closed.
    generation: u64,
}

/// The proxy, which ends when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    state: watch::Sender<LinkState>,
    _task: JoinSet<()>,
}

impl Proxy {
    /// Starts a proxy to a server (`HOST:PORT`) on a free port of the loopback address.
    ///
    /// # Errors
    /// If no socket is available.
    pub async fn start(upstream: String) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let state = watch::Sender::new(LinkState { link: Link::Open, generation: 0 });
        let mut task = JoinSet::new();
        task.spawn(accept(listener, upstream, state.subscribe()));
        Ok(Self { address, state, _task: task })
    }

    /// Its port on the loopback address.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.address.port()
    }

    /// Decides what happens to the connections from now on.
    pub fn set(&self, link: Link) {
        self.state.send_modify(|state| state.link = link);
    }

    /// Closes the connections. New ones are accepted.
    pub fn drop_connections(&self) {
        self.state.send_modify(|state| state.generation += 1);
    }
}

async fn accept(listener: TcpListener, upstream: String, state: watch::Receiver<LinkState>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((client, _)) => {
                    connections.spawn(serve(client, upstream.clone(), state.clone()));
                }
                Err(_) => return,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve(client: TcpStream, upstream: String, state: watch::Receiver<LinkState>) {
    tokio::select! {
        biased;
        () = wait_closed(state.clone()) => {}
        // The end of a connection, also by an error, is no matter of the proxy.
        _ = forward(client, upstream, state) => {}
    }
}

/// Waits until the link is cut, or until the connections of this moment are closed.
async fn wait_closed(mut state: watch::Receiver<LinkState>) {
    let generation = state.borrow_and_update().generation;
    // It ends with the proxy too.
    drop(state.wait_for(|state| state.link == Link::Cut || state.generation != generation).await);
}

async fn forward(mut client: TcpStream, upstream: String, mut state: watch::Receiver<LinkState>) -> io::Result<()> {
    wait_passing(&mut state).await?;
    let mut server = TcpStream::connect(upstream).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let ((client_reader, client_writer), (server_reader, server_writer)) = (client.split(), server.split());
    tokio::select! {
        ended = pump(client_reader, server_writer, state.clone()) => ended,
        ended = pump(server_reader, client_writer, state.clone()) => ended,
    }
}

/// Forwards one direction until its end.
async fn pump(mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, mut state: watch::Receiver<LinkState>) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        wait_passing(&mut state).await?;
        let count = from.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        // The link may have become silent while nothing was sent.
        let delay = wait_passing(&mut state).await?;
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        to.write_all(buffer.get(..count).unwrap_or_default()).await?;
    }
}

/// Waits as long as the link is silent. Returns the delay of the next piece.
async fn wait_passing(state: &mut watch::Receiver<LinkState>) -> io::Result<Duration> {
    let passing = state.wait_for(|state| state.link != Link::Silent).await;
    match passing.map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?.link {
        Link::Delayed(delay) => Ok(delay),
        Link::Open | Link::Silent | Link::Cut => Ok(Duration::ZERO),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Far longer than a byte needs on the loopback address.
    const SILENCE: Duration = Duration::from_millis(100);

    /// A proxy with one connection: both ends of it.
    async fn connected() -> (Proxy, TcpListener, TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Proxy::start(listener.local_addr().unwrap().to_string()).await.unwrap();
        let client = TcpStream::connect(("127.0.0.1", proxy.port())).await.unwrap();
        let (server, _) = listener.accept().await.unwrap();
        (proxy, listener, client, server)
    }

    #[tokio::test]
    async fn a_silent_link_passes_nothing_until_it_is_open() {
        let (proxy, _listener, mut client, mut server) = connected().await;
        client.write_all(b"a").await.unwrap();
        assert_eq!(server.read_u8().await.unwrap(), b'a');
        proxy.set(Link::Silent);
        client.write_all(b"b").await.unwrap();
        assert!(tokio::time::timeout(SILENCE, server.read_u8()).await.is_err());
        proxy.set(Link::Delayed(Duration::from_millis(5)));
        assert_eq!(server.read_u8().await.unwrap(), b'b');
        server.write_all(b"c").await.unwrap();
        assert_eq!(client.read_u8().await.unwrap(), b'c');
    }

    #[tokio::test]
    async fn connections_are_closed_and_new_ones_pass_unless_the_link_is_cut() {
        let (proxy, listener, mut client, _server) = connected().await;
        proxy.drop_connections();
        assert!(client.read_u8().await.is_err());
        let mut client = TcpStream::connect(("127.0.0.1", proxy.port())).await.unwrap();
        let (mut server, _) = listener.accept().await.unwrap();
        server.write_all(b"d").await.unwrap();
        assert_eq!(client.read_u8().await.unwrap(), b'd');
        proxy.set(Link::Cut);
        assert!(client.read_u8().await.is_err());
        let mut client = TcpStream::connect(("127.0.0.1", proxy.port())).await.unwrap();
        assert!(client.read_u8().await.is_err());
    }
}
