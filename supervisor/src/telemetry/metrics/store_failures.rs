//! The metric of requests that failed because of the database, by the kind of its failure.

use greenroom_registry::ServerFault;
use greenroom_registry::error::STORE_ERROR_DETAILS;
use metrics::{Counter, Key, Label, Recorder};
use metrics_exporter_prometheus::PrometheusRecorder;

use super::METADATA;

const NAME: &str = "store_failures";

/// A counter for each kind of failure.
pub struct StoreFailures(Vec<(&'static str, Counter)>);

impl StoreFailures {
    pub(super) fn register(recorder: &PrometheusRecorder) -> Self {
        recorder.describe_counter(
            NAME.into(),
            None,
            "requests that failed because of the database, by its error".into(),
        );
        let kinds = STORE_ERROR_DETAILS.into_iter().chain(ServerFault::ALL.map(ServerFault::as_str));
        let counters = kinds.map(|kind| {
            let key = Key::from_parts(NAME, vec![Label::new("error", kind)]);
            (kind, recorder.register_counter(&key, &METADATA))
        });
        Self(counters.collect())
    }

    /// Counts a failure of this kind, as `details.store` of its cause has it.
    pub fn count(&self, kind: &str) {
        if let Some((_, counter)) = self.0.iter().find(|(known, _)| *known == kind) {
            counter.increment(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use greenroom_registry::StoreError;

    use super::super::Metrics;

    #[test]
    fn a_failure_of_the_database_is_counted_under_its_kind() {
        let metrics = Metrics::new().unwrap();
        for error in [StoreError::ReadOnly, StoreError::Full, StoreError::Full, StoreError::Unreachable(String::new())]
        {
            metrics.store_failures().count(error.cause().details["store"].as_str().unwrap());
        }
        let page = metrics.render();
        for line in [
            "store_failures{error=\"read_only\"} 1",
            "store_failures{error=\"disk_full\"} 2",
            "store_failures{error=\"unreachable\"} 1",
            "store_failures{error=\"no_connections\"} 0",
            "store_failures{error=\"timeout\"} 0",
        ] {
            assert!(page.lines().any(|other| other == line), "{line} is missing in\n{page}");
        }
    }
}
