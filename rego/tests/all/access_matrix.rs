//! The printed access matrix: every change of a right changes this snapshot.

use greenroom_protocol::CategoryId;
use greenroom_rego::{Subject, access_matrix};
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
