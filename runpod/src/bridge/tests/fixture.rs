//! A bridge on a free port, the transport that it sends to, and a client that writes the bytes of requests itself.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use greenroom_client::{
    Client, Events, Observation, Observations, Progress, ProgressStream, Transport, TransportError, Upload, Watch,
};
use greenroom_protocol::event::{EventNumber, RunEvent, RunEventKind, WatchedRun};
use greenroom_protocol::{
    ArtifactRef, BootTime, Cause, Clock, ContentHash, Envelope, Json, Metadata, Reply, RunId, Status, Timestamp,
    Values, WrittenVersion,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::bridge::{BridgeConfig, BridgeServer, Health, Host, TokenKey};

/// Bound of everything that a test waits for.
pub(super) const WAIT_MAX: Duration = Duration::from_secs(60);

/// A clock that stands still.
struct FixedClock;

impl Clock for FixedClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(1_700_000_000_000_000)
    }

    fn boot_time(&self) -> BootTime {
        BootTime::default()
    }
}

/// One opening of a watch: what it passes on, and how it ends.
pub(super) type WatchScript = Vec<Result<Observation, TransportError>>;

/// A watch that always has another text.
pub(super) struct Flood {
    pub(super) text: Observation,
    /// The texts that were read.
    pub(super) count: Arc<AtomicU64>,
    /// Dropped with the watch.
    pub(super) end: oneshot::Sender<()>,
}

impl Flood {
    fn into_stream(self) -> Observations {
        let Self { text, count, end } = self;
        let next = move || {
            assert!(!end.is_closed(), "the test waits for the end");
            count.fetch_add(1, Ordering::Relaxed);
            Ok(text.clone())
        };
        futures::stream::repeat_with(next).boxed()
    }
}

/// Records what is sent, and replies from a script; without one, by a success with the output `ok`.
#[derive(Default)]
pub(super) struct Script {
    pub(super) sent: Mutex<Vec<Envelope>>,
    pub(super) watched: Mutex<Vec<Watch>>,
    pub(super) uploaded: Mutex<Vec<Upload>>,
    pub(super) replies: Mutex<VecDeque<Result<Reply, TransportError>>>,
    pub(super) watches: Mutex<VecDeque<WatchScript>>,
    pub(super) progress: Mutex<Vec<Progress>>,
    /// The next watch.
    pub(super) flood: Mutex<Option<Flood>>,
    /// Watches do not end after their script.
    pub(super) is_endless: Mutex<bool>,
}

pub(super) fn reply(outputs: Values, error: Option<Cause>) -> Reply {
    let status = error.as_ref().map_or(Status::Success, Status::from_cause);
    let (id, metadata, protocol_version) = ("run_1".to_owned(), Metadata::default(), WrittenVersion::OWN);
    Reply { id, status, outputs, error, metadata, protocol_version }
}

pub(super) fn event(seq: u64, kind: RunEventKind) -> Observation {
    nth_event(seq, 0, kind)
}

/// An event that is not the first one of its journal entry.
pub(super) fn nth_event(seq: u64, n: u32, kind: RunEventKind) -> Observation {
    let (run, at) = (RunId::new("run_1").unwrap(), Timestamp::from_micros(0));
    Observation::Event(Box::new(RunEvent { run, seq, n, at, protocol_version: WrittenVersion::OWN, kind }))
}

#[async_trait]
impl Transport for Script {
    async fn send(&self, envelope: Envelope) -> Result<Reply, TransportError> {
        self.sent.lock().unwrap().push(envelope);
        let scripted = self.replies.lock().unwrap().pop_front();
        scripted.unwrap_or_else(|| Ok(reply(Values::from([("ok".to_owned(), Json::Bool(true))]), None)))
    }

    fn watch(&self, _: &WatchedRun, _: EventNumber) -> Events {
        futures::stream::empty().boxed()
    }

    fn stream(self: Arc<Self>, envelope: Envelope) -> ProgressStream {
        self.sent.lock().unwrap().push(envelope);
        let items = std::mem::take(&mut *self.progress.lock().unwrap());
        futures::stream::iter(items.into_iter().map(Ok)).boxed()
    }

    async fn upload(&self, upload: Upload) -> Result<ArtifactRef, TransportError> {
        let (hash, bytes) = (ContentHash::from_content(&upload.content), upload.content.len() as u64);
        let (media_type, name) = (upload.media_type.clone(), upload.name.clone());
        self.uploaded.lock().unwrap().push(upload);
        Ok(ArtifactRef { hash, bytes, media_type, name })
    }

    fn observe(&self, watch: &Watch) -> Observations {
        self.watched.lock().unwrap().push(watch.clone());
        if let Some(flood) = self.flood.lock().unwrap().take() {
            return flood.into_stream();
        }
        let script = self.watches.lock().unwrap().pop_front().unwrap_or_default();
        let is_endless = *self.is_endless.lock().unwrap();
        let rest = if is_endless { futures::stream::pending().boxed() } else { futures::stream::empty().boxed() };
        futures::stream::iter(script).chain(rest).boxed()
    }
}

/// What differs between bridges.
#[derive(Clone)]
pub(super) struct Settings {
    pub(super) has_identity: bool,
    pub(super) origins: Vec<String>,
    pub(super) health: Health,
}

impl Default for Settings {
    fn default() -> Self {
        Self { has_identity: true, origins: Vec::new(), health: Health::Ready }
    }
}

/// A running bridge.
pub(super) struct Fixture {
    pub(super) script: Arc<Script>,
    pub(super) addr: SocketAddr,
    pub(super) stop: Option<oneshot::Sender<()>>,
    pub(super) served: JoinSet<Result<(), String>>,
}

pub(super) fn config(addr: SocketAddr, settings: &Settings) -> BridgeConfig {
    BridgeConfig {
        addr,
        has_identity: settings.has_identity,
        cors_origins: settings.origins.clone(),
        connections_max: 64,
        upload_bytes_max: 1_024,
        tokens: TokenKey::derive("the secret of the cluster").unwrap(),
    }
}

pub(super) fn host(script: &Arc<Script>, settings: &Settings) -> Host {
    let health = settings.health.clone();
    Host {
        client: Client::new(script.clone()),
        clock: Arc::new(FixedClock),
        health: Arc::new(move || health.clone()),
        metrics: Some(Arc::new(|| "of_the_host 1\n".to_owned())),
    }
}

impl Fixture {
    pub(super) fn start() -> Self {
        Self::start_with(&Settings::default())
    }

    pub(super) fn start_with(settings: &Settings) -> Self {
        let script = Arc::new(Script::default());
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let server = BridgeServer::bind(config(addr, settings), host(&script, settings)).unwrap();
        let (addr, (stop, stopped)) = (server.local_addr(), oneshot::channel::<()>());
        let mut served = JoinSet::new();
        served.spawn(async move {
            server
                .serve(async {
                    let _ = stopped.await;
                })
                .await
        });
        Self { script, addr, stop: Some(stop), served }
    }

    pub(super) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.addr).await.unwrap()
    }

    /// Sends these bytes and reads until the bridge closes the connection.
    pub(super) async fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect().await;
        // The bridge may have refused the request, and closed the connection, before all of it is written.
        let _ = stream.write_all(bytes).await;
        let mut response = Vec::new();
        let _ = tokio::time::timeout(WAIT_MAX, stream.read_to_end(&mut response)).await.expect("a response in time");
        String::from_utf8_lossy(&response).into_owned()
    }

    /// Sends one request, and returns its status, its headers and its body.
    pub(super) async fn send(&self, line: &str, headers: &[&str], body: &str) -> Response {
        let mut request = format!("{line} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", self.addr);
        for header in headers {
            request.push_str(&format!("{header}\r\n"));
        }
        if !body.is_empty() {
            request.push_str(&format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len()));
        }
        Response::read(&self.raw(format!("{request}\r\n{body}").as_bytes()).await)
    }

    pub(super) async fn get(&self, path: &str) -> Response {
        self.send(&format!("GET {path}"), &[], "").await
    }

    pub(super) async fn post(&self, path: &str, body: &str) -> Response {
        self.send(&format!("POST {path}"), &[], body).await
    }
}

/// A response.
#[derive(Debug)]
pub(super) struct Response {
    pub(super) status: u16,
    pub(super) headers: String,
    pub(super) body: String,
}

impl Response {
    fn read(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default();
        let headers = head.to_ascii_lowercase();
        let is_chunked = headers.contains("transfer-encoding: chunked");
        let body = if is_chunked { joined_chunks(body) } else { body.to_owned() };
        Self { status, headers, body }
    }

    pub(super) fn json(&self) -> Json {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    pub(super) fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }

    pub(super) fn code_or_empty(&self) -> String {
        let document: Option<Json> = serde_json::from_str(&self.body).ok();
        document.and_then(|document| document["code"].as_str().map(str::to_owned)).unwrap_or_default()
    }

    pub(super) fn has_header(&self, header: &str) -> bool {
        self.headers.lines().any(|line| line == header)
    }
}

/// The content of a body in chunks.
fn joined_chunks(mut rest: &str) -> String {
    let mut content = String::new();
    while let Some((length, after)) = rest.split_once("\r\n") {
        let length = usize::from_str_radix(length, 16).unwrap_or_default();
        let Some(chunk) = after.get(..length).filter(|chunk| !chunk.is_empty()) else { break };
        content.push_str(chunk);
        rest = after.get(length + 2..).unwrap_or_default();
    }
    content
}
