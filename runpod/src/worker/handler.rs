//! What executes a job, and what it may do meanwhile: stream, report progress, and learn that its job was cancelled.

use std::future::pending;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use greenroom_protocol::Json;
use serde_json::json;
use tokio::sync::watch;

use super::job::Job;
use super::posting::Poster;
use super::result::{JobResult, result_bytes_max, stream_error};
use super::tracker::Tracker;

/// Executes jobs.
#[async_trait]
pub trait JobHandler: Send + Sync {
    /// Executes a job. The future is dropped if the job is cancelled and it does not return soon.
    async fn execute(&self, job: &Job, context: &JobContext) -> JobResult;
}

/// The reason why a job cannot stream any more: it has streamed an error, or RunPod does not take its parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamEnded(pub String);

/// What a job is executed with.
pub struct JobContext {
    job_id: String,
    is_sync: bool,
    poster: Poster,
    tracker: Arc<Tracker>,
    shared_at_start: Duration,
    is_cancelled: watch::Receiver<bool>,
    is_draining: watch::Receiver<bool>,
    stream_error: Mutex<Option<String>>,
    /// Progress and parts are sent one after the other.
    sending: tokio::sync::Mutex<()>,
}

impl JobContext {
    pub(super) fn new(
        job: &Job,
        poster: Poster,
        tracker: Arc<Tracker>,
        is_cancelled: watch::Receiver<bool>,
        is_draining: watch::Receiver<bool>,
    ) -> Self {
        Self {
            job_id: job.id.clone(),
            is_sync: job.is_sync(),
            poster,
            shared_at_start: tracker.shared_time(),
            tracker,
            is_cancelled,
            is_draining,
            stream_error: Mutex::default(),
            sending: tokio::sync::Mutex::default(),
        }
    }

    /// Sends a part of the output, and waits until RunPod has it. An object with an `error` ends the stream, and becomes
    /// the result of the job.
    ///
    /// # Errors
    /// [`StreamEnded`]; nothing more is sent.
    pub async fn stream(&self, part: &Json) -> Result<(), StreamEnded> {
        let _sending = self.sending.lock().await;
        if let Some(message) = self.stream_error() {
            return Err(StreamEnded(message));
        }
        if let Some(message) = stream_error(part) {
            return Err(self.end_stream(message));
        }
        let body = json!({ "output": part }).to_string();
        if self.poster.send_part(&self.job_id, body.as_bytes()).await {
            Ok(())
        } else {
            Err(self.end_stream("RunPod did not take a part of the stream".to_owned()))
        }
    }

    /// Reports progress, which the status of the job shows until it ends. It is not reliable, but it is never later than
    /// the result.
    pub async fn progress(&self, progress: &Json) {
        let _sending = self.sending.lock().await;
        let body = json!({ "status": "IN_PROGRESS", "output": progress }).to_string();
        if !self.poster.send_progress(&self.job_id, body.as_bytes()).await {
            tracing::warn!(job.id = self.job_id, "progress was not accepted");
        }
    }

    /// Returns when RunPod cancels the job.
    pub async fn cancelled(&self) {
        wait_true(self.is_cancelled.clone()).await;
    }

    /// Returns when the worker shall end. A job without an end of its own ends then.
    pub async fn draining(&self) {
        wait_true(self.is_draining.clone()).await;
    }

    /// Bytes that the result may have.
    #[must_use]
    pub const fn result_bytes_max(&self) -> usize {
        result_bytes_max(self.is_sync)
    }

    /// The time of the worker that this job has used: each moment is divided among the jobs of that moment.
    #[must_use]
    pub fn shared_time(&self) -> Duration {
        self.tracker.shared_time().saturating_sub(self.shared_at_start)
    }

    /// The error that has ended the stream.
    pub(super) fn stream_error(&self) -> Option<String> {
        self.stream_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn end_stream(&self, message: String) -> StreamEnded {
        *self.stream_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(message.clone());
        StreamEnded(message)
    }
}

/// Returns when the value is true; never, if its sender is dropped before.
pub(super) async fn wait_true(mut value: watch::Receiver<bool>) {
    if value.wait_for(|value| *value).await.is_err() {
        pending::<()>().await;
    }
}
