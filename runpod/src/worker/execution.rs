//! The handler of a Greenroom worker: a job becomes a request, and the reply to it the result. The id of the job is the
//! idempotency key, so that a job which RunPod delivers again is not executed again, on whatever worker.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use greenroom_client::{Client, Progress, ProgressStream, TransportError, require_success};
use greenroom_protocol::{Cause, ErrorCode, IdempotencyKey, Json, Reply, Request, RunId};
use serde_json::json;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use self::claim_check::fit_outputs;
use self::input::JobInput;
use super::handler::{JobContext, JobHandler};
use super::job::Job;
use super::lease::{LeaseWork, run_lease};
use super::result::{JobFailure, JobResult};
use super::text_parts::TextParts;
use crate::cost::{ComputePrice, ExecutionCost};

pub use super::startup::Startup;

mod claim_check;
mod input;

/// How long an execution may take without another setting; RunPod ends a job after the same time.
pub const EXECUTION_TIMEOUT_DEFAULT: Duration = Duration::from_secs(600);
/// How long the cancellation of a run may take.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(1);

/// Executes jobs by a client of Greenroom.
pub struct ExecutionHandler {
    startup: watch::Receiver<Startup>,
    lease_work: Arc<dyn LeaseWork>,
    price: Option<ComputePrice>,
    timeout: Duration,
}

impl ExecutionHandler {
    /// A handler for a host that may still start.
    #[must_use]
    pub fn new(startup: watch::Receiver<Startup>, lease_work: Arc<dyn LeaseWork>) -> Self {
        Self { startup, lease_work, price: None, timeout: EXECUTION_TIMEOUT_DEFAULT }
    }

    /// Reports what the time of the worker costs at this price.
    #[must_use]
    pub const fn with_price(mut self, price: Option<ComputePrice>) -> Self {
        self.price = price;
        self
    }

    /// Ends an execution after this time.
    #[must_use]
    pub const fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The client, as soon as the host is ready.
    async fn client(&self) -> Result<Client, Cause> {
        let mut startup = self.startup.clone();
        let startup = startup.wait_for(|startup| !matches!(startup, Startup::Loading)).await;
        match startup.as_deref() {
            Ok(Startup::Ready(client)) => Ok(client.clone()),
            Ok(Startup::Failed(cause)) => Err(cause.clone()),
            Ok(Startup::Loading) | Err(_) => {
                Err(Cause::new(ErrorCode::ShuttingDown, "the host of the worker has ended"))
            }
        }
    }

    async fn run(&self, job: &Job, input: input::ExecutionInput, context: &JobContext) -> Result<JobResult, Cause> {
        let streams = input.stream;
        let request = input.into_request()?;
        let key = IdempotencyKey::new(format!("runpod-{}", job.id))
            .map_err(|error| Cause::new(ErrorCode::InvalidRequest, format!("the id of the job: {error}")))?;
        let client = tokio::select! {
            client = self.client() => client?,
            () = context.cancelled() => return Err(cancelled()),
        };
        let progress = client.request(request).idempotency_key(key).timeout(self.timeout).stream();
        let relay = Relay { context, streams, parts: TextParts::default(), run: None };
        let reply = relay.follow(progress, &client).await?;
        self.result(&client, reply, streams, context).await
    }

    /// The result of a reply: its document with the cost of the execution. Outputs that are too large become artifacts.
    async fn result(
        &self,
        client: &Client,
        mut reply: Reply,
        streams: bool,
        context: &JobContext,
    ) -> Result<JobResult, Cause> {
        let cost = ExecutionCost::new(context.shared_time(), reply.metadata.cost.as_usd(), self.price.as_ref());
        fit_outputs(client, &mut reply, context.result_bytes_max()).await?;
        let mut document = json!(reply);
        if let Some(members) = document.as_object_mut() {
            members.insert("cost".to_owned(), json!(cost));
        }
        Ok(match require_success(reply) {
            Ok(_) if streams => JobResult::Streamed(Some(document)),
            Ok(_) => JobResult::Returned(document),
            Err(greenroom_client::Error::Refused(cause)) => {
                let failure = JobFailure { output: Some(document), ..failure(&cause) };
                JobResult::Failed(failure)
            }
            Err(error) => JobResult::Failed(JobFailure::new(ErrorCode::Internal.as_str(), error.to_string())),
        })
    }
}

#[async_trait]
impl JobHandler for ExecutionHandler {
    async fn execute(&self, job: &Job, context: &JobContext) -> JobResult {
        let input = match &job.input {
            Ok(input) => JobInput::read(input),
            Err(message) => Err(Cause::new(ErrorCode::InvalidRequest, message.clone())),
        };
        match input {
            Ok(JobInput::Lease(lease)) => {
                let ended = run_lease(&lease, &self.startup, self.lease_work.as_ref(), context).await;
                ended.map_or_else(|cause| JobResult::Failed(failure(&cause)), JobResult::Returned)
            }
            Ok(JobInput::Execution(execution)) => {
                let streams = execution.stream;
                let result = Box::pin(self.run(job, *execution, context)).await;
                let result = result.unwrap_or_else(|cause| JobResult::Failed(failure(&cause)));
                if streams { end_stream(result) } else { result }
            }
            Err(cause) => JobResult::Failed(failure(&cause)),
        }
    }
}

/// The input of a job as a request.
///
/// # Errors
/// [`ErrorCode::InvalidRequest`] if it is none, or a lease.
pub(super) fn read_request(input: &Json) -> Result<Request, Cause> {
    match JobInput::read(input)? {
        JobInput::Execution(execution) => execution.into_request(),
        JobInput::Lease(_) => {
            Err(Cause::new(ErrorCode::InvalidRequest, "a lease keeps a worker, and this process is none"))
        }
    }
}

/// Follows the progress of one request.
struct Relay<'a> {
    context: &'a JobContext,
    streams: bool,
    parts: TextParts,
    run: Option<RunId>,
}

impl Relay<'_> {
    /// Follows it until its reply. A job may be cancelled at any moment, also while RunPod takes a part of its stream.
    async fn follow(mut self, progress: ProgressStream, client: &Client) -> Result<Reply, Cause> {
        let context = self.context;
        let reply = tokio::select! {
            reply = self.relay(progress) => Some(reply),
            () = context.cancelled() => None,
        };
        match reply {
            Some(reply) => reply,
            None => {
                self.cancel_run(client).await;
                Err(cancelled())
            }
        }
    }

    async fn relay(&mut self, mut progress: ProgressStream) -> Result<Reply, Cause> {
        loop {
            let due_at = self.parts.due_at();
            tokio::select! {
                next = progress.next() => match next {
                    Some(Ok(Progress::Reply(reply))) => {
                        self.flush().await?;
                        return Ok(*reply);
                    }
                    Some(Ok(other)) => self.on_progress(other).await?,
                    Some(Err(error)) => return Err(error.into()),
                    None => return Err(TransportError::ConnectionLost.into()),
                },
                () = sleep_until(due_at.unwrap_or_else(Instant::now)), if due_at.is_some() => self.flush().await?,
            }
        }
    }

    async fn on_progress(&mut self, progress: Progress) -> Result<(), Cause> {
        match progress {
            Progress::Accepted { run: Some(run), .. } => self.run = Some(run),
            Progress::Text(text) if self.streams => {
                if let Some(text) = self.parts.push(&text) {
                    self.send(&json!({ "text": text })).await?;
                }
            }
            Progress::Restarted if self.streams => {
                // The text that was not sent is void, as the text that was.
                drop(self.parts.take());
                self.send(&json!({ "restarted": true })).await?;
            }
            Progress::Accepted { run: None, .. } | Progress::Text(_) | Progress::Restarted | Progress::Reply(_) => {}
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), Cause> {
        match self.parts.take() {
            Some(text) => self.send(&json!({ "text": text })).await,
            None => Ok(()),
        }
    }

    async fn send(&self, part: &Json) -> Result<(), Cause> {
        let sent = self.context.stream(part).await;
        sent.map_err(|ended| Cause::new(ErrorCode::Interrupted, ended.0))
    }

    /// Cancels the run of a cancelled job, which would go on without its caller.
    async fn cancel_run(&self, client: &Client) {
        let Some(run) = self.run.clone() else { return };
        let cancelling = client.run(&run).cancel().timeout(CANCEL_TIMEOUT).send();
        if let Err(error) = cancelling.await {
            tracing::warn!(run.id = %run, error.message = %error, "the run of a cancelled job was not cancelled");
        }
    }
}

/// The result of a job that streams: its failure ends the stream too, as the SDK reports it.
fn end_stream(result: JobResult) -> JobResult {
    match result {
        JobResult::Failed(failure) => JobResult::Failed(JobFailure { ends_stream: true, ..failure }),
        JobResult::Returned(_) | JobResult::Streamed(_) | JobResult::StreamFailed(_) => result,
    }
}

/// The failure of a job for a cause: its type is the code.
fn failure(cause: &Cause) -> JobFailure {
    JobFailure::new(cause.code.as_str(), cause.message.clone())
}

fn cancelled() -> Cause {
    Cause::new(ErrorCode::Cancelled, "RunPod cancelled the job")
}
