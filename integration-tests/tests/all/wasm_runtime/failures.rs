//! Components that trap, spin, allocate and are cancelled, in a pod whose other agents do not notice.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::future::join_all;
use greenroom_client::CallParams;
use greenroom_integration_tests::terminal::CliHarness;
use greenroom_integration_tests::test_pod::{StoreKind, start_pod, text};
use greenroom_integration_tests::wait::wait_until;
use greenroom_protocol::{RunId, WorkflowId};
use greenroom_runtimes::wasm::test_components::Behavior;
use greenroom_supervisor::compose::Overrides;

use super::{Folder, admin, call, cause, output};

const WAIT_MAX: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn components_that_spin_trap_and_allocate_end_alone() -> Result<()> {
    let folder = Folder::new()?;
    folder.write_agent("good_agent", Behavior::Echo, "")?;
    folder.write_agent("spinning_agent", Behavior::Spin, "")?;
    folder.write_agent("trapping_agent", Behavior::Trap, "")?;
    folder.write_agent("growing_agent", Behavior::GrowAndTrap, "")?;
    let pod = folder.start_pod().await?;
    let client = admin(&pod)?;
    assert_eq!(output(&call(&client, "good_agent", "before").await?)?, "before");
    let bad = ["spinning_agent", "spinning_agent", "spinning_agent", "trapping_agent", "growing_agent"];
    let bad = join_all(bad.iter().map(|agent| call(&client, agent, "text")));
    let good = async {
        // There are more spinning components than threads.
        let mut replies = Vec::new();
        for _ in 0..50 {
            replies.push(call(&client, "good_agent", "meanwhile").await);
        }
        replies
    };
    let (bad, good) = tokio::time::timeout(WAIT_MAX, async { tokio::join!(bad, good) }).await?;
    for reply in good {
        assert_eq!(output(&reply?)?, "meanwhile");
    }
    let expected: [&[&str]; 5] = [
        &["handler_failed", "timed_out"],
        &["handler_failed", "timed_out"],
        &["handler_failed", "timed_out"],
        &["agent_crashed"],
        &["handler_failed"],
    ];
    for (reply, codes) in bad.into_iter().zip(expected) {
        let reply = reply?;
        let code = cause(&reply)?.code.as_str();
        ensure!(codes.contains(&code), "{code}: {reply:?}");
    }
    assert_eq!(output(&call(&client, "good_agent", "after").await?)?, "after");
    pod.shutdown().await;
    Ok(())
}

#[tokio::test]
async fn a_run_is_cancelled_while_its_component_computes() -> Result<()> {
    let folder = Folder::new()?;
    folder.write_agent("spinning_agent", Behavior::Spin, "")?;
    let file = folder.definitions.dir().join("agents/business_ops/spinning_agent.yaml");
    let written = std::fs::read_to_string(&file)?;
    std::fs::write(&file, written.replace("timeout: 1\n", "timeout: 3600\n"))?;
    folder.definitions.write_row_workflow("spinning", "spinning_agent", 1)?;
    let pod = folder.start_pod().await?;
    let client = admin(&pod)?;
    let params = CallParams { inputs: text("hello"), detach: true, ..CallParams::default() };
    let reply = client.run_workflow(WorkflowId::new("spinning")?, params).await?;
    let run: RunId = reply.id.parse().with_context(|| format!("{reply:?}"))?;
    let status = |wanted: &'static str| {
        let (client, run) = (client.clone(), run.clone());
        wait_until(wanted, WAIT_MAX, move || {
            let (client, run) = (client.clone(), run.clone());
            async move {
                let report = client.run_record(run).await.ok()?;
                (report.outputs.get("run")?["status"] == wanted).then_some(())
            }
        })
    };
    status("running").await?;
    assert_eq!(client.cancel(run.clone()).await?.error, None);
    status("cancelled").await?;
    pod.shutdown().await;
    Ok(())
}

#[tokio::test]
async fn a_pod_without_a_folder_of_components_names_the_setting() -> Result<()> {
    let folder = Folder::new()?;
    folder.write_agent("component_agent", Behavior::Echo, "")?;
    let pod = start_pod(StoreKind::Memory, Some(folder.definitions.dir()), Overrides::default()).await?;
    let reply = call(&pod.admin()?, "component_agent", "hello").await?;
    let cause = cause(&reply)?;
    assert_eq!(cause.code.as_str(), "runtime_unavailable");
    ensure!(cause.message.contains("`runtimes.wasm.components`"), "{cause}");
    pod.pod.shutdown().await;
    Ok(())
}

#[tokio::test]
async fn the_check_of_definitions_names_a_missing_component() -> Result<()> {
    let folder = Folder::new()?;
    folder.write_agent("component_agent", Behavior::Echo, "")?;
    folder.write_agent("missing_agent", Behavior::Echo, "")?;
    std::fs::remove_file(folder.components().join("missing_agent.wasm"))?;
    let mut terminal = CliHarness::open()?;
    terminal.set_variable("GREENROOM_WASM_COMPONENTS", &folder.components().display().to_string());
    let path = folder.definitions.dir().display().to_string();
    let report = terminal.run(&["definitions", "check", &path]).await?.json()?.to_string();
    ensure!(report.contains("has no file `missing_agent.wasm`"), "{report}");
    ensure!(!report.contains("`component_agent.wasm`"), "{report}");
    Ok(())
}
