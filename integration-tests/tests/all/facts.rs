//! Facts of the policy input on a whole pod: a store that fails on the way to one denies the request with a
//! reason of its own, whichever the fact; queries are counted apart from calls.

use std::sync::Arc;

use anyhow::{Context, Result};
use greenroom_client::{CallParams, Client};
use greenroom_integration_tests::definitions_dir::DefinitionsDir;
use greenroom_integration_tests::store_hooks::HookedRead;
use greenroom_integration_tests::terminal::COMMAND_WAIT_MAX;
use greenroom_integration_tests::test_pod::{StoreKind, test_config, text};
use greenroom_integration_tests::wait::wait_until;
use greenroom_protocol::request::{Page, RunListFilter};
use greenroom_protocol::{AgentId, ErrorCode, Json, Reply, RunId, Status, UserId, WorkflowId};
use greenroom_supervisor::clock::{TimeOrdered, WallClock};
use greenroom_supervisor::compose::{Overrides, compose_with};
use greenroom_supervisor::config::Config;
use greenroom_supervisor::pod::Pod;
use tempfile::TempDir;

use self::faults::FaultSwitch;
use self::recorded_facts::RecordedFacts;

mod faults;
mod recorded_facts;

const AGENT: &str = "echo_agent";
/// A workflow that waits for an approval.
const WAITS: &str = "workflow_id: waits\nname: Waits\ndescription: Waits\nversion: \"1.0.0\"\n\
                    policies: [audit_all_actions]\nsteps:\n  - id: ask\n    approval: { prompt: \"Go on?\" }\n";

async fn start(faults: &Arc<FaultSwitch>, change: impl FnOnce(&mut Config)) -> Result<(Pod, TempDir)> {
    let faults = Arc::clone(faults);
    let overrides = Overrides { stores: Some(Box::new(move |stores| faults.wrap(stores))), ..Overrides::default() };
    start_with(overrides, change).await
}

async fn start_with(overrides: Overrides, change: impl FnOnce(&mut Config)) -> Result<(Pod, TempDir)> {
    let folder = tempfile::tempdir()?;
    let dir = folder.path().join("definitions");
    let definitions = DefinitionsDir::new(&dir)?;
    definitions.write_echo_agent(AGENT)?;
    definitions.write_workflow("waits", WAITS)?;
    definitions.write_row_workflow("one_step", AGENT, 1)?;
    let mut config = test_config(folder.path(), StoreKind::Memory, Some(&dir))?;
    change(&mut config);
    let pod = compose_with(&config, Arc::new(WallClock), Arc::new(TimeOrdered), overrides).await;
    Ok((pod.context("the pod cannot be assembled")?, folder))
}

fn admin(pod: &Pod) -> Result<Client> {
    Ok(pod.client(&UserId::new("admin")?))
}

async fn call_agent(client: &Client) -> Result<Reply> {
    let params = CallParams { inputs: text("x"), ..CallParams::default() };
    Ok(client.run_agent(AgentId::new(AGENT)?, params).await?)
}

fn assert_denied_for_a_fact(reply: &Reply, request: &str) {
    assert_eq!(reply.status, Status::Denied, "{request}: {reply:?}");
    let cause = reply.error.as_ref().expect("an error");
    assert_eq!(cause.code, ErrorCode::PolicyError, "{request}: {cause}");
    assert_eq!(cause.details["reasons"][0]["code"], "fact_unavailable", "{request}: {cause:?}");
    assert_eq!(cause.details["cause"], "store_unavailable", "{request}: {cause:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_error_on_the_way_to_a_fact_denies_with_its_own_reason() -> Result<()> {
    let faults = Arc::new(FaultSwitch::default());
    let (pod, _folder) = start(&faults, |_| ()).await?;
    let client = admin(&pod)?;
    let params = CallParams { detach: true, ..CallParams::default() };
    let started = client.run_workflow(WorkflowId::new("waits")?, params).await?;
    let run: RunId = started.id.parse()?;
    let is_waiting = || async {
        let report = client.run_record(run.clone()).await.ok()?;
        (report.outputs["run"]["status"] == "waiting_approval").then_some(())
    };
    wait_until("the run awaits an approval", COMMAND_WAIT_MAX, is_waiting).await?;

    faults.set(Some(HookedRead::Usage));
    assert_denied_for_a_fact(&call_agent(&client).await?, "a call without its usage");
    assert_denied_for_a_fact(
        &client.runs(RunListFilter::default(), Page::default()).await?,
        "a query without its usage",
    );
    faults.set(Some(HookedRead::Run));
    assert_denied_for_a_fact(&client.run_record(run.clone()).await?, "a query of a run of an unknown tenant");
    assert_denied_for_a_fact(&client.cancel(run.clone()).await?, "a cancellation of a run of an unknown tenant");
    faults.set(Some(HookedRead::Journal));
    assert_denied_for_a_fact(&client.cancel(run.clone()).await?, "a cancellation without the run's policies");

    // A denial for a fact is no rejection: once the store is back, the same requests are allowed.
    faults.set(None);
    assert_eq!(call_agent(&client).await?.status, Status::Success);
    assert_eq!(client.cancel(run).await?.status, Status::Success);
    let audit = client.audit(Page { after: None, limit: 100 }).await?;
    let records = audit.outputs["records"].as_array().context("records")?;
    let denials = records.iter().filter(|record| record["event"]["checks"] == Json::from(vec!["fact_unavailable"]));
    assert_eq!(denials.count(), 5, "each denial is in the audit: {records:#?}");
    pod.shutdown().await;
    Ok(())
}

/// The codes of the reasons of a denial.
fn reasons(reply: &Reply) -> Vec<String> {
    let reasons = reply.error.as_ref().map(|cause| cause.details["reasons"].clone()).unwrap_or_default();
    reasons.as_array().into_iter().flatten().filter_map(|reason| reason["code"].as_str()).map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn polling_uses_up_the_queries_of_a_user_and_no_calls() -> Result<()> {
    let set_limits = |config: &mut Config| {
        for user in config.users.users.iter_mut() {
            (user.rate_limit, user.query_limit) = (2, 3);
        }
    };
    let (pod, _folder) = start(&Arc::new(FaultSwitch::default()), set_limits).await?;
    let client = admin(&pod)?;
    for _ in 0..3 {
        assert_eq!(client.runs(RunListFilter::default(), Page::default()).await?.status, Status::Success);
    }
    for query in [
        client.runs(RunListFilter::default(), Page::default()).await?,
        client.agents().await?,
        client.costs(None).await?,
    ] {
        assert_eq!(reasons(&query), ["query_limit_exceeded"], "{query:?}");
    }
    for _ in 0..2 {
        assert_eq!(call_agent(&client).await?.status, Status::Success, "calls have a limit of their own");
    }
    assert_eq!(reasons(&call_agent(&client).await?), ["rate_limit_exceeded"]);

    let operator = pod.client(&UserId::new("operator")?);
    for _ in 0..2 {
        assert_eq!(call_agent(&operator).await?.status, Status::Success);
    }
    assert_eq!(reasons(&call_agent(&operator).await?), ["rate_limit_exceeded"]);
    assert_eq!(
        operator.runs(RunListFilter::default(), Page::default()).await?.status,
        Status::Success,
        "queries have a limit of their own"
    );
    pod.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relation_is_a_fact_of_what_was_looked_up_and_absent_for_everything_else() -> Result<()> {
    let recorded = Arc::new(RecordedFacts::default());
    let evaluator = Arc::clone(&recorded);
    let overrides =
        Overrides { evaluator: Some(Box::new(move |engines| evaluator.wrap(engines))), ..Overrides::default() };
    let (pod, _folder) = start_with(overrides, |_| ()).await?;
    let client = admin(&pod)?;

    // No run is concerned, so there is none whose tenant could be the user's.
    let without_run = |action: &str| (action.to_owned(), vec!["without_run".to_owned()]);
    assert_eq!(call_agent(&client).await?.status, Status::Success);
    assert_eq!(recorded.take(), [without_run("invoke")]);
    client.agents().await?;
    client.runs(RunListFilter::default(), Page::default()).await?;
    assert_eq!(recorded.take(), [without_run("query_catalogue"), without_run("query_runs")]);

    // The step is called by a run of the tenant, and named by its workflow.
    let of_run = |action: &str, relations: &[&str]| -> (String, Vec<String>) {
        (action.to_owned(), relations.iter().map(|name| (*name).to_owned()).collect())
    };
    let params = CallParams { inputs: text("x"), ..CallParams::default() };
    let reply = client.run_workflow(WorkflowId::new("one_step")?, params).await?;
    assert_eq!(reply.status, Status::Success, "{reply:?}");
    assert_eq!(recorded.take(), [without_run("start_run"), of_run("invoke", &["own_tenant", "workflow_step"])]);
    client.run_record(reply.id.parse()?).await?;
    assert_eq!(recorded.take(), [of_run("query_runs", &["own_tenant"])]);
    pod.shutdown().await;
    Ok(())
}
