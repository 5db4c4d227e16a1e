//! The server: it listens, serves each connection over HTTP/1.1 or HTTP/2 within bounds, and drains.

use std::error::Error;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use greenroom_protocol::{Cause, ErrorCode};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::guarded_stream::{GuardedStream, Version};
use super::open_streams::CHECK_INTERVAL;
use super::openapi;
use super::router::router;
use super::state::{Bridge, BridgeConfig, Host};
use super::table::ROUTES;

/// How long a peer may take for the headers of a request, and how long a connection may be idle.
const HEADERS_TIME_MAX: Duration = Duration::from_secs(30);
/// Headers of one request over HTTP/1.1.
const HEADERS_MAX: usize = 64;
/// Bytes of the headers of one request.
const HEADERS_BYTES_MAX: usize = 64 * 1024;
/// Requests under way on one connection over HTTP/2.
const STREAMS_MAX: u32 = 256;
/// Bytes of a stream over HTTP/2 that its reader has not read.
const STREAM_BYTES_MAX: usize = 64 * 1024;
/// How often a quiet connection over HTTP/2 is probed, and how long its peer may take to reply.
const PROBE_INTERVAL: Duration = Duration::from_secs(30);
const PROBE_TIMEOUT: Duration = Duration::from_secs(20);
/// Delay after a connection could not be accepted.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(100);
/// Failures to accept, one after the other, after which the listener counts as failed.
const ACCEPT_FAILURES_MAX: u32 = 10;

/// A bridge that listens.
pub struct BridgeServer {
    bridge: Arc<Bridge>,
    router: Router,
    addr: SocketAddr,
    connections_max: usize,
    /// A listener that is bound and not in use.
    listener: Mutex<Option<TcpListener>>,
}

impl BridgeServer {
    /// Binds the address.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidConfiguration`] if callers would not be authenticated at an address that other machines
    /// reach, if the address is in use or not one of this machine, or if an origin is none.
    pub fn bind(config: BridgeConfig, host: Host) -> Result<Self, Cause> {
        let (addr, connections_max) = (config.addr, config.connections_max);
        if !config.has_identity && !addr.ip().is_loopback() {
            let message = format!(
                "http.addr: {addr} (GREENROOM_HTTP_ADDR) is reached from other machines, and callers have no identity: \
                 configure identities (keys of users, or an issuer), set GREENROOM_HTTP_DEVELOPMENT_USER=off to require \
                 the keys of `greenroom keys create`, or listen on 127.0.0.1"
            );
            return Err(Cause::new(ErrorCode::InvalidConfiguration, message));
        }
        let listener = bind(addr)?;
        // Port 0 is a free one, which a restart must bind again.
        let addr = listener.local_addr().unwrap_or(addr);
        let paths: Vec<&'static str> = ROUTES.iter().map(|route| route.path).collect();
        let document = Bytes::from(openapi::document(ROUTES).to_string());
        let bridge = Arc::new(Bridge::new(config, host, document, &paths));
        let router = router(&bridge)?;
        Ok(Self { bridge, router, addr, connections_max, listener: Mutex::new(Some(listener)) })
    }

    /// The address on which it listens.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    /// Serves until `stopped`, and then until every request under way has its response; the streams of runs end at once.
    /// The caller bounds the time of that.
    ///
    /// # Errors
    /// If the listener has failed; the next call binds the address again.
    pub async fn serve(&self, stopped: impl Future<Output = ()> + Send) -> Result<(), String> {
        let bound = self.listener.lock().unwrap_or_else(PoisonError::into_inner).take();
        let listener = bound.map_or_else(|| bind(self.addr).map_err(|cause| cause.message), Ok)?;
        let capacity = Arc::new(Semaphore::new(self.connections_max.min(Semaphore::MAX_PERMITS)));
        let mut connections = JoinSet::new();
        let mut stopped = pin!(stopped);
        let mut failures = 0;
        let mut checks = interval(CHECK_INTERVAL);
        checks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stopped.as_mut() => break,
                _ = checks.tick() => self.bridge.end_stalled_streams(),
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        failures = 0;
                        self.start(&mut connections, &capacity, stream);
                    }
                    Err(error) if failures < ACCEPT_FAILURES_MAX => {
                        failures += 1;
                        tracing::warn!(error.message = %error, "cannot accept connection for http");
                        sleep(ACCEPT_RETRY_DELAY).await;
                    }
                    Err(error) => return Err(format!("http at {}: {error}", self.addr)),
                },
                Some(served) = connections.join_next(), if !connections.is_empty() => {
                    if served.is_err() {
                        tracing::error!("connection for http panicked");
                    }
                }
            }
        }
        drop(listener);
        self.bridge.drain();
        while connections.join_next().await.is_some() {}
        Ok(())
    }

    /// Serves a connection as a task of its own. One that is too many is closed.
    fn start(&self, connections: &mut JoinSet<()>, capacity: &Arc<Semaphore>, stream: TcpStream) {
        match Arc::clone(capacity).try_acquire_owned() {
            Ok(permit) => {
                let (bridge, router) = (Arc::clone(&self.bridge), self.router.clone());
                connections.spawn(serve_connection(bridge, router, stream, permit));
            }
            Err(_) => self.bridge.counters.count_refused_connection(),
        }
    }
}

fn bind(addr: SocketAddr) -> Result<TcpListener, Cause> {
    let listener = std::net::TcpListener::bind(addr).and_then(|listener| {
        listener.set_nonblocking(true)?;
        TcpListener::from_std(listener)
    });
    listener.map_err(|error| {
        let is_taken = error.kind() == std::io::ErrorKind::AddrInUse;
        let hint =
            if is_taken { ": another process listens there; set GREENROOM_HTTP_ADDR to another port" } else { "" };
        Cause::new(ErrorCode::InvalidConfiguration, format!("http.addr: cannot listen on {addr}: {error}{hint}"))
    })
}

async fn serve_connection(bridge: Arc<Bridge>, router: Router, stream: TcpStream, permit: OwnedSemaphorePermit) {
    let ticket = bridge.counters.open_connection();
    // Without it, an event may wait for the acknowledgement of the one before.
    let _ = stream.set_nodelay(true);
    let mut draining = bridge.watch_draining();
    if let Err(error) = serve_requests(&bridge, router, stream, &mut draining).await {
        tracing::debug!(error.message = %error, "connection for http ended");
    }
    drop(ticket);
    drop(permit);
}

/// Serves the requests of a connection, until its peer closes it, or the bridge drains.
async fn serve_requests(
    bridge: &Bridge,
    router: Router,
    stream: TcpStream,
    draining: &mut watch::Receiver<bool>,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    let (version, stream) = tokio::select! {
        opened = GuardedStream::open(stream, bridge.counters.stalled_connections()) => opened?,
        () = wait_draining(draining) => return Ok(()),
    };
    let builder = builder(version);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router)));
    tokio::select! {
        served = connection.as_mut() => served,
        () = wait_draining(draining) => {
            connection.as_mut().graceful_shutdown();
            connection.as_mut().await
        }
    }
}

async fn wait_draining(draining: &mut watch::Receiver<bool>) {
    // A bridge that is dropped drains, too.
    let _ = draining.wait_for(|is_draining| *is_draining).await;
}

fn builder(version: Version) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS_TIME_MAX)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEADERS_BYTES_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PROBE_INTERVAL)
        .keep_alive_timeout(PROBE_TIMEOUT)
        .max_concurrent_streams(STREAMS_MAX)
        .max_send_buf_size(STREAM_BYTES_MAX)
        .max_header_list_size(u32::try_from(HEADERS_BYTES_MAX).unwrap_or(u32::MAX));
    match version {
        Version::Http1 => builder.http1_only(),
        Version::Http2 => builder.http2_only(),
    }
}
