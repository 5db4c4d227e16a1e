//! Decisions of the guard on requests of the users of the embedded configuration.

use greenroom_protocol::request::{Query, RunListFilter, Signal, SignalRun};
use greenroom_protocol::{Cause, ErrorCode, Request, RunId, StepId};
use greenroom_rego::{AccessRequest, Denied, Facts, Relation, Resource};

use crate::harness;

fn codes(denied: &Denied) -> Vec<String> {
    denied.codes()
}

#[tokio::test]
async fn the_administrator_starts_the_demo_and_its_run_calls_the_agent() {
    let grant = harness::run_grant("admin").await;
    let facts = harness::step_facts(harness::summary_facts());
    let nested = grant.issue_request(harness::request_id(2), harness::invoke("executive_summary_agent"));
    let permit = harness::guard().await.permit(AccessRequest::new(nested, facts)).await.unwrap();
    let checks = permit.grant().checks().to_vec();
    assert!(checks.iter().any(|check| check == "access_allowed"));
    assert!(checks.iter().any(|check| check == "rate_limit_ok"));
    assert!(checks.iter().any(|check| check == "max_document_size_10mb"));
    assert!(permit.grant().obligations().audit_before_reply);
    assert!(!permit.grant().obligations().internal_models_only);
}

#[tokio::test]
async fn an_operator_invokes_agents_of_the_allowed_categories_only() {
    let guard = harness::guard().await;
    let request = || harness::user_request("operator", harness::invoke("an_agent"));
    let allowed = harness::agent_facts("an_agent", "business_ops", &[], &[]);
    assert!(guard.permit(AccessRequest::new(request().await, allowed)).await.is_ok());
    let elsewhere = harness::agent_facts("an_agent", "security_risk", &[], &[]);
    let denied = guard.permit(AccessRequest::new(request().await, elsewhere)).await.unwrap_err();
    assert_eq!(codes(&denied), ["category_not_allowed"]);
}

#[tokio::test]
async fn a_run_has_no_more_rights_than_its_owner() {
    let grant = harness::run_grant("operator").await;
    let facts = harness::step_facts(harness::agent_facts("an_agent", "finance_accounting", &[], &[]));
    let request = AccessRequest::new(grant.issue_request(harness::request_id(2), harness::invoke("an_agent")), facts);
    let denied = harness::guard().await.permit(request).await.unwrap_err();
    assert_eq!(codes(&denied), ["category_not_allowed"]);
}

#[tokio::test]
async fn a_guest_is_denied_with_the_code_of_the_reason() {
    let request = harness::user_request("guest", harness::invoke("executive_summary_agent")).await;
    let denied =
        harness::guard().await.permit(AccessRequest::new(request, harness::summary_facts())).await.unwrap_err();
    assert!(denied.revision().is_some());
    let cause = Cause::from(denied);
    assert_eq!(cause.code, ErrorCode::PolicyDenied);
    assert_eq!(cause.code.exit_code(), 3);
    assert_eq!(cause.details["reasons"][0]["code"], "role_missing");
    assert_eq!(cause.details["reasons"][0]["message"], "no role of the user guest allows invoke");
    assert!(cause.message.contains("role_missing"));
}

#[tokio::test]
async fn a_guest_may_query_the_catalogue_and_nothing_else() {
    let guard = harness::guard().await;
    let facts = || harness::facts(Resource::Collection { kind: "list".to_owned() });
    let query =
        |query| async { AccessRequest::new(harness::user_request("guest", Request::Query(query)).await, facts()) };
    assert!(guard.permit(query(Query::Agents).await).await.is_ok());
    let page = || greenroom_protocol::request::Page::default();
    for private in [
        Query::Runs { filter: RunListFilter::default(), page: page() },
        Query::Audit { page: page() },
        Query::Costs { since: None },
    ] {
        assert!(guard.permit(query(private).await).await.is_err());
    }
}

#[tokio::test]
async fn only_an_approver_of_the_same_tenant_approves_a_step() {
    let guard = harness::guard().await;
    let run = RunId::for_request(&harness::request_id(5));
    let resource = || Resource::Run {
        run: run.clone(),
        root: run.clone(),
        workflow: greenroom_protocol::WorkflowId::new("w").unwrap(),
        version: harness::version(),
        team: None,
        tenant: greenroom_protocol::TenantId::new("default").unwrap(),
    };
    let signal = || {
        let signal = Signal::Approve { step: StepId::new("publish").unwrap(), call: None };
        Request::SignalRun(SignalRun { run: run.clone(), signal })
    };
    let request = |name| async move {
        AccessRequest::new(harness::user_request(name, signal()).await, harness::facts(resource()))
    };
    assert!(guard.permit(request("approver").await).await.is_ok());
    assert!(guard.permit(request("admin").await).await.is_ok());
    assert_eq!(codes(&guard.permit(request("operator").await).await.unwrap_err()), ["role_missing"]);
    let foreign = Facts { relation: Relation::default(), ..harness::facts(resource()) };
    let request = AccessRequest::new(harness::user_request("approver", signal()).await, foreign);
    assert_eq!(codes(&guard.permit(request).await.unwrap_err()), ["foreign_tenant"]);
}

#[tokio::test]
async fn a_document_above_ten_mebibytes_is_denied_by_that_policy() {
    let guard = harness::guard().await;
    let sized = |bytes| Facts { document_bytes: bytes, ..harness::summary_facts() };
    let request = || harness::user_request("admin", harness::invoke("executive_summary_agent"));
    let limit = greenroom_protocol::limits::DOCUMENT_BYTES_MAX;
    assert!(guard.permit(AccessRequest::new(request().await, sized(limit))).await.is_ok());
    let denied = guard.permit(AccessRequest::new(request().await, sized(limit + 1))).await.unwrap_err();
    assert_eq!(codes(&denied), ["max_document_size_10mb"]);
}

#[tokio::test]
async fn the_policy_input_contains_no_inputs_of_the_request() {
    let mut request = harness::invoke("executive_summary_agent");
    if let Request::Invoke(invoke) = &mut request {
        invoke.inputs.insert("document".to_owned(), "a very private text".into());
    }
    let request = AccessRequest::new(harness::user_request("admin", request).await, harness::summary_facts());
    let json = request.input().to_pruned_json(harness::snapshot().await.read_set()).unwrap();
    assert!(!String::from_utf8_lossy(&json).contains("private"));
    assert!(!format!("{:?}", request.request()).contains("private"));
}

#[tokio::test]
async fn the_smaller_of_the_remaining_budgets_of_user_and_tenant_decides() {
    use greenroom_protocol::MicroUsd;
    use greenroom_rego::{Limits, UsageFacts, UsageTotals};
    let mut principal = harness::user("admin").unwrap();
    principal.limits = Limits { usd: Some(MicroUsd(1_000)), tokens: None, ..Limits::default() };
    principal.tenant_limits = Limits { usd: Some(MicroUsd(10_000)), tokens: Some(500), ..Limits::default() };
    let spent = |user: u64, tenant: u64, tokens: u64| UsageFacts {
        requests: 1,
        queries: 1,
        user: UsageTotals { tokens, usd: MicroUsd(user) },
        tenant: UsageTotals { tokens, usd: MicroUsd(tenant) },
        available: true,
    };
    let guard = harness::guard().await;
    for (usage, denied_by) in [
        (spent(999, 999, 499), vec![]),
        (spent(1_000, 1_000, 0), vec!["budget_exhausted"]),
        (spent(0, 10_000, 0), vec!["budget_exhausted"]),
        (spent(0, 0, 500), vec!["tokens_exhausted"]),
        (UsageFacts { available: false, ..spent(0, 0, 0) }, vec!["usage_unknown"]),
    ] {
        let request = harness::request_as(principal.clone(), harness::invoke("executive_summary_agent")).await;
        let request = AccessRequest::new(request, Facts { usage, ..harness::summary_facts() });
        let codes = guard.permit(request).await.map_or_else(|denied| denied.codes(), |_| Vec::new());
        assert_eq!(codes, denied_by);
    }
}
