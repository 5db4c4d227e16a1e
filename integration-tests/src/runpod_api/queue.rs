//! The queue of the RunPod of tests, from the side of its workers: jobs, results, parts of streams, and cancellations.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};

use super::{Reaction, RecordedCall, State};

/// One job that has ended, or reports progress.
#[derive(Default)]
struct Record {
    progress: Vec<Value>,
    result: Option<Value>,
    parts: Vec<Value>,
    /// Parts that a client has read.
    parts_read: usize,
}

/// Jobs and their results.
#[derive(Default)]
pub(super) struct Queue {
    waiting: VecDeque<Value>,
    running: BTreeSet<String>,
    records: BTreeMap<String, Record>,
    results: usize,
    to_stop: Vec<Value>,
    cancelled: BTreeSet<String>,
    pub(super) next_id: u64,
}

impl Queue {
    pub(super) fn add(&mut self, job: Value) {
        self.waiting.push_back(job);
    }

    pub(super) fn cancel(&mut self, job: &str) {
        self.cancelled.insert(job.to_owned());
        let is_job = |waiting: &Value| waiting.get("id").and_then(Value::as_str) == Some(job);
        if self.waiting.iter().any(is_job) {
            self.waiting.retain(|waiting| !is_job(waiting));
        } else {
            self.to_stop.push(job.into());
        }
    }

    pub(super) fn result(&self, job: &str) -> Option<Value> {
        self.records.get(job)?.result.clone()
    }

    pub(super) const fn results(&self) -> usize {
        self.results
    }

    pub(super) fn parts(&self, job: &str) -> Vec<Value> {
        self.records.get(job).map(|record| record.parts.clone()).unwrap_or_default()
    }

    /// The parts that no client has read, which are read by this.
    pub(super) fn read_parts(&mut self, job: &str) -> Vec<Value> {
        let Some(record) = self.records.get_mut(job) else { return Vec::new() };
        let parts = record.parts.get(record.parts_read..).unwrap_or_default().to_vec();
        record.parts_read = record.parts.len();
        parts
    }

    /// The status of a job as clients see it.
    pub(super) fn status(&self, job: &str) -> &'static str {
        match self.result(job) {
            Some(result) if result.get("error").is_some_and(|error| !error.is_null()) => "FAILED",
            Some(_) => "COMPLETED",
            None if self.cancelled.contains(job) => "CANCELLED",
            None if self.running.contains(job) => "IN_PROGRESS",
            None => "IN_QUEUE",
        }
    }

    /// The jobs that wait, are executed, and have a result.
    pub(super) fn counts(&self) -> (usize, usize, usize) {
        (self.waiting.len(), self.running.len(), self.results)
    }

    /// The newest progress of a job.
    pub(super) fn progress(&self, job: &str) -> Option<Value> {
        self.records.get(job)?.progress.last().cloned()
    }

    fn take(&mut self, jobs_max: usize) -> Vec<Value> {
        let count = self.waiting.len().min(jobs_max);
        let taken: Vec<Value> = self.waiting.drain(..count).collect();
        self.running.extend(taken.iter().filter_map(|job| Some(job.get("id")?.as_str()?.to_owned())));
        taken
    }
}

/// Waits until `find` finds something, or the poll ends.
async fn poll<T>(state: &State, hold: Duration, mut find: impl FnMut(&mut Queue) -> Option<T>) -> Option<T> {
    let end = Instant::now() + hold;
    loop {
        // Before the look into the queue, so that no change after it is missed.
        let changed = state.changed.notified();
        tokio::pin!(changed);
        changed.as_mut().enable();
        if let Some(found) = find(&mut state.queue()) {
            return Some(found);
        }
        timeout_at(end, changed).await.ok()?;
    }
}

/// A poll for jobs.
pub(super) async fn take(state: &State, call: &RecordedCall) -> Reaction {
    let is_batch = call.target.contains("/job-take-batch/");
    let batch = call.target.split('&').find_map(|part| part.strip_prefix("batch_size="));
    let jobs_max = batch.and_then(|size| size.parse().ok()).unwrap_or(1);
    let taken = poll(state, state.hold, |queue| {
        let jobs = queue.take(jobs_max);
        (!jobs.is_empty()).then_some(jobs)
    });
    match taken.await {
        None => Reaction::Json(204, Value::Null),
        Some(jobs) if is_batch => Reaction::Json(200, Value::Array(jobs)),
        Some(mut jobs) => Reaction::Json(200, jobs.pop().unwrap_or_default()),
    }
}

/// A poll for cancellations.
pub(super) async fn stop(state: &State) -> Reaction {
    let jobs = poll(state, state.hold, |queue| {
        let jobs = std::mem::take(&mut queue.to_stop);
        (!jobs.is_empty()).then_some(jobs)
    });
    match jobs.await {
        Some(jobs) => Reaction::Json(200, json!({ "jobsToStop": jobs })),
        None => Reaction::Json(204, Value::Null),
    }
}

/// A result, or progress.
pub(super) fn done(state: &State, call: &RecordedCall) -> Reaction {
    let Some(job) = call.job() else { return Reaction::Json(404, Value::Null) };
    let body = call.json();
    let mut queue = state.queue();
    let record = queue.records.entry(job.to_owned()).or_default();
    if body.get("status").and_then(Value::as_str) == Some("IN_PROGRESS") {
        record.progress.push(output_of(&body));
    } else {
        let is_first = record.result.replace(body).is_none();
        queue.results += usize::from(is_first);
        queue.running.remove(job);
    }
    drop(queue);
    state.changed.notify_waiters();
    Reaction::Json(200, json!({ "status": "ok" }))
}

/// A part of a stream.
pub(super) fn part(state: &State, call: &RecordedCall) -> Reaction {
    let Some(job) = call.job() else { return Reaction::Json(404, Value::Null) };
    state.queue().records.entry(job.to_owned()).or_default().parts.push(output_of(&call.json()));
    state.changed.notify_waiters();
    Reaction::Json(200, json!({ "status": "ok" }))
}

fn output_of(body: &Value) -> Value {
    body.get("output").cloned().unwrap_or_default()
}
