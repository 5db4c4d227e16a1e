//! A RunPod of tests, on a free port: the API of workers, the API of clients, and version 2 of the API for deployments. A script
//! may replace any response: by another status, a lie, silence, or a reset.

mod client_calls;
mod connection;
mod queue;
mod rest;
pub mod trace;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::Notify;

use self::connection::serve;
use self::queue::Queue;
use self::rest::Rest;

/// The endpoint, the worker and the key that the traces have.
const ENDPOINT: &str = "ep123";
const WORKER: &str = "pod-abc";
/// The key of workers and of clients. No output of the product may have it.
pub const KEY: &str = "fake-key-123";
/// How long a poll is open without a job.
const HOLD: Duration = Duration::from_secs(2);

/// What a request was, by its path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum CallKind {
    /// A poll for one job or for several.
    Take,
    /// A result, or progress.
    Done,
    /// A part of a stream.
    Stream,
    /// A heartbeat.
    Ping,
    /// A poll for cancellations.
    Stop,
    /// Any other request.
    Other,
}

/// A request as it was received.
#[derive(Debug, Clone)]
pub struct RecordedCall {
    /// Its number, from 0.
    pub number: usize,
    /// The number of its connection, from 0.
    pub connection: usize,
    /// What it was.
    pub kind: CallKind,
    /// The method.
    pub method: String,
    /// The path with its query.
    pub target: String,
    /// The headers, with names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// When it arrived.
    pub at: Instant,
}

impl RecordedCall {
    /// The value of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// The body as JSON; null if it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The job of a result or of a part of a stream.
    #[must_use]
    pub fn job(&self) -> Option<&str> {
        let path = self.target.split(['?', '&']).next()?;
        matches!(self.kind, CallKind::Done | CallKind::Stream).then(|| path.rsplit('/').next()).flatten()
    }
}

/// The reaction to a request.
#[derive(Debug, Clone)]
pub enum Reaction {
    /// A status with a JSON body; null is no body.
    Json(u16, Value),
    /// A status with a media type, a body, and further header lines, each with its line end.
    Text(u16, &'static str, String, &'static str),
    /// Silence for this time, and then another reaction.
    After(Duration, Box<Reaction>),
    /// The connection is reset.
    Reset,
    /// The connection ends after the half of the response.
    Half,
    /// What this RunPod does by itself.
    Default,
}

type Script = dyn Fn(&RecordedCall) -> Reaction + Send + Sync;

/// What all connections share.
struct State {
    script: Box<Script>,
    connections: AtomicUsize,
    calls: Mutex<Vec<RecordedCall>>,
    is_recording: bool,
    queue: Mutex<Queue>,
    rest: Mutex<Rest>,
    /// Something in the queue has changed.
    changed: Notify,
    hold: Duration,
}

/// A handle of the server, which ends with the runtime of its test.
#[derive(Clone)]
pub struct FakeRunPod {
    address: SocketAddr,
    state: Arc<State>,
}

impl FakeRunPod {
    /// Starts a RunPod without faults.
    ///
    /// # Errors
    /// If no socket is available.
    pub async fn start() -> anyhow::Result<Self> {
        Self::start_with(|_| Reaction::Default).await
    }

    /// Starts a RunPod whose reactions a script decides.
    ///
    /// # Errors
    /// If no socket is available.
    pub async fn start_with(
        script: impl Fn(&RecordedCall) -> Reaction + Send + Sync + 'static,
    ) -> anyhow::Result<Self> {
        Self::start_recording(script, true).await
    }

    /// As [`FakeRunPod::start_with`], without a record of the requests, for loads.
    ///
    /// # Errors
    /// If no socket is available.
    pub async fn start_for_load(
        script: impl Fn(&RecordedCall) -> Reaction + Send + Sync + 'static,
    ) -> anyhow::Result<Self> {
        Self::start_recording(script, false).await
    }

    #[expect(clippy::disallowed_methods, reason = "a test's server ends with the test's runtime")]
    async fn start_recording(
        script: impl Fn(&RecordedCall) -> Reaction + Send + Sync + 'static,
        is_recording: bool,
    ) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let state = Arc::new(State {
            script: Box::new(script),
            connections: AtomicUsize::new(0),
            calls: Mutex::default(),
            is_recording,
            queue: Mutex::default(),
            rest: Mutex::default(),
            changed: Notify::new(),
            hold: HOLD,
        });
        let shared = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&shared)));
            }
        });
        Ok(Self { address, state })
    }

    /// The address of all endpoints, without one.
    #[must_use]
    pub fn endpoints_url(&self) -> String {
        format!("http://{}/v2", self.address)
    }

    /// The address of the API for deployments.
    #[must_use]
    pub fn rest_url(&self) -> String {
        format!("http://{}/rest/v2", self.address)
    }

    /// The id of the endpoint.
    #[must_use]
    pub const fn endpoint(&self) -> &'static str {
        ENDPOINT
    }

    /// The environment of a worker, as RunPod sets it.
    #[must_use]
    pub fn environment(&self) -> BTreeMap<String, String> {
        let base = format!("http://{}/v2/{ENDPOINT}", self.address);
        let query = "?gpu=NVIDIA+A40";
        let variables = [
            ("RUNPOD_WEBHOOK_GET_JOB", format!("{base}/job-take/$ID{query}")),
            ("RUNPOD_WEBHOOK_POST_OUTPUT", format!("{base}/job-done/$RUNPOD_POD_ID/$ID{query}")),
            ("RUNPOD_WEBHOOK_POST_STREAM", format!("{base}/job-stream/$RUNPOD_POD_ID/$ID{query}")),
            ("RUNPOD_WEBHOOK_PING", format!("{base}/ping/$RUNPOD_POD_ID{query}")),
            ("RUNPOD_PING_INTERVAL", "1000".to_owned()),
            ("RUNPOD_AI_API_KEY", KEY.to_owned()),
            ("RUNPOD_POD_ID", WORKER.to_owned()),
            ("RUNPOD_ENDPOINT_ID", ENDPOINT.to_owned()),
        ];
        variables.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// Adds a job: an object with `id` and `input`, or whatever RunPod shall send instead.
    pub fn add_job(&self, job: Value) {
        self.queue().add(job);
        self.state.changed.notify_waiters();
    }

    /// Cancels a job, as its caller does.
    pub fn cancel(&self, job: &str) {
        self.queue().cancel(job);
        self.state.changed.notify_waiters();
    }

    /// The body of the result of a job.
    #[must_use]
    pub fn result(&self, job: &str) -> Option<Value> {
        self.queue().result(job)
    }

    /// The number of jobs with a result.
    #[must_use]
    pub fn results(&self) -> usize {
        self.queue().results()
    }

    /// The parts of the stream of a job, so far.
    #[must_use]
    pub fn parts(&self, job: &str) -> Vec<Value> {
        self.queue().parts(job)
    }

    /// All requests so far, in order.
    #[must_use]
    pub fn calls(&self) -> Vec<RecordedCall> {
        self.state.calls.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The requests of a kind so far, in order.
    #[must_use]
    pub fn calls_of(&self, kind: CallKind) -> Vec<RecordedCall> {
        self.calls().into_iter().filter(|call| call.kind == kind).collect()
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.state.queue()
    }
}

impl State {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn rest(&self) -> MutexGuard<'_, Rest> {
        self.rest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
