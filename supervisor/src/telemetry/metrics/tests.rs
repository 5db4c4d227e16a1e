//! The page of the metrics: names, types and labels.

use super::*;

#[test]
fn the_nine_metrics_have_the_required_names_and_types() {
    let metrics = Metrics::new().unwrap();
    let page = metrics.render();
    for (name, kind) in [
        ("agent_execution_time", "histogram"),
        ("agent_success_rate", "gauge"),
        ("team_formation_time", "histogram"),
        ("workflow_completion_rate", "gauge"),
        ("policy_denials", "counter"),
        ("active_agents", "gauge"),
        ("concurrent_teams", "gauge"),
        ("llm_token_usage", "counter"),
        ("error_rate", "gauge"),
    ] {
        let line = format!("# TYPE {name} {kind}");
        assert!(page.lines().any(|other| other == line), "{line} is missing in\n{page}");
    }
}

#[test]
fn a_failure_of_the_store_of_artifacts_is_counted_under_its_fault() {
    let metrics = Metrics::new().unwrap();
    metrics.count_artifact_failure(S3Fault::Slow.as_str());
    metrics.count_artifact_failure(OTHER_FAULT);
    metrics.count_artifact_failure(OTHER_FAULT);
    let page = metrics.render();
    for line in [
        "artifact_store_failures{fault=\"s3_slow\"} 1",
        "artifact_store_failures{fault=\"other\"} 2",
        "artifact_store_failures{fault=\"damaged\"} 0",
        "artifact_store_failures{fault=\"abandoned\"} 0",
    ] {
        assert!(page.contains(line), "{line} is missing in\n{page}");
    }
}

#[test]
fn the_offset_of_the_wall_clock_is_in_seconds() {
    let metrics = Metrics::new().unwrap();
    assert!(metrics.render().contains("pod_clock_offset_seconds 0"), "{}", metrics.render());
    metrics.set_clock_offset(-40_500_000);
    assert!(metrics.render().contains("pod_clock_offset_seconds -40.5"), "{}", metrics.render());
}

#[test]
fn a_denial_is_counted_under_its_code() {
    let metrics = Metrics::new().unwrap();
    metrics.count_denial(ErrorCode::PolicyDenied);
    metrics.count_denial(ErrorCode::Internal);
    let page = metrics.render();
    assert!(page.contains("policy_denials{code=\"policy_denied\"} 1"), "{page}");
}
