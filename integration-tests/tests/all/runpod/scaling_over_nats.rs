//! Demand over NATS becomes leases, also without any pod: a request that has no receiver waits, starts the first worker, and is
//! executed by its pod.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use greenroom_integration_tests::model_fixture::ModelFixture;
use greenroom_integration_tests::nats_server::NatsServer;
use greenroom_integration_tests::runpod_api::{FakeRunPod, KEY};
use greenroom_integration_tests::terminal::CliHarness;
use greenroom_integration_tests::wait::wait_until;

use super::WAIT_MAX;

const ECHO: &str = "echo_agent";
/// How long the caller waits for a reply.
const REPLY_WAIT_MAX: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread")]
async fn a_request_without_a_pod_becomes_a_lease_and_is_executed_by_the_pod_that_starts() -> Result<()> {
    let (server, runpod) = (NatsServer::start().await?, FakeRunPod::start().await?);
    let mut terminal = CliHarness::open()?;
    server.configure(&mut terminal)?;
    terminal.set_variable("RUNPOD_API_KEY", KEY);
    let url = runpod.endpoints_url();
    let options = ["--endpoint", runpod.endpoint(), "--endpoints-url", &url, "--interval", "200ms", "--lease", "10m"];
    let scaler = terminal.start(&[&["runpod", "scale"][..], &options].concat())?;
    // An endpoint without jobs is taken away, so there is a lease of one second in the beginning.
    let leases = |seconds: u64| {
        let calls = runpod.calls().into_iter().filter(|call| call.target.ends_with("/run"));
        calls.filter(|call| call.json()["input"]["max_s"] == seconds).count()
    };
    wait_until("the first round", WAIT_MAX, || async { (leases(1) > 0).then_some(()) }).await?;
    ensure!(leases(600) == 0, "nothing waits: {}", scaler.err());

    let client = server.client().await?;
    let requested = async {
        let called = client.agent(ECHO).input("text", "hello").timeout(REPLY_WAIT_MAX).execute().await;
        anyhow::Ok(called?)
    };
    let started = async {
        let leased = wait_until("a lease for the request", WAIT_MAX, || async { (leases(600) > 0).then_some(()) });
        leased.await.with_context(|| scaler.err())?;
        // What the worker of the lease does.
        let mut fixture = ModelFixture::with_openai("http://127.0.0.1:1/v1")?;
        server.configure(&mut fixture.terminal)?;
        fixture.definitions.write_echo_agent(ECHO)?;
        let (pod, _) = fixture.up().await?;
        anyhow::Ok((fixture, pod))
    };
    let (outputs, _pod) = tokio::try_join!(requested, started)?;
    assert_eq!(outputs["text"], "hello");
    ensure!(leases(600) <= 5, "the leases have a limit");
    scaler.terminate()?;
    let ended = scaler.wait().await?;
    ensure!(ended.code == 0 && !ended.err.contains(KEY), "{ended:?}");
    Ok(())
}
