//! Telemetry of the process: log lines in the required format, and metrics.

pub mod logs;
pub mod metrics;
mod platform_failure;
pub mod rate;

pub use logs::{EXECUTION, start};
pub use metrics::Metrics;
