//! Every policy that a definition may name has a rule: each allows once, and denies once with its name.

use std::collections::BTreeSet;

use greenroom_protocol::request::{CallTool, ContextChange, ContextWrite};
use greenroom_protocol::{ContextKey, Request, RunId, Values};
use greenroom_rego::{AccessRequest, Facts, Relation, Resource};

use crate::harness;

/// A user's request and its facts.
struct Case {
    user: &'static str,
    request: Request,
    facts: Facts,
}

fn case(user: &'static str, facts: Facts) -> Case {
    Case { user, request: harness::invoke("executive_summary_agent"), facts }
}

fn facts_with_policy(policy: &str) -> Facts {
    harness::agent_facts("executive_summary_agent_001", "business_ops", &[], &[policy])
}

fn context_write() -> (Request, Resource) {
    let run = RunId::for_request(&harness::request_id(1));
    let key = ContextKey::new("summary_context").unwrap();
    let change = ContextChange::Put("x".into());
    let request = ContextWrite { run: run.clone(), key: key.clone(), expect: None, change, ttl_ms: None };
    (Request::ContextWrite(request), Resource::Context { run, key: Some(key) })
}

/// Decides a nested request of an agent that was called in the version whose definition names this policy.
async fn decide_for_agent_caller(policy: &str, request: Request, resource: Resource) -> Vec<String> {
    decide_for_tool_caller(policy, request, resource, true).await
}

/// The same for a tool that communicates with the outside or does not.
async fn decide_for_tool_caller(
    policy: &str,
    request: Request,
    resource: Resource,
    internal_tool: bool,
) -> Vec<String> {
    let guard = harness::guard().await;
    let invocation = harness::user_request("admin", harness::invoke("executive_summary_agent")).await;
    let permit = guard.permit(AccessRequest::new(invocation, facts_with_policy(policy))).await.unwrap();
    let agent = facts_with_policy(policy).agent;
    let relation = Relation {
        own_tenant: true,
        team_member: true,
        can_work_with: true,
        tool_declared: true,
        provides_to_team: true,
        ..Relation::default()
    };
    let facts = Facts { agent, relation, internal_tool, ..harness::facts(resource) };
    let nested = permit.grant().issue_request(harness::request_id(4), request);
    guard.permit(AccessRequest::new(nested, facts)).await.map_or_else(|denied| denied.codes(), |_| Vec::new())
}

async fn decide(case: Case) -> Vec<String> {
    let mut principal = harness::user(case.user).unwrap();
    principal.permissions.pii_access = case.user == "auditor";
    if case.user != "admin" {
        principal.roles = principal.roles.union(&harness::names(&["agent_operator"]));
        principal.permissions.allowed_categories = harness::names(&["business_ops"]);
    }
    let request = harness::request_as(principal, case.request).await;
    let request = AccessRequest::new(request, case.facts);
    harness::guard().await.permit(request).await.map_or_else(|denied| denied.codes(), |_| Vec::new())
}

fn resource_cases() -> Vec<(&'static str, Case, Case)> {
    let sized = |policy, document_bytes| Facts { document_bytes, ..facts_with_policy(policy) };
    let related = |policy, relation| Facts { relation, ..facts_with_policy(policy) };
    let none = Relation::default();
    let own = Relation { own_tenant: true, ..none };
    let model = |internal_model| {
        let facts = facts_with_policy("deny_external_models");
        Facts {
            agent: facts.agent.clone().map(|agent| greenroom_rego::AgentFacts { internal_model, ..agent }),
            ..facts
        }
    };
    let member = Relation { team_member: true, ..own };
    vec![
        (
            "audit_all_actions",
            case("admin", facts_with_policy("audit_all_actions")),
            case("admin", Facts { audited: false, ..facts_with_policy("audit_all_actions") }),
        ),
        (
            "max_document_size",
            case("admin", sized("max_document_size=2048", 2_048)),
            case("admin", sized("max_document_size=2048", 2_049)),
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
            case("auditor", facts_with_policy("require_pii_permission")),
            case("admin", facts_with_policy("require_pii_permission")),
        ),
        (
            "require_approval_role",
            case("approver", facts_with_policy("require_approval_role")),
            case("operator", facts_with_policy("require_approval_role")),
        ),
        ("deny_external_models", case("admin", model(true)), case("admin", model(false))),
        (
            "team_members_only",
            case("admin", related("team_members_only", member)),
            case("admin", related("team_members_only", own)),
        ),
        (
            "require_budget",
            case("admin", Facts { cost_limited: true, ..facts_with_policy("require_budget") }),
            case("admin", facts_with_policy("require_budget")),
        ),
        (
            "tenant_isolation",
            case("admin", related("tenant_isolation", own)),
            case("admin", related("tenant_isolation", none)),
        ),
        (
            "internal_users_only",
            case("admin", facts_with_policy("internal_users_only")),
            case("operator", facts_with_policy("internal_users_only")),
        ),
    ]
}

#[tokio::test]
async fn each_policy_of_a_resource_allows_and_denies_by_name() {
    for (name, allowed, denied) in resource_cases() {
        assert_eq!(decide(allowed).await, Vec::<String>::new(), "{name} allows");
        assert_eq!(decide(denied).await, [name], "{name} denies");
    }
}

#[tokio::test]
async fn each_policy_of_a_calling_agent_allows_and_denies_by_name() {
    let call = || Request::CallTool(CallTool { tool: "native:clock".into(), arguments: Values::new(), key: None });
    let tool = || Resource::Tool { tool: "native:clock".to_owned() };
    let agent = || harness::summary_facts().resource;
    let (write, context) = context_write();
    let none = Vec::<String>::new();
    assert_eq!(decide_for_agent_caller("no_tools", harness::invoke("other_agent"), agent()).await, none);
    assert_eq!(decide_for_agent_caller("no_tools", call(), tool()).await, ["no_tools"]);
    assert_eq!(decide_for_tool_caller("no_external_tools", call(), tool(), true).await, none);
    assert_eq!(decide_for_tool_caller("no_external_tools", call(), tool(), false).await, ["no_external_tools"]);
    let invoked = decide_for_tool_caller("no_external_tools", harness::invoke("other_agent"), agent(), false).await;
    assert_eq!(invoked, none);
    assert_eq!(decide_for_agent_caller("no_agent_delegation", call(), tool()).await, none);
    let delegated = decide_for_agent_caller("no_agent_delegation", harness::invoke("other_agent"), agent()).await;
    assert_eq!(delegated, ["no_agent_delegation"]);
    assert_eq!(decide_for_agent_caller("read_only_context", call(), tool()).await, none);
    assert_eq!(decide_for_agent_caller("read_only_context", write, context).await, ["read_only_context"]);
}

#[tokio::test]
async fn require_authentication_denies_a_request_without_a_credential() {
    let guard = harness::guard().await;
    let authenticated = harness::user_request("admin", harness::invoke("executive_summary_agent")).await;
    assert!(guard.permit(AccessRequest::new(authenticated, facts_with_policy("require_authentication"))).await.is_ok());
    let anonymous = || harness::anonymous_request(harness::invoke("executive_summary_agent"));
    let denied = guard
        .permit(AccessRequest::new(anonymous().await, facts_with_policy("require_authentication")))
        .await
        .unwrap_err();
    assert_eq!(denied.codes(), ["require_authentication"]);
    let without = harness::agent_facts("executive_summary_agent_001", "business_ops", &[], &[]);
    assert!(guard.permit(AccessRequest::new(anonymous().await, without)).await.is_ok());
}

#[tokio::test]
async fn allow_network_denies_nothing_and_obliges_the_host() {
    let guard = harness::guard().await;
    for (policies, expected) in [(&["allow_network"][..], true), (&[][..], false)] {
        let request = harness::user_request("admin", harness::invoke("executive_summary_agent")).await;
        let facts = harness::agent_facts("executive_summary_agent_001", "business_ops", &[], policies);
        let permit = guard.permit(AccessRequest::new(request, facts)).await.unwrap();
        assert_eq!(permit.grant().obligations().network_allowed, expected);
    }
}

#[tokio::test]
async fn an_unknown_policy_denies() {
    let codes = decide(case("admin", facts_with_policy("require_magic"))).await;
    assert!(codes.contains(&"policy_unknown".to_owned()), "{codes:?}");
}

/// The cases above, the bundle's data and docs/policies.md name the same policies.
#[test]
fn every_policy_has_its_cases_and_its_row_in_the_docs() {
    let mut tested: BTreeSet<_> = resource_cases().iter().map(|(name, _, _)| (*name).to_owned()).collect();
    for name in [
        "no_tools",
        "no_external_tools",
        "no_agent_delegation",
        "read_only_context",
        "require_authentication",
        "allow_network",
    ] {
        tested.insert(name.to_owned());
    }
    let bundle = greenroom_rego::Bundle::embedded().unwrap();
    let documented: BTreeSet<_> = bundle.data()["cfg"]["policies"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(tested, documented);
    let page = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/policies.md");
    let page = std::fs::read_to_string(page).unwrap();
    for name in &documented {
        assert!(page.contains(&format!("| `{name}` |")), "docs/policies.md has no row for {name}");
    }
}
