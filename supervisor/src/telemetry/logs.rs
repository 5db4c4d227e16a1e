//! Log lines: one flat JSON object each, on standard error. Every line has `timestamp` and `level`; the
//! line of an execution also has exactly the fields of [`FIELDS`], absent ones as null.

use std::sync::Arc;
use std::{fmt, io};

use greenroom_protocol::{Clock, Timestamp};
use serde::{Serialize, Serializer};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::Directive;
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
    POLICY_CHECKS,
    "trace_id",
];
const POLICY_CHECKS: &str = "policy_checks";

/// Separates the members of `policy_checks` in a `tracing` field, which cannot be a list.
pub const LIST_SEPARATOR: char = ',';

/// Targets whose lines no filter can enable: the client of models logs answers of providers, that of MCP logs the messages
/// of servers, the connection to NATS logs the content of messages and their headers, with the credentials of callers, and
/// the server of HTTP/2 logs a path that it cannot read, with the token of an event stream in its query.
const SILENCED_TARGETS: [&str; 4] = ["genai=off", "rmcp=off", "async_nats::connection=off", "h2::server=off"];

/// Installs the log writer of the process. From then on, a panic is a line of the log too.
///
/// # Errors
/// A message, if the filter is invalid or a writer is installed already.
pub fn start(filter: &str, clock: Arc<dyn Clock>) -> Result<(), String> {
    let lines = tracing_subscriber::fmt()
        .with_env_filter(safe_filter(filter)?)
        .with_writer(std::io::stderr)
        // A line that cannot be written is lost. Its error would be written to the same stream, and panic there.
        .log_internal_errors(false)
        .event_format(JsonLine { clock })
        .finish();
    tracing::subscriber::set_global_default(lines).map_err(|error| error.to_string())?;
    std::panic::set_hook(Box::new(log_panic));
    Ok(())
}

/// The filter that a setting describes, without the lines that are never written.
///
/// # Errors
/// A message, if the filter is invalid.
pub(super) fn safe_filter(setting: &str) -> Result<EnvFilter, String> {
    let mut filter = EnvFilter::try_new(setting).map_err(|error| format!("log.filter: {error}"))?;
    for target in SILENCED_TARGETS {
        let silent: Directive = target.parse().map_err(|error| format!("{target}: {error}"))?;
        filter = filter.add_directive(silent);
    }
    Ok(filter)
}

/// Writes a panic as a line of the log. Its message may quote an input, so it is logged at level debug only.
pub(super) fn log_panic(panic: &std::panic::PanicHookInfo<'_>) {
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
        let metadata = event.metadata();
        let is_execution = metadata.target() == EXECUTION;
        let mut line = Line { writer: &mut writer, is_execution, written: [false; FIELDS.len()], result: Ok(()) };
        write!(line.writer, "{{\"timestamp\":\"{}\"", to_millis(self.clock.now()))?;
        line.member("level", metadata.level().as_str());
        if !is_execution {
            line.member("target", metadata.target());
        }
        event.record(&mut line);
        line.finish()
    }
}

/// RFC 3339 with milliseconds.
fn to_millis(moment: Timestamp) -> Timestamp {
    Timestamp::from_micros(moment.as_micros().div_euclid(1_000).saturating_mul(1_000))
}

/// Writes the members of one line, one after the other. A pod that executes thousands of agents a second writes as
/// many lines, so no member is copied first.
struct Line<'l, 'w> {
    writer: &'l mut Writer<'w>,
    is_execution: bool,
    /// The fields of an execution that the event has.
    written: [bool; FIELDS.len()],
    /// The first error, after which nothing is written.
    result: fmt::Result,
}

impl Line<'_, '_> {
    fn member(&mut self, name: &str, value: impl Serialize) {
        if self.result.is_ok() {
            self.result = self.try_member(name, value);
        }
    }

    fn try_member(&mut self, name: &str, value: impl Serialize) -> fmt::Result {
        self.writer.write_char(',')?;
        write_json(self.writer, name)?;
        self.writer.write_char(':')?;
        write_json(self.writer, value)
    }

    /// Writes a field of the event. Of an execution only those of [`FIELDS`] are written; an empty text means that the
    /// field is absent.
    fn field(&mut self, field: &Field, value: impl Serialize, text: Option<&str>) {
        if !self.is_execution {
            return self.member(field.name(), value);
        }
        let Some(index) = FIELDS.iter().position(|name| *name == field.name()) else { return };
        match text {
            Some(list) if field.name() == POLICY_CHECKS => self.member(field.name(), CheckNames(list)),
            Some("") => return,
            Some(_) | None => self.member(field.name(), value),
        }
        if let Some(written) = self.written.get_mut(index) {
            *written = true;
        }
    }

    /// Ends the line, after the fields of an execution that the event does not have.
    fn finish(mut self) -> fmt::Result {
        if self.is_execution {
            for (name, _) in FIELDS.iter().zip(self.written).filter(|(_, is_written)| !is_written) {
                match *name {
                    POLICY_CHECKS => self.member(name, CheckNames("")),
                    _ => self.member(name, ()),
                }
            }
        }
        self.result?;
        self.writer.write_str("}\n")
    }
}

impl Visit for Line<'_, '_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = format!("{value:?}");
        self.field(field, &text, Some(&text));
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.field(field, value, Some(value));
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.field(field, value, None);
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.field(field, value, None);
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.field(field, value, None);
    }
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.field(field, value, None);
    }
}

/// The names of checks, separated by [`LIST_SEPARATOR`], as a list.
struct CheckNames<'t>(&'t str);

impl Serialize for CheckNames<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.split(LIST_SEPARATOR).filter(|check| !check.is_empty()))
    }
}

/// Writes a value as JSON.
fn write_json(writer: &mut Writer<'_>, value: impl Serialize) -> fmt::Result {
    serde_json::to_writer(Bytes(writer), &value).map_err(|_| fmt::Error)
}

/// Writes bytes that are UTF-8, as those of JSON are.
struct Bytes<'b, 'w>(&'b mut Writer<'w>);

impl io::Write for Bytes<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = str::from_utf8(bytes).map_err(io::Error::other)?;
        self.0.write_str(text).map_err(io::Error::other)?;
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
