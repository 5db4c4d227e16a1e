//! Policies of a definition bind every hop below it, however deep, also after a restart of the process; and
//! they never stop a user from cancelling, approving, rejecting or resuming a run.

use anyhow::{Context, Result, ensure};
use greenroom_client::CallParams;
use greenroom_integration_tests::definitions_dir::DefinitionsDir;
use greenroom_integration_tests::terminal::COMMAND_WAIT_MAX;
use greenroom_integration_tests::test_pod::StoreKind;
use greenroom_integration_tests::wait::wait_until;
use greenroom_protocol::request::{Page, RunListFilter};
use greenroom_protocol::{Json, RunId, Status, StepId, UserId, Values, WorkflowId};
use greenroom_supervisor::pod::Pod;

use super::cases::Worker;
use super::world::{denials, start_pod, write_flow, write_worker};

/// Every policy that can deny something of this run.
const STRICT: &str =
    "policies: [internal_users_only, require_pii_permission, require_approval_role, no_tools, read_only_context]\n";

fn text() -> CallParams {
    CallParams { inputs: Values::from([("text".to_owned(), Json::from("x"))]), ..CallParams::default() }
}

/// An outer workflow that names policies, an inner one that asks for an approval before its agent works.
fn write_nested(definitions: &DefinitionsDir, worker: Worker, policies: &str) -> Result<()> {
    write_worker(definitions.dir(), "deep_agent", worker, "")?;
    let head = |id: &str, members: &str| {
        format!(
            "workflow_id: {id}\nname: Flow\ndescription: Nested\nversion: \"1.0.0\"\n{members}\
             inputs:\n  - name: text\n    type: text\n    required: true\nsteps:\n"
        )
    };
    let inner = format!(
        "{}  - id: ask\n    approval: {{ prompt: \"Go on?\" }}\n  - id: work\n    agent: deep_agent\n    \
         depends_on: [ask]\n    inputs:\n      text: \"${{inputs.text}}\"\n    outputs: [text]\n",
        head("inner_flow", "")
    );
    definitions.write_workflow("inner_flow", &inner)?;
    let outer = format!(
        "{}  - id: nested\n    workflow: inner_flow\n    inputs:\n      text: \"${{inputs.text}}\"\n",
        head("outer_flow", policies)
    );
    definitions.write_workflow("outer_flow", &outer)
}

async fn start_detached(pod: &Pod, user: &str) -> Result<RunId> {
    let params = CallParams { detach: true, ..text() };
    let reply = pod.client(&UserId::new(user)?).run_workflow(WorkflowId::new("outer_flow")?, params).await?;
    ensure!(reply.status == Status::Success, "{reply:?}");
    Ok(reply.id.parse()?)
}

/// The status of each run, by its workflow.
pub(super) async fn status_of(pod: &Pod, workflow: &str) -> Option<(RunId, String)> {
    let reply = pod.client(&UserId::new("admin").ok()?).runs(RunListFilter::default(), Page::default()).await.ok()?;
    let runs = reply.outputs["runs"].as_array()?;
    let run = runs.iter().find(|run| run["workflow_id"] == workflow)?;
    Some((run["run_id"].as_str()?.parse().ok()?, run["status"].as_str()?.to_owned()))
}

pub(super) async fn wait_status(pod: &Pod, workflow: &str, wanted: &str) -> Result<RunId> {
    let reached = || async { status_of(pod, workflow).await.filter(|(_, status)| status == wanted) };
    Ok(wait_until(&format!("{workflow} is {wanted}"), COMMAND_WAIT_MAX, reached).await?.0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_of_the_outermost_workflow_binds_the_tools_of_the_innermost_agent() -> Result<()> {
    for (worker, policy) in [
        (Worker::Calculating, "no_tools"),
        (Worker::Fetching, "no_external_tools"),
        (Worker::Delegating, "no_agent_delegation"),
        (Worker::External, "deny_external_models"),
        (Worker::Quiet, "require_budget"),
    ] {
        let folder = tempfile::tempdir()?;
        let definitions = DefinitionsDir::new(&folder.path().join("definitions"))?;
        definitions.write_echo_agent("helper_agent")?;
        write_worker(definitions.dir(), "deep_agent", worker, "")?;
        write_flow(&definitions, "inner_flow", "deep_agent", "")?;
        let outer = format!(
            "workflow_id: outer_flow\nname: Flow\ndescription: Nested\nversion: \"1.0.0\"\npolicies: [{policy}]\n\
             inputs:\n  - name: text\n    type: text\n    required: true\n\
             steps:\n  - id: nested\n    workflow: inner_flow\n    inputs:\n      text: \"${{inputs.text}}\"\n"
        );
        definitions.write_workflow("outer_flow", &outer)?;
        let pod = start_pod(folder.path(), StoreKind::Memory).await?;
        let client = pod.client(&UserId::new("admin")?);
        let reply = client.run_workflow(WorkflowId::new("outer_flow")?, text()).await?;
        let trace = serde_json::to_value(&reply.metadata.trace_id)?;
        let codes = denials(&client, &trace).await?;
        assert_eq!(codes.into_iter().collect::<Vec<_>>(), [policy], "{worker:?}: {reply:?}");
        pod.shutdown().await;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resumed_inner_run_keeps_the_policies_of_the_run_that_called_it() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let definitions = DefinitionsDir::new(&folder.path().join("definitions"))?;
    write_nested(&definitions, Worker::External, "policies: [deny_external_models]\n")?;
    let pod = start_pod(folder.path(), StoreKind::Normal).await?;
    start_detached(&pod, "admin").await?;
    wait_status(&pod, "inner_flow", "waiting_approval").await?;
    pod.shutdown().await;

    // The files no longer name the policy: the run keeps what it started with.
    write_nested(&definitions, Worker::External, "")?;
    let pod = start_pod(folder.path(), StoreKind::Normal).await?;
    let client = pod.client(&UserId::new("admin")?);
    for workflow in ["outer_flow", "inner_flow"] {
        let (run, status) = status_of(&pod, workflow).await.context("a run")?;
        let resumed = client.resume(run).await?;
        ensure!(resumed.status == Status::Success, "{workflow} ({status}): {resumed:?}");
    }
    let inner = wait_status(&pod, "inner_flow", "waiting_approval").await?;
    let approved = client.approve(inner, StepId::new("ask")?).await?;
    ensure!(approved.status == Status::Success, "{approved:?}");
    let inner = wait_status(&pod, "inner_flow", "denied").await?;
    let report = client.run_record(inner).await?;
    let reasons = &report.outputs["reply"]["error"]["details"]["reasons"];
    assert_eq!(reasons[0]["code"], "deny_external_models", "{report:#?}");
    pod.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_policy_of_a_definition_denies_a_signal_or_a_resumption() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let definitions = DefinitionsDir::new(&folder.path().join("definitions"))?;
    write_nested(&definitions, Worker::Quiet, STRICT)?;
    let mut pod = start_pod(folder.path(), StoreKind::Normal).await?;
    for decision in ["approve", "reject", "cancel"] {
        start_detached(&pod, "admin").await?;
        let inner = wait_status(&pod, "inner_flow", "waiting_approval").await?;
        let (outer, _) = status_of(&pod, "outer_flow").await.context("the outer run")?;
        // After a restart, an administrator without the permission that a policy demands resumes both runs. They
        // continue as their owner, who has it.
        pod.shutdown().await;
        pod = start_pod(folder.path(), StoreKind::Normal).await?;
        let client = pod.client(&UserId::new("plain_admin")?);
        for run in [outer, inner.clone()] {
            let resumed = client.resume(run).await?;
            ensure!(resumed.status == Status::Success, "{resumed:?}");
        }
        wait_status(&pod, "inner_flow", "waiting_approval").await?;
        let step = StepId::new("ask")?;
        // The approver is neither internal staff, nor may they process personal data.
        let approver = pod.client(&UserId::new("approver")?);
        let signalled = match decision {
            "approve" => approver.approve(inner, step).await?,
            "reject" => approver.reject(inner, step).await?,
            _ => client.cancel(inner).await?,
        };
        assert_eq!(signalled.status, Status::Success, "{decision}: {signalled:?}");
        let has_ended = || async {
            let (_, status) = status_of(&pod, "inner_flow").await?;
            ["success", "failed", "cancelled"].contains(&status.as_str()).then_some(())
        };
        wait_until("the inner run ends", COMMAND_WAIT_MAX, has_ended).await?;
    }
    pod.shutdown().await;
    Ok(())
}
