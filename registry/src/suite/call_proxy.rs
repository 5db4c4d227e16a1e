//! A proxy in front of a database that lets calls fail: before, within and after their execution, late or without a word.
//! Of a protocol it knows only where requests and replies end, and what a request calls.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::fault_proxy::FaultProxy;
use postgres_protocol::PostgresProtocol;
use redis_protocol::RedisProtocol;

mod postgres_protocol;
mod redis_protocol;

/// How long a call is delayed.
const DELAY: Duration = Duration::from_millis(30);

/// What happens to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CallFault {
    /// It is executed, and its reply arrives.
    None,
    /// The connection is closed instead, so the server does not receive it.
    CutBefore,
    /// The connection is closed within it.
    CutWithin,
    /// The connection is closed as soon as the server has received it, and while it may be executed.
    CutUnderWay,
    /// The connection is closed when the server has replied, so the client does not receive the reply.
    CutAfter,
    /// The connection is closed within the reply.
    CutReply,
    /// The connection of the client is closed. The server receives the call after it has replied to a later one.
    Overtaken,
    /// It is executed later, and its reply arrives.
    Delay,
    /// The server does not receive it. The connection remains open, and nothing passes any more.
    Swallow,
    /// It is executed. The connection remains open, and nothing passes any more.
    Silence,
}

impl CallFault {
    /// Those that end the connection of the client.
    pub(crate) const CUTS: [Self; 6] =
        [Self::CutBefore, Self::CutWithin, Self::CutUnderWay, Self::CutAfter, Self::CutReply, Self::Overtaken];

    /// These faults, each followed by calls that pass, because a client repeats what has failed. Where they begin depends
    /// on the test, and on nothing else.
    pub(crate) fn spread(faults: &[Self]) -> Vec<Self> {
        let mut spread: Vec<_> = faults.iter().flat_map(|fault| [Self::None, *fault, Self::None]).collect();
        let name = std::thread::current().name().unwrap_or_default().to_owned();
        let offset = name.bytes().map(usize::from).sum::<usize>() % spread.len();
        spread.rotate_left(offset);
        spread
    }
}

/// A request of a client.
struct Request {
    length: usize,
    /// What it calls, if it calls anything.
    call: Option<String>,
}

/// What the proxy knows of a protocol, for one connection.
trait Protocol: Send {
    /// The first of the requests that were received, once it is complete.
    fn request(&mut self, received: &[u8]) -> Option<Request>;
    /// The length of the first of the replies that were received, once it is complete.
    fn reply_length(&self, received: &[u8]) -> Option<usize>;
}

/// The calls that fail.
#[derive(Default)]
struct Plan {
    targets: Vec<&'static str>,
    faults: VecDeque<CallFault>,
    repeats: bool,
}

/// The calls of all connections.
#[derive(Default)]
struct Calls {
    plan: Mutex<Plan>,
    failed: AtomicUsize,
    /// Planned calls that were replied to.
    replied: watch::Sender<usize>,
}

impl Calls {
    /// The fault of a call; `None` if it is none of those that fail, and if all of these have had their faults.
    fn next_fault(&self, call: &str) -> Option<CallFault> {
        let mut plan = self.plan.lock().unwrap();
        if !plan.targets.iter().any(|target| call.contains(target)) {
            return None;
        }
        let fault = plan.faults.pop_front()?;
        if plan.repeats {
            plan.faults.push_back(fault);
        }
        if fault != CallFault::None {
            self.failed.fetch_add(1, Ordering::Relaxed);
        }
        Some(fault)
    }
}

/// The proxy, which ends when it is dropped.
pub(crate) struct CallProxy {
    proxy: FaultProxy,
    calls: Arc<Calls>,
}

impl CallProxy {
    /// Starts a proxy to a PostgreSQL at this address (`HOST:PORT`), without faults. A call is a statement.
    pub(crate) async fn postgres(upstream: String) -> Self {
        Self::start(upstream, || Box::new(PostgresProtocol::default())).await
    }

    /// Starts a proxy to a Redis at this address, without faults. A call is a command.
    pub(crate) async fn redis(upstream: String) -> Self {
        Self::start(upstream, || Box::new(RedisProtocol)).await
    }

    async fn start(upstream: String, protocol: fn() -> Box<dyn Protocol>) -> Self {
        let calls = Arc::<Calls>::default();
        let of_connections = Arc::clone(&calls);
        let proxy = FaultProxy::start(move |client| {
            let (upstream, calls, protocol) = (upstream.clone(), Arc::clone(&of_connections), protocol());
            async move {
                let server = TcpStream::connect(upstream).await?;
                CallConnection { client, server, protocol, calls }.serve().await
            }
        });
        Self { proxy: proxy.await, calls }
    }

    /// The address at which it listens.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.proxy.address()
    }

    /// Lets calls fail whose text contains one of these: the next ones with these faults, and later ones without.
    pub(crate) fn fail(&self, targets: &[&'static str], faults: &[CallFault]) {
        self.set_plan(targets, faults, false);
    }

    /// As [`CallProxy::fail`], but the faults are repeated without an end.
    pub(crate) fn fail_repeatedly(&self, targets: &[&'static str], faults: &[CallFault]) {
        self.set_plan(targets, faults, true);
    }

    fn set_plan(&self, targets: &[&'static str], faults: &[CallFault], repeats: bool) {
        let faults = faults.iter().copied().collect();
        *self.calls.plan.lock().unwrap() = Plan { targets: targets.to_vec(), faults, repeats };
    }

    /// The number of calls that had a fault.
    pub(crate) fn failed(&self) -> usize {
        self.calls.failed.load(Ordering::Relaxed)
    }

    /// The number of calls among those that fail that had no fault, and were replied to.
    pub(crate) fn replied(&self) -> usize {
        *self.calls.replied.borrow()
    }

    /// Lets nothing pass any more, or lets it pass again.
    pub(crate) fn set_silent(&self, is_silent: bool) {
        self.proxy.set_silent(is_silent);
    }
}

/// A connection of a client, and that to the server.
struct CallConnection {
    client: TcpStream,
    server: TcpStream,
    protocol: Box<dyn Protocol>,
    calls: Arc<Calls>,
}

impl CallConnection {
    async fn serve(mut self) -> std::io::Result<()> {
        let (mut requests, mut replies) = (Vec::new(), Vec::new());
        loop {
            tokio::select! {
                received = self.client.read_buf(&mut requests) => {
                    if received? == 0 {
                        return Ok(());
                    }
                    while let Some(Request { length, call }) = self.protocol.request(&requests) {
                        let request: Vec<u8> = requests.drain(..length).collect();
                        match call.and_then(|call| self.calls.next_fault(&call)) {
                            None => self.server.write_all(&request).await?,
                            Some(CallFault::None) => self.pass(&request).await?,
                            Some(CallFault::Delay) => {
                                tokio::time::sleep(DELAY).await;
                                self.pass(&request).await?;
                            }
                            Some(fault) => return self.fail(fault, &request).await,
                        }
                    }
                }
                received = self.server.read_buf(&mut replies) => {
                    if received? == 0 {
                        return Ok(());
                    }
                    self.client.write_all(&replies).await?;
                    replies.clear();
                }
            }
        }
    }

    /// Passes a call and its reply.
    async fn pass(&mut self, request: &[u8]) -> std::io::Result<()> {
        let reply = self.execute(request).await?;
        self.client.write_all(&reply).await?;
        self.calls.replied.send_modify(|count| *count += 1);
        Ok(())
    }

    /// Sends a call to the server, and receives its reply, as far as the server sends it.
    async fn execute(&mut self, request: &[u8]) -> std::io::Result<Vec<u8>> {
        self.server.write_all(request).await?;
        let mut reply = Vec::new();
        while self.protocol.reply_length(&reply).is_none() && self.server.read_buf(&mut reply).await? > 0 {}
        Ok(reply)
    }

    /// Ends the connection with a call that fails.
    async fn fail(mut self, fault: CallFault, request: &[u8]) -> std::io::Result<()> {
        match fault {
            CallFault::None | CallFault::Delay | CallFault::CutBefore => Ok(()),
            CallFault::CutWithin => self.server.write_all(&request[..request.len() / 2]).await,
            CallFault::CutUnderWay => self.server.write_all(request).await,
            CallFault::CutAfter => self.execute(request).await.map(drop),
            CallFault::CutReply => {
                let reply = self.execute(request).await?;
                self.client.write_all(&reply[..reply.len() / 2]).await
            }
            CallFault::Overtaken => {
                let mut replied = self.calls.replied.subscribe();
                self.client.shutdown().await?;
                // The sender lives as long as this connection.
                let _ = replied.changed().await;
                self.execute(request).await.map(drop)
            }
            CallFault::Swallow => std::future::pending().await,
            CallFault::Silence => {
                self.execute(request).await?;
                std::future::pending().await
            }
        }
    }
}
