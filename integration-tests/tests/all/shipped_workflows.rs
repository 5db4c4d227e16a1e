//! Every shipped workflow runs to its end with its sample inputs: with a model that answers by the schema it succeeds, and
//! without a language model it succeeds or names what only a language model can answer.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt, stream};
use greenroom_actors::model::{Deltas, ModelCall, ModelError, ModelProvider};
use greenroom_client::transport::Events;
use greenroom_client::{CallParams, Client};
use greenroom_definitions::catalogue::without_ordinal;
use greenroom_definitions::samples::{SAMPLES, sample};
use greenroom_integration_tests::test_pod::{StoreKind, start_pod};
use greenroom_protocol::event::{EventNumber, RunEventKind};
use greenroom_protocol::{Cause, ErrorCode, IdGenerator, Reply, RequestId, RunId, Status, StepId, Tokens};
use greenroom_runtimes::models::scripted::{Script, Scripted, ScriptedReply};
use greenroom_supervisor::clock::TimeOrdered;
use greenroom_supervisor::compose::Overrides;

/// Runs that are in flight at one time.
const CONCURRENCY: usize = 12;
/// Bound of one run, and of all of them; a busy machine needs less.
const RUN_WAIT_MAX: Duration = Duration::from_secs(60);
const ALL_WAIT_MAX: Duration = Duration::from_secs(180);
const LAST_EVENTS_WAIT_MAX: Duration = Duration::from_secs(5);

/// Workflows that succeed without a language model, at least one of each category: their agents compute, and extract what
/// the sample inputs state.
const SUCCEED_OFFLINE: [&str; 14] = [
    "content_picture_texts",
    "finance_results_commentary",
    "generate_quarterly_report",
    "hr_internal_posting",
    "it_maintenance_window",
    "legal_front_desk",
    "ops_reading_pile",
    "product_request_inbox",
    "sales_first_mail",
    "security_finding_dispute",
    "software_pull_request",
    "strategy_premortem_record",
    "supply_bidder_letters",
    "support_weekly_report",
];
/// The shipped agents, those of each category in a folder of its name.
const AGENTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../catalogue/agents");

/// A scripted model in the place of the one that the tiers name, so that its calls have a price and the limits of the
/// definitions hold.
pub(crate) struct PricedModel(pub(crate) Scripted);

#[async_trait]
impl ModelProvider for PricedModel {
    fn name(&self) -> &str {
        "anthropic"
    }

    fn is_external(&self) -> bool {
        false
    }

    async fn stream(&self, call: ModelCall<'_>) -> Result<Deltas, ModelError> {
        self.0.stream(call).await
    }
}

/// How a run ended.
struct RunEnd {
    workflow: &'static str,
    reply: Reply,
    /// The causes of its failed steps and items.
    failures: Vec<Cause>,
}

impl RunEnd {
    fn describe(&self) -> String {
        let causes: Vec<String> =
            self.failures.iter().map(|cause| format!("{}: {}", cause.code, cause.message)).collect();
        let error = self.reply.error.as_ref().map(|cause| format!("{}: {}", cause.code, cause.message));
        format!("{} ended with {:?} {error:?} {causes:?}", self.workflow, self.reply.status)
    }
}

/// Approves a step. One that needs no approval any more was named twice.
async fn approve(client: &Client, run: &RunId, step: &StepId) -> Result<()> {
    let reply = client.run(run).approve(step).send().await?;
    let is_expected = reply.error.as_ref().is_none_or(|cause| cause.code != ErrorCode::PolicyDenied);
    ensure!(is_expected, "the approval of {step} in {run} is denied: {reply:?}");
    Ok(())
}

/// Follows a run to its last event, and approves whatever waits for an approval. Returns the causes of failed steps.
async fn follow(client: &Client, mut events: Events) -> Result<Vec<Cause>> {
    let mut failures = Vec::new();
    while let Some(event) = events.next().await {
        let event = event?;
        match event.kind {
            RunEventKind::ApprovalRequested { step, .. } => approve(client, &event.run, &step).await?,
            RunEventKind::CallAwaitsApproval { approvals, .. } => {
                for pending in approvals {
                    approve(client, &pending.run, &pending.step).await?;
                }
            }
            RunEventKind::StepEnded { cause: Some(cause), .. } => failures.push(cause),
            RunEventKind::RunEnded { .. } => break,
            _ => {}
        }
    }
    Ok(failures)
}

/// Runs a workflow with its sample inputs.
async fn run_to_end(client: &Client, workflow: &'static str) -> Result<RunEnd> {
    let inputs = serde_json::from_str(sample(workflow).context("sample inputs")?)?;
    let request = RequestId::from_u128(TimeOrdered.next_id());
    let following = follow(client, client.watch_started(&request, EventNumber::START));
    let params = CallParams { inputs, ..CallParams::default() };
    let sending = client.workflow(workflow).params(params).request_id(request).timeout(RUN_WAIT_MAX).send();
    tokio::pin!(following, sending);
    tokio::select! {
        reply = &mut sending => {
            let reply = reply?;
            // The reply may arrive before the last events; a request that was refused has none.
            let failures = tokio::time::timeout(LAST_EVENTS_WAIT_MAX, following).await.unwrap_or_else(|_| Ok(Vec::new()))?;
            Ok(RunEnd { workflow, reply, failures })
        }
        failures = &mut following => Ok(RunEnd { workflow, failures: failures?, reply: sending.await? }),
    }
}

/// True if the cause, or the one below it, is that only a language model can answer.
fn is_offline(cause: &Cause) -> bool {
    let inner = cause.details.get("cause").and_then(|inner| serde_json::from_value::<Cause>(inner.clone()).ok());
    cause.code == ErrorCode::OfflineCannotAnswer || inner.as_ref().is_some_and(is_offline)
}

/// The categories of whose agents none was called by these runs.
fn missing_categories<'r>(ended: impl Iterator<Item = &'r RunEnd>) -> Result<Vec<String>> {
    let called: BTreeSet<&str> = ended.flat_map(|end| &end.reply.metadata.agents).map(|agent| agent.as_str()).collect();
    let is_called = |file: &Path| {
        let id = file.file_stem().and_then(OsStr::to_str).unwrap_or_default();
        called.contains(id) || without_ordinal(id).is_some_and(|short| called.contains(short))
    };
    let mut missing = Vec::new();
    for category in std::fs::read_dir(AGENTS)? {
        let category = category?;
        let files = std::fs::read_dir(category.path())?.collect::<std::io::Result<Vec<_>>>()?;
        if !files.iter().any(|file| is_called(&file.path())) {
            missing.push(category.file_name().to_string_lossy().into_owned());
        }
    }
    Ok(missing)
}

/// Runs all workflows.
async fn run_all(providers: Vec<Arc<dyn ModelProvider>>) -> Result<Vec<RunEnd>> {
    let pod = start_pod(StoreKind::Memory, None, Overrides { providers, ..Overrides::default() }).await?;
    let client = pod.admin()?;
    let runs = stream::iter(SAMPLES.iter().map(|(workflow, _)| run_to_end(&client, workflow)));
    let ended = tokio::time::timeout(ALL_WAIT_MAX, runs.buffer_unordered(CONCURRENCY).try_collect::<Vec<_>>());
    let ended = ended.await.context("the workflows take too long")??;
    drop(client);
    pod.pod.shutdown().await;
    ensure!(ended.len() == SAMPLES.len(), "{} of {} workflows ended", ended.len(), SAMPLES.len());
    Ok(ended)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_shipped_workflow_succeeds_with_a_model_that_answers_by_the_schema() -> Result<()> {
    let tokens = Tokens { input: 400, output: 80 };
    let model = Scripted::new(Script::always(Duration::ZERO, ScriptedReply::Filled, Some(tokens)));
    let ended = run_all(vec![Arc::new(PricedModel(model.clone()))]).await?;
    let failed: Vec<String> =
        ended.iter().filter(|end| end.reply.status != Status::Success).map(RunEnd::describe).collect();
    ensure!(failed.is_empty(), "{} of {} workflows failed:\n{}", failed.len(), ended.len(), failed.join("\n"));
    let without_outputs: Vec<&str> =
        ended.iter().filter(|end| end.reply.outputs.is_empty()).map(|end| end.workflow).collect();
    ensure!(without_outputs.is_empty(), "these return nothing: {without_outputs:?}");
    ensure!(model.stats().calls > SAMPLES.len() as u64, "{} calls of the model", model.stats().calls);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_model_a_shipped_workflow_succeeds_or_names_what_needs_one() -> Result<()> {
    let ended = run_all(Vec::new()).await?;
    // Where the items of a list may fail, a later step may lack what none of them has answered.
    let is_expected =
        |end: &&RunEnd| end.reply.error.as_ref().is_none_or(is_offline) || end.failures.iter().any(is_offline);
    let unexpected: Vec<String> = ended.iter().filter(|end| !is_expected(end)).map(RunEnd::describe).collect();
    ensure!(unexpected.is_empty(), "{} runs:\n{}", unexpected.len(), unexpected.join("\n"));
    let mut succeeded: Vec<&str> =
        ended.iter().filter(|end| end.reply.status == Status::Success).map(|end| end.workflow).collect();
    succeeded.sort_unstable();
    println!("without a model succeed: {succeeded:?}");
    let required = || ended.iter().filter(|end| SUCCEED_OFFLINE.contains(&end.workflow));
    ensure!(required().count() == SUCCEED_OFFLINE.len(), "one of {SUCCEED_OFFLINE:?} is not shipped");
    let failed: Vec<String> =
        required().filter(|end| end.reply.status != Status::Success).map(RunEnd::describe).collect();
    ensure!(failed.is_empty(), "{}", failed.join("\n"));
    let missing = missing_categories(required())?;
    ensure!(missing.is_empty(), "no workflow of {missing:?} succeeds without a model");
    Ok(())
}
