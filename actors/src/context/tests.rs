//! The shared context: who may write, what is watched, whose permit counts.

use futures::StreamExt;
use greenroom_protocol::request::{ContextChange, ContextRead, ContextWrite};
use greenroom_protocol::{Code, ContextKey, Request, RunId};
use greenroom_registry::context::Version;
use greenroom_rego::{Narrowed, Permitted, Target, testing};
use serde_json::json;

use crate::observer::Observed;
use crate::run::tests::harness::{House, until};
use crate::team::tests::{at_check, stuck_at_check, written};

async fn to_read(house: &House, run: &RunId) -> Permitted<ContextRead> {
    let request = Request::ContextRead(ContextRead { run: run.clone(), keys: Vec::new() });
    let target = Target::Context { run: run.clone(), key: None };
    match testing::permit(1, request, target, house.clock.now()).await.unwrap().narrow() {
        Narrowed::ContextRead(permit) => permit,
        other => panic!("{other:?}"),
    }
}

async fn to_write(house: &House, run: &RunId, value: &str) -> Permitted<ContextWrite> {
    let key = ContextKey::new("notes").unwrap();
    let (change, target) =
        (ContextChange::Put(json!(value)), Target::Context { run: run.clone(), key: Some(key.clone()) });
    let write = ContextWrite { run: run.clone(), key, expect: None, change, ttl_ms: None };
    match testing::permit(1, Request::ContextWrite(write), target, house.clock.now()).await.unwrap().narrow() {
        Narrowed::ContextWrite(permit) => permit,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_stale_owner_cannot_write_and_leaves_with_its_team() {
    let house = House::new(written(), stuck_at_check()).await;
    let run = at_check(&house).await;
    let context = house.teams.context(&run);
    assert!(context.write(to_write(&house, &run, "mine").await).await.is_ok());
    // Another pod takes the context over.
    house.stores.context.claim(&run).await.unwrap();
    let refused = context.write(to_write(&house, &run, "late").await).await.unwrap_err();
    assert_eq!(refused.code, Code::LeaseLost);
    let kept = house.stores.context.snapshot(&run, house.clock.now()).await.unwrap();
    assert_eq!(kept.values[&ContextKey::new("notes").unwrap()].value, json!("mine"));
    until("the team has gone", || house.notes.count(|seen| matches!(seen, Observed::TeamDisbanded(_))) == 1).await;
}

#[tokio::test(start_paused = true)]
async fn watching_shows_each_change_after_the_one_that_was_seen() {
    let house = House::new(written(), stuck_at_check()).await;
    let run = at_check(&house).await;
    let context = house.teams.context(&run);
    let seen = house.stores.context.snapshot(&run, house.clock.now()).await.unwrap().version;
    let mut changes = context.watch(to_read(&house, &run).await, seen).await.unwrap();
    let version = context.write(to_write(&house, &run, "news").await).await.unwrap().outputs["version"].clone();
    let change = changes.next().await.unwrap().unwrap();
    assert_eq!((change.key.as_str(), change.value), ("notes", Some(json!("news"))));
    assert_eq!((json!(change.version.0), change.version > Version(0)), (version, true));
    let sight = context.observe().await.unwrap();
    assert_eq!((sight.run, sight.writes), (run, 2), "what the first member provides, and this");
}

#[tokio::test(start_paused = true)]
async fn a_permit_for_another_context_means_nothing_here() {
    let house = House::new(written(), stuck_at_check()).await;
    let run = at_check(&house).await;
    let other = RunId::new("run_other").unwrap();
    let refused = house.teams.context(&run).read(to_read(&house, &other).await).await.unwrap_err();
    assert_eq!(refused.code, Code::Internal);
}
