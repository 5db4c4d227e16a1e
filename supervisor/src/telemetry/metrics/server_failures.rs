//! The metrics of servers that have no database: Redis and Qdrant, each by the kind of its failure.

use greenroom_registry::qdrant::QdrantObserver;
use greenroom_registry::qdrant::error::{QDRANT_ERROR_DETAILS, QdrantError};
use greenroom_registry::redis::RedisObserver;
use greenroom_registry::redis::error::{REDIS_ERROR_DETAILS, RedisError};
use metrics::{Counter, Key, Label, Recorder};
use metrics_exporter_prometheus::PrometheusRecorder;

use super::{METADATA, Metrics, increment};

/// A counter for each kind of failure.
pub(super) struct ServerFailures {
    redis: Vec<(&'static str, Counter)>,
    qdrant: Vec<(&'static str, Counter)>,
}

impl ServerFailures {
    pub(super) fn register(recorder: &PrometheusRecorder) -> Self {
        let counter = |name: &'static str, error: &'static str| {
            let key = Key::from_parts(name, vec![Label::new("error", error)]);
            (error, recorder.register_counter(&key, &METADATA))
        };
        Self {
            redis: REDIS_ERROR_DETAILS.map(|error| counter("redis_failures", error)).into(),
            qdrant: QDRANT_ERROR_DETAILS.map(|error| counter("qdrant_failures", error)).into(),
        }
    }
}

impl RedisObserver for Metrics {
    fn on_failure(&self, error: &RedisError) {
        increment(&self.server_failures.redis, &error.detail());
    }
}

impl QdrantObserver for Metrics {
    fn on_failure(&self, error: &QdrantError) {
        increment(&self.server_failures.qdrant, &error.detail());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_of_a_server_is_counted_under_its_error() {
        let metrics = Metrics::new().unwrap();
        RedisObserver::on_failure(&metrics, &RedisError::Timeout);
        QdrantObserver::on_failure(&metrics, &QdrantError::Timeout);
        let page = metrics.render();
        for line in [
            "redis_failures{error=\"redis_timeout\"} 1",
            "redis_failures{error=\"redis_full\"} 0",
            "qdrant_failures{error=\"qdrant_timeout\"} 1",
            "qdrant_failures{error=\"qdrant_incompatible\"} 0",
        ] {
            assert!(page.contains(line), "{page}");
        }
    }
}
