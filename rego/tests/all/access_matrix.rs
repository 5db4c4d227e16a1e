//! The printed access matrix: every change of a right changes this snapshot.

use greenroom_protocol::CategoryId;
use greenroom_rego::{Action, Subject, access_matrix, is_allowed_at_best};
use tokio::sync::Mutex;

use crate::harness;

#[tokio::test]
async fn the_access_matrix_of_the_embedded_bundle() {
    let subject = |name: &str, roles: &[&str], categories: &[&str]| Subject {
        name: name.to_owned(),
        roles: harness::names(roles),
        categories: harness::names(categories),
    };
    let subjects = [
        subject("admin", &["admin"], &[]),
        subject("agent_operator", &["agent_operator"], &["business_ops", "data_analytics"]),
        subject("approver", &["approver"], &[]),
        subject("auditor", &["auditor"], &[]),
        subject("internal", &["internal"], &[]),
        subject("none", &[], &[]),
    ];
    let categories = ["business_ops", "data_analytics", "security_risk"].map(|name| CategoryId::new(name).unwrap());
    let evaluator = harness::SingleEngine::new(Mutex::new(harness::engine().await));
    let matrix = access_matrix(&evaluator, &subjects, &categories).await.unwrap();
    insta::assert_snapshot!(matrix);
}

#[tokio::test]
async fn the_rights_of_one_principal_are_those_of_its_roles_in_its_tenant() {
    let mut engine = harness::engine().await;
    for (name, tenant, expected) in [
        ("admin", "default", true),
        ("admin", "acme", false),
        ("auditor", "default", false),
        ("guest", "default", false),
    ] {
        let mut principal = harness::user(name).unwrap();
        principal.id.tenant = tenant.parse().unwrap();
        let is_allowed = is_allowed_at_best(&mut engine, Action::ApplyPolicy, &principal).await.unwrap();
        assert_eq!(is_allowed, expected, "{name} of {tenant}");
    }
    assert!(is_allowed_at_best(&mut engine, Action::VerifyAudit, &harness::user("auditor").unwrap()).await.unwrap());
}
