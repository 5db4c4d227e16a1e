//! A category with its agents, as real actors.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use greenroom_protocol::{CategoryId, Cause, Deadline, ErrorCode, Values};
use ractor::{ActorCell, ActorRef};
use serde_json::json;
use tokio::sync::Notify;

use super::{CategoryConfig, CategoryHandle};
use crate::agent::ExecutionResult;
use crate::handler::{Handler, HandlerInput, HandlerMode};
use crate::observer::ActorEvent;
use crate::supervision::{Backoff, ChildKind, OnMaxRestarts, RestartPolicy};
use crate::test_env::{
    FnHandler, NoMsg, ScriptedAnswer, ScriptedModel, TestEnv, TestEnvOptions, TestRoot, agent, native, until,
};

struct Harness {
    test_env: TestEnv,
    category: CategoryHandle,
    root: ActorRef<NoMsg>,
    actor: ActorCell,
}

impl Drop for Harness {
    fn drop(&mut self) {
        self.root.kill();
    }
}

fn config() -> CategoryConfig {
    let backoff = Backoff { first: Duration::from_millis(1), max: Duration::from_millis(2) };
    let on_max_restarts = OnMaxRestarts::OpenCircuit { cooldown: Duration::from_secs(30) };
    let restart_policy =
        RestartPolicy { backoff, on_max_restarts, restarts_max: 2, ..ChildKind::Agent.restart_policy() };
    CategoryConfig { idle_timeout: Duration::from_secs(600), tick_interval: Duration::from_millis(10), restart_policy }
}

async fn harness(test_env: TestEnv, config: CategoryConfig) -> Harness {
    let category = CategoryHandle::new(CategoryId::new("ops").unwrap(), test_env.env.clone(), config);
    let root = TestRoot::start().await;
    let actor = category.start_supervisor(root.get_cell()).await.unwrap();
    Harness { test_env, category, root, actor }
}

fn test_env(agents: Vec<serde_json::Value>, handlers: Vec<Arc<dyn Handler>>) -> TestEnv {
    TestEnv::new(TestEnvOptions { agents, handlers, ..TestEnvOptions::default() })
}

fn summary(text: &str) -> Values {
    Values::from([("summary".to_owned(), json!(text))])
}

/// Returns its document; waits first if that is `wait`, and panics if it is `panic`.
fn handler(gate: Arc<Notify>, running: Arc<AtomicUsize>) -> Arc<dyn Handler> {
    struct RunningCount(Arc<AtomicUsize>);
    impl Drop for RunningCount {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::SeqCst);
        }
    }
    let run = move |input: HandlerInput| {
        let (gate, running) = (gate.clone(), running.clone());
        async move {
            running.fetch_add(1, Ordering::SeqCst);
            let _count = RunningCount(running);
            match input.inputs["document"].as_str().unwrap_or_default() {
                "wait" => gate.notified().await,
                "panic" => panic!("the test requested this panic of a handler"),
                _ => {}
            }
            Ok::<_, Cause>(Values::from([("summary".to_owned(), input.inputs["document"].clone())]))
        }
    };
    Arc::new(FnHandler("native.echo", HandlerMode::Async, run))
}

struct WorkerHarness {
    harness: Harness,
    gate: Arc<Notify>,
    running: Arc<AtomicUsize>,
}

async fn worker_harness(config: CategoryConfig) -> WorkerHarness {
    let (gate, running) = (Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
    let limited = json!({
        "implementation": {"runtime": "native", "handler": "native.echo", "timeout": 30},
        "limits": {"max_concurrency": 1},
    });
    let agents = vec![native("worker", "native.echo"), agent("narrow", limited)];
    let test_env = test_env(agents, vec![handler(gate.clone(), running.clone())]);
    WorkerHarness { harness: harness(test_env, config).await, gate, running }
}

impl WorkerHarness {
    async fn invoke(&self, agent: &str, document: &str) -> ExecutionResult {
        let job = self.harness.test_env.invocation(agent, document).await;
        self.harness.category.invoke(job).await
    }

    /// Invokes without waiting.
    async fn spawn_invoke(&self, agent: &str, document: &str) -> tokio::task::JoinHandle<ExecutionResult> {
        let job = self.harness.test_env.invocation(agent, document).await;
        let category = self.harness.category.clone();
        #[expect(clippy::disallowed_methods, reason = "the caller in a test")]
        tokio::spawn(async move { category.invoke(job).await })
    }

    async fn are_running(&self, count: usize) {
        until("the executions run", || self.running.load(Ordering::SeqCst) == count).await;
    }

    fn activations(&self) -> usize {
        self.harness.test_env.events.count(|event| matches!(event, ActorEvent::AgentActivated(_)))
    }

    fn passivations(&self) -> usize {
        self.harness.test_env.events.count(|event| matches!(event, ActorEvent::AgentPassivated(_)))
    }
}

fn code(done: &ExecutionResult) -> Option<ErrorCode> {
    done.as_ref().err().map(|failure| failure.cause.code)
}

#[tokio::test]
async fn the_first_message_activates_an_agent_and_the_next_ones_use_it() {
    let worker = worker_harness(config()).await;
    for text in ["one", "two", "three"] {
        let outcome = worker.invoke("worker", text).await.unwrap();
        assert_eq!(outcome.outputs, summary(text));
        assert_eq!(outcome.usage.agents[0].as_str(), "worker");
    }
    assert_eq!((worker.activations(), worker.harness.category.hosted_count()), (1, 1));
    let done =
        worker.harness.test_env.events.count(|event| matches!(event, ActorEvent::ExecutionEnded { code: None, .. }));
    assert_eq!(done, 3);
}

#[tokio::test]
async fn an_idle_agent_is_passivated_and_activated_again_by_the_next_message() {
    let idle = CategoryConfig { idle_timeout: Duration::ZERO, ..config() };
    let worker = worker_harness(idle).await;
    worker.invoke("worker", "one").await.unwrap();
    until("it is passivated", || worker.passivations() == 1).await;
    until("the hosted agent is evicted", || worker.harness.category.hosted_count() == 0).await;
    assert_eq!(worker.invoke("worker", "two").await.unwrap().outputs, summary("two"));
    assert_eq!(worker.activations(), 2);
}

#[tokio::test]
async fn a_panic_ends_only_its_own_execution() {
    let worker = worker_harness(config()).await;
    let waiting = worker.spawn_invoke("worker", "wait").await;
    worker.are_running(1).await;
    assert_eq!(code(&worker.invoke("worker", "panic").await), Some(ErrorCode::AgentCrashed));
    worker.gate.notify_one();
    assert!(waiting.await.unwrap().is_ok());
    assert_eq!(worker.activations(), 1, "the actor continues");
}

#[tokio::test]
async fn a_dropped_invocation_aborts_its_execution() {
    let worker = worker_harness(config()).await;
    let waiting = worker.spawn_invoke("worker", "wait").await;
    worker.are_running(1).await;
    let start = std::time::Instant::now();
    waiting.abort();
    worker.are_running(0).await;
    assert!(start.elapsed() < Duration::from_millis(100), "{:?}", start.elapsed());
    until("it is counted as cancelled", || {
        worker
            .harness
            .test_env
            .events
            .count(|event| matches!(event, ActorEvent::ExecutionEnded { code: Some(ErrorCode::Cancelled), .. }))
            == 1
    })
    .await;
}

#[tokio::test]
async fn a_concurrency_limit_of_one_serializes_the_executions() {
    let worker = worker_harness(config()).await;
    let first = worker.spawn_invoke("narrow", "wait").await;
    worker.are_running(1).await;
    let second = worker.spawn_invoke("narrow", "two").await;
    assert_eq!(
        worker.invoke("worker", "other").await.unwrap().outputs,
        summary("other"),
        "other agents are not delayed"
    );
    assert!(!second.is_finished());
    worker.gate.notify_one();
    assert!(first.await.unwrap().is_ok());
    assert_eq!(second.await.unwrap().unwrap().outputs, summary("two"));
}

/// Blocks its thread if its document is `wait`, until it is released.
fn blocking_handler(running: Arc<AtomicUsize>) -> (std::sync::mpsc::Sender<()>, Arc<dyn Handler>) {
    let (release, gate) = std::sync::mpsc::channel();
    let gate = Arc::new(std::sync::Mutex::new(gate));
    let run = move |input: HandlerInput| {
        let (gate, running) = (gate.clone(), running.clone());
        async move {
            if input.inputs["document"] == "wait" {
                running.fetch_add(1, Ordering::SeqCst);
                gate.lock().unwrap().recv().unwrap();
                running.fetch_sub(1, Ordering::SeqCst);
            }
            Ok::<_, Cause>(Values::from([("summary".to_owned(), input.inputs["document"].clone())]))
        }
    };
    (release, Arc::new(FnHandler("native.echo", HandlerMode::Blocking, run)))
}

#[tokio::test]
async fn the_ticket_of_a_blocking_handler_is_reserved_until_its_work_has_ended() {
    let running = Arc::new(AtomicUsize::new(0));
    let (release, handler) = blocking_handler(running.clone());
    let limited = json!({
        "implementation": {"runtime": "native", "handler": "native.echo", "timeout": 30},
        "limits": {"max_concurrency": 1},
    });
    let harness = harness(test_env(vec![agent("narrow", limited)], vec![handler]), config()).await;
    let worker = WorkerHarness { harness, gate: Arc::default(), running };
    let first = worker.spawn_invoke("narrow", "wait").await;
    worker.are_running(1).await;
    first.abort();
    until("its execution is cancelled", || {
        let events = &worker.harness.test_env.events;
        events.count(|event| matches!(event, ActorEvent::ExecutionEnded { code: Some(ErrorCode::Cancelled), .. })) == 1
    })
    .await;
    // The thread still works, so there is no ticket for another execution.
    let mut second = worker.harness.test_env.invocation("narrow", "two").await;
    let deadline = Deadline::after(worker.harness.test_env.clock.now(), Duration::from_millis(50));
    second.grant = second.grant.with_earlier_deadline(deadline);
    assert_eq!(code(&worker.harness.category.invoke(second).await), Some(ErrorCode::Overloaded));
    release.send(()).unwrap();
    worker.are_running(0).await;
    assert_eq!(worker.invoke("narrow", "three").await.unwrap().outputs, summary("three"));
}

#[tokio::test]
async fn a_concurrency_limit_holds_for_the_pod_and_its_teams_together() {
    let worker = worker_harness(config()).await;
    // A team hosts its members itself, as another category would.
    let team = CategoryHandle::new(CategoryId::new("team").unwrap(), worker.harness.test_env.env.clone(), config());
    let actor = team.start_supervisor(worker.harness.root.get_cell()).await.unwrap();
    let first = worker.spawn_invoke("narrow", "wait").await;
    worker.are_running(1).await;
    let job = worker.harness.test_env.invocation("narrow", "member").await;
    let mut second = Box::pin(team.invoke(job));
    // Long enough for an execution that has a ticket.
    let executed = tokio::time::timeout(Duration::from_millis(200), &mut second).await;
    assert!(executed.is_err(), "the category has the only ticket");
    assert_eq!(worker.running.load(Ordering::SeqCst), 1);
    worker.gate.notify_one();
    assert!(first.await.unwrap().is_ok());
    assert_eq!(second.await.unwrap().outputs, summary("member"));
    drop(actor);
}

#[tokio::test(start_paused = true)]
async fn a_timeout_ends_the_execution_and_reports_its_usage() {
    let model = ScriptedModel::new("play", true, vec![ScriptedAnswer::Hang]);
    let test_env = TestEnv::new(TestEnvOptions {
        agents: vec![agent("writer", json!({}))],
        providers: vec![model.clone()],
        ..TestEnvOptions::default()
    });
    let harness = harness(test_env, config()).await;
    let start = tokio::time::Instant::now();
    let failure = harness.category.invoke(harness.test_env.invocation("writer", "x").await).await.unwrap_err();
    assert_eq!(failure.cause.code, ErrorCode::TimedOut);
    assert_eq!(start.elapsed().as_secs(), 30, "the definition's timeout");
    assert!(failure.usage.estimated && failure.usage.cost.0 > 8_000, "{:?}", failure.usage);
}

#[tokio::test]
async fn a_killed_agent_loses_its_running_executions_and_keeps_its_queue() {
    let worker = worker_harness(config()).await;
    let running = worker.spawn_invoke("worker", "wait").await;
    worker.are_running(1).await;
    for agent in worker.harness.actor.get_children() {
        agent.kill();
    }
    assert_eq!(code(&running.await.unwrap()), Some(ErrorCode::AgentCrashed));
    assert_eq!(worker.running.load(Ordering::SeqCst), 0, "no execution of it runs");
    assert_eq!(worker.invoke("worker", "next").await.unwrap().outputs, summary("next"));
}

#[tokio::test]
async fn an_open_circuit_concerns_only_its_own_agent() {
    let worker = worker_harness(config()).await;
    for _ in 0..3 {
        worker.invoke("worker", "fine").await.unwrap();
        let passivations = worker.passivations();
        for agent in worker.harness.actor.get_children() {
            agent.kill();
        }
        until("it is passivated", || worker.passivations() > passivations).await;
    }
    let mut rejected = worker.invoke("worker", "again").await;
    for _ in 0..100 {
        if code(&rejected) == Some(ErrorCode::AgentCircuitOpen) {
            break;
        }
        tokio::task::yield_now().await;
        rejected = worker.invoke("worker", "again").await;
    }
    let cause = rejected.unwrap_err().cause;
    assert_eq!(cause.code, ErrorCode::AgentCircuitOpen);
    assert!(cause.retry_after_ms > Some(29_000));
    assert!(worker.invoke("narrow", "other").await.is_ok(), "no other agent is concerned");
}

#[tokio::test(start_paused = true)]
async fn an_agent_is_restarted_and_then_opens_its_circuit_by_its_row() {
    let worker = worker_harness(CategoryConfig::default()).await;
    let policy = ChildKind::Agent.restart_policy();
    for activation in 1..=policy.restarts_max as usize + 1 {
        let waiting = worker.spawn_invoke("worker", "wait").await;
        worker.are_running(1).await;
        assert_eq!(worker.activations(), activation);
        worker.harness.actor.get_children().iter().for_each(ActorCell::kill);
        let cause = waiting.await.unwrap().unwrap_err().cause;
        let is_last = activation > policy.restarts_max as usize;
        assert!(
            cause.code == ErrorCode::AgentCrashed || is_last && cause.code == ErrorCode::AgentCircuitOpen,
            "{cause}"
        );
    }
    until("the circuit is open", || {
        worker.passivations() == worker.activations() && worker.harness.actor.get_children().is_empty()
    })
    .await;
    let OnMaxRestarts::OpenCircuit { cooldown } = policy.on_max_restarts else { panic!("a circuit") };
    assert_eq!(code(&worker.invoke("worker", "x").await), Some(ErrorCode::AgentCircuitOpen));
    tokio::time::advance(cooldown).await;
    assert_eq!(worker.invoke("worker", "later").await.unwrap().outputs, summary("later"));
}

#[tokio::test]
async fn a_restarted_category_serves_the_waiting_jobs() {
    let worker = worker_harness(config()).await;
    worker.harness.actor.kill();
    worker.harness.actor.wait(Some(Duration::from_secs(5))).await.unwrap();
    let waiting = worker.spawn_invoke("worker", "patient").await;
    tokio::task::yield_now().await;
    worker.harness.category.start_supervisor(worker.harness.root.get_cell()).await.unwrap();
    assert_eq!(waiting.await.unwrap().unwrap().outputs, summary("patient"));
}

#[tokio::test]
async fn a_closed_category_rejects_invocations() {
    let worker = worker_harness(config()).await;
    worker.invoke("worker", "one").await.unwrap();
    worker.harness.category.close();
    assert_eq!(code(&worker.invoke("worker", "two").await), Some(ErrorCode::ShuttingDown));
}

#[tokio::test]
async fn agents_are_not_offered_to_other_pods() {
    let worker = worker_harness(config()).await;
    worker.invoke("worker", "one").await.unwrap();
    assert!(!worker.harness.actor.supports_remoting());
    assert!(worker.harness.actor.get_children().iter().all(|agent| !agent.supports_remoting()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_thousand_concurrent_invocations_succeed() {
    let worker = Arc::new(worker_harness(config()).await);
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..2_000 {
        let worker = worker.clone();
        calls.spawn(async move { worker.invoke("worker", "one").await.is_ok() });
    }
    assert!(calls.join_all().await.into_iter().all(|succeeded| succeeded));
    assert_eq!(worker.activations(), 1);
}
