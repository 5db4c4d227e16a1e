//! The jobs of a queue endpoint, from the side of their sender: only what a scaler needs of RunPod's API for clients.

use std::time::Duration;

use greenroom_protocol::{Cause, ErrorCode, Json};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Client, Method, StatusCode};
use serde_json::json;

use crate::http::{Received, describe, new_client, read_response};
use crate::secret::SecretText;

/// The address of all endpoints.
pub const ENDPOINTS_URL: &str = "https://api.runpod.ai/v2";

/// The time of one request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);
/// Bytes of a response.
const RESPONSE_BYTES_MAX: usize = 1024 * 1024;
/// The bounds of the times of a job in milliseconds: `executionTimeout`, and `ttl`.
const EXECUTION_MILLIS_MIN: u128 = 5_000;
const LIFE_MILLIS_MIN: u128 = 10_000;
const MILLIS_MAX: u128 = 7 * 24 * 60 * 60 * 1_000;

/// Whether a job is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobStatus {
    /// It waits for a worker.
    Waiting,
    /// A worker executes it.
    Running,
    /// It has ended.
    Ended,
    /// RunPod does not know it any more.
    Unknown,
}

/// A queue endpoint.
pub struct QueueEndpoint {
    http: Client,
    base: String,
    authorization: HeaderValue,
    key: SecretText,
}

impl QueueEndpoint {
    /// An endpoint by its id, below an address such as [`ENDPOINTS_URL`].
    ///
    /// # Errors
    /// [`ErrorCode::InvalidConfiguration`] if the id or the key cannot be sent.
    pub fn new(base: &str, id: &str, key: SecretText) -> Result<Self, Cause> {
        let invalid = |message: &str| Cause::new(ErrorCode::InvalidConfiguration, message.to_owned());
        if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')) {
            return Err(invalid("the id of the endpoint has letters, digits, `-` and `_` only"));
        }
        if key.is_empty() {
            return Err(invalid("RUNPOD_API_KEY is not set"));
        }
        let authorization =
            key.header("Bearer ").map_err(|_| invalid("RUNPOD_API_KEY has a character that no header may have"))?;
        let base = format!("{}/{id}", base.trim_end_matches('/'));
        Ok(Self { http: new_client()?, base, authorization, key })
    }

    /// Adds a job; returns its id.
    ///
    /// # Errors
    /// The cause of a refusal, or of a missing response: the job may exist then.
    pub async fn run(&self, input: &Json, execution_max: Duration, life_max: Duration) -> Result<String, Cause> {
        let execution = execution_max.as_millis().clamp(EXECUTION_MILLIS_MIN, MILLIS_MAX);
        let life = life_max.as_millis().clamp(LIFE_MILLIS_MIN, MILLIS_MAX);
        let body = json!({
            "input": input,
            "policy": { "executionTimeout": u64::try_from(execution).ok(), "ttl": u64::try_from(life).ok() },
        });
        let received = self.send(Method::POST, "/run", Some(&body)).await?;
        if !received.status.is_success() {
            return Err(self.refusal(&received));
        }
        let document: Json = serde_json::from_slice(&received.body).unwrap_or_default();
        let id = document.get("id").and_then(Json::as_str).filter(|id| !id.is_empty());
        id.map(str::to_owned)
            .ok_or_else(|| Cause::new(ErrorCode::Interrupted, "the response of RunPod names no job".to_owned()))
    }

    /// Reads the status of a job.
    ///
    /// # Errors
    /// As [`QueueEndpoint::run`].
    pub async fn status(&self, job: &str) -> Result<JobStatus, Cause> {
        let received = self.send(Method::GET, &format!("/status/{job}"), None).await?;
        if received.status == StatusCode::NOT_FOUND {
            return Ok(JobStatus::Unknown);
        }
        if !received.status.is_success() {
            return Err(self.refusal(&received));
        }
        let document: Json = serde_json::from_slice(&received.body).unwrap_or_default();
        Ok(match document.get("status").and_then(Json::as_str) {
            Some("IN_QUEUE") => JobStatus::Waiting,
            Some("IN_PROGRESS" | "RUNNING") => JobStatus::Running,
            Some("COMPLETED" | "FAILED" | "CANCELLED" | "TIMED_OUT") => JobStatus::Ended,
            Some(_) | None => {
                return Err(Cause::new(ErrorCode::Interrupted, "RunPod reports a status that is not known"));
            }
        })
    }

    /// Counts the jobs of the endpoint that have not ended, whoever has sent them.
    ///
    /// # Errors
    /// As [`QueueEndpoint::run`].
    pub async fn jobs_under_way(&self) -> Result<u64, Cause> {
        let received = self.send(Method::GET, "/health", None).await?;
        if !received.status.is_success() {
            return Err(self.refusal(&received));
        }
        let document: Json = serde_json::from_slice(&received.body).unwrap_or_default();
        let count = |name: &str| document.get("jobs")?.get(name)?.as_u64();
        let counts = count("inQueue").zip(count("inProgress"));
        let sum = counts.map(|(waiting, running)| waiting.saturating_add(running));
        sum.ok_or_else(|| Cause::new(ErrorCode::Interrupted, "the response of RunPod has no counts of jobs"))
    }

    async fn send(&self, method: Method, path: &str, body: Option<&Json>) -> Result<Received, Cause> {
        let interrupted =
            |message: String| Cause::new(ErrorCode::Interrupted, format!("RunPod has not responded: {message}"));
        let request = self.http.request(method, format!("{}{path}", self.base)).timeout(REQUEST_TIMEOUT);
        let request = request.header(AUTHORIZATION, self.authorization.clone());
        let request = match body {
            Some(body) => request.header(CONTENT_TYPE, "application/json").body(body.to_string()),
            None => request,
        };
        let response = request.send().await.map_err(|error| interrupted(describe(&error)))?;
        read_response(response, RESPONSE_BYTES_MAX).await.map_err(interrupted)
    }

    fn refusal(&self, received: &Received) -> Cause {
        let status = received.status.as_u16();
        let (code, meaning) = match status {
            401 | 403 => (ErrorCode::Unauthenticated, "the key in RUNPOD_API_KEY may not use this endpoint"),
            404 => (ErrorCode::UnknownRecord, "RunPod has no such endpoint"),
            429 => (ErrorCode::Overloaded, "too many requests, or too many jobs wait"),
            400 | 413 | 422 => (ErrorCode::InvalidRequest, "RunPod refuses the job"),
            _ => (ErrorCode::Interrupted, "RunPod has failed"),
        };
        let cause = Cause::new(code, self.key.mask(&format!("{meaning} ({status})")));
        match received.retry_after() {
            Some(delay) => cause.with_retry_after(delay),
            None => cause,
        }
    }
}
