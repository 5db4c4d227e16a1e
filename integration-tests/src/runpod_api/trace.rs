//! The traces of the Python SDK, and the comparison with what a worker sends: for each job, the requests in their order, with
//! their addresses, headers and bodies. What may differ is removed from both before.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context;
use serde_json::{Value, json};

use super::{CallKind, RecordedCall};

/// A line of a trace.
#[derive(Debug, Clone)]
pub struct TraceLine {
    /// Such as `job-take`, or `RESP:job-take` for a response.
    pub kind: String,
    /// The path with its query; empty for a response.
    pub target: String,
    /// The headers, with names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The body as text.
    pub body: String,
    /// The status of a response.
    pub status: u16,
}

/// Reads a trace of `data/runpod-traces`.
///
/// # Errors
/// If the file cannot be read, or a line is no request and no response.
pub fn read_trace(name: &str) -> anyhow::Result<Vec<TraceLine>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/runpod-traces").join(format!("{name}.jsonl"));
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    text.lines().map(|line| read_line(line).with_context(|| format!("{name}: {line}"))).collect()
}

fn read_line(line: &str) -> anyhow::Result<TraceLine> {
    let document: Value = serde_json::from_str(line)?;
    let text = |name: &str| document.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let headers = document.get("headers").and_then(Value::as_array).into_iter().flatten().filter_map(|pair| {
        let (name, value) = (pair.get(0)?.as_str()?, pair.get(1)?.as_str()?);
        Some((name.to_ascii_lowercase(), value.to_owned()))
    });
    let status = document.get("status").and_then(Value::as_u64).unwrap_or_default();
    Ok(TraceLine {
        kind: text("kind"),
        target: text("path"),
        headers: headers.collect(),
        body: text("body"),
        status: u16::try_from(status)?,
    })
}

/// The jobs that a trace delivers, in their order.
#[must_use]
pub fn jobs_of(trace: &[TraceLine]) -> Vec<Value> {
    let responses = trace.iter().filter(|line| line.kind.starts_with("RESP:job-take") && line.status == 200);
    let bodies = responses.filter_map(|line| serde_json::from_str::<Value>(&line.body).ok());
    bodies
        .flat_map(|body| match body {
            Value::Array(jobs) => jobs,
            job => vec![job],
        })
        .collect()
}

/// What is compared of a request.
#[derive(Debug, Clone, PartialEq)]
pub struct ComparedCall {
    /// The path with its query.
    pub target: String,
    /// `authorization`, `content-type`, `charset` and `x-request-id`.
    pub headers: Vec<Option<String>>,
    /// The body as JSON.
    pub body: Value,
}

/// The results and parts of each job of a trace.
#[must_use]
pub fn posts_of_trace(trace: &[TraceLine]) -> BTreeMap<String, Vec<ComparedCall>> {
    let posts = trace.iter().filter(|line| matches!(line.kind.as_str(), "job-done" | "job-stream"));
    group(posts.map(|line| {
        let header = |name: &str| line.headers.get(name).cloned();
        compared(&line.target, &header, line.body.as_bytes())
    }))
}

/// The results and parts of each job of a worker.
#[must_use]
pub fn posts_of_worker(calls: &[RecordedCall]) -> BTreeMap<String, Vec<ComparedCall>> {
    let posts = calls.iter().filter(|call| matches!(call.kind, CallKind::Done | CallKind::Stream));
    group(posts.map(|call| {
        let header = |name: &str| call.header(name).map(str::to_owned);
        compared(&call.target, &header, &call.body)
    }))
}

fn compared(target: &str, header: &dyn Fn(&str) -> Option<String>, body: &[u8]) -> ComparedCall {
    let headers = ["authorization", "content-type", "charset", "x-request-id"].map(header).to_vec();
    let body = serde_json::from_slice(body).map_or(Value::Null, normalize);
    ComparedCall { target: target.to_owned(), headers, body }
}

/// Removes the traceback, the version and the message of a failure, which belong to the program that has failed.
fn normalize(mut body: Value) -> Value {
    let Some(error) = body.get("error").and_then(Value::as_str) else { return body };
    let replaced = match serde_json::from_str::<Value>(error) {
        Ok(Value::Object(members)) => {
            let names: Vec<&String> = members.keys().collect();
            json!({ "members": names.len(), "error_message": members.get("error_message") })
        }
        // The text of a generator that has failed has its traceback.
        Ok(_) | Err(_) if error.contains("traceback") || error.contains("boom") => json!("a failure"),
        Ok(_) | Err(_) => return body,
    };
    if let Some(members) = body.as_object_mut() {
        members.insert("error".to_owned(), replaced);
    }
    body
}

fn group(calls: impl Iterator<Item = ComparedCall>) -> BTreeMap<String, Vec<ComparedCall>> {
    let mut groups: BTreeMap<String, Vec<ComparedCall>> = BTreeMap::new();
    for call in calls {
        let path = call.target.split(['?', '&']).next().unwrap_or_default();
        let job = path.rsplit('/').next().unwrap_or_default().to_owned();
        groups.entry(job).or_default().push(call);
    }
    groups
}

/// The shapes of the polls and heartbeats of a trace, without the ids of jobs and the version: their number is not compared.
#[must_use]
pub fn shape(target: &str) -> String {
    let parts = target.split('&').filter(|part| !part.starts_with("runpod_version="));
    let parts: Vec<&str> = parts.map(|part| if part.starts_with("job_id=") { "job_id=" } else { part }).collect();
    parts.join("&")
}
