//! Every field of a good document, taken away, emptied or given another type, must deny: Rego orders
//! across types, and a negation over nothing holds.

use greenroom_rego::Relation;
use greenroom_rego::{AccessRequest, Facts};
use serde_json::{Value, json};

use crate::{harness, raw};

fn paths(value: &Value, at: &str, found: &mut Vec<String>) {
    if let Value::Object(members) = value {
        for (name, member) in members {
            let path = format!("{at}/{name}");
            paths(member, &path, found);
            found.push(path);
        }
    }
}

fn changed(document: &Value, path: &str, value: Option<Value>) -> Value {
    let mut document = document.clone();
    let (parent, name) = path.rsplit_once('/').unwrap();
    let members = document.pointer_mut(parent).unwrap().as_object_mut().unwrap();
    match value {
        Some(value) => members.insert(name.to_owned(), value),
        None => members.remove(name),
    };
    document
}

async fn documents() -> Vec<Value> {
    let grant = harness::run_grant("operator").await;
    let step = AccessRequest::new(
        grant.issue_request(harness::request_id(2), harness::invoke("executive_summary_agent")),
        harness::step_facts(harness::summary_facts()),
    );
    let relation = Relation { own_tenant: true, ..Relation::default() };
    let own = AccessRequest::new(
        harness::user_request("admin", harness::invoke("executive_summary_agent")).await,
        Facts { relation, ..harness::agent_facts("an_agent", "business_ops", &[], &[]) },
    );
    let vocabulary = harness::snapshot().await;
    [step, own]
        .iter()
        .map(|request| serde_json::from_slice(&request.input().to_pruned_json(vocabulary.read_set()).unwrap()).unwrap())
        .collect()
}

#[tokio::test]
async fn a_field_that_is_missing_or_of_another_type_denies() {
    let mut policy = raw::Policy::embedded().await;
    for document in documents().await {
        assert!(policy.allowed(&document).await, "as it stands");
        let mut all = Vec::new();
        paths(&document, "", &mut all);
        for path in all {
            let others = [json!(null), json!(true), json!("x"), json!([]), json!(["x"]), json!(7), json!({"x": 1})];
            let was = document.pointer(&path).unwrap().clone();
            let others = others.into_iter().filter(|other| differs(&was, other)).map(Some);
            for value in others.chain([None]) {
                let broken = changed(&document, &path, value.clone());
                let (hot, explained) = policy.both(&broken).await;
                assert_eq!(hot, explained, "{path} = {value:?}: the entrypoints disagree");
                assert!(!hot || is_free(&document, &path, value.is_none()), "{path} = {value:?} is allowed: {broken}");
            }
        }
    }
}

/// What may change without a denial: the facts that this request does not need; and a policy's name
/// may be missing, since that is the definition's own affair.
fn is_free(document: &Value, path: &str, removed: bool) -> bool {
    let carries = |policy: &str| document["policies"].get(policy).is_some();
    match path {
        "/facts/own_tenant" => true,
        // Left out where it is empty.
        "/agent/capabilities" | "/caller_policies" => removed,
        // Of no concern to the decision, only to its reasons.
        "/agent/id" | "/user/id" | "/user/tenant" => true,
        "/facts/audited" => !carries("audit_all_actions"),
        "/facts/authenticated" => !carries("require_authentication"),
        other => removed && other.starts_with("/policies/"),
    }
}

/// True if the other value is of another type.
fn differs(was: &Value, other: &Value) -> bool {
    std::mem::discriminant(was) != std::mem::discriminant(other)
}
