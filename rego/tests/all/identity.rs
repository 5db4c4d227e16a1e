//! Authentication: each kind of claimed identity, each rejection, and the callers of a chain.

use std::time::Duration;

use greenroom_protocol::{
    Credential, Deadline, Envelope, ErrorCode, IngressKind, Issuer, PrincipalId, Received, Request, TenantId, TraceId,
    UserId,
};
use greenroom_rego::identity::authenticator::PRINCIPAL_AGE_MAX;
use greenroom_rego::{AccessRequest, AuthMethod, Caller, RecoveryRequest, Resource};

use crate::harness;

async fn authenticate_decoded(credential: Option<Credential>) -> Result<greenroom_rego::Authenticated, ErrorCode> {
    let envelope = Envelope { credential, ..Envelope::new(harness::invoke("an_agent")) };
    let bytes = serde_json::to_vec(&envelope).unwrap();
    let received = Received::decode(&bytes, IngressKind::Http, &harness::FixedIds, harness::NOW).unwrap();
    harness::authenticator().authenticate(received).await.map_err(|cause| cause.code)
}

#[tokio::test]
async fn a_credential_names_its_user() {
    let request = authenticate_decoded(Some(Credential::ApiKey("key-of-operator".into()))).await.unwrap();
    assert_eq!(request.principal().id.to_string(), "local/default/operator");
    assert_eq!(request.auth_method(), AuthMethod::Credential);
    assert_eq!(request.caller(), &Caller::User { user: UserId::new("operator").unwrap() });
    assert_eq!(request.chain().len(), 1);
    assert!(request.run().is_none() && request.team().is_none());
}

#[tokio::test]
async fn a_missing_and_a_wrong_credential_are_rejected() {
    for credential in [
        None,
        Some(Credential::ApiKey("key-of-stranger".into())),
        Some(Credential::Bearer("x".into())),
        Some(Credential::Delegation("x".into())),
    ] {
        assert_eq!(authenticate_decoded(credential).await.map(drop), Err(ErrorCode::Unauthenticated));
    }
}

#[tokio::test]
async fn a_user_that_is_not_configured_is_rejected() {
    let user = UserId::new("stranger").unwrap();
    let received =
        Received::local(user, Envelope::new(harness::invoke("a")), &harness::FixedIds, harness::NOW).unwrap();
    let error = harness::authenticator().authenticate(received).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::Unauthenticated);
    assert!(error.message.contains("stranger"));
}

fn recovery(owner: &str) -> RecoveryRequest {
    RecoveryRequest {
        id: harness::request_id(8),
        trace: TraceId::from_u128(8),
        owner: PrincipalId::local(TenantId::default(), UserId::new(owner).unwrap()),
        run: greenroom_protocol::RunId::for_request(&harness::request_id(1)),
        deadline: Deadline::after(harness::NOW, Duration::from_secs(60)),
        now: harness::NOW,
    }
}

#[tokio::test]
async fn a_run_is_resumed_for_its_owner_and_is_the_caller_of_its_steps() {
    let request = harness::authenticator().recover(recovery("operator")).await.unwrap();
    assert_eq!(request.auth_method(), AuthMethod::RecordedOwner);
    assert!(matches!(request.request(), Request::ResumeRun(_)));
    let run = recovery("operator").run;
    let workflow = greenroom_protocol::WorkflowId::new("generate_quarterly_report").unwrap();
    let team = greenroom_protocol::TeamId::new("report_team").ok();
    let tenant = greenroom_protocol::TenantId::new("default").unwrap();
    let resource = Resource::Run {
        run: run.clone(),
        root: run.clone(),
        workflow,
        version: harness::version(),
        team: team.clone(),
        tenant,
    };
    let permit = harness::guard().await.permit(AccessRequest::new(request, harness::facts(resource))).await.unwrap();
    let nested = permit.grant().issue_request(harness::request_id(9), harness::invoke("an_agent"));
    assert_eq!(nested.run(), Some(&run));
    assert_eq!(nested.team(), team.as_ref());
    assert_eq!(nested.caller().kind(), "workflow");
}

#[tokio::test]
async fn a_run_whose_owner_does_not_exist_is_not_resumed() {
    let error = harness::authenticator().recover(recovery("dismissed")).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::Unauthenticated);
}

#[tokio::test]
async fn a_user_of_another_tenant_or_issuer_is_not_the_recorded_owner() {
    let change_tenant = |id: &mut PrincipalId| id.tenant = TenantId::new("acme").unwrap();
    let change_issuer = |id: &mut PrincipalId| id.issuer = Issuer::new("login").unwrap();
    let authenticator = harness::authenticator();
    for change in [&change_tenant as &dyn Fn(&mut PrincipalId), &change_issuer] {
        let mut request = recovery("operator");
        change(&mut request.owner);
        assert_eq!(authenticator.recover(request).await.unwrap_err().code, ErrorCode::Unauthenticated);
        let mut principal = harness::user("admin").unwrap();
        change(&mut principal.id);
        let grant = harness::run_grant_of_principal(principal).await;
        let mut nested = grant.issue_request(harness::request_id(9), harness::invoke("an_agent"));
        let error = authenticator.refresh(&mut nested, harness::NOW).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::Unauthenticated);
    }
}

#[tokio::test]
async fn an_old_principal_is_resolved_again() {
    let authenticator = harness::authenticator();
    let mut principal = harness::user("operator").unwrap();
    principal.roles = harness::names(&["admin"]);
    let mut request = harness::request_as(principal.clone(), harness::invoke("an_agent")).await;
    let soon = harness::NOW.saturating_add(PRINCIPAL_AGE_MAX);
    authenticator.refresh(&mut request, soon).await.unwrap();
    assert!(request.principal().roles.contains("admin"), "not yet");
    let later = soon.saturating_add(Duration::from_micros(1));
    authenticator.refresh(&mut request, later).await.unwrap();
    assert!(!request.principal().roles.contains("admin"), "the role was withdrawn");
    assert_eq!(request.principal_read_at(), later);
    principal.id.user = UserId::new("dismissed").unwrap();
    let mut request = harness::request_as(principal, harness::invoke("an_agent")).await;
    let error = authenticator.refresh(&mut request, later).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::Unauthenticated);
}

#[tokio::test]
async fn a_nested_request_has_the_rights_that_its_user_has_now() {
    let authenticator = harness::authenticator();
    let mut principal = harness::user("admin").unwrap();
    principal.permissions.pii_access = true;
    let nested = |principal| async move {
        let grant = harness::run_grant_of_principal(principal).await;
        grant.issue_request(harness::request_id(9), harness::invoke("an_agent"))
    };
    let mut request = nested(principal.clone()).await;
    authenticator.refresh(&mut request, harness::NOW).await.unwrap();
    assert!(!request.principal().permissions.pii_access, "it was withdrawn within the same second");
    principal.id.user = UserId::new("dismissed").unwrap();
    let error = authenticator.refresh(&mut nested(principal).await, harness::NOW).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::Unauthenticated);
    assert!(error.message.contains("`dismissed` does not exist any more"), "{}", error.message);
}
