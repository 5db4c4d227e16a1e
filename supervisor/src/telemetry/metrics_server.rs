//! Serves `/metrics` over HTTP, as a service that can be started again: a failed listener is replaced by a new one
//! at the same address.

use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};

use super::metrics::Metrics;

/// The path of the page.
const PATH: &str = "/metrics";
/// The text format of Prometheus.
const TEXT_FORMAT: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
/// Connections that are served concurrently; the operating system queues the others.
const CONNECTIONS_MAX: usize = 64;
/// Longest time of a connection, which serves one request.
const CONNECTION_TIME_MAX: Duration = Duration::from_secs(10);
/// Delay after a connection could not be accepted.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(100);
/// Failures to accept, one after the other, after which the listener counts as failed.
const ACCEPT_FAILURES_MAX: u32 = 10;

/// Serves the metrics of one pod.
pub struct MetricsServer {
    addr: SocketAddr,
    /// A listener that is bound and not in use.
    listener: Mutex<Option<TcpListener>>,
}

impl MetricsServer {
    /// Binds the address.
    ///
    /// # Errors
    /// Those of the operating system for the address.
    pub fn bind(addr: SocketAddr) -> Result<Self, String> {
        let listener = bind(addr)?;
        // Port 0 is a free one, which a restart must bind again.
        let addr = listener.local_addr().unwrap_or(addr);
        Ok(Self { addr, listener: Mutex::new(Some(listener)) })
    }

    /// Serves `metrics` until it is dropped.
    ///
    /// # Errors
    /// If the listener has failed; the next call binds the address again.
    pub async fn serve(&self, metrics: &Metrics) -> Result<(), String> {
        let bound = self.listener.lock().unwrap_or_else(PoisonError::into_inner).take();
        let listener = bound.map_or_else(|| bind(self.addr), Ok)?;
        let mut connections = FuturesUnordered::new();
        let mut failures = 0;
        loop {
            tokio::select! {
                accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => match accepted {
                    Ok((stream, _)) => {
                        failures = 0;
                        // A panic ends its own connection, and no other.
                        connections.push(AssertUnwindSafe(serve_connection(stream, metrics)).catch_unwind());
                    }
                    Err(error) if failures < ACCEPT_FAILURES_MAX => {
                        failures += 1;
                        tracing::warn!(error.message = %error, "cannot accept connection for metrics");
                        tokio::time::sleep(ACCEPT_RETRY_DELAY).await;
                    }
                    Err(error) => return Err(format!("metrics at {}: {error}", self.addr)),
                },
                Some(served) = connections.next(), if !connections.is_empty() => {
                    if served.is_err() {
                        tracing::error!("connection for metrics panicked");
                    }
                }
            }
        }
    }
}

fn bind(addr: SocketAddr) -> Result<TcpListener, String> {
    let listener = std::net::TcpListener::bind(addr).and_then(|listener| {
        listener.set_nonblocking(true)?;
        TcpListener::from_std(listener)
    });
    listener.map_err(|error| format!("metrics at {addr}: {error}"))
}

async fn serve_connection(stream: TcpStream, metrics: &Metrics) {
    let service = service_fn(|request: Request<Incoming>| {
        let response = respond(request.method(), request.uri().path(), metrics);
        async move { Ok::<_, std::convert::Infallible>(response) }
    });
    let connection = http1::Builder::new().keep_alive(false).serve_connection(TokioIo::new(stream), service);
    match tokio::time::timeout(CONNECTION_TIME_MAX, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(error.message = %error, "connection for metrics failed"),
        Err(_elapsed) => tracing::debug!("connection for metrics exceeded its time limit"),
    }
}

fn respond(method: &Method, path: &str, metrics: &Metrics) -> Response<Full<Bytes>> {
    let text = |status: StatusCode, text: String| {
        let mut response = Response::new(Full::new(Bytes::from(text)));
        *response.status_mut() = status;
        response.headers_mut().insert(CONTENT_TYPE, TEXT_FORMAT);
        response
    };
    match *method {
        _ if path != PATH => text(StatusCode::NOT_FOUND, format!("the metrics are at {PATH}\n")),
        Method::GET | Method::HEAD => text(StatusCode::OK, metrics.render()),
        _ => {
            let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "send GET\n".to_owned());
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            response
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, UdpSocket};
    use std::os::fd::OwnedFd;
    use std::sync::Arc;

    use greenroom_actors::supervision::ChildKind;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::services::{Phase, Service, Services};

    const LOCAL: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
    const WAIT_MAX: Duration = Duration::from_secs(20);

    async fn request(addr: SocketAddr, line: &str) -> std::io::Result<String> {
        let mut stream = TcpStream::connect(addr).await?;
        stream.write_all(format!("{line} HTTP/1.1\r\nHost: {addr}\r\n\r\n").as_bytes()).await?;
        let mut response = String::new();
        stream.read_to_string(&mut response).await?;
        Ok(response)
    }

    /// A listener whose every accept fails: its socket is none of TCP. A datagram makes it ready.
    fn failed_listener() -> TcpListener {
        let socket = UdpSocket::bind(LOCAL).unwrap();
        socket.send_to(b"x", socket.local_addr().unwrap()).unwrap();
        socket.set_nonblocking(true).unwrap();
        TcpListener::from_std(std::net::TcpListener::from(OwnedFd::from(socket))).unwrap()
    }

    fn start(server: MetricsServer) -> (Services, Arc<Metrics>) {
        let (server, metrics) = (Arc::new(server), Arc::new(Metrics::new().unwrap()));
        let mut services = Services::new();
        let served = metrics.clone();
        services.start(Service::droppable("metrics", ChildKind::Metrics, move || {
            let (server, metrics) = (server.clone(), served.clone());
            async move { server.serve(&metrics).await }
        }));
        (services, metrics)
    }

    #[tokio::test]
    async fn the_page_is_served_at_its_path_only() {
        let server = MetricsServer::bind(LOCAL).unwrap();
        let addr = server.addr;
        let (mut services, metrics) = start(server);
        metrics.set_quarantined(3);
        let page = request(addr, "GET /metrics").await.unwrap();
        assert!(page.starts_with("HTTP/1.1 200 OK\r\n") && page.contains("\ndefinitions_quarantined 3\n"), "{page}");
        assert!(request(addr, "HEAD /metrics").await.unwrap().starts_with("HTTP/1.1 200 OK\r\n"));
        assert!(request(addr, "GET /other").await.unwrap().starts_with("HTTP/1.1 404 "));
        assert!(request(addr, "DELETE /metrics").await.unwrap().starts_with("HTTP/1.1 405 "));
        assert!(MetricsServer::bind(addr).err().unwrap().contains(&addr.to_string()), "the address is in use");
        services.stop(Phase::Ingress, WAIT_MAX).await;
        assert!(request(addr, "GET /metrics").await.is_err(), "a stopped service has closed its listener");
    }

    #[tokio::test]
    async fn a_listener_that_fails_is_replaced_by_the_row_of_the_table() {
        let server = MetricsServer::bind(LOCAL).unwrap();
        let addr = server.addr;
        *server.listener.lock().unwrap() = Some(failed_listener());
        let (_services, _metrics) = start(server);
        let served = async {
            loop {
                if let Ok(page) = request(addr, "GET /metrics").await {
                    return page;
                }
                tokio::task::yield_now().await;
            }
        };
        let page = tokio::time::timeout(WAIT_MAX, served).await.unwrap();
        assert!(page.contains("# TYPE error_rate gauge"), "{page}");
    }
}
