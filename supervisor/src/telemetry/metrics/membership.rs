//! The metrics of a pod among the others of its store: the age of its lease, how often it has lapsed, what was refused because
//! another pod owns the run by now, and the messages for its runs.

use std::time::Duration;

use greenroom_registry::cluster::DueWork;
use metrics::{Counter, Gauge, Key, Recorder};
use metrics_exporter_prometheus::PrometheusRecorder;

use super::METADATA;

/// Gauges and counters of the membership of a pod.
pub struct MembershipMetrics {
    lease_age: Gauge,
    lapses: Counter,
    fenced_writes: Counter,
    inbox: Gauge,
}

impl MembershipMetrics {
    pub(super) fn register(recorder: &PrometheusRecorder) -> Self {
        for (name, help) in [
            ("pod_lease_age_seconds", "seconds since the lease of the pod was renewed"),
            ("run_inbox_messages", "messages for the runs of this pod that the last tick has found"),
        ] {
            recorder.describe_gauge(name.into(), None, help.into());
        }
        for (name, help) in [
            ("pod_lease_lapses", "how often the lease of the pod has lapsed"),
            ("fenced_writes", "units that were refused because another owner has claimed their run"),
        ] {
            recorder.describe_counter(name.into(), None, help.into());
        }
        let gauge = |name| {
            let gauge = recorder.register_gauge(&Key::from_static_name(name), &METADATA);
            gauge.set(0.0);
            gauge
        };
        let counter = |name| recorder.register_counter(&Key::from_static_name(name), &METADATA);
        Self {
            lease_age: gauge("pod_lease_age_seconds"),
            lapses: counter("pod_lease_lapses"),
            fenced_writes: counter("fenced_writes"),
            inbox: gauge("run_inbox_messages"),
        }
    }

    /// Shows how long ago the lease was renewed.
    pub fn set_lease_age(&self, age: Duration) {
        self.lease_age.set(age.as_secs_f64());
    }

    /// Shows what the last tick has found.
    pub fn set_work(&self, work: &DueWork) {
        self.lapses.absolute(work.lapses);
        self.fenced_writes.absolute(work.fenced_writes);
        // Exact: a tick finds far fewer.
        self.inbox.set(work.messages.len() as f64);
    }
}

#[cfg(test)]
mod tests {
    use super::super::Metrics;
    use super::*;

    #[test]
    fn what_a_tick_has_found_is_shown_and_each_counter_begins_at_zero() {
        let metrics = Metrics::new().unwrap();
        for line in ["pod_lease_lapses 0", "fenced_writes 0", "run_inbox_messages 0", "pod_lease_age_seconds 0"] {
            assert!(metrics.render().lines().any(|other| other == line), "{line} is missing");
        }
        metrics.membership().set_work(&DueWork { lapses: 2, fenced_writes: 7, ..DueWork::default() });
        metrics.membership().set_lease_age(Duration::from_millis(1_500));
        for line in ["pod_lease_lapses 2", "fenced_writes 7", "pod_lease_age_seconds 1.5"] {
            assert!(metrics.render().lines().any(|other| other == line), "{line} is missing");
        }
    }
}
