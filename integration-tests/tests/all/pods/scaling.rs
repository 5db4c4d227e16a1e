//! `greenroom runpod scale` beside a database: it counts the trees of runs that a pod is to execute, of every tenant, and
//! none that only waits.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use greenroom_client::CallParams;
use greenroom_integration_tests::runpod_api::{FakeRunPod, KEY};
use greenroom_integration_tests::terminal::CliHarness;
use greenroom_integration_tests::test_pod::text;
use greenroom_integration_tests::wait::wait_until;
use greenroom_protocol::{TenantId, UserId, WorkflowId};
use greenroom_supervisor::clock::WallClock;
use greenroom_supervisor::compose::Overrides;
use greenroom_supervisor::config::Config;

use super::replying;
use super::shared_database::{PodProcess, SharedDatabase, WAIT_MAX, new_runtime};

/// The administrator of another tenant than that of the scaler.
const FOREIGN: &str = "mallory";

fn add_foreign_user(config: &mut Config) {
    let mut user = config.users.users.first().expect("the administrator").clone();
    user.name = UserId::new(FOREIGN).expect("a name");
    user.tenant = TenantId::new("globex").expect("a name");
    config.users.users.push(user);
}

/// A terminal whose commands use the database too, with the definitions of the product. A pod has started before.
fn terminal(database: &SharedDatabase) -> Result<CliHarness> {
    let mut terminal = CliHarness::open()?;
    fs::create_dir(terminal.data_dir())?;
    fs::copy(database.folder.path().join("audit.key"), terminal.data_dir().join("audit.key"))?;
    terminal.set_variable("DATABASE_URL", &database.url);
    terminal.set_variable("GREENROOM_ARTIFACTS_SHARED", "true");
    terminal.set_variable("RUNPOD_API_KEY", KEY);
    Ok(terminal)
}

/// Leaves a run of the other tenant to any pod.
fn leave_run(pod: &PodProcess) -> Result<()> {
    let params = CallParams { inputs: text("hello"), detach: true, ..CallParams::default() };
    let client = pod.pod().client(&UserId::new(FOREIGN)?);
    let started = pod.block_on(client.run_workflow(WorkflowId::new("letter")?, params))?;
    ensure!(started.error.is_none(), "{started:?}");
    Ok(())
}

/// The leases of this many seconds that were added so far.
fn leases(runpod: &FakeRunPod, seconds: u64) -> usize {
    let added = runpod.calls().into_iter().filter(|call| call.target.ends_with("/run"));
    added.filter(|call| call.json()["input"]["max_s"] == seconds).count()
}

#[test]
fn a_run_that_only_waits_gets_no_lease_and_one_of_another_tenant_without_a_pod_gets_one() -> Result<()> {
    let database = SharedDatabase::create("scales", [replying("draft")])?;
    let a = database.start_with("pod_a", |config| config.park_delay = Duration::from_secs(3))?;
    let overrides = Overrides { creates_runs_unowned: true, ..Overrides::default() };
    let b = database.assemble_with("pod_b", Arc::new(WallClock), add_foreign_user, overrides)?;
    a.start_detached("paid_letter")?;
    database.wait_count("SELECT count(*) FROM trees WHERE parked AND holder IS NULL", 1)?;

    let runtime = new_runtime()?;
    let runpod = runtime.block_on(FakeRunPod::start())?;
    let terminal = terminal(&database)?;
    let url = runpod.endpoints_url();
    let options = ["--endpoint", runpod.endpoint(), "--endpoints-url", &url, "--interval", "200ms", "--lease", "10m"];
    let scaler = terminal.start(&[&["runpod", "scale"][..], &options].concat())?;
    // A round that finds nothing to do keeps an endpoint without jobs by a lease of one second.
    let has_ended_round = || async { (leases(&runpod, 1) > 0).then_some(()) };
    runtime.block_on(wait_until("a round without work", WAIT_MAX, has_ended_round)).with_context(|| scaler.err())?;
    ensure!(leases(&runpod, 600) == 0, "the run waits for its payment: {}", scaler.err());

    leave_run(&b)?;
    database.wait_count("SELECT count(*) FROM trees WHERE NOT parked AND holder IS NULL AND tenant = 'globex'", 1)?;
    let has_leased = || async { (leases(&runpod, 600) > 0).then_some(()) };
    runtime.block_on(wait_until("a lease for the run", WAIT_MAX, has_leased)).with_context(|| scaler.err())?;
    scaler.terminate()?;
    let ended = runtime.block_on(scaler.wait())?;
    ensure!(ended.code == 0 && !ended.err.contains(KEY), "{ended:?}");
    ensure!(leases(&runpod, 600) == 1, "one run needs one worker");
    Ok(())
}
