//! A proxy in front of a server of a test. It closes its connections or suspends them as the test says; what passes on each
//! of them is decided by a function.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// The proxy, which ends when it is dropped.
pub(crate) struct FaultProxy {
    address: SocketAddr,
    switches: Arc<Switches>,
    _task: JoinSet<()>,
}

/// What a test changes for all connections.
#[derive(Default)]
struct Switches {
    close: watch::Sender<()>,
    is_silent: watch::Sender<bool>,
}

impl FaultProxy {
    /// Starts a proxy that serves each connection by this function, until the connection ends.
    pub(crate) async fn start<S, F>(serve: S) -> Self
    where
        S: Fn(TcpStream) -> F + Send + 'static,
        F: Future<Output = std::io::Result<()>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let switches = Arc::<Switches>::default();
        let mut task = JoinSet::new();
        task.spawn(accept(listener, serve, Arc::clone(&switches)));
        Self { address, switches, _task: task }
    }

    /// The address at which it listens.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Closes all connections.
    pub(crate) fn close_connections(&self) {
        self.switches.close.send_replace(());
    }

    /// Lets nothing pass any more, or lets it pass again. The connections remain open, and further ones are accepted.
    pub(crate) fn set_silent(&self, is_silent: bool) {
        self.switches.is_silent.send_replace(is_silent);
    }
}

async fn accept<S, F>(listener: TcpListener, serve: S, switches: Arc<Switches>)
where
    S: Fn(TcpStream) -> F + Send + 'static,
    F: Future<Output = std::io::Result<()>> + Send + 'static,
{
    let mut connections = FuturesUnordered::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (connection, _) = accepted.unwrap();
                let (closed, is_silent) = (switches.close.subscribe(), switches.is_silent.subscribe());
                connections.push(serve_as_switched(serve(connection), closed, is_silent));
            }
            Some(()) = connections.next(), if !connections.is_empty() => {}
        }
    }
}

/// Serves a connection until it ends or is closed, and not while the proxy is silent.
async fn serve_as_switched(
    serving: impl Future<Output = std::io::Result<()>>,
    mut closed: watch::Receiver<()>,
    mut is_silent: watch::Receiver<bool>,
) {
    let mut serving = pin!(serving);
    loop {
        let passes = !*is_silent.borrow_and_update();
        tokio::select! {
            // The end of a connection, also by an error, is no matter of the proxy.
            _ = &mut serving, if passes => return,
            _ = closed.changed() => return,
            changed = is_silent.changed() => if changed.is_err() { return },
        }
    }
}
