//! The shared context: fencing, watching, permits.

use futures::StreamExt;
use greenroom_protocol::request::{ContextChange, ContextRead, ContextWrite};
use greenroom_protocol::{ContextKey, ErrorCode, Request, RunId};
use greenroom_registry::context::Version;
use greenroom_rego::{Permitted, Resource, TypedPermit, testing};
use serde_json::json;

use crate::observer::ActorEvent;
use crate::run::tests::harness::{Harness, until};
use crate::team::tests::{at_check, definitions, stuck_at_check};

async fn to_read(harness: &Harness, run: &RunId) -> Permitted<ContextRead> {
    let request = Request::ContextRead(ContextRead { run: run.clone(), keys: Vec::new() });
    let target = Resource::Context { run: run.clone(), key: None };
    match testing::permit(1, request, target, harness.clock.now()).await.unwrap().into_typed() {
        TypedPermit::ContextRead(permit) => permit,
        other => panic!("{other:?}"),
    }
}

async fn to_write(harness: &Harness, run: &RunId, value: &str) -> Permitted<ContextWrite> {
    let key = ContextKey::new("notes").unwrap();
    let (change, target) =
        (ContextChange::Put(json!(value)), Resource::Context { run: run.clone(), key: Some(key.clone()) });
    let write = ContextWrite { run: run.clone(), key, expect: None, change, ttl_ms: None };
    match testing::permit(1, Request::ContextWrite(write), target, harness.clock.now()).await.unwrap().into_typed() {
        TypedPermit::ContextWrite(permit) => permit,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_stale_owner_cannot_write_and_stops() {
    let harness = Harness::new(definitions(), stuck_at_check()).await;
    let run = at_check(&harness).await;
    let context = harness.teams.context(&run);
    assert!(context.write(to_write(&harness, &run, "mine").await).await.is_ok());
    // Another pod claims the context.
    harness.stores.context.claim(&run).await.unwrap();
    let rejected = context.write(to_write(&harness, &run, "late").await).await.unwrap_err();
    assert_eq!(rejected.code, ErrorCode::LeaseLost);
    let snapshot = harness.stores.context.snapshot(&run, harness.clock.now()).await.unwrap();
    assert_eq!(snapshot.values[&ContextKey::new("notes").unwrap()].value, json!("mine"));
    until("the team has gone", || harness.events.count(|event| matches!(event, ActorEvent::TeamDisbanded(_))) == 1)
        .await;
}

#[tokio::test(start_paused = true)]
async fn watching_returns_each_change_after_the_given_version() {
    let harness = Harness::new(definitions(), stuck_at_check()).await;
    let run = at_check(&harness).await;
    let context = harness.teams.context(&run);
    let event = harness.stores.context.snapshot(&run, harness.clock.now()).await.unwrap().version;
    let mut changes = context.watch(to_read(&harness, &run).await, event).await.unwrap();
    let version = context.write(to_write(&harness, &run, "news").await).await.unwrap().outputs["version"].clone();
    let change = changes.next().await.unwrap().unwrap();
    assert_eq!((change.key.as_str(), change.value), ("notes", Some(json!("news"))));
    assert_eq!((json!(change.version.0), change.version > Version(0)), (version, true));
    let info = context.info().await.unwrap();
    assert_eq!((info.run, info.writes), (run, 2), "what the first member provides, and this");
}

#[tokio::test(start_paused = true)]
async fn a_permit_for_another_context_is_rejected() {
    let harness = Harness::new(definitions(), stuck_at_check()).await;
    let run = at_check(&harness).await;
    let other = RunId::new("run_other").unwrap();
    let rejected = harness.teams.context(&run).read(to_read(&harness, &other).await).await.unwrap_err();
    assert_eq!(rejected.code, ErrorCode::Internal);
}
