//! The log lines that RunPod's console reads: one JSON object for each, with the job that it belongs to.

use serde_json::json;

/// Characters of a message; RunPod shows no more.
const MESSAGE_CHARS_MAX: usize = 4_096;

/// A line of the log. The level is `DEBUG`, `INFO`, `WARN` or `ERROR`.
#[must_use]
pub fn log_line(level: &str, job: Option<&str>, message: &str) -> String {
    json!({ "requestId": job, "message": shorten(message), "level": level }).to_string()
}

/// Removes the middle of a message that is too long.
fn shorten(message: &str) -> String {
    let chars = message.chars().count();
    if chars <= MESSAGE_CHARS_MAX {
        return message.to_owned();
    }
    let half = MESSAGE_CHARS_MAX / 2;
    let first: String = message.chars().take(half).collect();
    let last: String = message.chars().skip(chars - half).collect();
    format!("{first}\n...TRUNCATED {} CHARACTERS...\n{last}", chars - 2 * half)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, from_str, json};

    use super::log_line;

    #[test]
    fn a_line_names_its_job() {
        let line: Value = from_str(&log_line("INFO", Some("job-1"), "done")).unwrap();
        assert_eq!(line, json!({ "requestId": "job-1", "message": "done", "level": "INFO" }));
        let line: Value = from_str(&log_line("WARN", None, "a\nb")).unwrap();
        assert_eq!(line, json!({ "requestId": null, "message": "a\nb", "level": "WARN" }));
    }

    #[test]
    fn a_long_message_is_cut_in_the_middle() {
        let line: Value =
            from_str(&log_line("INFO", None, &format!("{}{}", "ä".repeat(3_000), "b".repeat(3_000)))).unwrap();
        let message = line["message"].as_str().unwrap();
        assert!(message.starts_with('ä') && message.ends_with('b'));
        assert!(message.contains("\n...TRUNCATED 1904 CHARACTERS...\n"), "{}", message.len());
    }
}
