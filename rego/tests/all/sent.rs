//! What is sent to be judged: small, and yet everything that the decision depends on.

use std::sync::Arc;

use greenroom_protocol::MicroUsd;
use greenroom_rego::{AccessRequest, Facts, Input, Limits, Principal, Relation, UsageFacts};
use proptest::strategy::{Strategy as _, ValueTree as _};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use crate::{harness, oracle, raw};

/// Bytes of the document that a decision is made on, at most: what it costs follows from them.
const INPUT_BYTES_MAX: usize = 512;
/// Documents that are judged twice.
const DOCUMENTS: usize = 2_000;

/// The policies that the catalogue's agents carry.
const POLICIES: [&str; 3] = ["require_authentication", "audit_all_actions", "max_document_size_10mb"];
/// Those of an agent that works with personal data.
const PRIVATE: [&str; 4] =
    ["require_authentication", "audit_all_actions", "max_document_size_1mb", "require_pii_permission"];

async fn assert_within_limit(request: &AccessRequest) {
    let sent = request.input().to_pruned_json(harness::snapshot().await.read_set()).unwrap();
    assert!(sent.len() <= INPUT_BYTES_MAX, "{} bytes: {}", sent.len(), String::from_utf8_lossy(&sent));
}

/// Everything of an agent's facts that can be true at once, for names as long as the catalogue's.
fn maximal_facts(agent: &str, private: bool, of_team: bool) -> Facts {
    let capabilities = ["text_summarization", "report_generation", "executive_communication", "pii_access"];
    let (category, capabilities, policies) = match private {
        true => ("sales_marketing", &capabilities[..], &PRIVATE[..]),
        false => ("content_communications", &capabilities[..3], &POLICIES[..]),
    };
    let policies = [policies, if of_team { &["tenant_isolation"] } else { &[] }].concat();
    let facts = harness::agent_facts(agent, category, capabilities, &policies);
    Facts {
        relation: Relation {
            own_tenant: true,
            workflow_step: true,
            team_workflow: true,
            team_member: true,
            can_work_with: true,
            tool_declared: true,
            provides_to_team: true,
            own_memory: false,
        },
        usage: UsageFacts { requests: 99_999, ..facts.usage },
        document_bytes: 1_000_000,
        cost_limited: true,
        ..facts
    }
}

/// Somebody who may work almost everywhere, with limits or without.
fn operator(limited: bool) -> Principal {
    let all = ["business_ops", "content_communications", "data_analytics", "sales_marketing", "software_engineering"];
    let limits = Limits { usd: Some(MicroUsd(500_000_000)), tokens: Some(900_000_000), ..Limits::default() };
    let limits = if limited { limits } else { Limits::default() };
    let mut principal = harness::user("operator").unwrap();
    principal.permissions.allowed_categories = harness::names(&all);
    principal.permissions.pii_access = true;
    Principal { rate_limit: 100_000, limits, ..principal }
}

#[tokio::test]
async fn no_input_is_large_however_much_is_listed() {
    let bound = harness::names(&["require_authentication", "audit_all_actions", "require_pii_permission"]);
    for (agent, limited, private) in [
        ("executive_summary_agent_001", true, false),
        ("kpi_dashboard_narrator_agent", true, false),
        ("lead_qualification_agent", false, true),
    ] {
        let user = || operator(limited);
        let asked = harness::request_as(user(), harness::invoke(agent)).await;
        assert_within_limit(&AccessRequest::new(asked, maximal_facts(agent, private, false))).await;
        let run = harness::run_grant_of_principal(user()).await;
        let step = || {
            AccessRequest::new(
                run.issue_request(harness::request_id(2), harness::invoke(agent)),
                maximal_facts(agent, private, true),
            )
        };
        assert_within_limit(&step()).await;
        let (grant, _) = harness::guard().await.permit(step()).await.unwrap().redeem();
        let delegated = Facts { caller_policies: bound.clone(), ..maximal_facts(agent, private, !private) };
        assert_within_limit(&AccessRequest::new(
            grant.issue_request(harness::request_id(3), harness::invoke(agent)),
            delegated,
        ))
        .await;
    }
    let start = harness::request_as(operator(true), harness::start_run("generate_quarterly_report")).await;
    let facts = harness::facts(harness::workflow_resource("generate_quarterly_report"));
    let facts =
        Facts { policies: harness::names(&POLICIES), usage: maximal_facts("an_agent", false, true).usage, ..facts };
    assert_within_limit(&AccessRequest::new(start, facts)).await;
}

/// The words of the bundle, about what its rules read, are true: what is left out changes no answer.
#[tokio::test]
async fn what_is_not_sent_changes_no_decision() {
    let snapshot = harness::snapshot().await;
    let mut policy = raw::Policy::embedded().await;
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, b"greenroom sends what rules read!");
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let (mut judged, mut allowed) = (0, 0);
    while judged < DOCUMENTS {
        let document = oracle::document().new_tree(&mut runner).unwrap().current();
        // The host does not write an action that it does not know.
        let Ok(input) = serde_json::from_value::<Input>(document.clone()) else { continue };
        let sent = Arc::new(input).to_pruned_json(snapshot.read_set()).unwrap();
        let sent = serde_json::from_slice(&sent).unwrap();
        let whole = policy.answer("guard/allowed", &document).await;
        assert_eq!(policy.answer("guard/allowed", &sent).await, whole, "{document} was sent as {sent}");
        judged += 1;
        allowed += usize::from(!whole.is_null());
    }
    assert!(allowed > DOCUMENTS / 20, "only {allowed} of {DOCUMENTS} documents are allowed: they prove little");
}
