//! The metrics of NATS: the connection, the messages of callers by their outcome, what was dropped for a slow reader, and
//! the wake-ups between pods.

use std::time::Duration;

use greenroom_protocol::error::ErrorClass;
use greenroom_protocol::{ErrorCode, Reply, Status};
use metrics::{Counter, Gauge, Histogram, Key, Label, Recorder};
use metrics_exporter_prometheus::PrometheusRecorder;

use super::METADATA;

/// The outcomes of a message.
const OUTCOMES: [&str; 7] = ["success", "rejected", "denied", "failed", "cancelled", "timed_out", "overloaded"];

/// What was dropped, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DroppedMessage {
    /// A part of an answer whose reader is slower than the model.
    Delta,
    /// A message that arrived while those before it were not read yet.
    Incoming,
    /// A message without a subject for its reply, or with one that is no inbox.
    Unrepliable,
    /// A reply or a frame that the connection did not take in time.
    Outgoing,
    /// A message of the cluster's own traffic whose signature is not that of the cluster.
    Unsigned,
}

impl DroppedMessage {
    /// Every kind.
    const ALL: [Self; 5] = [Self::Delta, Self::Incoming, Self::Unrepliable, Self::Outgoing, Self::Unsigned];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Delta => "delta",
            Self::Incoming => "incoming",
            Self::Unrepliable => "unrepliable",
            Self::Outgoing => "outgoing",
            Self::Unsigned => "unsigned",
        }
    }
}

/// What happened to a wake-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WakeUp {
    /// This pod has sent it.
    Sent,
    /// This pod has received it, and looks for what there is to do.
    Received,
    /// Another pod has sent it, and it has not arrived here: the tick finds what it was about.
    Missed,
}

impl WakeUp {
    /// Every kind.
    const ALL: [Self; 3] = [Self::Sent, Self::Received, Self::Missed];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Received => "received",
            Self::Missed => "missed",
        }
    }
}

/// Gauges and counters of NATS.
pub struct NatsMetrics {
    connected: Gauge,
    reconnects: Counter,
    under_way: Gauge,
    watches: Gauge,
    requests: Vec<(&'static str, Counter)>,
    dropped: Vec<(DroppedMessage, Counter)>,
    wake_ups: Vec<(WakeUp, Counter)>,
    text_lag: Histogram,
    event_lag: Histogram,
    root_differs: Gauge,
    root_copy_failed: Gauge,
}

impl NatsMetrics {
    pub(super) fn register(recorder: &PrometheusRecorder) -> Self {
        for (name, help) in [
            ("nats_connected", "1 while the pod is connected to NATS"),
            ("nats_requests_under_way", "messages of callers that this pod serves at the moment, without watches"),
            ("audit_root_differs", "1 while the root chain of the audit differs from its copy in JetStream"),
            ("audit_root_copy_failed", "1 while the root chain of the audit cannot be copied to JetStream"),
            ("nats_watches", "watches of runs that this pod serves at the moment"),
        ] {
            recorder.describe_gauge(name.into(), None, help.into());
        }
        for (name, help) in [
            ("nats_reconnects", "connections to NATS that were made after one was lost"),
            ("nats_requests", "messages of callers, by the outcome of their reply"),
            ("nats_dropped", "messages that were dropped, by what they were"),
            ("nats_wake_ups", "wake-ups between pods"),
        ] {
            recorder.describe_counter(name.into(), None, help.into());
        }
        let lag = "seconds from a text of a model to the pod whose watcher reads it";
        recorder.describe_histogram("nats_text_lag".into(), None, lag.into());
        let lag = "seconds from an event of a run to the pod whose watcher reads it";
        recorder.describe_histogram("nats_event_lag".into(), None, lag.into());
        let gauge = |name| recorder.register_gauge(&Key::from_static_name(name), &METADATA);
        let counter = |name, label, value| {
            recorder.register_counter(&Key::from_parts(name, vec![Label::new(label, value)]), &METADATA)
        };
        let metrics = Self {
            connected: gauge("nats_connected"),
            reconnects: recorder.register_counter(&Key::from_static_name("nats_reconnects"), &METADATA),
            under_way: gauge("nats_requests_under_way"),
            watches: gauge("nats_watches"),
            requests: OUTCOMES.map(|outcome| (outcome, counter("nats_requests", "outcome", outcome))).into(),
            dropped: DroppedMessage::ALL.map(|kind| (kind, counter("nats_dropped", "message", kind.as_str()))).into(),
            wake_ups: WakeUp::ALL.map(|kind| (kind, counter("nats_wake_ups", "event", kind.as_str()))).into(),
            root_differs: gauge("audit_root_differs"),
            root_copy_failed: gauge("audit_root_copy_failed"),
            text_lag: recorder.register_histogram(&Key::from_static_name("nats_text_lag"), &METADATA),
            event_lag: recorder.register_histogram(&Key::from_static_name("nats_event_lag"), &METADATA),
        };
        metrics.connected.set(0.0);
        metrics.under_way.set(0.0);
        metrics.watches.set(0.0);
        metrics.root_differs.set(0.0);
        metrics.root_copy_failed.set(0.0);
        metrics
    }

    /// Sets whether the pod is connected.
    pub fn set_connected(&self, is_connected: bool) {
        self.connected.set(f64::from(u8::from(is_connected)));
    }

    /// Counts a connection that replaces a lost one.
    pub fn count_reconnect(&self) {
        self.reconnects.increment(1);
    }

    /// Counts a message that is being served; the caller calls [`NatsMetrics::end_request`] once.
    pub fn begin_request(&self) {
        self.under_way.increment(1.0);
    }

    /// A message is not served any more.
    pub fn end_request(&self) {
        self.under_way.decrement(1.0);
    }

    /// Counts a watch; the caller calls [`NatsMetrics::end_watch`] once.
    pub fn begin_watch(&self) {
        self.watches.increment(1.0);
    }

    /// A watch has ended.
    pub fn end_watch(&self) {
        self.watches.decrement(1.0);
    }

    /// Counts the reply to a message.
    pub fn count_reply(&self, reply: &Reply) {
        self.count_outcome(outcome(reply.status, reply.error.as_ref().map(|cause| cause.code)));
    }

    /// Counts a message that was refused with this code.
    pub fn count_refusal(&self, code: ErrorCode) {
        self.count_outcome(outcome(Status::Failed, Some(code)));
    }

    fn count_outcome(&self, outcome: &str) {
        if let Some((_, counter)) = self.requests.iter().find(|(known, _)| *known == outcome) {
            counter.increment(1);
        }
    }

    /// Counts a dropped message.
    pub fn count_dropped(&self, kind: DroppedMessage) {
        if let Some((_, counter)) = self.dropped.iter().find(|(known, _)| *known == kind) {
            counter.increment(1);
        }
    }

    /// Records how long a text has needed to a watcher's pod.
    pub fn observe_text_lag(&self, lag: Duration) {
        self.text_lag.record(lag.as_secs_f64());
    }

    /// Records how long an event of a run has needed to a watcher's pod.
    pub fn observe_event_lag(&self, lag: Duration) {
        self.event_lag.record(lag.as_secs_f64());
    }

    /// Shows whether the root chain of the audit differs from its copy.
    pub fn set_root_differs(&self, differs: bool) {
        self.root_differs.set(f64::from(u8::from(differs)));
    }

    /// Shows whether the root chain of the audit could not be copied, so that JetStream has less of it.
    pub fn set_root_copy_failed(&self, has_failed: bool) {
        self.root_copy_failed.set(f64::from(u8::from(has_failed)));
    }

    /// Counts wake-ups.
    pub fn count_wake_ups(&self, kind: WakeUp, count: u64) {
        if let Some((_, counter)) = self.wake_ups.iter().find(|(known, _)| *known == kind) {
            counter.increment(count);
        }
    }
}

fn outcome(status: Status, code: Option<ErrorCode>) -> &'static str {
    match (status, code) {
        (_, Some(ErrorCode::Overloaded)) => "overloaded",
        (_, Some(code)) if code.class() == ErrorClass::Rejected => "rejected",
        (_, Some(code)) if code.class() == ErrorClass::Denied => "denied",
        (Status::Success, _) => "success",
        (Status::Denied, _) => "denied",
        (Status::Cancelled, _) => "cancelled",
        (Status::TimedOut, _) => "timed_out",
        (Status::Failed, _) => "failed",
    }
}

#[cfg(test)]
mod tests {
    use super::super::Metrics;
    use super::*;

    #[test]
    fn each_outcome_and_each_dropped_message_is_counted_under_its_name() {
        let metrics = Metrics::new().unwrap();
        let nats = metrics.nats();
        for code in [ErrorCode::Overloaded, ErrorCode::InvalidRequest, ErrorCode::Unauthenticated, ErrorCode::Internal]
        {
            nats.count_refusal(code);
        }
        nats.count_dropped(DroppedMessage::Delta);
        nats.count_wake_ups(WakeUp::Missed, 3);
        nats.set_root_copy_failed(true);
        nats.begin_request();
        nats.begin_request();
        nats.end_request();
        let page = metrics.render();
        for line in [
            "nats_requests{outcome=\"overloaded\"} 1",
            "nats_requests{outcome=\"rejected\"} 1",
            "nats_requests{outcome=\"denied\"} 1",
            "nats_requests{outcome=\"failed\"} 1",
            "nats_requests{outcome=\"success\"} 0",
            "nats_dropped{message=\"delta\"} 1",
            "nats_wake_ups{event=\"missed\"} 3",
            "nats_requests_under_way 1",
            "nats_connected 0",
            "audit_root_differs 0",
            "audit_root_copy_failed 1",
        ] {
            assert!(page.contains(line), "{line} is missing in\n{page}");
        }
    }
}
