//! A job as RunPod sends it. Its members are read one by one, so that a job whose input cannot be read still can be failed by
//! its id.

use std::collections::BTreeMap;

use greenroom_protocol::{Json, strict_json};
use serde_json::value::RawValue;

/// The longest id.
const ID_BYTES_MAX: usize = 256;

/// A job.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// Its id, which is a part of addresses.
    pub id: String,
    /// Its input, or why it cannot be read.
    pub input: Result<Json, String>,
    /// The other members that can be read.
    pub members: BTreeMap<String, Json>,
}

impl Job {
    /// True if the caller waits for the result (`/runsync`), which may then be larger.
    #[must_use]
    pub fn is_sync(&self) -> bool {
        self.id.starts_with("sync-")
    }

    /// Reads one job.
    ///
    /// # Errors
    /// A message if it has no id that could be in an address, or no input.
    fn read(raw: &RawValue) -> Result<Self, String> {
        let members: BTreeMap<String, Box<RawValue>> =
            serde_json::from_str(raw.get()).map_err(|error| format!("the job is no object: {error}"))?;
        let (Some(id), Some(input)) = (members.get("id"), members.get("input")) else {
            return Err("the job has no id or no input".to_owned());
        };
        let id: String = serde_json::from_str(id.get()).map_err(|_| "the id of the job is no text".to_owned())?;
        if !is_id(&id) {
            return Err("the id of the job cannot be in an address".to_owned());
        }
        let input = strict_json::from_str(input.get()).map_err(|error| format!("the input cannot be read: {error}"));
        let others = members.iter().filter(|(name, _)| !matches!(name.as_str(), "id" | "input"));
        let others = others.filter_map(|(name, value)| Some((name.clone(), serde_json::from_str(value.get()).ok()?)));
        Ok(Self { id, input, members: others.collect() })
    }
}

/// True for an id that changes no other part of an address.
fn is_id(id: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':' | b'@' | b'=');
    !id.is_empty() && id.len() <= ID_BYTES_MAX && id.bytes().all(is_plain) && !matches!(id, "." | "..")
}

/// Reads the body of a poll: one job, a list of jobs, or nothing. Each job that cannot be read is a message.
///
/// # Errors
/// A message if the body is neither.
pub(super) fn read_jobs(body: &[u8]) -> Result<Vec<Result<Job, String>>, String> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(Vec::new());
    }
    let raw: &RawValue = serde_json::from_slice(body).map_err(|error| format!("the body is no JSON: {error}"))?;
    match raw.get().as_bytes().first() {
        Some(b'n') => Ok(Vec::new()),
        Some(b'[') => {
            let items: Vec<&RawValue> =
                serde_json::from_str(raw.get()).map_err(|error| format!("the list cannot be read: {error}"))?;
            Ok(items.into_iter().map(Job::read).collect())
        }
        _ => Ok(vec![Job::read(raw)]),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Job, read_jobs};

    fn read_one(text: &str) -> Result<Job, String> {
        let mut jobs = read_jobs(text.as_bytes()).unwrap();
        assert_eq!(jobs.len(), 1, "{text}");
        jobs.remove(0)
    }

    #[test]
    fn a_job_has_any_input_and_keeps_its_other_members() {
        let job = read_one(r#"{"id":"sync-1-e1","input":null,"webhook":null,"extra":5}"#).unwrap();
        assert_eq!((job.input.clone(), job.is_sync()), (Ok(json!(null)), true));
        assert_eq!(job.members["extra"], json!(5));
        let job = read_one(r#"{"id":"5e0ae067-u1","input":[1,"ü"]}"#).unwrap();
        assert_eq!((job.input, job.id.as_str()), (Ok(json!([1, "ü"])), "5e0ae067-u1"));
    }

    #[test]
    fn a_job_without_an_id_or_an_input_is_refused() {
        for text in [
            r#"{"id":"a"}"#,
            r#"{"input":{}}"#,
            r#"{"id":7,"input":1}"#,
            r#"{"id":"","input":1}"#,
            r#"{"id":"a/../b","input":1}"#,
            r#"{"id":"..","input":1}"#,
            r#"{"id":"a?b","input":1}"#,
            "7",
            "\"text\"",
        ] {
            assert!(read_one(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_job_whose_input_cannot_be_read_still_has_its_id() {
        let deep = format!(r#"{{"id":"deep","input":{}{}}}"#, "[".repeat(9_000), "]".repeat(9_000));
        let surrogate = r#"{"id":"s","input":"\ud800"}"#;
        let twice = r#"{"id":"twice","input":{"inputs":{"a":1,"a":2}}}"#;
        for text in [deep.as_str(), surrogate, twice] {
            assert!(read_one(text).unwrap().input.is_err(), "{}", &text[..12]);
        }
        let huge = format!(r#"{{"id":"huge","input":{}}}"#, "9".repeat(400));
        assert_eq!(read_one(&huge).unwrap().id, "huge");
    }

    #[test]
    fn a_body_without_a_job_is_none_and_html_is_an_error() {
        for none in ["", "  ", "null", "[]"] {
            assert!(read_jobs(none.as_bytes()).unwrap().is_empty(), "{none}");
        }
        for broken in ["<html>busy</html>", "{", "[1", "\u{feff}{}"] {
            assert!(read_jobs(broken.as_bytes()).is_err(), "{broken}");
        }
        let jobs = read_jobs(br#"[{"id":"a","input":1},{"id":"b"},{"id":"c","input":2}]"#).unwrap();
        assert_eq!(jobs.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true]);
    }
}
