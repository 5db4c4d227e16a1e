//! Deployment against version 2 of the API: plans, their application, errors, and no secret in any output.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use greenroom_integration_tests::runpod_api::{FakeRunPod, KEY, Reaction};
use greenroom_protocol::{Cause, ErrorCode};
use greenroom_runpod::deploy::{
    Action, DeployOptions, Description, RunPodApi, add_prices, apply_plan, make_plan, read_description, read_status,
};
use greenroom_runpod::secret::SecretText;
use serde_json::json;

const CLIENT_CONFIG: &str = include_str!("../../../../runpod/endpoints/runpod-config.yaml");
const QUEUE: &str = include_str!("../../../../runpod/endpoints/queue.yaml");

fn description(text: &str) -> Result<Description> {
    let options = DeployOptions { image: "ghcr.io/acme/greenroom:0.1.0".to_owned(), registry: None };
    read_description(text, &options).map_err(|cause| anyhow::anyhow!("{cause}"))
}

fn api(runpod: &FakeRunPod) -> Result<RunPodApi> {
    let api = RunPodApi::new(&runpod.rest_url(), SecretText::new(KEY)).map_err(|cause| anyhow::anyhow!("{cause}"))?;
    Ok(api.with_delay(Duration::from_millis(5)))
}

fn ok<T>(result: std::result::Result<T, Cause>) -> Result<T> {
    result.map_err(|cause| anyhow::anyhow!("{cause}"))
}

#[tokio::test]
async fn the_customers_file_is_deployed_once_and_then_as_described() -> Result<()> {
    let (runpod, description) = (FakeRunPod::start().await?, description(CLIENT_CONFIG)?);
    let api = api(&runpod)?;
    let plan = ok(make_plan(Some(&api), &description).await)?;
    assert_eq!(plan.steps.len(), 2);
    assert!(plan.steps.iter().all(|step| matches!(step.action, Action::Create(_))));
    assert!(runpod.calls().iter().all(|call| call.method == "GET"), "a plan changes nothing");
    let ids = ok(apply_plan(&api, &plan).await)?;
    assert_eq!(ids[0], ("ai-agents-platform".to_owned(), "ep1".to_owned()));
    assert!(ok(make_plan(Some(&api), &description).await)?.is_empty());
    let status = ok(read_status(&api, &description).await)?;
    assert_eq!((status[0].workers["RUNNING"], status[0].cost_usd), (1, Some(0.75)));
    Ok(())
}

#[tokio::test]
async fn a_changed_description_changes_only_what_differs() -> Result<()> {
    let (runpod, before) = (FakeRunPod::start().await?, description(QUEUE)?);
    let api = api(&runpod)?;
    ok(apply_plan(&api, &ok(make_plan(Some(&api), &before).await)?).await)?;
    let after = description(&QUEUE.replacen("max: 5", "max: 7", 1))?;
    let plan = ok(make_plan(Some(&api), &after).await)?;
    assert_eq!(plan.steps[0].lines.len(), 1, "{:?}", plan.steps[0].lines);
    ok(apply_plan(&api, &plan).await)?;
    let patch = runpod.calls().into_iter().find(|call| call.method == "PATCH").context("a change was sent")?;
    assert_eq!(patch.json(), json!({ "workers": { "min": 0, "max": 7, "idleTimeout": 5 } }));
    let other = description(&QUEUE.replacen("disk: 5", "disk: 6", 1))?;
    assert_eq!(ok(make_plan(None, &other).await)?.steps.len(), 1, "without a key, everything is new");
    Ok(())
}

#[tokio::test]
async fn each_error_of_the_api_has_its_meaning_and_no_secret() -> Result<()> {
    for (status, code, expected) in [
        (400, ErrorCode::InvalidRequest, "capacity"),
        (401, ErrorCode::Unauthenticated, "RUNPOD_API_KEY"),
        (402, ErrorCode::BudgetExceeded, "balance"),
        (403, ErrorCode::Unauthenticated, "scope"),
        (409, ErrorCode::VersionConflict, "state"),
        (422, ErrorCode::InvalidConfiguration, "a member"),
        (429, ErrorCode::Overloaded, "too many requests"),
        (500, ErrorCode::Interrupted, "has failed"),
        (302, ErrorCode::InvalidConfiguration, "redirects"),
    ] {
        let runpod = FakeRunPod::start_with(move |_| {
            let body = json!({ "title": "Problem", "detail": format!("about {KEY}"), "errors": ["/name"] });
            Reaction::Text(status, "application/problem+json", body.to_string(), "")
        })
        .await?;
        let cause = api(&runpod)?.post("/serverless", &json!({})).await.unwrap_err();
        assert_eq!(cause.code, code, "{status}: {cause}");
        assert!(cause.message.contains(expected) && cause.message.contains("/name"), "{status}: {cause}");
        assert!(!cause.message.contains(KEY), "{cause}");
    }
    Ok(())
}

#[tokio::test]
async fn reads_are_repeated_and_creations_only_where_nothing_was_created() -> Result<()> {
    let runpod = FakeRunPod::start_with(|call| match (call.method.as_str(), call.number) {
        ("GET", 0 | 1) => Reaction::Json(503, json!({})),
        ("POST", 3) => Reaction::Json(429, json!({})),
        ("POST", 5) => Reaction::Reset,
        _ => Reaction::Default,
    })
    .await?;
    let api = api(&runpod)?;
    assert_eq!(ok(api.get("/serverless").await)?, json!({ "endpoints": [] }));
    let body = json!({ "name": "q" });
    assert_eq!(ok(api.post("/serverless", &body).await)?["id"], json!("ep1"), "after too many requests");
    let cause = api.post("/serverless", &body).await.unwrap_err();
    assert_eq!((cause.code, runpod.calls().len()), (ErrorCode::Interrupted, 6));
    Ok(())
}

#[tokio::test]
async fn a_response_that_is_no_json_is_an_error() -> Result<()> {
    let runpod = FakeRunPod::start_with(|_| Reaction::Text(200, "text/html", "<html>".to_owned(), "")).await?;
    assert_eq!(api(&runpod)?.get("/serverless").await.unwrap_err().code, ErrorCode::Interrupted);
    assert!(make_plan(Some(&api(&runpod)?), &description(QUEUE)?).await.is_err());
    // A response without the list is no account without endpoints.
    let runpod = FakeRunPod::start_with(|_| Reaction::Json(200, json!({ "endpoint": [] }))).await?;
    let status = read_status(&api(&runpod)?, &description(QUEUE)?).await;
    assert_eq!(status.unwrap_err().code, ErrorCode::Interrupted);
    Ok(())
}

/// The price in the environment of the only endpoint.
fn price(description: &Description) -> Option<&str> {
    description.endpoints[0].env.get("RUNPOD_VCPU_USD_PER_HOUR").map(String::as_str)
}

#[tokio::test]
async fn a_queue_endpoint_gets_the_price_of_its_dearest_processors_and_keeps_it() -> Result<()> {
    let is_away = Arc::new(AtomicBool::new(false));
    let away = Arc::clone(&is_away);
    let runpod = FakeRunPod::start_with(move |call| {
        let is_refused = away.load(Ordering::SeqCst) && call.target.contains("/catalog/");
        if is_refused { Reaction::Json(403, json!({})) } else { Reaction::Default }
    })
    .await?;
    let (api, mut priced) = (api(&runpod)?, description(QUEUE)?);
    let prices = add_prices(&api, &mut priced).await;
    assert_eq!((prices[0].vcpu_usd_per_hour, &*prices[0].note), (Some(0.05), "the price of cpu5c"));
    assert_eq!(price(&priced), Some("0.05"));
    ok(apply_plan(&api, &ok(make_plan(Some(&api), &priced).await)?).await)?;
    let created = runpod.calls().into_iter().find(|call| call.method == "POST").context("an endpoint was created")?;
    assert_eq!(created.json()["env"]["RUNPOD_VCPU_USD_PER_HOUR"], json!("0.05"));

    is_away.store(true, Ordering::SeqCst);
    let mut unpriced = description(QUEUE)?;
    let prices = add_prices(&api, &mut unpriced).await;
    assert_eq!((prices[0].vcpu_usd_per_hour, price(&unpriced)), (None, None));
    assert!(prices[0].note.contains("scope") && !prices[0].note.contains(KEY), "{prices:?}");
    assert!(ok(make_plan(Some(&api), &unpriced).await)?.is_empty(), "the endpoint keeps its price");
    Ok(())
}

#[tokio::test]
async fn a_price_that_the_file_names_or_the_catalogue_lacks_is_not_set() -> Result<()> {
    let runpod = FakeRunPod::start().await?;
    let api = api(&runpod)?;
    let mut other = description(&QUEUE.replacen("cpu5c", "cpu5g", 1))?;
    let prices = add_prices(&api, &mut other).await;
    assert_eq!((prices[0].vcpu_usd_per_hour, price(&other)), (None, None));
    assert!(prices[0].note.contains("cpu5g"), "{prices:?}");
    let named = "    env:\n      RUNPOD_VCPU_USD_PER_HOUR: \"0.01\"\n";
    let mut own = description(&QUEUE.replacen("    env:\n", named, 1))?;
    assert_eq!((add_prices(&api, &mut own).await, price(&own)), (Vec::new(), Some("0.01")));
    Ok(())
}

#[test]
fn a_key_that_is_missing_or_cannot_be_sent_is_refused() {
    for key in ["", "a\nb"] {
        let refused = RunPodApi::new("https://api.example", SecretText::new(key)).err().unwrap();
        assert_eq!(refused.code, ErrorCode::InvalidConfiguration);
    }
}
