//! The metrics of the processes that execute handlers in Python: how many were started, how long that took, and why they
//! were ended.

use std::sync::Arc;
use std::time::Duration;

use greenroom_runtimes::python::events::{StopReason, WorkerObserver};
use metrics::{Counter, Histogram, Key, Label, Recorder};
use metrics_exporter_prometheus::PrometheusRecorder;

use super::{METADATA, Metrics, increment};

/// Counters of the processes of handlers in Python.
pub struct PythonMetrics {
    starts: Counter,
    start_time: Histogram,
    stops: Vec<(StopReason, Counter)>,
}

impl PythonMetrics {
    pub(super) fn register(recorder: &PrometheusRecorder) -> Self {
        for (name, help) in [
            ("python_worker_starts", "processes of handlers in Python that were started"),
            ("python_worker_stops", "processes of handlers in Python that were ended, by the reason"),
        ] {
            recorder.describe_counter(name.into(), None, help.into());
        }
        let help = "seconds until a process of a handler in Python is ready";
        recorder.describe_histogram("python_worker_start_time".into(), None, help.into());
        let stop = |reason: StopReason| {
            let key = Key::from_parts("python_worker_stops", vec![Label::new("reason", reason.as_str())]);
            (reason, recorder.register_counter(&key, &METADATA))
        };
        Self {
            starts: recorder.register_counter(&Key::from_static_name("python_worker_starts"), &METADATA),
            start_time: recorder.register_histogram(&Key::from_static_name("python_worker_start_time"), &METADATA),
            stops: StopReason::ALL.into_iter().map(stop).collect(),
        }
    }
}

impl Metrics {
    /// Those of the processes of handlers in Python.
    #[must_use]
    pub const fn python(&self) -> &Arc<PythonMetrics> {
        &self.python
    }
}

impl WorkerObserver for PythonMetrics {
    fn on_start(&self, elapsed: Duration) {
        self.starts.increment(1);
        self.start_time.record(elapsed.as_secs_f64());
    }

    fn on_stop(&self, reason: StopReason) {
        increment(&self.stops, &reason);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_are_counted_by_the_reason_of_their_end() {
        let metrics = Metrics::new().unwrap();
        metrics.python().on_start(Duration::from_millis(80));
        metrics.python().on_stop(StopReason::TimedOut);
        let page = metrics.render();
        for line in [
            "python_worker_starts 1",
            "python_worker_start_time_count 1",
            "python_worker_stops{reason=\"timed_out\"} 1",
            "python_worker_stops{reason=\"recycled\"} 0",
        ] {
            assert!(page.lines().any(|other| other == line), "{line} is missing in\n{page}");
        }
    }
}
