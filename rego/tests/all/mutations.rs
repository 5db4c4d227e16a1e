//! Every field of an allowed input that is removed, emptied or changed in type must deny: Rego orders
//! values across types, and the negation of an undefined value is true.

use greenroom_rego::Relation;
use greenroom_rego::{AccessRequest, Facts};
use serde_json::{Value, json};

use crate::{harness, raw_module};

fn collect_paths(value: &Value, parent: &str, paths: &mut Vec<String>) {
    if let Value::Object(members) = value {
        for (name, member) in members {
            let path = format!("{parent}/{name}");
            collect_paths(member, &path, paths);
            paths.push(path);
        }
    }
}

fn with_member(document: &Value, path: &str, value: Option<Value>) -> Value {
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
    let snapshot = harness::snapshot().await;
    [step, own]
        .iter()
        .map(|request| serde_json::from_slice(&request.input().to_pruned_json(snapshot.read_set()).unwrap()).unwrap())
        .collect()
}

#[tokio::test]
async fn a_field_that_is_missing_or_of_another_type_denies() {
    let mut policy = raw_module::RawModule::embedded().await;
    for document in documents().await {
        assert!(policy.allowed(&document).await, "unchanged");
        let mut paths = Vec::new();
        collect_paths(&document, "", &mut paths);
        for path in paths {
            let others = [json!(null), json!(true), json!("x"), json!([]), json!(["x"]), json!(7), json!({"x": 1})];
            let original = document.pointer(&path).unwrap().clone();
            let others = others.into_iter().filter(|other| has_other_type(&original, other)).map(Some);
            for value in others.chain([None]) {
                let mutated = with_member(&document, &path, value.clone());
                let (hot, explained) = policy.decide_both(&mutated).await;
                assert_eq!(hot, explained, "{path} = {value:?}: the entrypoints disagree");
                assert!(
                    !hot || may_change(&document, &path, value.is_none()),
                    "{path} = {value:?} is allowed: {mutated}"
                );
            }
        }
    }
}

/// True if the field may change without a denial: the facts that this request does not need; a policy's
/// name may also be missing, because the definition decides which policies it names.
fn may_change(document: &Value, path: &str, removed: bool) -> bool {
    let has_policy = |policy: &str| document["policies"].get(policy).is_some();
    match path {
        "/facts/own_tenant" => true,
        // The host omits these if they are empty.
        "/agent/capabilities" | "/caller_policies" => removed,
        // Only the reasons depend on these, not the decision.
        "/agent/id" | "/user/id" | "/user/tenant" => true,
        // Only queries are counted among these.
        "/usage/queries" | "/user/query_limit" => true,
        "/facts/audited" => !has_policy("audit_all_actions"),
        "/facts/authenticated" => !has_policy("require_authentication"),
        other => removed && other.starts_with("/policies/"),
    }
}

/// True if the other value is of another type.
fn has_other_type(original: &Value, other: &Value) -> bool {
    std::mem::discriminant(original) != std::mem::discriminant(other)
}
