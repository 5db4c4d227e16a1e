//! The examples of the shipped agents are requests that work: their inputs are accepted, their prompts render, the limits of
//! their agents suffice, and an answer that fits the outputs is accepted. No example holds for an answer that knows nothing
//! of the request, and one that is to be refused is refused with the code that it names.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use greenroom_client::{CallParams, Client};
use greenroom_definitions::agent::{Example, RuntimeKind};
use greenroom_definitions::expectation::failures;
use greenroom_definitions::{AgentSpec, FieldType};
use greenroom_integration_tests::test_pod::{StoreKind, start_pod};
use greenroom_protocol::{AgentId, ErrorCode, Json, Tokens};
use greenroom_runtimes::models::scripted::{Script, Scripted, ScriptedReply};
use greenroom_supervisor::compose::Overrides;

use crate::shipped_workflows::PricedModel;

/// Requests that are in flight at one time.
const CONCURRENCY: usize = 12;
/// Bound of one request, and of all of them; a busy machine needs less.
const CALL_WAIT_MAX: Duration = Duration::from_secs(60);
const ALL_WAIT_MAX: Duration = Duration::from_secs(180);
/// The examples that the catalogue has at least: two of each agent.
const EXAMPLES_MIN: usize = 1_400;

/// The shipped agents.
async fn agents(client: &Client) -> Result<Vec<AgentSpec>> {
    let listed = client.agents().await?;
    let rows = listed.outputs.get("agents").and_then(Json::as_array).context("the agents")?;
    let mut agents = Vec::with_capacity(rows.len());
    for row in rows {
        let id = AgentId::new(row["agent_id"].as_str().context("an id")?)?;
        let mut reply = client.agent_definition(id).await?;
        agents.push(serde_json::from_value(reply.outputs.remove("agent").context("the definition")?)?);
    }
    Ok(agents)
}

/// True if an input is a file: the example names one that only its reader has.
fn has_file(agent: &AgentSpec, example: &Example) -> bool {
    let mut files = agent.inputs.iter().filter(|field| field.value_type.contains_kind(FieldType::File));
    files.any(|field| example.inputs.contains_key(&field.name))
}

/// What is wrong with the end of an example, if anything is. `tolerated` is a code with which the answers may be refused.
async fn problem(
    client: &Client,
    agent: &AgentSpec,
    example: &Example,
    tolerated: Option<ErrorCode>,
) -> Result<Option<String>> {
    let params = CallParams { inputs: example.inputs.clone(), ..CallParams::default() };
    let reply = client.agent(&agent.agent_id).params(params).timeout(CALL_WAIT_MAX).send().await?;
    let end = reply.error.as_ref().map_or(Ok(&reply.outputs), |cause| Err(cause.code));
    let holds = failures(&example.expect, end).is_empty();
    let calls_model = agent.implementation.runtime == RuntimeKind::Llm;
    let found = match (example.expect.fails(), &reply.error) {
        (Some(code), _) => (!holds).then(|| format!("is not refused with `{code}`: {:?}", reply.error)),
        (None, Some(cause)) if tolerated == Some(cause.code) => None,
        (None, Some(cause)) => Some(format!("ends with `{}`: {}", cause.code, cause.message)),
        (None, None) if calls_model => holds.then(|| "holds for an answer that knows nothing".to_owned()),
        (None, None) => (!holds).then(|| "does not hold, and calls no model".to_owned()),
    };
    let name = example.name.as_deref().unwrap_or("without a name");
    Ok(found.map(|found| format!("{} · {name}: {found}", agent.agent_id)))
}

/// Runs every example with a model that always gives this answer.
async fn check(answer: ScriptedReply, tolerated: Option<ErrorCode>) -> Result<()> {
    let usage = Tokens { input: 400, output: 80 };
    let model = PricedModel(Scripted::new(Script::always(Duration::ZERO, answer, Some(usage))));
    let overrides = Overrides { providers: vec![Arc::new(model)], ..Overrides::default() };
    let pod = start_pod(StoreKind::Memory, None, overrides).await?;
    let client = pod.admin()?;
    let agents = agents(&client).await?;
    let examples = agents.iter().flat_map(|agent| agent.examples.iter().map(move |example| (agent, example)));
    let examples: Vec<_> = examples.filter(|(agent, example)| !has_file(agent, example)).collect();
    ensure!(examples.len() >= EXAMPLES_MIN, "{} examples", examples.len());
    let ended = stream::iter(examples)
        .map(|(agent, example)| problem(&client, agent, example, tolerated))
        .buffer_unordered(CONCURRENCY)
        .try_collect::<Vec<_>>();
    let ended = tokio::time::timeout(ALL_WAIT_MAX, ended).await.context("the examples take too long")??;
    drop(client);
    pod.pod.shutdown().await;
    let mut problems: Vec<String> = ended.into_iter().flatten().collect();
    problems.sort_unstable();
    ensure!(problems.is_empty(), "{} examples:\n{}", problems.len(), problems.join("\n"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_example_runs_and_none_holds_for_an_answer_that_only_fits_the_schema() -> Result<()> {
    check(ScriptedReply::Filled, None).await
}

#[tokio::test(flavor = "multi_thread")]
async fn no_example_holds_for_the_shortest_answer_that_the_schema_allows() -> Result<()> {
    // An empty text matches no pattern, so that some answers are refused.
    check(ScriptedReply::Blank, Some(ErrorCode::InvalidOutput)).await
}
