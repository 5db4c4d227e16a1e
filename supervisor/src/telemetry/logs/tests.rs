//! Log lines: their members, and those that no filter enables.

use std::io::Write;
use std::sync::Mutex;

use greenroom_protocol::{BootTime, Json};

use super::*;

#[derive(Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

struct Noon;
impl Clock for Noon {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(1_731_580_245_123_456)
    }

    fn boot_time(&self) -> BootTime {
        BootTime::default()
    }
}

fn lines(log: impl FnOnce()) -> Vec<Json> {
    lines_of("info", log)
}

/// The lines that this filter does not omit.
fn lines_of(filter: &str, log: impl FnOnce()) -> Vec<Json> {
    let buffer = Buffer::default();
    let writer = buffer.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(safe_filter(filter).unwrap())
        .with_writer(move || writer.clone())
        .event_format(JsonLine::new(Arc::new(Noon)))
        .finish();
    tracing::subscriber::with_default(subscriber, log);
    let text = String::from_utf8(buffer.0.lock().unwrap().clone()).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn an_execution_has_exactly_the_fields_of_the_document() {
    let lines = lines(|| {
        tracing::info!(
            target: EXECUTION,
            agent_id = "a_001", team_id = "", workflow_id = "w", user_id = "u", action = "execute",
            duration_ms = 12_u64, status = "success", tokens_used = 7_u64,
            policy_checks = "access_allowed,rate_limit_ok", trace_id = "t",
        );
    });
    let expected = serde_json::json!({
        "timestamp": "2024-11-14T10:30:45.123Z", "level": "INFO", "agent_id": "a_001", "team_id": null,
        "workflow_id": "w", "user_id": "u", "action": "execute", "duration_ms": 12, "status": "success",
        "tokens_used": 7, "policy_checks": ["access_allowed", "rate_limit_ok"], "trace_id": "t",
    });
    assert_eq!(lines, [expected]);
}

#[test]
fn an_execution_that_was_rejected_has_nulls_and_no_checks() {
    let lines = lines(|| tracing::info!(target: EXECUTION, other = "x", agent_id = "", status = "failed \"\u{1b}\n"));
    let expected = serde_json::json!({
        "timestamp": "2024-11-14T10:30:45.123Z", "level": "INFO", "agent_id": null, "team_id": null,
        "workflow_id": null, "user_id": null, "action": null, "duration_ms": null, "status": "failed \"\u{1b}\n",
        "tokens_used": null, "policy_checks": [], "trace_id": null,
    });
    assert_eq!(lines, [expected]);
}

#[test]
fn no_filter_enables_the_lines_that_have_secrets() {
    let log = || {
        tracing::trace!(target: "async_nats::connection", headers = "Bearer hunter2", "write operation: PUB");
        tracing::error!(target: "genai::client", "hunter2");
        tracing::debug!(target: "h2::server", "malformed headers: malformed path (\"/?token=hunter2 \"): invalid uri character");
        tracing::trace!(target: "async_nats::connector", "connecting");
    };
    for filter in ["trace", "trace,async_nats::connection=trace,genai=trace", "trace,h2=trace", "async_nats=trace"] {
        let lines = lines_of(filter, log);
        assert_eq!(lines.len(), 1, "{filter}: {lines:?}");
        assert_eq!(lines[0]["target"], "async_nats::connector");
    }
    assert!(safe_filter("no=such=filter").unwrap_err().contains("log.filter"));
}

#[test]
fn another_line_has_its_message_and_its_fields() {
    let lines = lines(|| tracing::warn!(path = "x.yaml", "definition refused"));
    assert_eq!(lines[0]["message"], "definition refused");
    assert_eq!(lines[0]["path"], "x.yaml");
    assert_eq!(lines[0]["level"], "WARN");
}
