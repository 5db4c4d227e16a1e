//! The log of a worker of RunPod: the lines that its console reads, on standard output.

use std::fmt;

use greenroom_runpod::worker::log_line::log_line;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::logs::{log_panic, safe_filter};

/// Installs the log writer of the process.
///
/// # Errors
/// A message, if the filter is invalid or a writer is installed already.
pub fn start(filter: &str) -> Result<(), String> {
    let lines = tracing_subscriber::fmt()
        .with_env_filter(safe_filter(filter)?)
        .with_writer(std::io::stdout)
        .log_internal_errors(false)
        .event_format(RunpodLine)
        .finish();
    tracing::subscriber::set_global_default(lines).map_err(|error| error.to_string())?;
    std::panic::set_hook(Box::new(log_panic));
    Ok(())
}

struct RunpodLine;

impl<S, N> FormatEvent<S, N> for RunpodLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut text = EventText::default();
        event.record(&mut text);
        let level = match *event.metadata().level() {
            Level::ERROR => "ERROR",
            Level::WARN => "WARN",
            Level::INFO => "INFO",
            Level::DEBUG | Level::TRACE => "DEBUG",
        };
        let message = format!("{}{}", text.message, text.fields);
        writeln!(writer, "{}", log_line(level, text.job.as_deref(), &message))
    }
}

/// The message of an event, its job, and its other fields after the message.
#[derive(Default)]
struct EventText {
    message: String,
    job: Option<String>,
    fields: String,
}

impl EventText {
    fn add(&mut self, name: &str, value: String) {
        match name {
            "message" => self.message = value,
            "job.id" => self.job = Some(value),
            name => self.fields.push_str(&format!(" {name}={value}")),
        }
    }
}

impl Visit for EventText {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field.name(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field.name(), value.to_owned());
    }
}
