//! The metrics of requests to services and APIs: how many ended how, and how long they took. No label names a host.

use std::time::Duration;

use greenroom_runtimes::outbound::{CallKind, CallOutcome, OutboundObserver};
use metrics::{Counter, Histogram, Key, Label, Recorder};
use metrics_exporter_prometheus::PrometheusRecorder;

use super::METADATA;

/// Counters and times of requests to services and APIs.
pub struct OutboundMetrics {
    calls: Vec<((CallKind, CallOutcome), Counter)>,
    times: Vec<(CallKind, Histogram)>,
}

impl OutboundMetrics {
    pub(super) fn register(recorder: &PrometheusRecorder) -> Self {
        let help = "requests to services, APIs and their documents, by what they were for and how they ended";
        recorder.describe_counter("outbound_calls".into(), None, help.into());
        let help = "seconds of a request to a service, an API or a document";
        recorder.describe_histogram("outbound_call_time".into(), None, help.into());
        let counter = |(kind, outcome): (CallKind, CallOutcome)| {
            let labels = vec![Label::new("kind", kind.as_str()), Label::new("outcome", outcome.as_str())];
            let key = Key::from_parts("outbound_calls", labels);
            ((kind, outcome), recorder.register_counter(&key, &METADATA))
        };
        let time = |kind: CallKind| {
            let key = Key::from_parts("outbound_call_time", vec![Label::new("kind", kind.as_str())]);
            (kind, recorder.register_histogram(&key, &METADATA))
        };
        let ends = CallKind::ALL.into_iter().flat_map(|kind| CallOutcome::ALL.map(|outcome| (kind, outcome)));
        Self { calls: ends.map(counter).collect(), times: CallKind::ALL.into_iter().map(time).collect() }
    }
}

impl OutboundObserver for OutboundMetrics {
    fn on_call(&self, kind: CallKind, outcome: CallOutcome, elapsed: Duration) {
        for (_, counter) in self.calls.iter().filter(|(end, _)| *end == (kind, outcome)) {
            counter.increment(1);
        }
        for (_, time) in self.times.iter().filter(|(timed, _)| *timed == kind) {
            time.record(elapsed.as_secs_f64());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Metrics;
    use super::*;

    #[test]
    fn requests_are_counted_by_their_ends() {
        let metrics = Metrics::new().unwrap();
        metrics.outbound().on_call(CallKind::Service, CallOutcome::Success, Duration::from_millis(20));
        metrics.outbound().on_call(CallKind::Tool, CallOutcome::Refused, Duration::ZERO);
        let page = metrics.render();
        for line in [
            "outbound_calls{kind=\"service\",outcome=\"success\"} 1",
            "outbound_calls{kind=\"tool\",outcome=\"refused\"} 1",
            "outbound_calls{kind=\"tool\",outcome=\"timed_out\"} 0",
            "outbound_call_time_count{kind=\"service\"} 1",
        ] {
            assert!(page.lines().any(|other| other == line), "{line} is missing in\n{page}");
        }
    }
}
