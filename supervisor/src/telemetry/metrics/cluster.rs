//! The metrics of what crosses pods: sessions, the messages of them that are refused, and delegations that are refused.
//! Each event has a line in the log too.

use greenroom_protocol::PodId;
use metrics::{Counter, Gauge, Key, Label, Recorder};
use metrics_exporter_prometheus::PrometheusRecorder;

use super::{METADATA, increment};
use crate::cluster::delegation::refusal::{DelegationObserver, LogDelegations, RefusedDelegation};
use crate::cluster::session::observer::{CloseReason, LogSessions, RefusedMessage, SessionObserver};

/// Gauges and counters of sessions and delegations.
pub struct ClusterMetrics {
    open: Gauge,
    dialled: Counter,
    accepted: Counter,
    closed: Vec<(CloseReason, Counter)>,
    messages_refused: Vec<(RefusedMessage, Counter)>,
    delegations_refused: Vec<(RefusedDelegation, Counter)>,
}

impl ClusterMetrics {
    pub(super) fn register(recorder: &PrometheusRecorder) -> Self {
        recorder.describe_gauge("cluster_sessions_open".into(), None, "open sessions with other pods".into());
        for (name, help) in [
            ("cluster_sessions_opened", "sessions with other pods that were opened, by who dialled"),
            ("cluster_sessions_closed", "sessions with other pods that have ended, by their reason"),
            ("cluster_session_messages_refused", "messages of sessions and handshakes that were refused"),
            ("delegations_refused", "delegations of other pods that were refused, by their reason"),
        ] {
            recorder.describe_counter(name.into(), None, help.into());
        }
        let counter = |name, label, value| {
            recorder.register_counter(&Key::from_parts(name, vec![Label::new(label, value)]), &METADATA)
        };
        let open = recorder.register_gauge(&Key::from_static_name("cluster_sessions_open"), &METADATA);
        open.set(0.0);
        let closed = |reason: CloseReason| (reason, counter("cluster_sessions_closed", "reason", reason.as_str()));
        let message =
            |reason: RefusedMessage| (reason, counter("cluster_session_messages_refused", "reason", reason.as_str()));
        let delegation =
            |reason: RefusedDelegation| (reason, counter("delegations_refused", "reason", reason.as_str()));
        Self {
            open,
            dialled: counter("cluster_sessions_opened", "by", "dialler"),
            accepted: counter("cluster_sessions_opened", "by", "acceptor"),
            closed: CloseReason::ALL.into_iter().map(closed).collect(),
            messages_refused: RefusedMessage::ALL.into_iter().map(message).collect(),
            delegations_refused: RefusedDelegation::ALL.into_iter().map(delegation).collect(),
        }
    }
}

impl SessionObserver for ClusterMetrics {
    fn on_opened(&self, peer: &PodId, dialled: bool) {
        self.open.increment(1.0);
        let opened = if dialled { &self.dialled } else { &self.accepted };
        opened.increment(1);
        LogSessions.on_opened(peer, dialled);
    }

    fn on_closed(&self, peer: &PodId, reason: CloseReason) {
        self.open.decrement(1.0);
        increment(&self.closed, &reason);
        LogSessions.on_closed(peer, reason);
    }

    fn on_refused(&self, peer: Option<&PodId>, reason: RefusedMessage) {
        increment(&self.messages_refused, &reason);
        SessionObserver::on_refused(&LogSessions, peer, reason);
    }
}

impl DelegationObserver for ClusterMetrics {
    fn on_refused(&self, issuer: Option<&PodId>, reason: RefusedDelegation) {
        increment(&self.delegations_refused, &reason);
        DelegationObserver::on_refused(&LogDelegations, issuer, reason);
    }
}

#[cfg(test)]
mod tests {
    use crate::cluster::delegation::refusal::{DelegationObserver, RefusedDelegation};
    use crate::cluster::session::observer::{CloseReason, RefusedMessage, SessionObserver};
    use crate::telemetry::Metrics;

    #[test]
    fn sessions_and_refusals_are_counted_by_their_reason() {
        let (metrics, pod) = (Metrics::new().unwrap(), greenroom_protocol::PodId::new("two").unwrap());
        let cluster = metrics.cluster();
        cluster.on_opened(&pod, true);
        cluster.on_opened(&pod, false);
        cluster.on_closed(&pod, CloseReason::Gap);
        SessionObserver::on_refused(&**cluster, Some(&pod), RefusedMessage::Forged);
        DelegationObserver::on_refused(&**cluster, None, RefusedDelegation::Replayed);
        let page = metrics.render();
        for line in [
            "cluster_sessions_open 1",
            "cluster_sessions_opened{by=\"dialler\"} 1",
            "cluster_sessions_opened{by=\"acceptor\"} 1",
            "cluster_sessions_closed{reason=\"gap\"} 1",
            "cluster_sessions_closed{reason=\"silent\"} 0",
            "cluster_session_messages_refused{reason=\"forged\"} 1",
            "delegations_refused{reason=\"replayed\"} 1",
            "delegations_refused{reason=\"old_fence\"} 0",
        ] {
            assert!(page.lines().any(|other| other == line), "{line} is missing in\n{page}");
        }
    }
}
