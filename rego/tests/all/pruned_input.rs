//! The pruned input: small, and still everything that the decision depends on.

use std::sync::Arc;

use greenroom_protocol::MicroUsd;
use greenroom_rego::access_request::read_set::PolicyReadSet;
use greenroom_rego::{AccessRequest, Bundle, Facts, Input, Limits, PolicySnapshot, Principal, Relation, UsageFacts};
use proptest::strategy::{Strategy as _, ValueTree as _};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use crate::{harness, oracle, raw_module};

/// Maximum bytes of the pruned input: the cost of a decision follows from its size.
const INPUT_BYTES_MAX: usize = 512;
/// The number of inputs that are evaluated whole and pruned.
const DOCUMENTS: usize = 2_000;

/// The policies that the catalogue's agents name.
const POLICIES: [&str; 3] = ["require_authentication", "audit_all_actions", "max_document_size_10mb"];
/// The policies of an agent that processes personal data.
const PRIVATE: [&str; 4] =
    ["require_authentication", "audit_all_actions", "max_document_size_1mb", "require_pii_permission"];

async fn assert_within_limit(request: &AccessRequest) {
    let json = request.input().to_pruned_json(harness::snapshot().await.read_set()).unwrap();
    assert!(json.len() <= INPUT_BYTES_MAX, "{} bytes: {}", json.len(), String::from_utf8_lossy(&json));
}

/// All facts about an agent that can be true at once, with names as long as the catalogue's.
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
            without_run: false,
            workflow_step: true,
            team_workflow: true,
            team_member: true,
            can_work_with: true,
            tool_declared: true,
            provides_to_team: true,
            own_memory: false,
            no_personal_data: true,
        },
        usage: UsageFacts { requests: 99_999, ..facts.usage },
        document_bytes: 1_000_000,
        cost_limited: true,
        // A user's own request compensates nothing.
        compensates: of_team,
        ..facts
    }
}

/// An operator of many categories, with limits or without.
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
async fn a_pruned_input_remains_within_its_limit_however_much_is_listed() {
    for (agent, limited, private) in [
        ("executive_summary_agent_001", true, false),
        ("kpi_dashboard_narrator_agent", true, false),
        ("lead_qualification_agent", false, true),
    ] {
        let user = || operator(limited);
        let request = harness::request_as(user(), harness::invoke(agent)).await;
        assert_within_limit(&AccessRequest::new(request, maximal_facts(agent, private, false))).await;
        let run = harness::run_grant_of_principal(user()).await;
        let step = || {
            AccessRequest::new(
                run.issue_request(harness::request_id(2), harness::invoke(agent)),
                maximal_facts(agent, private, true),
            )
        };
        assert_within_limit(&step()).await;
        let (grant, _) = harness::guard().await.permit(step()).await.unwrap().redeem();
        assert_within_limit(&AccessRequest::new(
            grant.issue_request(harness::request_id(3), harness::invoke(agent)),
            maximal_facts(agent, private, !private),
        ))
        .await;
    }
    let start = harness::request_as(operator(true), harness::start_run("generate_quarterly_report")).await;
    let facts = harness::facts(harness::workflow_resource("generate_quarterly_report"));
    let facts =
        Facts { policies: harness::names(&POLICIES), usage: maximal_facts("an_agent", false, true).usage, ..facts };
    assert_within_limit(&AccessRequest::new(start, facts)).await;
}

/// The read set that the bundle declares is complete, and so is the one that is derived from its text: what the
/// host omits changes no decision.
#[tokio::test]
async fn an_omitted_field_changes_no_decision() {
    let copy = Bundle::read(&harness::repacked(harness::SHIPPED, |_, _| true)).unwrap();
    let derived = PolicySnapshot::load(harness::compiler(), &copy).await.unwrap();
    assert_ne!(derived.read_set(), harness::snapshot().await.read_set());
    for snapshot in [harness::snapshot().await, derived] {
        assert_pruning_changes_no_decision(snapshot.read_set()).await;
    }
}

async fn assert_pruning_changes_no_decision(read_set: &PolicyReadSet) {
    let mut policy = raw_module::RawModule::embedded().await;
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, b"greenroom sends what rules read!");
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let (mut decided, mut allowed) = (0, 0);
    while decided < DOCUMENTS {
        let document = oracle::document().new_tree(&mut runner).unwrap().current();
        // The host never writes an unknown action.
        let Ok(input) = serde_json::from_value::<Input>(document.clone()) else { continue };
        let pruned = Arc::new(input).to_pruned_json(read_set).unwrap();
        let pruned = serde_json::from_slice(&pruned).unwrap();
        let decision = policy.evaluate("guard/allowed", &document).await;
        assert_eq!(policy.evaluate("guard/allowed", &pruned).await, decision, "{document} was pruned to {pruned}");
        decided += 1;
        allowed += usize::from(!decision.is_null());
    }
    assert!(allowed > DOCUMENTS / 20, "only {allowed} of {DOCUMENTS} documents are allowed: the test proves little");
}
