//! Who may do what, as it is printed: a change of a right is a change of this snapshot.

use greenroom_protocol::CategoryId;
use greenroom_rego::{Subject, access_matrix};
use tokio::sync::Mutex;

use crate::harness;

#[tokio::test]
async fn who_may_do_what() {
    let bearer = |name: &str, roles: &[&str], categories: &[&str]| Subject {
        name: name.to_owned(),
        roles: harness::names(roles),
        categories: harness::names(categories),
    };
    let bearers = [
        bearer("admin", &["admin"], &[]),
        bearer("agent_operator", &["agent_operator"], &["business_ops", "data_analytics"]),
        bearer("approver", &["approver"], &[]),
        bearer("auditor", &["auditor"], &[]),
        bearer("internal", &["internal"], &[]),
        bearer("none", &[], &[]),
    ];
    let categories = ["business_ops", "data_analytics", "security_risk"].map(|name| CategoryId::new(name).unwrap());
    let evaluator = harness::OneEngine::new(Mutex::new(harness::engine().await));
    let found = access_matrix(&evaluator, &bearers, &categories).await.unwrap();
    insta::assert_snapshot!(found);
}
