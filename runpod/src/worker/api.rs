//! The requests of a worker to RunPod, with the headers of the Python SDK. What a response means is decided here; when to
//! repeat a request is decided by the caller.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use greenroom_protocol::{Cause, ErrorCode};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Client, StatusCode};
use serde::Deserialize;
use tokio::sync::watch;
use tokio::time::timeout;

use super::environment::WorkerEnvironment;
use super::job::{Job, read_jobs};
use super::timing::Timing;
use crate::http::{Received, describe, new_client, read_response};

/// Bytes of a response to a poll: a batch of jobs of 20 MB each.
const TAKE_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Bytes of any other response.
const RESPONSE_BYTES_MAX: usize = 1024 * 1024;
/// The header of the SDK with the job that a request belongs to.
const REQUEST_ID: &str = "X-Request-ID";

/// The response to a poll for jobs.
#[derive(Debug)]
pub(super) enum Take {
    /// Jobs. There is at least one.
    Jobs(Vec<Job>),
    /// None at present, as RunPod reports it (204): poll again at once.
    None,
    /// A response without a job, which RunPod does not document: poll again after a delay.
    Empty,
    /// RunPod refuses, as it does with workers that are parked (400).
    Parked,
    /// Too many requests: wait this long.
    Throttled(Option<Duration>),
    /// Anything else, with what it was.
    Failed(String),
}

/// The response to a poll for cancellations.
#[derive(Debug)]
pub(super) enum Stop {
    /// These jobs.
    Jobs(Vec<String>),
    /// Too many requests: wait this long.
    Throttled(Option<Duration>),
    /// Anything else, with what it was.
    Failed(String),
}

/// The response to a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Posted {
    /// RunPod has it.
    Accepted,
    /// RunPod refuses it, and would again: the status; 0 if it could not be sent at all.
    Refused(u16),
    /// RunPod has failed, or cannot take it now (408, 429, 5xx, a redirect, which is not followed), and may name a delay.
    Failed { status: u16, retry_after: Option<Duration> },
    /// The connection ended; RunPod may have it.
    Disconnected(String),
}

#[derive(Deserialize)]
struct JobsToStop {
    #[serde(rename = "jobsToStop")]
    jobs: Vec<String>,
}

/// The connection of a worker to RunPod.
pub(super) struct WorkerApi {
    environment: Arc<WorkerEnvironment>,
    authorization: HeaderValue,
    http: Mutex<Client>,
    /// How often the connections were made anew.
    reconnections: watch::Sender<u64>,
    timing: Timing,
}

impl WorkerApi {
    /// Creates it without open connections.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidConfiguration`] if the key cannot be a header.
    pub(super) fn new(environment: Arc<WorkerEnvironment>, timing: Timing) -> Result<Self, Cause> {
        let authorization = environment.key.header("").map_err(|_| {
            Cause::new(ErrorCode::InvalidConfiguration, "the key of the worker has a character that no header may have")
        })?;
        let (http, reconnections) = (Mutex::new(new_client()?), watch::Sender::new(0));
        Ok(Self { environment, authorization, http, reconnections, timing })
    }

    /// Drops every connection: the next requests open new ones, and polls that are open end soon.
    ///
    /// # Errors
    /// As [`new_client`].
    pub(super) fn reconnect(&self) -> Result<(), Cause> {
        *self.http.lock().unwrap_or_else(PoisonError::into_inner) = new_client()?;
        self.reconnections.send_modify(|number| *number += 1);
        Ok(())
    }

    fn http(&self) -> Client {
        self.http.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Polls for at most this many jobs.
    pub(super) async fn take(&self, jobs_max: usize, has_jobs: bool) -> Take {
        let url = self.environment.urls.take(&self.environment.worker_id, jobs_max, has_jobs);
        match self.poll(&url, TAKE_BYTES_MAX).await {
            Ok(received) => read_take(&received),
            Err(message) => Take::Failed(message),
        }
    }

    /// Polls for cancellations; `None` if they have no address.
    pub(super) async fn stop(&self) -> Option<Stop> {
        let url = self.environment.urls.stop(&self.environment.worker_id)?;
        Some(match self.poll(&url, RESPONSE_BYTES_MAX).await {
            Ok(received) => read_stop(&received),
            Err(message) => Stop::Failed(message),
        })
    }

    async fn poll(&self, url: &str, bytes_max: usize) -> Result<Received, String> {
        // Before the client is read, so that no reconnection after that is missed.
        let mut reconnections = self.reconnections.subscribe();
        let request = self.http().get(url).timeout(self.timing.poll_timeout);
        let request =
            request.header(AUTHORIZATION, self.authorization.clone()).header(CONTENT_TYPE, "application/json");
        let polling = async {
            let response = request.send().await.map_err(|error| describe(&error))?;
            read_response(response, bytes_max).await
        };
        tokio::pin!(polling);
        tokio::select! {
            biased;
            received = &mut polling => return received,
            // The sender is a part of this, so it has not ended.
            _ = reconnections.changed() => {}
        }
        // What had arrived before the suspension is read. The server may have forgotten the connection since, and then nothing
        // would ever arrive.
        let received = timeout(self.timing.drain_poll_timeout, polling).await;
        received.unwrap_or_else(|_elapsed| Err("the poll was open during a suspension".to_owned()))
    }

    /// Sends a result or progress.
    pub(super) async fn post_done(&self, job: &str, body: Vec<u8>, is_stream: bool) -> Posted {
        let url = self.environment.urls.done(&self.environment.worker_id, job, is_stream);
        self.post(&url, job, body).await
    }

    /// Sends a part of a stream. Without an address for it, it is accepted and lost, as by a worker of the SDK.
    pub(super) async fn post_stream(&self, job: &str, body: Vec<u8>) -> Posted {
        match self.environment.urls.stream(&self.environment.worker_id, job) {
            Some(url) => self.post(&url, job, body).await,
            None => Posted::Accepted,
        }
    }

    async fn post(&self, url: &str, job: &str, body: Vec<u8>) -> Posted {
        let request = self.http().post(url).timeout(self.timing.post_timeout).body(body);
        let request = request
            .header(AUTHORIZATION, self.authorization.clone())
            // The body is JSON; the SDK calls it a form.
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header("charset", "utf-8")
            .header(REQUEST_ID, job);
        let response = match request.send().await {
            Ok(response) => response,
            // The address is none: a repetition would not change it.
            Err(error) if error.is_builder() => return Posted::Refused(0),
            Err(error) => return Posted::Disconnected(describe(&error)),
        };
        match read_response(response, RESPONSE_BYTES_MAX).await {
            Ok(received) => read_posted(&received),
            Err(message) => Posted::Disconnected(message),
        }
    }
}

fn read_take(received: &Received) -> Take {
    match received.status {
        StatusCode::OK if !received.is_json() => match received.body.as_slice() {
            [] => Take::Empty,
            _ => Take::Failed("the response to the poll is no JSON".to_owned()),
        },
        StatusCode::OK => match read_jobs(&received.body) {
            Ok(jobs) if jobs.is_empty() => Take::Empty,
            Ok(jobs) => readable_jobs(jobs),
            Err(message) => Take::Failed(message),
        },
        StatusCode::NO_CONTENT => Take::None,
        StatusCode::BAD_REQUEST => Take::Parked,
        StatusCode::TOO_MANY_REQUESTS => Take::Throttled(received.retry_after()),
        status => Take::Failed(format!("RunPod responded to the poll with {}", status.as_u16())),
    }
}

fn readable_jobs(jobs: Vec<Result<Job, String>>) -> Take {
    let mut readable = Vec::new();
    let mut problem = String::new();
    for job in jobs {
        match job {
            Ok(job) => readable.push(job),
            Err(message) => {
                tracing::error!(error.message = %message, "RunPod sent a job that cannot be read");
                problem = message;
            }
        }
    }
    if readable.is_empty() { Take::Failed(problem) } else { Take::Jobs(readable) }
}

fn read_stop(received: &Received) -> Stop {
    match received.status {
        StatusCode::OK => match serde_json::from_slice::<JobsToStop>(&received.body) {
            Ok(JobsToStop { jobs }) => Stop::Jobs(jobs),
            Err(_) => Stop::Failed("the response to the poll for cancellations cannot be read".to_owned()),
        },
        StatusCode::NO_CONTENT => Stop::Jobs(Vec::new()),
        StatusCode::TOO_MANY_REQUESTS => Stop::Throttled(received.retry_after()),
        status => Stop::Failed(format!("RunPod responded to the poll for cancellations with {}", status.as_u16())),
    }
}

fn read_posted(received: &Received) -> Posted {
    let status = received.status;
    let passes = matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS);
    if status.is_success() {
        Posted::Accepted
    } else if status.is_server_error() || status.is_redirection() || passes {
        Posted::Failed { status: status.as_u16(), retry_after: received.retry_after() }
    } else {
        Posted::Refused(status.as_u16())
    }
}
