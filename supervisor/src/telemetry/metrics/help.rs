//! The help texts of the metrics that are registered with all others; those of a part are beside the part.

use metrics::Recorder;
use metrics_exporter_prometheus::PrometheusRecorder;

/// Describes the metrics.
pub(super) fn describe(recorder: &PrometheusRecorder) {
    let gauges = [
        ("agent_success_rate", "share of executions in the last five minutes that succeeded"),
        ("workflow_completion_rate", "share of runs in the last five minutes that succeeded"),
        ("active_agents", "agents that have an active actor"),
        ("concurrent_teams", "teams that are formed"),
        ("definitions_quarantined", "definitions that are not in service in the version of their file"),
        ("error_rate", "share of requests in the last five minutes that the platform failed to serve"),
        ("pod_lease_lapsed", "1 while the pod has no live lease, and releases nothing"),
        ("pod_clock_offset_seconds", "seconds that the wall clock of the machine is later than the database"),
    ];
    for (name, help) in gauges {
        recorder.describe_gauge(name.into(), None, help.into());
    }
    for (name, help) in [
        ("agent_execution_time", "duration of an execution in seconds"),
        ("team_formation_time", "seconds until a team is formed"),
        ("agent_activation_time", "seconds until an agent's actor takes its first job"),
    ] {
        recorder.describe_histogram(name.into(), None, help.into());
    }
    for (name, help) in [
        ("policy_denials", "policy decisions that denied a request"),
        ("llm_token_usage", "tokens as providers counted them"),
        ("redis_failures", "operations of Redis that failed"),
        ("qdrant_failures", "operations of Qdrant that failed"),
        ("artifact_store_failures", "failures of the store of artifacts, by their fault"),
        ("pods_declared_dead", "other pods that this pod has declared dead"),
        ("run_trees_claimed", "trees of runs that this pod has claimed"),
        ("run_trees_woken", "claimed trees that were parked"),
        ("run_trees_parked", "trees of runs that left this pod because they only wait"),
    ] {
        recorder.describe_counter(name.into(), None, help.into());
    }
}
