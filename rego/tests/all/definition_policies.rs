//! Every name that a definition may carry is a rule that runs: allowed once and denied once, by name.

use std::collections::BTreeSet;

use greenroom_protocol::request::{CallTool, ContextChange, ContextWrite};
use greenroom_protocol::{ContextKey, Request, RunId, Values};
use greenroom_rego::{AccessRequest, Facts, Relation, Resource};

use crate::harness;

/// What is asked, by whom, and what holds.
struct Case {
    user: &'static str,
    request: Request,
    facts: Facts,
}

fn case(user: &'static str, facts: Facts) -> Case {
    Case { user, request: harness::invoke("executive_summary_agent"), facts }
}

fn carrying(policy: &str) -> Facts {
    harness::agent_facts("executive_summary_agent_001", "business_ops", &[], &[policy])
}

fn write() -> (Request, Resource) {
    let run = RunId::for_request(&harness::request_id(1));
    let key = ContextKey::new("summary_context").unwrap();
    let change = ContextChange::Put("x".into());
    let request = ContextWrite { run: run.clone(), key: key.clone(), expect: None, change, ttl_ms: None };
    (Request::ContextWrite(request), Resource::Context { run, key: Some(key) })
}

/// An agent speaks, with this policy of its own.
async fn decide_for_agent_caller(policy: &str, request: Request, target: Resource) -> Vec<String> {
    let guard = harness::guard().await;
    let asked = harness::user_request("admin", harness::invoke("executive_summary_agent")).await;
    let permit = guard.permit(AccessRequest::new(asked, harness::summary_facts())).await.unwrap();
    let agent = carrying(policy).agent;
    let relation = Relation {
        own_tenant: true,
        team_member: true,
        can_work_with: true,
        tool_declared: true,
        provides_to_team: true,
        ..Relation::default()
    };
    let speaker_policies = harness::names(&[policy]);
    let facts = Facts { agent, relation, caller_policies: speaker_policies, ..harness::facts(target) };
    let request = AccessRequest::new(permit.grant().issue_request(harness::request_id(4), request), facts);
    guard.permit(request).await.map_or_else(|denied| denied.codes(), |_| Vec::new())
}

async fn decide(case: Case) -> Vec<String> {
    let mut principal = harness::user(case.user).unwrap();
    principal.permissions.pii_access = case.user == "auditor";
    if case.user != "admin" {
        principal.roles = principal.roles.union(&harness::names(&["agent_operator"]));
        principal.permissions.allowed_categories = harness::names(&["business_ops"]);
    }
    let asked = harness::request_as(principal, case.request).await;
    let request = AccessRequest::new(asked, case.facts);
    harness::guard().await.permit(request).await.map_or_else(|denied| denied.codes(), |_| Vec::new())
}

fn resource_cases() -> Vec<(&'static str, Case, Case)> {
    let sized = |policy, document_bytes| Facts { document_bytes, ..carrying(policy) };
    let related = |policy, relation| Facts { relation, ..carrying(policy) };
    let none = Relation::default();
    let own = Relation { own_tenant: true, ..none };
    let model = |internal_model| {
        let facts = carrying("deny_external_models");
        Facts {
            agent: facts.agent.clone().map(|agent| greenroom_rego::AgentFacts { internal_model, ..agent }),
            ..facts
        }
    };
    let member = Relation { team_member: true, ..own };
    vec![
        (
            "audit_all_actions",
            case("admin", carrying("audit_all_actions")),
            case("admin", Facts { audited: false, ..carrying("audit_all_actions") }),
        ),
        (
            "max_document_size_10mb",
            case("admin", sized("max_document_size_10mb", 10_485_760)),
            case("admin", sized("max_document_size_10mb", 10_485_761)),
        ),
        (
            "max_document_size_1mb",
            case("admin", sized("max_document_size_1mb", 1_048_576)),
            case("admin", sized("max_document_size_1mb", 1_048_577)),
        ),
        (
            "require_pii_permission",
            case("auditor", carrying("require_pii_permission")),
            case("admin", carrying("require_pii_permission")),
        ),
        (
            "require_approval_role",
            case("approver", carrying("require_approval_role")),
            case("operator", carrying("require_approval_role")),
        ),
        ("deny_external_models", case("admin", model(true)), case("admin", model(false))),
        (
            "team_members_only",
            case("admin", related("team_members_only", member)),
            case("admin", related("team_members_only", own)),
        ),
        (
            "require_budget",
            case("admin", Facts { cost_limited: true, ..carrying("require_budget") }),
            case("admin", carrying("require_budget")),
        ),
        (
            "tenant_isolation",
            case("admin", related("tenant_isolation", own)),
            case("admin", related("tenant_isolation", none)),
        ),
        (
            "internal_users_only",
            case("admin", carrying("internal_users_only")),
            case("operator", carrying("internal_users_only")),
        ),
    ]
}

#[tokio::test]
async fn each_policy_of_a_target_allows_and_denies_by_name() {
    for (name, allowed, denied) in resource_cases() {
        assert_eq!(decide(allowed).await, Vec::<String>::new(), "{name} allows");
        assert_eq!(decide(denied).await, [name], "{name} denies");
    }
}

#[tokio::test]
async fn each_policy_of_a_speaking_agent_allows_and_denies_by_name() {
    let call = || Request::CallTool(CallTool { tool: "native:clock".into(), arguments: Values::new(), key: None });
    let tool = || Resource::Tool { tool: "native:clock".to_owned() };
    let agent = || harness::summary_facts().resource;
    let (write, context) = write();
    let none = Vec::<String>::new();
    assert_eq!(decide_for_agent_caller("no_tools", harness::invoke("other_agent"), agent()).await, none);
    assert_eq!(decide_for_agent_caller("no_tools", call(), tool()).await, ["no_tools"]);
    assert_eq!(decide_for_agent_caller("no_agent_delegation", call(), tool()).await, none);
    let delegated = decide_for_agent_caller("no_agent_delegation", harness::invoke("other_agent"), agent()).await;
    assert_eq!(delegated, ["no_agent_delegation"]);
    assert_eq!(decide_for_agent_caller("read_only_context", call(), tool()).await, none);
    assert_eq!(decide_for_agent_caller("read_only_context", write, context).await, ["read_only_context"]);
}

#[tokio::test]
async fn require_authentication_denies_who_has_shown_nothing() {
    let guard = harness::guard().await;
    let known = harness::user_request("admin", harness::invoke("executive_summary_agent")).await;
    assert!(guard.permit(AccessRequest::new(known, carrying("require_authentication"))).await.is_ok());
    let nobody = || harness::anonymous_request(harness::invoke("executive_summary_agent"));
    let denied =
        guard.permit(AccessRequest::new(nobody().await, carrying("require_authentication"))).await.unwrap_err();
    assert_eq!(denied.codes(), ["require_authentication"]);
    let without = harness::agent_facts("executive_summary_agent_001", "business_ops", &[], &[]);
    assert!(guard.permit(AccessRequest::new(nobody().await, without)).await.is_ok());
}

#[tokio::test]
async fn a_policy_that_nobody_wrote_denies() {
    let found = decide(case("admin", carrying("require_magic"))).await;
    assert!(found.contains(&"policy_unknown".to_owned()), "{found:?}");
}

/// The cases above, the policy's data and the page name the same policies.
#[test]
fn every_policy_has_its_cases_and_its_paragraph() {
    let mut tested: BTreeSet<_> = resource_cases().iter().map(|(name, _, _)| (*name).to_owned()).collect();
    for name in ["no_tools", "no_agent_delegation", "read_only_context", "require_authentication"] {
        tested.insert(name.to_owned());
    }
    let bundle = greenroom_rego::Bundle::embedded().unwrap();
    let written: BTreeSet<_> = bundle.data()["cfg"]["policies"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(tested, written);
    let page = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/policies.md");
    let page = std::fs::read_to_string(page).unwrap();
    for name in &written {
        assert!(page.contains(&format!("| `{name}` |")), "docs/policies.md has no row for {name}");
    }
}
