//! A whole house over the embedded catalogue and the embedded policy: what a user sees of it, from
//! within and over the control socket.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use greenroom_client::{Client, Work};
use greenroom_protocol::event::What;
use greenroom_protocol::request::Page;
use greenroom_protocol::{AgentId, Code, IdempotencyKey, Json, Reply, Status, UserId, Values, WorkflowId};
use greenroom_supervisor::clock::{TimeOrdered, WallClock};
use greenroom_supervisor::compose::compose;
use greenroom_supervisor::config::{Config, Store};
use greenroom_supervisor::ingress::control::client::Socket;
use greenroom_supervisor::ingress::frame::Chore;
use greenroom_supervisor::pod::House;

const SALES: &[u8] = include_bytes!("../demo/sales.csv");

async fn house(dir: &Path, store: Option<Store>) -> House {
    let mut config = Config::defaults(dir).unwrap();
    if let Some(store) = store {
        config.store = store;
    }
    compose(&config, Arc::new(WallClock), Arc::new(TimeOrdered)).await.unwrap()
}

fn user(name: &str) -> UserId {
    UserId::new(name).unwrap()
}

fn document(text: &str) -> Work {
    Work { inputs: Values::from([("document".to_owned(), Json::from(text))]), ..Work::default() }
}

async fn summarise(client: &Client, text: &str) -> Reply {
    client.run_agent(AgentId::new("executive_summary_agent").unwrap(), document(text)).await.unwrap()
}

async fn records(client: &Client) -> Vec<Json> {
    let page = Page { after: None, limit: 100 };
    client.audit(page).await.unwrap().outputs["records"].as_array().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_judged_for_its_user_and_recorded_either_way() {
    let dir = tempfile::tempdir().unwrap();
    let house = house(dir.path(), Some(Store::Memory)).await;
    let done = summarise(&house.client(&user("admin")), "Sales rose. Costs fell.").await;
    assert_eq!(done.status, Status::Success, "{:?}", done.error);
    assert!(done.outputs["summary"].as_str().unwrap().contains("Sales rose"));
    assert_eq!(done.metadata.policy_decisions, 1);
    assert!(done.metadata.policy_checks.iter().any(|check| check == "access_allowed"));
    assert_eq!(summarise(&house.client(&user("operator")), "x").await.status, Status::Success);

    let denied = summarise(&house.client(&user("guest")), "x").await;
    assert_eq!((denied.status, denied.exit_code()), (Status::Denied, 3));
    assert_eq!(denied.error.unwrap().details["rules"][0]["code"], "role_missing");
    let elsewhere = AgentId::new("lead_qualification_agent").unwrap();
    let denied = house.client(&user("operator")).run_agent(elsewhere, Work::default()).await.unwrap();
    assert_eq!(denied.error.unwrap().code, Code::PolicyDenied);
    let nobody = summarise(&house.client(&user("stranger")), "x").await;
    assert_eq!(nobody.error.unwrap().code, Code::Unauthenticated);

    let audit = records(&house.client(&user("admin"))).await;
    let closed = |status: &str| audit.iter().filter(|record| record["event"]["status"] == status).count();
    assert_eq!((closed("denied"), closed("success")), (2, 2), "{audit:#?}");
    house.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_key_is_done_once_and_another_body_is_a_conflict() {
    let dir = tempfile::tempdir().unwrap();
    let house = house(dir.path(), Some(Store::Memory)).await;
    let client = house.client(&user("admin")).with_idempotency_key(IdempotencyKey::new("k").unwrap());
    let (first, second) = tokio::join!(summarise(&client, "One."), summarise(&client, "One."));
    assert_eq!(first.outputs, second.outputs);
    let costs = house.client(&user("admin")).costs(None).await.unwrap();
    assert_eq!(costs.outputs["costs"][0]["calls"], 1, "{:?}", costs.outputs);
    assert_eq!(summarise(&client, "Two.").await.error.unwrap().code, Code::IdempotencyConflict);
    house.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_acts_on_the_owner_over_its_socket() {
    let dir = tempfile::tempdir().unwrap();
    let mut house = house(dir.path(), None).await;
    house.listen().unwrap();
    let socket = Socket::new(&house.config().control_socket(), user("admin"));
    let client = Client::new(Arc::new(socket.clone()));
    let sales = socket.keep(SALES, "text/csv", "sales.csv").await.unwrap();
    let work = Work {
        inputs: Values::from([("data_source".to_owned(), sales.to_json())]),
        context: Values::from([("quarter".to_owned(), Json::from("Q4 2024"))]),
        ..Work::default()
    };
    let reply = client.run_workflow(WorkflowId::new("generate_quarterly_report").unwrap(), work).await.unwrap();
    assert_eq!(reply.status, Status::Success, "{:?}", reply.error);
    assert_eq!((reply.metadata.workflow_steps, reply.metadata.agents_involved), (5, 5));

    let run = reply.id.parse().unwrap();
    let events: Vec<_> = client.watch(&run, 0).map(|event| event.unwrap()).collect().await;
    assert!(matches!(events.first().map(|event| &event.what), Some(What::RunStarted { steps: 5 })));
    assert!(matches!(events.last().map(|event| &event.what), Some(What::RunEnded { .. })));
    let chain = socket.maintain(Chore::VerifyAudit).await.unwrap();
    assert_eq!(chain["holds"], true);
    let refused = client.cancel(run).await.unwrap();
    assert_eq!(refused.error.unwrap().code, Code::RunNotActive);
    house.shutdown().await;
    assert!(!dir.path().join("control.sock").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_house_that_is_drained_takes_nothing_new_and_keeps_what_it_did() {
    let dir = tempfile::tempdir().unwrap();
    let first = house(dir.path(), None).await;
    let client = first.client(&user("admin"));
    summarise(&client, "One.").await;
    tokio::time::timeout(Duration::from_secs(30), first.shutdown()).await.expect("a drained house ends");
    assert_eq!(summarise(&client, "Two.").await.error.unwrap().code, Code::ShuttingDown);

    let second = house(dir.path(), None).await;
    let client = second.client(&user("admin"));
    assert_eq!(client.costs(None).await.unwrap().outputs["costs"][0]["calls"], 1);
    assert!(second.front().maintain(Chore::VerifyAudit).await.unwrap()["holds"].as_bool().unwrap());
    second.shutdown().await;
}
