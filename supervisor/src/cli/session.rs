//! Where the requests of a command are sent: to the owner of the data directory over its control socket,
//! or, if the directory has no owner, to a pod in this process that shuts down with the command. If the
//! owner shuts down before it accepts a request, the request goes to the next owner, or this process becomes it.

pub mod owner;
mod target;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use greenroom_client::Client;
use greenroom_protocol::event::{EventNumber, WatchedRun};
use greenroom_protocol::limits::REQUEST_TIMEOUT_MAX;
use greenroom_protocol::request::Maintenance;
use greenroom_protocol::{ArtifactRef, Cause, Clock, Deadline, ErrorCode, Json, Reply, Request, RunId};
use greenroom_registry::artifacts::ArtifactSource;

use self::target::{Route, SessionTransport, Target};
use crate::clock::WallClock;
use crate::config::{Config, SettingsHash};
use crate::lifecycle::ProcessSignal;

/// Longest wait for the status of the run of an interrupted command.
const INTERRUPTED_RUN_WAIT: Duration = Duration::from_secs(2);

/// Content that is read once, by whichever attempt begins to read it.
fn take_when_read(content: Arc<Mutex<Option<ArtifactSource<'static>>>>) -> ArtifactSource<'static> {
    let taken = async move {
        let content = content.lock().unwrap_or_else(PoisonError::into_inner).take();
        content.ok_or_else(|| Cause::new(ErrorCode::Interrupted, "the pod ended while the file was uploaded"))
    };
    stream::once(taken).try_flatten().boxed()
}

/// The connection of one command to a pod.
pub struct Session {
    route: Arc<Route>,
    /// The run that the command waits for.
    run: Mutex<Option<WatchedRun>>,
}

impl Session {
    /// Starts a pod if the data directory has no owner, or connects to its owner. A pod of a command that repairs starts
    /// although it cannot load what was applied.
    ///
    /// # Errors
    /// Those of assembling the pod; [`greenroom_protocol::ErrorCode::DataDirectoryInUse`] if the owner neither
    /// accepts requests nor ends.
    pub async fn open(config: Config, is_repair: bool) -> Result<Self, Cause> {
        Ok(Self { route: Arc::new(Route::open(config, is_repair).await?), run: Mutex::default() })
    }

    /// A client that authenticates as the configured user.
    #[must_use]
    pub fn client(&self) -> Client {
        Client::new(Arc::new(SessionTransport(Arc::clone(&self.route))))
    }

    /// The configuration of this command.
    #[must_use]
    pub fn config(&self) -> &Config {
        self.route.config()
    }

    /// True if the pod shuts down with this command.
    #[must_use]
    pub fn is_in_process(&self) -> bool {
        self.route.is_in_process()
    }

    /// The hashes of the settings of a pod in another process, if it states them.
    #[must_use]
    pub fn owner_settings(&self) -> Option<SettingsHash> {
        self.route.owner_settings()
    }

    /// Uploads a file. Its content is read by the attempt that a pod accepts, and by no other.
    ///
    /// # Errors
    /// Those of the content and of the store.
    pub async fn store_artifact(
        &self,
        content: ArtifactSource<'static>,
        media_type: &str,
        name: &str,
    ) -> Result<ArtifactRef, Cause> {
        let (content, user) = (Arc::new(Mutex::new(Some(content))), self.config().user.clone());
        let (media_type, name) = (media_type.to_owned(), name.to_owned());
        let store = |target: Target| {
            let content = take_when_read(Arc::clone(&content));
            let (user, media_type, name) = (user.clone(), media_type.clone(), name.clone());
            let storing = async move {
                match target {
                    Target::InProcess(ingress) => {
                        ingress.store_artifact_stream(&user, content, &media_type, &name).await
                    }
                    Target::Remote(socket) => socket.store_artifact(content, &media_type, &name).await,
                }
            };
            storing.boxed()
        };
        self.route.send(store, |cause: &Cause| cause.code == ErrorCode::ShuttingDown).await
    }

    /// Requests maintenance and returns its report.
    ///
    /// # Errors
    /// The cause of a denied or failed request; those of the transport.
    pub async fn maintain(&self, maintenance: Maintenance) -> Result<Json, Cause> {
        let deadline = Deadline::after(WallClock.now(), REQUEST_TIMEOUT_MAX);
        let client = self.client();
        let mut reply = client.request(Request::Maintain(maintenance)).deadline(deadline).send().await?;
        match reply.error {
            Some(cause) => Err(cause),
            None => Ok(reply.outputs.remove("report").unwrap_or_default()),
        }
    }

    /// Remembers the run that the command waits for, so that an interruption names it.
    pub fn set_run(&self, run: WatchedRun) {
        *self.run.lock().unwrap_or_else(PoisonError::into_inner) = Some(run);
    }

    /// The cause of a command that a signal has interrupted. It names the run that the command waited for, and
    /// how to continue with it.
    pub async fn interruption(&self, signal: ProcessSignal) -> Cause {
        let cause = |message: String| Cause::new(ErrorCode::Interrupted, message);
        let Some(run) = self.known_run().await else {
            return cause(format!("the command was interrupted by {signal}"));
        };
        let message = match self.run_status(&run).await.as_deref() {
            None => format!("the command was interrupted by {signal}; see `greenroom runs show {run}`"),
            Some("running" | "queued" | "waiting_approval" | "compensating") => match self.route.owner() {
                None => {
                    format!("the run {run} was interrupted by {signal}; resume it with `greenroom runs resume {run}`")
                }
                Some(owner) => format!(
                    "the command was interrupted by {signal}; the run {run} continues in process {owner}; \
                     watch it with `greenroom runs watch {run}`, or end it with `greenroom runs cancel {run}`"
                ),
            },
            Some(status) => format!("the command was interrupted by {signal}; the run {run} has ended as {status}"),
        };
        cause(message).with_details(serde_json::json!({ "run_id": run }))
    }

    /// The run that the command waits for; `None` if it has none, or has not started one yet.
    async fn known_run(&self) -> Option<RunId> {
        let watched = self.run.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match watched? {
            WatchedRun::Id(run) => Some(run),
            WatchedRun::StartedBy(request) => {
                let mut events = self.client().watch_started(&request, EventNumber::START);
                let first = tokio::time::timeout(INTERRUPTED_RUN_WAIT, events.next()).await;
                Some(first.ok()??.ok()?.run)
            }
        }
    }

    /// The recorded status of a run.
    async fn run_status(&self, run: &RunId) -> Option<String> {
        let client = self.client();
        let queried = tokio::time::timeout(INTERRUPTED_RUN_WAIT, client.run_record(run.clone())).await;
        let reply: Reply = queried.ok()?.ok()?;
        Some(reply.outputs.get("run")?.get("status")?.as_str()?.to_owned())
    }

    /// Drains and shuts down the pod, if it is in this process.
    pub async fn close(self) {
        self.route.close().await;
    }
}
