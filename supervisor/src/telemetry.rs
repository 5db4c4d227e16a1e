//! What the process tells of itself: log lines in the document's shape, and its nine metrics.

pub mod logs;
pub mod metrics;
pub mod rate;

pub use logs::{EXECUTION, start};
pub use metrics::Metrics;
