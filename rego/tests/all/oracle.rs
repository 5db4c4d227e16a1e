//! Evaluates the same inputs with another interpreter of Rego over the sources: decisions, reasons and
//! obligations must be equal, and both entrypoints must agree.

use std::path::Path;

use proptest::prelude::{Just, Strategy, any};
use proptest::sample::{select, subsequence};
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::{Map, Value, json};

use crate::raw_module;

/// The number of inputs that both interpreters evaluate.
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
    "memory_ingest",
    "call_tool",
    "query_catalogue",
    "query_runs",
    "query_audit",
    "query_costs",
    "prune_runs",
    "forget_memories",
    "resume_runs",
    "verify_audit",
    "prune_audit",
    "check_store",
    "back_up_store",
    "apply_definitions",
    "apply_policy",
    "restore_store",
    "manage_keys",
    "unknown_action",
];
const POLICIES: &[&str] = &[
    "require_authentication",
    "audit_all_actions",
    "max_document_size",
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
    "allow_network",
    "no_external_tools",
    "require_magic",
];
const FACTS: &[&str] = &[
    "audited",
    "authenticated",
    "internal_model",
    "cost_limited",
    "own_tenant",
    "without_run",
    "workflow_step",
    "team_workflow",
    "team_member",
    "can_work_with",
    "tool_declared",
    "provides_to_team",
    "own_memory",
    "no_personal_data",
    "resumes",
    "compensates",
    "document_within_limit",
    "internal_tool",
];
const ROLES: &[&str] = &["admin", "agent_operator", "approver", "auditor", "internal", "unknown_action"];

fn set(names: &[&str]) -> Value {
    names.iter().map(|name| ((*name).to_owned(), json!(1))).collect::<Map<_, _>>().into()
}

/// A set of at most `limit` of the names.
fn subset(names: &'static [&'static str], limit: usize) -> impl Strategy<Value = Value> {
    subsequence(names, 0..=limit).prop_map(|names| set(&names))
}

fn usage() -> impl Strategy<Value = Value> {
    let remaining =
        || select([-1, -1, -1, 1, 5_000_000, 5_000_000, 5_000_000, 0, -2].map(|amount| json!(amount)).to_vec());
    (0_u64..130, remaining(), remaining(), 0..20).prop_map(|(requests, tokens, usd, chance)| match chance {
        0 => json!({}),
        1..7 => json!({ "requests": requests, "queries": requests, "unlimited": 1 }),
        _ => json!({ "requests": requests, "queries": 130 - requests, "tokens_left": tokens, "usd_left": usd }),
    })
}

fn user() -> impl Strategy<Value = Value> {
    let categories = subset(&["business_ops", "security_risk"], 2);
    let roles = (subset(ROLES, 2), subset(&ROLES[..2], 2), any::<bool>());
    let roles = roles.prop_map(|(any, privileged, use_privileged)| if use_privileged { privileged } else { any });
    let tenant = select(vec!["default", "acme"]);
    let limits = select(vec![0, 100, 120]);
    (roles, categories, any::<bool>(), limits, tenant).prop_map(|(roles, categories, pii, rate_limit, tenant)| {
        json!({
            "id": "a_user", "tenant": tenant, "roles": roles, "rate_limit": rate_limit, "query_limit": 100,
            "permissions": { "allowed_categories": categories, "pii_access": pii },
        })
    })
}

/// An input with arbitrary values, in the form that the host writes.
pub(crate) fn document() -> impl Strategy<Value = Value> {
    let agent = (any::<bool>(), 0..4).prop_map(|(pii, none)| {
        let capabilities = if pii && none == 1 { json!({ "pii_access": 1 }) } else { json!({}) };
        (none > 0).then(|| json!({ "id": "an_agent", "category": "business_ops", "capabilities": capabilities }))
    });
    let caller = select(vec!["user", "user", "user", "user", "workflow", "agent", "team", "none"]);
    let hops = select(vec![1, 1, 1, 1, 1, 1, 2, 8, 9, 0]);
    let bytes = select(vec![0_u64, 1, 500, 4_000, 1_048_576, 1_048_577, 10_485_760, 10_485_761, 268_435_457]);
    let facts = subsequence(FACTS, FACTS.len() - 1..=FACTS.len()).prop_map(|names| set(&names));
    let policies = (subset(POLICIES, 2), subset(&POLICIES[..15], 1));
    (select(ACTIONS), agent, caller, hops, bytes, facts, policies, usage(), user()).prop_map(
        |(action, agent, caller, hops, bytes, facts, (policies, caller_policies), usage, user)| {
            let caller_policies = if caller == "user" { json!({}) } else { caller_policies };
            let mut document = json!({
                "action": action, "caller_policies": caller_policies, "document_bytes": bytes, "hops": hops, "policies": policies,
                "facts": facts, "caller": caller, "usage": usage, "user": user,
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

/// An input of which, with a chance of one in four, one member has a value of another type.
fn mutated_document() -> impl Strategy<Value = Value> {
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
    // The module treats a rule whose built-in fails as undefined; so must the oracle.
    engine.set_strict_builtin_errors(false);
    engine
}

/// Evaluates a rule: undefined is null, and arrays that stand for sets are sorted. None if the
/// interpreter fails: iterating over a value that is no collection is an error for it, and undefined for
/// the module.
fn evaluate_with_oracle(engine: &mut regorus::Engine, document: &Value, rule: &str) -> Option<Value> {
    engine.set_input(regorus::Value::from_json_str(&document.to_string()).unwrap());
    let value = engine.eval_rule(rule.to_owned()).ok()?;
    if value == regorus::Value::Undefined {
        return Some(Value::Null);
    }
    Some(with_sorted_lists(serde_json::from_str(&value.to_json_str().unwrap()).unwrap()))
}

fn with_sorted_lists(mut decision: Value) -> Value {
    for list in ["deny", "checks"] {
        if let Some(Value::Array(items)) = decision.get_mut(list) {
            items.sort_by_key(ToString::to_string);
        }
    }
    decision
}

#[tokio::test]
async fn another_interpreter_decides_the_same() {
    let mut policy = raw_module::RawModule::embedded().await;
    let mut oracle = oracle();
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, b"greenroom decides all the same..");
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let (mut allowed, mut failed) = (0, 0);
    for _ in 0..DOCUMENTS {
        let document = mutated_document().new_tree(&mut runner).unwrap().current();
        let hot = policy.evaluate("guard/allowed", &document).await;
        let explained = with_sorted_lists(policy.evaluate("guard/decision", &document).await);
        match evaluate_with_oracle(&mut oracle, &document, "data.guard.allowed") {
            Some(expected) => assert_eq!(hot, expected, "{document}"),
            None => assert_eq!(hot, Value::Null, "{document}"),
        }
        match evaluate_with_oracle(&mut oracle, &document, "data.guard.decision") {
            Some(expected) => assert_eq!(explained, expected, "{document}"),
            None => failed += 1,
        }
        assert_eq!(!hot.is_null(), explained["allow"] == json!(true), "{document}");
        assert_eq!(explained["allow"] == json!(true), explained["deny"] == json!([]), "{document}");
        if !hot.is_null() {
            assert_eq!(hot["obligations"], explained["obligations"], "{document}");
            allowed += 1;
        }
    }
    assert!(allowed > DOCUMENTS / 20, "only {allowed} of {DOCUMENTS} documents are allowed: the test proves little");
    assert!(failed < DOCUMENTS / 5, "the interpreter failed on {failed} of {DOCUMENTS}");
}
