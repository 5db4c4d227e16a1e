//! The same questions to another interpreter of Rego, over the sources: equal decisions, reasons and
//! obligations; and the hot entrypoint allows exactly what the explaining one does.

use std::path::Path;

use proptest::prelude::{Just, Strategy, any};
use proptest::sample::{select, subsequence};
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::{Map, Value, json};

use crate::raw;

/// Documents that both interpreters judge.
const DOCUMENTS: usize = 3_000;

const ACTIONS: &[&str] = &[
    "invoke",
    "start_run",
    "start_team",
    "resume_run",
    "cancel_run",
    "approve_step",
    "reject_step",
    "context_read",
    "context_write",
    "memory_read",
    "memory_write",
    "memory_forget",
    "call_tool",
    "query_catalogue",
    "query_runs",
    "query_audit",
    "query_costs",
    "unheard_of",
];
const POLICIES: &[&str] = &[
    "require_authentication",
    "audit_all_actions",
    "max_document_size_10mb",
    "max_document_size_1mb",
    "require_pii_permission",
    "require_approval_role",
    "deny_external_models",
    "team_members_only",
    "no_agent_delegation",
    "require_budget",
    "tenant_isolation",
    "internal_users_only",
    "read_only_context",
    "no_tools",
    "require_magic",
];
const PROVEN: &[&str] = &[
    "audited",
    "authenticated",
    "internal_model",
    "cost_limited",
    "own_tenant",
    "workflow_step",
    "team_workflow",
    "team_member",
    "can_work_with",
    "tool_declared",
    "provides_to_team",
    "own_memory",
];
const ROLES: &[&str] = &["admin", "agent_operator", "approver", "auditor", "internal", "unheard_of"];

fn set(names: &[&str]) -> Value {
    names.iter().map(|name| ((*name).to_owned(), json!(1))).collect::<Map<_, _>>().into()
}

/// Few of the names, or most of them, so that allowing documents are not rare.
fn few(names: &'static [&'static str], most: usize) -> impl Strategy<Value = Value> {
    subsequence(names, 0..=most).prop_map(|names| set(&names))
}

fn usage() -> impl Strategy<Value = Value> {
    let left = || select([-1, -1, -1, 1, 5_000_000, 5_000_000, 5_000_000, 0, -2].map(|left| json!(left)).to_vec());
    (0_u64..130, left(), left(), 0..20).prop_map(|(requests, tokens, usd, silent)| match silent {
        0 => json!({}),
        1..7 => json!({ "requests": requests, "unlimited": 1 }),
        _ => json!({ "requests": requests, "tokens_left": tokens, "usd_left": usd }),
    })
}

fn user() -> impl Strategy<Value = Value> {
    let categories = few(&["business_ops", "security_risk"], 2);
    let roles = (few(ROLES, 2), few(&ROLES[..2], 2), any::<bool>());
    let roles = roles.prop_map(|(any, working, work)| if work { working } else { any });
    (roles, categories, any::<bool>(), select(vec![0, 100, 120])).prop_map(|(roles, categories, pii, rate_limit)| {
        json!({
            "id": "somebody", "tenant": "acme", "roles": roles, "rate_limit": rate_limit,
            "permissions": { "allowed_categories": categories, "pii_access": pii },
        })
    })
}

/// A document as the host writes them, with anything in it.
pub(crate) fn document() -> impl Strategy<Value = Value> {
    let agent = (any::<bool>(), 0..4).prop_map(|(pii, none)| {
        let capabilities = if pii && none == 1 { json!({ "pii_access": 1 }) } else { json!({}) };
        (none > 0).then(|| json!({ "id": "an_agent", "category": "business_ops", "capabilities": capabilities }))
    });
    let caller = select(vec!["user", "user", "user", "user", "workflow", "agent", "team", "nobody"]);
    let hops = select(vec![1, 1, 1, 1, 1, 1, 2, 8, 9, 0]);
    let bytes = select(vec![0_u64, 1, 500, 4_000, 1_048_576, 1_048_577, 10_485_760, 10_485_761, 268_435_457]);
    let proven = subsequence(PROVEN, PROVEN.len() - 1..=PROVEN.len()).prop_map(|names| set(&names));
    let policies = (few(POLICIES, 2), few(&POLICIES[..14], 1));
    (select(ACTIONS), agent, caller, hops, bytes, proven, policies, usage(), user()).prop_map(
        |(action, agent, caller, hops, bytes, proven, (policies, bound), usage, user)| {
            let bound = if caller == "agent" { bound } else { json!({}) };
            let mut document = json!({
                "action": action, "caller_policies": bound, "document_bytes": bytes, "hops": hops, "policies": policies,
                "facts": proven, "caller": caller, "usage": usage, "user": user,
            });
            match agent {
                Some(agent) => document["agent"] = agent,
                None => document["resource"] = json!("something"),
            }
            if action == "context_write" || action == "call_tool" {
                document["resource"] = json!("something");
            }
            document
        },
    )
}

/// One in four documents has one of its members replaced by something else.
fn anything() -> impl Strategy<Value = Value> {
    let other = select(vec![json!(null), json!(true), json!("x"), json!([1]), json!(3), json!({ "x": 1 })]);
    let member = select(vec![
        "action",
        "agent",
        "caller",
        "caller_policies",
        "document_bytes",
        "facts",
        "hops",
        "policies",
        "usage",
        "user",
    ]);
    (document(), 0..4, member, other).prop_flat_map(|(mut document, chance, member, other)| {
        if chance == 0 {
            document[member] = other;
        }
        Just(document)
    })
}

fn oracle() -> regorus::Engine {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut engine = regorus::Engine::new();
    for area in ["access", "context", "documents", "guard", "memory", "messages", "quota", "tools"] {
        for entry in std::fs::read_dir(folder.join("policy").join(area)).unwrap() {
            let path = entry.unwrap().path();
            let name = path.to_str().unwrap().to_owned();
            if !name.ends_with("_test.rego") {
                engine.add_policy(name, std::fs::read_to_string(path).unwrap()).unwrap();
            }
        }
    }
    let data = std::fs::read_to_string(folder.join("bundle/data.json")).unwrap();
    engine.add_data(regorus::Value::from_json_str(&data).unwrap()).unwrap();
    // The module drops a rule whose built-in fails; so must the oracle.
    engine.set_strict_builtin_errors(false);
    engine
}

/// Undefined is null; arrays that stand for sets are put in order. None where the interpreter gives
/// up: it takes iterating over what is no collection for an error, where the module takes it for
/// nothing.
fn judged(engine: &mut regorus::Engine, document: &Value, rule: &str) -> Option<Value> {
    engine.set_input(regorus::Value::from_json_str(&document.to_string()).unwrap());
    let value = engine.eval_rule(rule.to_owned()).ok()?;
    if value == regorus::Value::Undefined {
        return Some(Value::Null);
    }
    Some(in_order(serde_json::from_str(&value.to_json_str().unwrap()).unwrap()))
}

fn in_order(mut decision: Value) -> Value {
    for list in ["deny", "checks"] {
        if let Some(Value::Array(items)) = decision.get_mut(list) {
            items.sort_by_key(ToString::to_string);
        }
    }
    decision
}

#[tokio::test]
async fn another_interpreter_decides_the_same() {
    let mut policy = raw::Policy::embedded().await;
    let mut oracle = oracle();
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, b"greenroom decides all the same..");
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let (mut allowed, mut given_up) = (0, 0);
    for _ in 0..DOCUMENTS {
        let document = anything().new_tree(&mut runner).unwrap().current();
        let hot = policy.answer("guard/allowed", &document).await;
        let explained = in_order(policy.answer("guard/decision", &document).await);
        match judged(&mut oracle, &document, "data.guard.allowed") {
            Some(judged) => assert_eq!(hot, judged, "{document}"),
            None => assert_eq!(hot, Value::Null, "{document}"),
        }
        match judged(&mut oracle, &document, "data.guard.decision") {
            Some(judged) => assert_eq!(explained, judged, "{document}"),
            None => given_up += 1,
        }
        assert_eq!(!hot.is_null(), explained["allow"] == json!(true), "{document}");
        assert_eq!(explained["allow"] == json!(true), explained["deny"] == json!([]), "{document}");
        if !hot.is_null() {
            assert_eq!(hot["obligations"], explained["obligations"], "{document}");
            allowed += 1;
        }
    }
    assert!(allowed > DOCUMENTS / 20, "only {allowed} of {DOCUMENTS} documents are allowed: they prove little");
    assert!(given_up < DOCUMENTS / 5, "the interpreter gave up on {given_up} of {DOCUMENTS}");
}
