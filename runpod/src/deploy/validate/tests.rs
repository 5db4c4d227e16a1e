//! Each rule of a body with a body that breaks it.

use serde_json::{Value, from_value, json};

use super::{looks_like_secret, validate_endpoint, validate_template};

/// The problems of the example with these members replaced; a null removes one.
fn problems(base: &Value, changes: &Value) -> Vec<String> {
    let mut body = base.clone();
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            body.as_object_mut().unwrap().remove(name);
        } else {
            body[name.as_str()] = value.clone();
        }
    }
    validate_endpoint(&from_value(body).unwrap())
}

fn queue() -> Value {
    json!({
        "name": "q", "type": "QUEUE", "image": "ghcr.io/acme/greenroom:1.4.2",
        "cpu": [{ "id": "cpu3c", "vcpuCount": 2 }], "workers": { "min": 0, "max": 5, "idleTimeout": 5 },
        "scaling": { "type": "QUEUE_DELAY", "queueDelay": 0.5 },
    })
}

fn server() -> Value {
    json!({
        "name": "b", "type": "LOAD_BALANCER", "image": "ghcr.io/acme/greenroom@sha256:00",
        "cpu": [{ "id": "cpu5c", "vcpuCount": 4 }], "workers": { "min": 1, "max": 3 },
        "scaling": { "type": "REQUEST_COUNT", "requestCount": 8 }, "ports": ["8000/http"],
        "env": { "PORT": "8000", "PORT_HEALTH": "8000" },
    })
}

#[test]
fn bodies_without_a_problem_pass() {
    assert_eq!((problems(&queue(), &json!({})), problems(&server(), &json!({}))), (vec![], vec![]));
}

#[test]
fn each_rule_of_a_queue_is_checked() {
    for (changes, expected) in [
        (json!({ "name": " " }), "name"),
        (json!({ "image": "acme/greenroom" }), "immutable"),
        (json!({ "image": "acme/greenroom:latest" }), "immutable"),
        (json!({ "image": "localhost:5000/greenroom" }), "immutable"),
        (json!({ "templateId": "t" }), "either `image` or `templateId`"),
        (json!({ "image": null }), "either `image` or `templateId`"),
        (json!({ "cpu": null }), "either `cpu` or `gpu`"),
        (json!({ "gpu": { "pools": ["ADA_24"] } }), "either `cpu` or `gpu`"),
        (json!({ "cpu": null, "gpu": { "pools": [] } }), "names no pool"),
        (
            json!({ "cpu": null, "gpu": { "pools": ["ADA_24"], "allowedCudaVersions": ["12.8"], "minCudaVersion": "12.8" } }),
            "either `allowedCudaVersions` or `minCudaVersion`",
        ),
        (json!({ "cpu": [] }), "names no kind"),
        (json!({ "cpu": [{ "id": "cpu9z", "vcpuCount": 2 }] }), "flavour"),
        (json!({ "cpu": [{ "id": "cpu3c", "vcpuCount": 1 }] }), "power of two"),
        (json!({ "cpu": [{ "id": "cpu3c", "vcpuCount": 6 }] }), "power of two"),
        (json!({ "disk": 21 }), "disk"),
        (json!({ "workers": { "min": 6, "max": 5 } }), "no range"),
        (json!({ "workers": { "min": 0, "max": 0 } }), "no range"),
        (json!({ "workers": { "min": 0, "max": 1, "idleTimeout": 0 } }), "between 1 and 3600"),
        (json!({ "workers": { "min": 0, "max": 1, "idleTimeout": 3_601 } }), "between 1 and 3600"),
        (json!({ "scaling": { "type": "QUEUE_DELAY", "queueDelay": 0.4 } }), "less than 0.5"),
        (json!({ "scaling": { "type": "REQUEST_COUNT", "requestCount": 4 } }), "idleTimeout is refused"),
        (json!({ "ports": ["8000"] }), "ports"),
        (json!({ "ports": ["0/tcp"] }), "ports"),
        (json!({ "ports": ["53/udp"] }), "ports"),
        (json!({ "timeout": 0 }), "timeout"),
        (json!({ "env": { "OPENAI_API_KEY": "sk-123" } }), "is a secret"),
        (json!({ "env": { "STORE_URL": "postgres://u:p@h/db" } }), "is a secret"),
        (json!({ "env": { "QDRANT_URL": "${env.QDRANT_URL}" } }), "nothing replaces"),
    ] {
        let found = problems(&queue(), &changes);
        assert_eq!(found.len(), 1, "{changes}: {found:?}");
        assert!(found[0].contains(expected), "{changes}: {found:?}");
        assert!(!found[0].contains("sk-123") && !found[0].contains("u:p"), "a problem has no secret: {found:?}");
    }
}

#[test]
fn each_rule_of_a_load_balancer_is_checked() {
    for (changes, expected) in [
        (json!({ "scaling": { "type": "QUEUE_DELAY", "queueDelay": 1 } }), "only a queue"),
        (json!({ "scaling": { "type": "REQUEST_COUNT", "requestCount": 0 } }), "at least 1"),
        (json!({ "env": { "PORT": "8000" } }), "PORT_HEALTH is set"),
        (json!({ "env": { "PORT": "8000", "PORT_HEALTH": "health" } }), "no number"),
        (json!({ "env": { "PORT": "8000", "PORT_HEALTH": "8001" } }), "8001/http is missing"),
    ] {
        let found = problems(&server(), &changes);
        assert!(found.len() == 1 && found[0].contains(expected), "{changes}: {found:?}");
    }
    let many: Vec<String> = (8_000..8_011).map(|port| format!("{port}/http")).collect();
    assert!(problems(&server(), &json!({ "ports": many }))[0].contains("at most 10"));
}

#[test]
fn a_template_has_the_rules_of_its_members() {
    let template = json!({ "name": "t", "image": "i", "ports": ["x"], "env": { "TOKEN": "abc" } });
    assert_eq!(validate_template(&from_value(template).unwrap()).len(), 3);
    let template = json!({ "name": "t", "image": "i:1", "env": { "TOKEN": "{{ RUNPOD_SECRET_token }}" } });
    assert!(validate_template(&from_value(template).unwrap()).is_empty());
}

#[test]
fn secrets_are_recognised_by_their_names_and_by_passwords_in_addresses() {
    assert!(looks_like_secret("NATS_CREDS", "x") && looks_like_secret("S3_SECRET_ACCESS_KEY", "x"));
    assert!(looks_like_secret("REDIS_URL", "redis://:pw@h:6379"));
    for (name, value) in [("NATS_CREDS_FILE", "/run/creds"), ("KEYBOARD", "x"), ("REDIS_URL", "redis://h/0?a=b@c")] {
        assert!(!looks_like_secret(name, value), "{name}");
    }
}
