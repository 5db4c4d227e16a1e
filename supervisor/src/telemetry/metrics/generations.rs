//! The metrics of what is applied for every pod: which generations are active here, whether the pod is ready, and what
//! was not activated.

use greenroom_registry::generation_store::Generations;
use metrics::{Counter, Gauge, Key, Label, Recorder};
use metrics_exporter_prometheus::PrometheusRecorder;

use super::METADATA;

/// What a reload may change.
const SUBJECTS: [&str; 3] = ["users", "policy", "definitions"];

/// Gauges and counters of generations and reloads.
pub struct GenerationMetrics {
    ready: Gauge,
    catalogue: Gauge,
    policy: Gauge,
    failures: Vec<(&'static str, Counter)>,
}

impl GenerationMetrics {
    pub(super) fn register(recorder: &PrometheusRecorder) -> Self {
        for (name, help) in [
            (
                "pod_ready",
                "1 if the pod is ready for requests, 0 if it cannot load what is applied for every pod, or has no NATS",
            ),
            ("catalogue_generation", "generation of the active catalogue; 0 for the pod's own definitions"),
            ("policy_generation", "generation of the active policy; 0 for the pod's own policy"),
        ] {
            recorder.describe_gauge(name.into(), None, help.into());
        }
        let help = "changes of users, policy or definitions that were not activated";
        recorder.describe_counter("reload_failures".into(), None, help.into());
        let gauge = |name| recorder.register_gauge(&Key::from_static_name(name), &METADATA);
        let failures = SUBJECTS.into_iter().map(|subject| {
            let key = Key::from_parts("reload_failures", vec![Label::new("subject", subject)]);
            (subject, recorder.register_counter(&key, &METADATA))
        });
        let metrics = Self {
            ready: gauge("pod_ready"),
            catalogue: gauge("catalogue_generation"),
            policy: gauge("policy_generation"),
            failures: failures.collect(),
        };
        metrics.set_ready(true);
        metrics.set_active(Generations::default());
        metrics
    }

    /// Sets whether the pod is ready.
    pub fn set_ready(&self, is_ready: bool) {
        self.ready.set(f64::from(u8::from(is_ready)));
    }

    /// Sets the active generations.
    pub fn set_active(&self, active: Generations) {
        let value = |number: u64| u32::try_from(number).map_or(f64::INFINITY, f64::from);
        self.catalogue.set(value(active.catalogue));
        self.policy.set(value(active.policy));
    }

    /// Counts a change that was not activated.
    pub fn count_failure(&self, subject: &str) {
        if let Some((_, counter)) = self.failures.iter().find(|(known, _)| *known == subject) {
            counter.increment(1);
        }
    }
}
