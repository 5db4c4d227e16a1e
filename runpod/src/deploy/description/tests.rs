//! The customer's file, and files of our own.

use super::{DeployOptions, Description, read_description};
use crate::deploy::body::{EndpointType, FlashBoot, Scaling};

/// The customer's file as the document has it.
const CLIENT_CONFIG: &str = include_str!("../../../endpoints/runpod-config.yaml");

fn options() -> DeployOptions {
    DeployOptions { image: "ghcr.io/acme/greenroom:0.1.0".to_owned(), registry: None }
}

fn read(text: &str) -> Result<Description, String> {
    read_description(text, &options()).map_err(|cause| cause.message)
}

#[test]
fn the_file_of_the_customer_becomes_a_queue_and_a_bridge() {
    let description = read(CLIENT_CONFIG).unwrap();
    let [queue, bridge] = description.endpoints.as_slice() else { panic!("{description:?}") };
    assert_eq!((queue.name.as_str(), queue.kind), ("ai-agents-platform", EndpointType::Queue));
    assert_eq!((queue.workers.min, queue.workers.max, queue.workers.idle_timeout), (1, 100, None));
    assert_eq!(queue.scaling, Scaling::RequestCount { request_count: 8 });
    assert_eq!(queue.flashboot, FlashBoot::FlashBoot);
    let cpu: Vec<(&str, u32)> =
        queue.cpu.iter().flatten().map(|choice| (choice.id.as_str(), choice.vcpu_count)).collect();
    assert_eq!(cpu, [("cpu3c", 4), ("cpu5c", 4)], "8192 MB are 2048 for each of four processors");
    assert_eq!(queue.env["ANTHROPIC_API_KEY"], "{{ RUNPOD_SECRET_ANTHROPIC_API_KEY }}");
    assert_eq!(queue.env["GREENROOM_DEFINITIONS"], "s3://ai-agents/definitions");
    assert_eq!(queue.env["GREENROOM_POLICY"], "s3://ai-agents/policies");
    assert_eq!((bridge.name.as_str(), bridge.kind), ("ai-agents-platform-bridge", EndpointType::LoadBalancer));
    assert_eq!(bridge.ports, ["8000/http"]);
    assert_eq!(bridge.env["HEALTH_CHECK_PATH"], "/ping");
    assert!(!bridge.env.contains_key("DATABASE_URL"), "the bridge forwards only");
    for (variable, endpoints) in [("GREENROOM_AUDIT_KEY", 1), ("S3_BUCKET", 1), ("NATS_URL", 2)] {
        let having = description.endpoints.iter().filter(|endpoint| endpoint.env.contains_key(variable));
        assert_eq!(having.count(), endpoints, "{variable}");
        assert!(description.requirements.iter().any(|needed| needed.variable == variable), "{variable}");
    }
}

#[test]
fn each_key_of_the_customers_file_is_mapped_or_has_a_reason() {
    let description = read(CLIENT_CONFIG).unwrap();
    let keys: Vec<&str> = description.mappings.iter().map(|mapping| mapping.key.as_str()).collect();
    let mut expected = vec!["name", "runtime", "handler"];
    expected.extend(["compute.gpu", "compute.cpu", "compute.memory", "compute.min_instances"]);
    expected.extend(["compute.max_instances", "compute.scale_strategy"]);
    expected.extend(["environment.ANTHROPIC_API_KEY", "environment.DATABASE_URL", "environment.OPENAI_API_KEY"]);
    expected.extend(["environment.QDRANT_URL", "environment.REDIS_URL", "volumes[0]", "volumes[1]"]);
    expected.extend(["cold_start_optimization.preload_models", "cold_start_optimization.lazy_load_agents"]);
    expected.extend(["cold_start_optimization.cache_agent_definitions", "cold_start_optimization.warm_pool_size"]);
    expected.extend(["endpoints[0]", "endpoints[1]", "endpoints[2]"]);
    assert_eq!(keys, expected);
    assert!(description.mappings.iter().all(|mapping| !mapping.note.is_empty()));
    let without: Vec<&str> =
        description.mappings.iter().filter(|mapping| mapping.target.is_none()).map(|one| one.key.as_str()).collect();
    assert_eq!(without.len(), 4, "{without:?}");
}

#[test]
fn a_key_that_is_unknown_or_cannot_be_deployed_is_refused() {
    for (from, to, expected) in [
        ("min_instances", "min_workers", "min_workers"),
        ("\"queue_depth\"", "\"cpu_load\"", "cpu_load"),
        ("gpu: false", "gpu: true", "compute.gpu"),
        ("memory: 8192", "memory: 81920", "compute.memory"),
        ("max_instances: 100", "max_instances: 0", "no range"),
        // Nothing would replace these references.
        ("\"${env.REDIS_URL}\"", "\"redis://:${env.REDIS_PASSWORD}@redis:6379\"", "environment.REDIS_URL"),
        ("\"${env.REDIS_URL}\"", "\"${env.A}${env.B}\"", "environment.REDIS_URL"),
    ] {
        let text = CLIENT_CONFIG.replacen(from, to, 1);
        assert_ne!(text, CLIENT_CONFIG, "{from}");
        let message = read(&text).unwrap_err();
        assert!(message.contains(expected), "{expected}: {message}");
    }
}

#[test]
fn a_volume_without_a_counterpart_is_named() {
    let text = CLIENT_CONFIG.replacen("/app/policies", "/app/other", 1);
    let description = read(&text).unwrap();
    let mapping = description.mappings.iter().find(|mapping| mapping.key == "volumes[1]").unwrap();
    assert!(mapping.target.is_none() && mapping.note.contains("/runpod-volume"), "{mapping:?}");
    assert!(!description.endpoints[0].env.contains_key("GREENROOM_POLICY"));
}

#[test]
fn the_descriptions_in_the_tree_are_valid() {
    for text in [
        include_str!("../../../endpoints/queue.yaml"),
        include_str!("../../../endpoints/bridge.yaml"),
        include_str!("../../../endpoints/leases.yaml"),
    ] {
        let description = read(text).unwrap();
        assert!(description.mappings.is_empty() && !description.endpoints.is_empty());
    }
}

#[test]
fn every_problem_of_a_file_is_reported() {
    let text = "endpoints:\n  - name: a\n    type: QUEUE\n    disk: 900\n    cpu: [{id: cpu3c, vcpuCount: 3}]\n    \
                workers: {min: 0, max: 1}\n    scaling: {type: QUEUE_DELAY, queueDelay: 1}\n";
    let message = read(text).unwrap_err();
    assert!(message.contains("a: cpu: vcpuCount 3") && message.contains("a: disk: 900"), "{message}");
    for (text, expected) in [("endpoints: []", "no `endpoints`"), ("a: [", "no YAML"), ("pods: []", "cannot be read")] {
        assert!(read(text).unwrap_err().contains(expected), "{text}");
    }
}
