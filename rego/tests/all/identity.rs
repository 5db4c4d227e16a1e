//! Who asks: each way in, each refusal, and who speaks after whom.

use std::time::Duration;

use greenroom_protocol::{Credential, Deadline, Envelope, ErrorCode, IngressKind, Received, Request, TraceId, UserId};
use greenroom_rego::identity::authenticator::PRINCIPAL_AGE_MAX;
use greenroom_rego::{AccessRequest, AuthMethod, Caller, RecoveryRequest, Resource};

use crate::harness;

async fn from_the_wire(credential: Option<Credential>) -> Result<greenroom_rego::Authenticated, ErrorCode> {
    let envelope = Envelope { credential, ..Envelope::of(harness::invoke("an_agent")) };
    let bytes = serde_json::to_vec(&envelope).unwrap();
    let received = Received::decode(&bytes, IngressKind::Http, &harness::Counting, harness::NOW).unwrap();
    harness::authenticator().authenticate(received).await.map_err(|cause| cause.code)
}

#[tokio::test]
async fn a_credential_names_its_user() {
    let known = from_the_wire(Some(Credential::ApiKey("key-of-operator".into()))).await.unwrap();
    assert_eq!(known.principal().user.as_str(), "operator");
    assert_eq!(known.auth_method(), AuthMethod::Credential);
    assert_eq!(known.caller(), &Caller::User { user: UserId::new("operator").unwrap() });
    assert_eq!(known.chain().len(), 1);
    assert!(known.run().is_none() && known.team().is_none());
}

#[tokio::test]
async fn nobody_and_a_wrong_credential_are_refused() {
    for credential in [
        None,
        Some(Credential::ApiKey("key-of-nobody".into())),
        Some(Credential::Bearer("x".into())),
        Some(Credential::Delegation("x".into())),
    ] {
        assert_eq!(from_the_wire(credential).await.map(drop), Err(ErrorCode::Unauthenticated));
    }
}

#[tokio::test]
async fn a_user_whom_the_configuration_lacks_is_refused() {
    let user = UserId::new("stranger").unwrap();
    let received = Received::local(user, Envelope::of(harness::invoke("a")), &harness::Counting, harness::NOW).unwrap();
    let refused = harness::authenticator().authenticate(received).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::Unauthenticated);
    assert!(refused.message.contains("stranger"));
}

fn recovery(owner: &str) -> RecoveryRequest {
    RecoveryRequest {
        id: harness::request_id(8),
        trace: TraceId::from_u128(8),
        owner: UserId::new(owner).unwrap(),
        run: greenroom_protocol::RunId::for_request(&harness::request_id(1)),
        deadline: Deadline::after(harness::NOW, Duration::from_secs(60)),
        now: harness::NOW,
    }
}

#[tokio::test]
async fn a_run_is_taken_up_in_the_name_of_its_owner_and_speaks_for_itself() {
    let asked = harness::authenticator().recover(recovery("operator")).await.unwrap();
    assert_eq!(asked.auth_method(), AuthMethod::RecordedOwner);
    assert!(matches!(asked.request(), Request::ResumeRun(_)));
    let run = recovery("operator").run;
    let workflow = greenroom_protocol::WorkflowId::new("generate_quarterly_report").unwrap();
    let team = greenroom_protocol::TeamId::new("report_team").ok();
    let target = Resource::Run { run: run.clone(), workflow, version: harness::version(), team: team.clone() };
    let permit = harness::guard().await.permit(AccessRequest::new(asked, harness::facts(target))).await.unwrap();
    let spoken = permit.grant().issue_request(harness::request_id(9), harness::invoke("an_agent"));
    assert_eq!(spoken.run(), Some(&run));
    assert_eq!(spoken.team(), team.as_ref());
    assert_eq!(spoken.caller().kind(), "workflow");
}

#[tokio::test]
async fn a_run_whose_owner_is_gone_is_not_taken_up() {
    let refused = harness::authenticator().recover(recovery("dismissed")).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::Unauthenticated);
}

#[tokio::test]
async fn an_old_principal_is_read_anew() {
    let authenticator = harness::authenticator();
    let mut principal = harness::user("operator").unwrap();
    principal.roles = harness::names(&["admin"]);
    let stale = harness::request_as(principal.clone(), harness::invoke("an_agent")).await;
    let soon = harness::NOW.saturating_add(PRINCIPAL_AGE_MAX);
    let stale = authenticator.refresh(stale, soon).await.unwrap();
    assert!(stale.principal().roles.contains("admin"), "not yet");
    let later = soon.saturating_add(Duration::from_micros(1));
    let fresh = authenticator.refresh(stale, later).await.unwrap();
    assert!(!fresh.principal().roles.contains("admin"), "the role was withdrawn");
    assert_eq!(fresh.principal_read_at(), later);
    principal.user = UserId::new("dismissed").unwrap();
    let gone = harness::request_as(principal, harness::invoke("an_agent")).await;
    let refused = authenticator.refresh(gone, later).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::Unauthenticated);
}
