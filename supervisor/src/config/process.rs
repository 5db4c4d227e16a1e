//! The sections `metrics`, `log` and `drain`: how the process reports and how it shuts down.

use std::net::SocketAddr;
use std::time::Duration;

use super::reader::ConfigReader;
use super::setting::Setting;

/// The settings.
pub const SETTINGS: &[Setting] = &[
    Setting::text(
        "metrics.addr",
        &["GREENROOM_METRICS_ADDR"],
        "address at which `up` serves /metrics; `off` serves none",
    )
    .or("127.0.0.1:9464"),
    Setting::text("log.filter", &["GREENROOM_LOG"], "which log lines are written, as tracing directives"),
    Setting::number(
        "drain.timeout_s",
        &["GREENROOM_DRAIN_TIMEOUT_S"],
        "seconds a shutdown waits for requests in flight",
    )
    .or("25"),
];

/// Where metrics are served; `None` if they are not.
pub(super) fn read_metrics(reader: &mut ConfigReader<'_>) -> Option<SocketAddr> {
    match reader.get::<String>("metrics.addr").as_deref() {
        None | Some("off") => None,
        Some(_) => reader.parse("metrics.addr", "`off` or an address such as `127.0.0.1:9464`"),
    }
}

/// The filter of log lines; empty for the default of the command.
pub(super) fn read_log_filter(reader: &mut ConfigReader<'_>) -> String {
    reader.get("log.filter").unwrap_or_default()
}

/// The bound on a drain.
pub(super) fn read_drain_timeout(reader: &mut ConfigReader<'_>) -> Duration {
    Duration::from_secs(reader.get("drain.timeout_s").unwrap_or_default())
}
