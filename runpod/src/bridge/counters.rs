//! The bridge's own metrics: responses by route and class of status, the streams and connections that are open. No label
//! names a tenant, a user or an id.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::http::StatusCode;

/// The route of a request that no route matches.
const UNMATCHED: &str = "unmatched";
/// The classes of statuses, by the first digit of a status less one.
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// The counters of one bridge.
pub(super) struct Counters {
    responses: BTreeMap<&'static str, [AtomicU64; CLASSES.len()]>,
    streams: Arc<AtomicU64>,
    connections: Arc<AtomicU64>,
    refused_connections: AtomicU64,
    stalled_connections: Arc<AtomicU64>,
    stalled_streams: AtomicU64,
}

/// Counts a stream or a connection as open until it is dropped.
pub(super) struct OpenTicket(Arc<AtomicU64>);

impl Drop for OpenTicket {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Counters {
    /// Counters of these routes, all zero.
    pub(super) fn new(paths: &[&'static str]) -> Self {
        let responses = paths.iter().copied().chain([UNMATCHED]).map(|path| (path, Default::default())).collect();
        Self {
            responses,
            streams: Arc::default(),
            connections: Arc::default(),
            refused_connections: AtomicU64::new(0),
            stalled_connections: Arc::default(),
            stalled_streams: AtomicU64::new(0),
        }
    }

    /// Counts a response of a route.
    pub(super) fn count_response(&self, path: Option<&str>, status: StatusCode) {
        let counters = path.and_then(|path| self.responses.get(path)).or_else(|| self.responses.get(UNMATCHED));
        let class = usize::from(status.as_u16() / 100).saturating_sub(1);
        if let Some(counter) = counters.and_then(|counters| counters.get(class)) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts a stream until the ticket is dropped.
    pub(super) fn open_stream(&self) -> OpenTicket {
        open(&self.streams)
    }

    /// Counts a connection until the ticket is dropped.
    pub(super) fn open_connection(&self) -> OpenTicket {
        open(&self.connections)
    }

    /// Counts a connection that was closed because there are too many.
    pub(super) fn count_refused_connection(&self) {
        self.refused_connections.fetch_add(1, Ordering::Relaxed);
    }

    /// The counter of connections that were closed because their peers read nothing.
    pub(super) fn stalled_connections(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.stalled_connections)
    }

    /// Counts streams that were ended because their readers read nothing.
    pub(super) fn count_stalled_streams(&self, count: usize) {
        self.stalled_streams.fetch_add(u64::try_from(count).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// The counters in the text format of Prometheus.
    pub(super) fn render(&self) -> String {
        let mut text = String::from("# TYPE http_responses_total counter\n");
        for (path, classes) in &self.responses {
            for (class, counter) in CLASSES.iter().zip(classes) {
                let count = counter.load(Ordering::Relaxed);
                if count > 0 {
                    // Writing to a string does not fail.
                    let _ = writeln!(text, "http_responses_total{{route=\"{path}\",status=\"{class}\"}} {count}");
                }
            }
        }
        for (name, kind, value) in [
            ("http_streams_open", "gauge", &*self.streams),
            ("http_connections_open", "gauge", &*self.connections),
            ("http_connections_refused_total", "counter", &self.refused_connections),
            ("http_connections_stalled_total", "counter", &*self.stalled_connections),
            ("http_streams_stalled_total", "counter", &self.stalled_streams),
        ] {
            let _ = writeln!(text, "# TYPE {name} {kind}\n{name} {}", value.load(Ordering::Relaxed));
        }
        text
    }
}

fn open(count: &Arc<AtomicU64>) -> OpenTicket {
    count.fetch_add(1, Ordering::Relaxed);
    OpenTicket(Arc::clone(count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn responses_are_counted_by_route_and_class_and_no_path_of_a_caller_is_a_label() {
        let counters = Counters::new(&["/ping", "/v1/runs"]);
        counters.count_response(Some("/ping"), StatusCode::NO_CONTENT);
        counters.count_response(Some("/ping"), StatusCode::OK);
        counters.count_response(Some("/secret/of/a/caller"), StatusCode::NOT_FOUND);
        counters.count_response(None, StatusCode::METHOD_NOT_ALLOWED);
        let text = counters.render();
        assert!(text.contains("http_responses_total{route=\"/ping\",status=\"2xx\"} 2\n"), "{text}");
        assert!(text.contains("http_responses_total{route=\"unmatched\",status=\"4xx\"} 2\n"), "{text}");
        assert!(!text.contains("secret") && !text.contains("/v1/runs"), "{text}");
    }

    #[test]
    fn a_stream_is_open_until_its_ticket_is_dropped() {
        let counters = Counters::new(&[]);
        let ticket = counters.open_stream();
        assert!(counters.render().contains("\nhttp_streams_open 1\n"));
        drop(ticket);
        assert!(counters.render().contains("\nhttp_streams_open 0\n"));
    }
}
