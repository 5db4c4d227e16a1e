//! A worker outside of RunPod: it executes one job of a file or of the command line and prints its result, as workers of the SDK
//! do, so that a job can be tried without an account.

use std::path::Path;

use greenroom_protocol::{Cause, ErrorCode, Json};

/// The file that has the job without another source.
pub const TEST_INPUT_FILE: &str = "test_input.json";
/// The id of a job that has none.
const LOCAL_ID: &str = "local_test";

/// Reads a job: the text, or the file `test_input.json` of this directory.
///
/// # Errors
/// [`ErrorCode::InvalidRequest`] if there is none, or it has no input.
pub fn read_local_job(text: Option<&str>, folder: &Path) -> Result<(String, Json), Cause> {
    let invalid = |message: String| Cause::new(ErrorCode::InvalidRequest, message);
    let text = match text {
        Some(text) => text.to_owned(),
        None => std::fs::read_to_string(folder.join(TEST_INPUT_FILE)).map_err(|error| {
            invalid(format!("this is no worker of RunPod, and {TEST_INPUT_FILE} cannot be read: {error}"))
        })?,
    };
    let job: Json = serde_json::from_str(&text).map_err(|error| invalid(format!("the job is no JSON: {error}")))?;
    let Some(input) = job.get("input") else { return Err(invalid("the job has no `input`".to_owned())) };
    let id = job.get("id").and_then(Json::as_str).unwrap_or(LOCAL_ID);
    Ok((id.to_owned(), input.clone()))
}

/// The input of a job as a request, for a process that executes it by itself.
///
/// # Errors
/// [`ErrorCode::InvalidRequest`] if it is none, or a lease.
pub fn local_request(input: &Json) -> Result<greenroom_protocol::Request, Cause> {
    super::execution::read_request(input)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::json;

    use super::{local_request, read_local_job};

    #[test]
    fn a_local_job_has_an_input_and_perhaps_an_id() {
        let folder = Path::new("no-such-folder");
        let (id, input) = read_local_job(Some(r#"{"input":{"agent":"a"}}"#), folder).unwrap();
        assert_eq!((id.as_str(), input), ("local_test", json!({ "agent": "a" })));
        assert_eq!(read_local_job(Some(r#"{"id":"x","input":1}"#), folder).unwrap().0, "x");
        assert!(read_local_job(Some("{}"), folder).is_err());
        assert!(read_local_job(None, folder).unwrap_err().message.contains("test_input.json"));
    }

    #[test]
    fn a_lease_is_no_local_request() {
        assert!(local_request(&json!({ "agent": "a" })).is_ok());
        assert!(local_request(&json!({ "mode": "lease" })).is_err());
    }
}
