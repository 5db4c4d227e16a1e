//! Telemetry of the process: log lines in the required format, and metrics.

pub mod logs;
pub mod metrics;
pub mod metrics_server;
mod platform_failure;
pub mod rate;
pub mod runpod_lines;

pub use logs::{EXECUTION, LIST_SEPARATOR, start};
pub use metrics::Metrics;
pub use metrics_server::MetricsServer;
