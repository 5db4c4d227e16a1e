//! A thread cannot be stopped: what blocks one holds its capacity until its work has ended, also if its caller has
//! disconnected, its run was cancelled, or its timeout has passed.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use anyhow::Result;
use async_trait::async_trait;
use greenroom_actors::handler::{FileAccess, Handler, HandlerInput, HandlerMode};
use greenroom_client::{CallParams, Client};
use greenroom_integration_tests::definitions_dir::DefinitionsDir;
use greenroom_integration_tests::test_pod::{StoreKind, TestPod, start_pod, text};
use greenroom_integration_tests::wait::wait_until;
use greenroom_protocol::request::{Page, RunListFilter};
use greenroom_protocol::{AgentId, Cause, RunId, Values, WorkflowId};
use greenroom_supervisor::compose::Overrides;

const WAIT_MAX: Duration = Duration::from_secs(30);

/// A handler that blocks its thread until it is released.
#[expect(clippy::disallowed_types, reason = "the handler is to block its thread")]
struct BlockingHandler {
    working: Arc<AtomicUsize>,
    released: Mutex<mpsc::Receiver<()>>,
}

#[async_trait]
impl Handler for BlockingHandler {
    fn name(&self) -> &str {
        "native.test_block"
    }

    fn mode(&self) -> HandlerMode {
        HandlerMode::Blocking
    }

    async fn run(&self, input: &HandlerInput, _: &FileAccess) -> Result<Values, Cause> {
        self.working.fetch_add(1, Ordering::SeqCst);
        // The sender is dropped if the test has failed.
        let _ = self.released.lock().expect("no panic").recv();
        self.working.fetch_sub(1, Ordering::SeqCst);
        Ok(input.inputs.clone())
    }
}

/// A pod with the agent `blocking`, a workflow of one step of it, and the end that releases its handler.
struct Fixture {
    test_pod: TestPod,
    client: Client,
    working: Arc<AtomicUsize>,
    release: mpsc::Sender<()>,
    _definitions: tempfile::TempDir,
}

impl Fixture {
    async fn start(timeout_seconds: u32) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let definitions = DefinitionsDir::new(folder.path())?;
        let implementation = format!("runtime: native\n  handler: native.test_block\n  timeout: {timeout_seconds}");
        definitions.write_agent("blocking", "business_ops", &implementation)?;
        definitions.write_row_workflow("one_step", "blocking", 1)?;
        let (release, released) = mpsc::channel();
        let working = Arc::new(AtomicUsize::new(0));
        let handler = BlockingHandler { working: working.clone(), released: Mutex::new(released) };
        let overrides = Overrides { handlers: vec![Arc::new(handler)], ..Overrides::default() };
        let test_pod = start_pod(StoreKind::Memory, Some(folder.path()), overrides).await?;
        let client = test_pod.admin()?;
        Ok(Self { test_pod, client, working, release, _definitions: folder })
    }

    async fn wait_working(&self, count: usize) -> Result<()> {
        let probe = || async { (self.working.load(Ordering::SeqCst) == count).then_some(()) };
        wait_until("the handler works", WAIT_MAX, probe).await
    }

    async fn wait_free(&self) -> Result<()> {
        let probe = || async { (self.test_pod.pod.in_flight() == 0).then_some(()) };
        wait_until("the capacity is free", WAIT_MAX, probe).await
    }

    /// The work has no caller any more, and still holds its capacity until it is released.
    async fn expect_reserved_until_released(&self) -> Result<()> {
        assert_eq!((self.working.load(Ordering::SeqCst), self.test_pod.pod.in_flight()), (1, 1));
        self.release.send(())?;
        self.wait_working(0).await?;
        self.wait_free().await
    }
}

fn params() -> CallParams {
    CallParams { inputs: text("hello"), ..CallParams::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_whose_caller_has_disconnected_holds_its_capacity_while_its_thread_works() -> Result<()> {
    let fixture = Fixture::start(60).await?;
    tokio::select! {
        reply = fixture.client.run_agent(AgentId::new("blocking")?, params()) => anyhow::bail!("{reply:?}"),
        working = fixture.wait_working(1) => working?,
    }
    fixture.expect_reserved_until_released().await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_whose_timeout_has_passed_holds_its_capacity_while_its_thread_works() -> Result<()> {
    let fixture = Fixture::start(1).await?;
    let reply = fixture.client.run_agent(AgentId::new("blocking")?, params()).await?;
    assert_eq!(reply.error.map(|cause| cause.code.as_str()), Some("timed_out"));
    fixture.expect_reserved_until_released().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_run_holds_its_capacity_while_the_thread_of_its_step_works() -> Result<()> {
    let fixture = Fixture::start(60).await?;
    let run = async {
        fixture.wait_working(1).await?;
        let page = Page { after: None, limit: 1 };
        let list = fixture.client.runs(RunListFilter::default(), page).await?;
        let run = list.outputs["runs"][0]["run_id"].as_str().unwrap_or_default().to_owned();
        fixture.client.cancel(RunId::new(run)?).await?;
        anyhow::Ok(())
    };
    let (reply, cancelled) = tokio::join!(fixture.client.run_workflow(WorkflowId::new("one_step")?, params()), run);
    cancelled?;
    assert_eq!(reply?.error.map(|cause| cause.code.as_str()), Some("cancelled"));
    fixture.expect_reserved_until_released().await
}
