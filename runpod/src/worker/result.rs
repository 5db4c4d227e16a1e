//! The result of a job, and the bodies that report it. They are those of the Python SDK, so that clients that were written
//! for its workers read them.

use greenroom_protocol::Json;
use serde::Serialize;
use serde_json::json;

/// Bytes of a result of `/run`; RunPod's limit is 10 MB.
pub const RESULT_BYTES_MAX: usize = 9_500_000;
/// Bytes of a result of `/runsync`; RunPod's limit is 20 MB.
pub const SYNC_RESULT_BYTES_MAX: usize = 19_000_000;

/// Bytes that the result of a job may have.
pub(super) const fn result_bytes_max(is_sync: bool) -> usize {
    if is_sync { SYNC_RESULT_BYTES_MAX } else { RESULT_BYTES_MAX }
}

/// How a handler ends a job.
#[derive(Debug, Clone, PartialEq)]
pub enum JobResult {
    /// It returns a value. In an object, the members `error` and `refresh_worker` have a meaning of their own.
    Returned(Json),
    /// It fails.
    Failed(JobFailure),
    /// It has streamed parts, and returns this value, or the empty list.
    Streamed(Option<Json>),
    /// It fails after it has begun to stream.
    StreamFailed(String),
}

/// Why a job failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobFailure {
    /// The type of the error.
    pub error_type: String,
    /// Its message.
    pub message: String,
    /// Where it occurred; empty if that is not known.
    pub traceback: String,
    /// What the caller gets beside the error.
    pub output: Option<Json>,
    /// True if it ends a stream, whether a part was sent or not.
    pub ends_stream: bool,
}

impl JobFailure {
    /// A failure of this type without a traceback.
    pub fn new(error_type: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            error_type: error_type.into(),
            message: message.into(),
            traceback: String::new(),
            output: None,
            ends_stream: false,
        }
    }

    /// The failure as a text: the JSON object that workers of the SDK send.
    #[must_use]
    pub fn to_text(&self, reporter: &Reporter) -> String {
        let document = json!({
            "error_type": self.error_type,
            "error_message": self.message,
            "error_traceback": self.traceback,
            "hostname": reporter.hostname,
            "worker_id": reporter.worker_id,
            "runpod_version": reporter.version,
        });
        document.to_string()
    }
}

/// Who reports a failure.
#[derive(Debug, Clone)]
pub struct Reporter {
    /// The name of the machine.
    pub hostname: String,
    /// The id of the worker.
    pub worker_id: String,
    /// The version of the worker.
    pub version: &'static str,
}

/// The body of a result.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Done {
    /// The output; a null is one too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<Json>,
    /// The error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Json>,
    /// True to have the worker replaced.
    #[serde(rename = "stopPod", skip_serializing_if = "Option::is_none")]
    pub stop_pod: Option<bool>,
}

impl Done {
    /// The body of a result, and whether it ends a stream.
    #[must_use]
    pub fn from_result(result: JobResult, reporter: &Reporter, refreshes: bool) -> (Self, bool) {
        let (mut done, is_stream) = match result {
            JobResult::Returned(value) => (Self::from_value(value), false),
            JobResult::Failed(failure) => {
                let done = Self::from_error(failure.to_text(reporter));
                (Self { output: failure.output, ..done }, failure.ends_stream)
            }
            JobResult::Streamed(value) => {
                (Self { output: Some(value.unwrap_or_else(|| json!([]))), ..Self::default() }, true)
            }
            JobResult::StreamFailed(text) => (Self::from_error(text), true),
        };
        if refreshes {
            done.stop_pod = Some(true);
        }
        (done, is_stream)
    }

    /// The body of an error.
    #[must_use]
    pub fn from_error(text: impl Into<String>) -> Self {
        Self { error: Some(Json::String(text.into())), ..Self::default() }
    }

    fn from_value(value: Json) -> Self {
        let mut members = match value {
            Json::Object(members) => members,
            value => return Self { output: Some(value), ..Self::default() },
        };
        if members.is_empty() {
            return Self::default();
        }
        let mut take_truthy = |name: &str| {
            let is_set = members.get(name).is_some_and(is_truthy);
            if is_set { members.remove(name) } else { None }
        };
        let error = take_truthy("error");
        let stop_pod = take_truthy("refresh_worker").map(|_| true);
        let is_special = error.is_some() || stop_pod.is_some();
        let output = (!is_special || !members.is_empty()).then_some(Json::Object(members));
        Self { output, error, stop_pod }
    }
}

/// The text of a streamed part that ends its stream: an object with an `error`.
pub(super) fn stream_error(part: &Json) -> Option<String> {
    let error = part.as_object()?.get("error").filter(|error| is_truthy(error))?;
    Some(error.as_str().map_or_else(|| error.to_string(), str::to_owned))
}

/// True for what is true in Python.
fn is_truthy(value: &Json) -> bool {
    match value {
        Json::Null => false,
        Json::Bool(flag) => *flag,
        Json::Number(number) => number.as_f64() != Some(0.0),
        Json::String(text) => !text.is_empty(),
        Json::Array(items) => !items.is_empty(),
        Json::Object(members) => !members.is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{Done, JobFailure, JobResult, Reporter, stream_error};

    fn reporter() -> Reporter {
        Reporter { hostname: "h".to_owned(), worker_id: "w".to_owned(), version: "v" }
    }

    fn body(result: JobResult) -> (Value, bool) {
        let (done, is_stream) = Done::from_result(result, &reporter(), false);
        (serde_json::to_value(done).unwrap(), is_stream)
    }

    #[test]
    fn a_returned_value_has_the_body_of_the_sdk() {
        for (returned, expected) in [
            (json!("text"), json!({ "output": "text" })),
            (json!(null), json!({ "output": null })),
            (json!(false), json!({ "output": false })),
            (json!([1, 2]), json!({ "output": [1, 2] })),
            (json!({}), json!({})),
            (json!({ "a": 1 }), json!({ "output": { "a": 1 } })),
            (json!({ "output": { "a": 1 } }), json!({ "output": { "output": { "a": 1 } } })),
            (json!({ "error": "no" }), json!({ "error": "no" })),
            (json!({ "error": { "code": 5 }, "a": 1 }), json!({ "output": { "a": 1 }, "error": { "code": 5 } })),
            (json!({ "error": "" }), json!({ "output": { "error": "" } })),
            (json!({ "error": 0, "a": 1 }), json!({ "output": { "error": 0, "a": 1 } })),
            (json!({ "refresh_worker": true, "a": 1 }), json!({ "output": { "a": 1 }, "stopPod": true })),
            (json!({ "refresh_worker": true }), json!({ "stopPod": true })),
            (json!({ "refresh_worker": false }), json!({ "output": { "refresh_worker": false } })),
        ] {
            assert_eq!(body(JobResult::Returned(returned.clone())), (expected, false), "{returned}");
        }
    }

    #[test]
    fn a_failure_is_an_object_in_a_text() {
        let (done, is_stream) = body(JobResult::Failed(JobFailure::new("ValueError", "bad")));
        assert!(!is_stream);
        let inner: Value = serde_json::from_str(done["error"].as_str().unwrap()).unwrap();
        let expected = json!({
            "error_type": "ValueError", "error_message": "bad", "error_traceback": "", "hostname": "h",
            "worker_id": "w", "runpod_version": "v",
        });
        assert_eq!(inner, expected);
    }

    #[test]
    fn a_stream_ends_with_an_empty_list_or_its_value() {
        assert_eq!(body(JobResult::Streamed(None)), (json!({ "output": [] }), true));
        assert_eq!(body(JobResult::Streamed(Some(json!(["a"])))), (json!({ "output": ["a"] }), true));
        assert_eq!(body(JobResult::StreamFailed("boom".to_owned())), (json!({ "error": "boom" }), true));
        let failure = JobFailure { ends_stream: true, ..JobFailure::new("E", "m") };
        assert!(body(JobResult::Failed(failure)).1);
        assert_eq!(stream_error(&json!({ "error": "no" })).as_deref(), Some("no"));
        assert_eq!(stream_error(&json!({ "error": { "code": 5 } })).as_deref(), Some(r#"{"code":5}"#));
        assert_eq!((stream_error(&json!({ "error": null })), stream_error(&json!("error"))), (None, None));
    }

    #[test]
    fn a_worker_that_is_replaced_after_each_job_reports_it_with_errors_too() {
        let (done, _) = Done::from_result(JobResult::Failed(JobFailure::new("E", "m")), &reporter(), true);
        assert_eq!(done.stop_pod, Some(true));
    }
}
