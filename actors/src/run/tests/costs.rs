//! What the reply of a run has from the ledger: cost and models of the calls that did not return.

use std::sync::Arc;

use greenroom_protocol::request::Signal;
use greenroom_protocol::{AgentId, CallKey, Cause, ErrorCode, MicroUsd, PriceBasis, RunId, Status, Values};
use greenroom_registry::ledger::{Account, Amount, Reservation, ReservationRequest};
use greenroom_rego::testing;
use serde_json::json;

use super::harness::{Harness, Script, detached, run_id, until};
use super::steps::definitions;

/// Reserves the worst case of a model call of this run.
async fn reserve(harness: &Harness, run: &RunId, model: &str, price: PriceBasis) -> Reservation {
    let account = Account {
        principal: testing::admin().id,
        agent: AgentId::new("worker").unwrap(),
        workflow: None,
        run: Some(run.clone()),
        model: model.to_owned(),
        price,
    };
    let (key, upper_bound) = (CallKey::new("call").unwrap(), Amount::of_cost(MicroUsd(60)));
    let request = ReservationRequest { account: &account, limits: &[], upper_bound, key: &key };
    harness.stores.core.reserve(request, harness.clock.now()).await.unwrap()
}

fn hanging() -> Script {
    Arc::new(|_| Box::pin(std::future::pending::<Result<Values, Cause>>()))
}

async fn in_only_call() -> (Harness, RunId) {
    let harness = Harness::new(definitions(json!([{"id": "one", "agent": "worker"}])), hanging()).await;
    let run = run_id(&harness.request(detached("w", json!({}))).await);
    until("the call is in flight", || harness.calls().len() == 1).await;
    (harness, run)
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_cancelled_in_its_only_call_names_the_models_that_were_paid() {
    let (harness, run) = in_only_call().await;
    for (model, price) in [("play.one", PriceBasis::Listed), ("other.two", PriceBasis::Assumed)] {
        // It is settled as estimated, as that of a call which is dropped.
        drop(reserve(&harness, &run, model, price).await);
    }
    harness.signal(&run, Signal::Cancel).await;
    let reply = harness.runs.wait_reply(&run).await.unwrap();
    let metadata = reply.metadata;
    assert_eq!((reply.status, metadata.cost, metadata.estimated), (Status::Cancelled, MicroUsd(120), true));
    assert_eq!((metadata.models, metadata.price), (vec!["other.two".into(), "play.one".into()], PriceBasis::Assumed));
    assert_eq!(metadata.model.as_deref(), Some("other.two, play.one"));
    let stored = harness.stores.runs.reply(&run).await.unwrap().unwrap();
    assert_eq!(stored.metadata.model, metadata.model, "`runs show` names them too");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_still_open_counts_with_its_reservation_and_its_model() {
    let (harness, run) = in_only_call().await;
    let open = reserve(&harness, &run, "play.one", PriceBasis::Listed).await;
    harness.signal(&run, Signal::Cancel).await;
    let metadata = harness.runs.wait_reply(&run).await.unwrap().metadata;
    assert_eq!((metadata.cost, metadata.models), (MicroUsd(60), vec!["play.one".into()]));
    drop(open);
}

#[tokio::test(start_paused = true)]
async fn a_run_without_a_model_call_names_no_model() {
    let (harness, run) = in_only_call().await;
    harness.signal(&run, Signal::Cancel).await;
    let reply = harness.runs.wait_reply(&run).await.unwrap();
    assert_eq!(reply.error.map(|cause| cause.code), Some(ErrorCode::Cancelled));
    assert_eq!((reply.metadata.models.len(), reply.metadata.estimated), (0, false));
}
