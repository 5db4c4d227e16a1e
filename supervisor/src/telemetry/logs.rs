//! Log lines: one flat JSON object each, on standard error. Every line has `timestamp` and `level`; the
//! line of an execution also has exactly the fields of [`FIELDS`], absent ones as null.

use std::fmt;
use std::sync::Arc;

use greenroom_protocol::{Clock, Json, Timestamp};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// The target of the line of an execution.
pub const EXECUTION: &str = "greenroom::execution";

/// The fields of the line of an execution, after `timestamp` and `level`.
pub const FIELDS: [&str; 10] = [
    "agent_id",
    "team_id",
    "workflow_id",
    "user_id",
    "action",
    "duration_ms",
    "status",
    "tokens_used",
    "policy_checks",
    "trace_id",
];

/// Separates the members of `policy_checks` in a `tracing` field, which cannot be a list.
pub const LIST_SEPARATOR: char = ',';

/// Targets whose lines no filter can enable: the client of models logs answers of providers.
const SILENCED_TARGETS: &str = "genai=off";

/// Installs the log writer of the process. From then on, a panic is a line of the log too.
///
/// # Errors
/// A message, if the filter is invalid or a writer is installed already.
pub fn start(filter: &str, clock: Arc<dyn Clock>) -> Result<(), String> {
    let filter = EnvFilter::try_new(filter).map_err(|error| format!("log.filter: {error}"))?;
    let silent = SILENCED_TARGETS.parse().map_err(|error| format!("{SILENCED_TARGETS}: {error}"))?;
    let filter = filter.add_directive(silent);
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // A line that cannot be written is lost. Its error would be written to the same stream, and panic there.
        .log_internal_errors(false)
        .event_format(JsonLine { clock })
        .finish();
    tracing::subscriber::set_global_default(lines).map_err(|error| error.to_string())?;
    std::panic::set_hook(Box::new(log_panic));
    Ok(())
}

/// Writes a panic as a line of the log. Its message may quote an input, so it is logged at level debug only.
fn log_panic(panic: &std::panic::PanicHookInfo<'_>) {
    let location = panic.location().map(ToString::to_string);
    let thread = std::thread::current();
    tracing::error!(panic.location = location, thread.name = thread.name(), "panic");
    tracing::debug!(panic.message = panic.payload_as_str(), "panic");
}

/// Formats events as flat JSON lines.
pub struct JsonLine {
    clock: Arc<dyn Clock>,
}

impl JsonLine {
    /// Lines with timestamps of this clock.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock }
    }
}

impl<S, N> FormatEvent<S, N> for JsonLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let mut line = vec![
            ("timestamp", Json::String(to_millis(self.clock.now()))),
            ("level", Json::String(event.metadata().level().to_string())),
        ];
        if event.metadata().target() == EXECUTION {
            line.extend(FIELDS.iter().map(|name| (*name, fields.execution(name))));
        } else {
            line.push(("target", Json::String(event.metadata().target().to_owned())));
            line.extend(fields.0);
        }
        write_object(&mut writer, &line)
    }
}

/// RFC 3339 with milliseconds.
fn to_millis(moment: Timestamp) -> String {
    let whole = Timestamp::from_micros(moment.as_micros().div_euclid(1_000).saturating_mul(1_000));
    whole.to_string()
}

fn write_object(writer: &mut Writer<'_>, members: &[(&str, Json)]) -> fmt::Result {
    writer.write_char('{')?;
    for (index, (name, value)) in members.iter().enumerate() {
        if index > 0 {
            writer.write_char(',')?;
        }
        write!(writer, "{}:{value}", Json::String((*name).to_owned()))?;
    }
    writer.write_str("}\n")
}

#[derive(Default)]
struct Fields(Vec<(&'static str, Json)>);

impl Fields {
    fn execution(&self, name: &str) -> Json {
        let value = self.0.iter().find(|(known, _)| *known == name).map_or(Json::Null, |(_, value)| value.clone());
        match (name, value) {
            ("policy_checks", Json::String(text)) => {
                text.split(LIST_SEPARATOR).filter(|check| !check.is_empty()).map(Json::from).collect()
            }
            ("policy_checks", _) => Json::Array(Vec::new()),
            (_, Json::String(text)) if text.is_empty() => Json::Null,
            (_, value) => value,
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.push((field.name(), Json::String(format!("{value:?}"))));
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.push((field.name(), Json::from(value)));
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.push((field.name(), Json::from(value)));
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.push((field.name(), Json::from(value)));
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.push((field.name(), Json::from(value)));
    }
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.0.push((field.name(), Json::from(value)));
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Mutex;

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
    }

    fn lines(log: impl FnOnce()) -> Vec<Json> {
        let buffer = Buffer::default();
        let writer = buffer.clone();
        let subscriber = tracing_subscriber::fmt()
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
    fn another_line_has_its_message_and_its_fields() {
        let lines = lines(|| tracing::warn!(path = "x.yaml", "definition refused"));
        assert_eq!(lines[0]["message"], "definition refused");
        assert_eq!(lines[0]["path"], "x.yaml");
        assert_eq!(lines[0]["level"], "WARN");
    }
}
